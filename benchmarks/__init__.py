"""Measurements that the docs quote: `python -m benchmarks [name ...] [--quick]`. Never imported by anycap itself.

Each module here whose `run(quick: bool)` returns a `Report`, or several, is one benchmark; `harness.py` is what they share,
`server.py` the vendor they ask, `plots.py` draws. Results go to `benchmarks/results/`, the ratios to compare with are in
`baseline.json`.
"""
