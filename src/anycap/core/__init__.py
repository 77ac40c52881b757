"""The pure core: decisions about solves, polls and limits. Time, chance and vendor facts come in as arguments.

Nothing in this package may import time, random, asyncio, anyio, httpx, sqlite3 or logging; a test reads the imports.
Start at `machine.py` (life of one solve), then `scheduler.py` (one account: what to send next).
"""
