"""Tests that hurt: kills, cancellations and faults at every step, and planted bugs that each must be caught."""
