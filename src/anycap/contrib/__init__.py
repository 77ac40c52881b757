"""Helpers for other frameworks, one module each, imported by nobody inside: `anycap.contrib.aiohttp`."""
