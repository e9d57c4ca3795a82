# C functions from elementary.h, for kernels to cimport.
from libc.stdint cimport int64_t, uint64_t


cdef extern from "elementary.h" nogil:
    double samesum_exp(double x)
    double samesum_log(double x)
    double samesum_sigmoid(double x)
    uint64_t samesum_mix(uint64_t z)
    int64_t samesum_bits(double x)
    double samesum_from_bits(int64_t bits)
    double SAMESUM_ROUND_MAGIC
