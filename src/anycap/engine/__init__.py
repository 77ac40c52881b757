"""The one I/O loop of a client and its helpers, one job each. Private: users hold `anycap.Client`."""
