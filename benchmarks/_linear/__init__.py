"""The parts of ``benchmarks/linear.py``: data, engines, what is compared."""
