"""The parts of ``benchmarks/trees.py``: scenarios, their data, the engines, and the report."""
