"""Connections of our own over h11: the default transport."""
