"""Which account solves a challenge, and which one after a failure. Pure.

`candidates.py` lists the accounts that may be asked, in order, and why the others may not. `failover.py` says whether
another account may be asked after an attempt came to nothing. What
tasks may cost is counted by the journals: `journal/budgets.py`.
"""
