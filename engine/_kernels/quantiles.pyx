"""Order statistics of many groups of rows at once: digits of sortable integers are counted, from the highest to the lowest."""

from cython.parallel cimport prange
from libc.stdint cimport int64_t, uint32_t, uint64_t


cdef extern from "losses.h" nogil:
    uint64_t samesum_score_key(double score)
    double samesum_key_score(uint64_t key)


def gather_residual_keys(const double[::1] scores, const double[::1] y, const int64_t[::1] weights, const uint32_t[::1] rows,
                         uint64_t[::1] out_keys, int64_t[::1] out_weights, int num_threads):
    """``out_keys[i]``: an integer with the order of ``y - scores`` at row ``rows[i]``; ``out_weights[i]``: its weight.

    Without ``weights`` (None) ``out_weights`` is left alone.
    """
    cdef Py_ssize_t i
    cdef bint weighted = weights is not None
    for i in prange(rows.shape[0], nogil=True, num_threads=num_threads, schedule="static"):
        out_keys[i] = samesum_score_key(y[rows[i]] - scores[rows[i]])
        if weighted:
            out_weights[i] = weights[rows[i]]


def count_digits(uint64_t[::1] keys, int64_t[::1] weights, const int64_t[::1] begin, int64_t[::1] end, const uint64_t[::1] prefix,
                 int shift, int n_bits, int64_t[:, ::1] out, int num_threads):
    """Add to ``out[k, d]`` the weight of group k's keys that start like ``prefix[k]`` and have d in the ``n_bits`` bits from ``shift``.

    Group k lies in ``keys[begin[k]:end[k]]``, ``weights`` (None: all 1) beside it; both keep the keys that were counted, in front, and
    ``end`` is moved. ``prefix``: its bits above those counted here are what keys must start with. ``out``: [n_groups, 2**n_bits].
    """
    cdef Py_ssize_t k, i, kept
    cdef bint weighted = weights is not None
    cdef uint64_t digits = (<uint64_t> 1 << n_bits) - 1
    cdef uint64_t above = 0 if shift + n_bits == 64 else ~<uint64_t> 0 << (shift + n_bits)
    for k in prange(begin.shape[0], nogil=True, num_threads=num_threads, schedule="dynamic"):
        kept = begin[k]
        for i in range(begin[k], end[k]):
            if (keys[i] ^ prefix[k]) & above == 0:
                keys[kept] = keys[i]
                if weighted:
                    weights[kept] = weights[i]
                    out[k, (keys[kept] >> shift) & digits] += weights[kept]
                else:
                    out[k, (keys[kept] >> shift) & digits] += 1
                kept = kept + 1
        end[k] = kept


def fill_scores(const uint64_t[::1] keys, double[::1] out):
    """The numbers that keys stand for; 0.0 for -0.0."""
    cdef Py_ssize_t i
    with nogil:
        for i in range(keys.shape[0]):
            out[i] = samesum_key_score(keys[i])
