# What kernels that share rows among threads ask of the cuts between their parts.
from libc.stdint cimport int64_t


cdef inline check_cuts(const int64_t[::1] cuts, Py_ssize_t n):
    """Refuse cuts that do not rise from 0 to n."""
    cdef Py_ssize_t t
    if cuts.shape[0] < 1 or cuts[0] != 0 or cuts[cuts.shape[0] - 1] != n:
        raise ValueError(f"expected cuts from 0 to {n}, got {cuts.shape[0]} others")
    for t in range(cuts.shape[0] - 1):
        if cuts[t] > cuts[t + 1]:
            raise ValueError(f"expected rising cuts, got {cuts[t]} before {cuts[t + 1]}")
