"""Many machines on one account: tickets, keys and limits in a Valkey or Redis server that all of them use.

What a user says about the server is `settings.py` (`Shared`). Below it, in order: `connections.py` (the only place that
knows coredis), `checks.py` (what the server must be able to do), `membership.py` (who is alive, and for how long),
`journal.py` (the journal port). The scripts that run inside the server are in `lua/`. The design is in
docs/decisions/0020-tickets-in-valkey.md.
"""
