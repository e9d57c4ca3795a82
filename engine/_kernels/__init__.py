"""Cython kernels: arrays in, the caller's ``out`` filled; no I/O, no MPI, no Python objects in the loops."""

import os

# For how long threads wait awake, in looks at what they wait for: some 0.1 ms, as long as what lies between two kernels. Going to sleep and
# being woken takes as long as a small kernel: a tree on two threads took 25.2 ms at 100 looks and takes 23.3. The default, milliseconds,
# makes ranks and threads that share a core wait for one another's spinning; 2000 looks cost 15 % there, on twice as many threads as cores.
# GNU OpenMP reads this when the first kernel is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")
