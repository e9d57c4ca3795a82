"""Cython kernels: arrays in, the caller's ``out`` filled; no I/O, no MPI, no Python objects in the loops."""

import os

# For how long threads wait awake, in looks at what they wait for: 0.1 to 0.2 ms, as long as what lies between two kernels. Going to sleep
# and being woken takes as long as a small kernel: a tree on two threads took 25.2 ms at 100 looks and 23.3 at 2,000; on another processor
# 31.8 at 2,000, 30.3 at 5,000 and 27.2 at 100,000. But threads that share a core wait for one another's looks: two trainings on the same
# two cores took 5.7 s at 2,000, 5.4 at 4,000, 6.0 at 6,000, 9.4 at 20,000 and 25 at 100,000. The default is milliseconds.
# GNU OpenMP reads this when the first kernel is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "4000")
