"""Cython kernels: arrays in, the caller's ``out`` filled; no I/O, no MPI, no Python objects in the loops."""

import os

# Threads that wait for others sleep at once. The default, milliseconds, makes ranks and threads that share a core wait
# for one another's spinning. GNU OpenMP reads this when the first kernel is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "100")
