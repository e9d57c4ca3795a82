"""Fixed-point sums: each number is rounded once to an integer, and integers add up the same in any order.

A sum is held in two limbs, ``value = high * 2**26 + low``, so that 2**38 terms of 51 bits cannot overflow.
"""

from libc.math cimport isfinite, ldexp
from libc.stdint cimport int64_t

from engine._kernels.elementary cimport SAMESUM_ROUND_MAGIC, samesum_bits, samesum_exp, samesum_log, samesum_mix, samesum_sigmoid


def sum_fixed_point(const double[::1] values, int exponent, int64_t[::1] out):
    """Add ``rint(v * 2**(50 - exponent))`` of every value to ``out[0:2]`` (high, low) and the number of NaN and inf to ``out[2]``.

    ``values``: [n] with ``|v| <= 2**exponent`` where finite. ``out``: [3], added to.
    """
    cdef Py_ssize_t i
    cdef int64_t high = 0, low = 0, bad = 0, q
    # one factor alone overflows for values near the smallest double
    cdef int first = min(50 - exponent, 1000)
    cdef double scale = ldexp(1.0, first), rest = ldexp(1.0, 50 - exponent - first)
    with nogil:
        for i in range(values.shape[0]):
            if not isfinite(values[i]):
                bad += 1
                continue
            q = samesum_bits(values[i] * scale * rest + SAMESUM_ROUND_MAGIC) - samesum_bits(SAMESUM_ROUND_MAGIC)
            high += q >> 26
            low += q & 0x3ffffff
    out[0] += high
    out[1] += low
    out[2] += bad


def exp_array(const double[::1] values, double[::1] out):
    """``out[i] = exp(values[i])``, the same bits on every machine."""
    cdef Py_ssize_t i
    with nogil:
        for i in range(values.shape[0]):
            out[i] = samesum_exp(values[i])


def log_array(const double[::1] values, double[::1] out):
    """``out[i] = ln(values[i])``, the same bits on every machine."""
    cdef Py_ssize_t i
    with nogil:
        for i in range(values.shape[0]):
            out[i] = samesum_log(values[i])


def sigmoid_array(const double[::1] values, double[::1] out):
    """``out[i] = 1 / (1 + exp(-values[i]))``, the same bits on every machine."""
    cdef Py_ssize_t i
    with nogil:
        for i in range(values.shape[0]):
            out[i] = samesum_sigmoid(values[i])


def hash_counters(unsigned long long key, unsigned long long first, unsigned long long[::1] out):
    """``out[i]`` = hash(key, first + i), 64 bits; for one key different counters never collide."""
    cdef Py_ssize_t i
    cdef unsigned long long mixed = samesum_mix(key)
    with nogil:
        for i in range(out.shape[0]):
            out[i] = samesum_mix(mixed ^ (first + <unsigned long long> i))
