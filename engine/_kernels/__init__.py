"""Cython kernels: arrays in, the caller's ``out`` filled; no I/O, no MPI, no Python objects in the loops."""
