"""The parts of ``benchmarks/kernels.py``: its cases, by who uses the kernels."""
