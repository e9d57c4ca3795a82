"""Graphs that benchmarks make for themselves."""
