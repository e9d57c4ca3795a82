"""Rows of a graph in another order: those that are read most first, their entries as they were, with places of neighbours for numbers."""

from cython.parallel cimport prange
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from engine._kernels.elementary cimport samesum_bits, samesum_mix

ctypedef fused number:
    uint32_t
    uint64_t

MOST_ENTRIES = 65535
cdef enum: N_READ_CLASSES = 33  # of numbers below 2**63


def order_rows(const int64_t[::1] indptr, const int64_t[::1] reads, uint32_t[::1] order, int64_t[::1] new_indptr):
    """Number the rows by falling class of ``reads`` [n] (0 or more), then by falling number of entries; else they stay in order.

    The class is ``ceil(log4(1 + reads))``; rows of MOST_ENTRIES and more count as alike. ``order`` [n] gets the old number of every new
    row, ``new_indptr`` [n + 1] where its entries will be.
    """
    cdef Py_ssize_t i, n = order.shape[0]
    cdef int64_t key, at
    cdef int64_t most = MOST_ENTRIES
    cdef int64_t[N_READ_CLASSES + 1] class_begin
    if indptr.shape[0] != n + 1 or new_indptr.shape[0] != n + 1 or reads.shape[0] != n:
        raise ValueError(f"expected {n + 1} bounds of {n} rows, got {indptr.shape[0]} and {new_indptr.shape[0]}, "
                         f"and reads of {reads.shape[0]}")
    cdef int64_t* begin = <int64_t*> calloc(most + 2, sizeof(int64_t))
    cdef uint32_t* by_length = <uint32_t*> malloc(max(n, 1) * sizeof(uint32_t))
    if begin == NULL or by_length == NULL:
        free(begin)
        free(by_length)
        raise MemoryError(f"cannot order {n} rows of up to {most} entries")
    with nogil:
        for i in range(n):
            begin[most - min(indptr[i + 1] - indptr[i], most) + 1] += 1
        for key in range(most + 1):
            begin[key + 1] += begin[key]
        for i in range(n):
            key = most - min(indptr[i + 1] - indptr[i], most)
            by_length[begin[key]] = <uint32_t> i
            begin[key] += 1
        memset(class_begin, 0, sizeof(class_begin))
        for i in range(n):
            class_begin[N_READ_CLASSES - read_class(reads[i])] += 1
        for key in range(N_READ_CLASSES):
            class_begin[key + 1] += class_begin[key]
        for i in range(n):
            key = N_READ_CLASSES - 1 - read_class(reads[by_length[i]])
            order[class_begin[key]] = by_length[i]
            class_begin[key] += 1
        at = 0
        for i in range(n):
            new_indptr[i] = at
            at += indptr[order[i] + 1] - indptr[order[i]]
        new_indptr[n] = at
    free(begin)
    free(by_length)


cdef inline int64_t read_class(int64_t reads) noexcept nogil:
    cdef int64_t found = 0
    while reads > 0:
        found += 1
        reads >>= 2
    return found


def move_entries(const int64_t[::1] indptr, const number[::1] neighbours, const double[::1] weights, const uint32_t[::1] order,
                 const int64_t[::1] new_indptr, const uint32_t[::1] places, uint32_t[::1] slots, double[::1] new_weights, int num_threads):
    """Fill ``slots`` and ``new_weights`` with the entries of the rows in their new order; a neighbour v becomes ``places[v]``.

    ``weights`` and ``new_weights``: None, or of all entries. What ``slots`` has past the last entry is left as it is.
    """
    cdef Py_ssize_t i, n = order.shape[0]
    cdef int64_t k, at, old, count
    if indptr.shape[0] != n + 1 or new_indptr.shape[0] != n + 1 or slots.shape[0] < new_indptr[n] or neighbours.shape[0] < indptr[n]:
        raise ValueError(f"expected {n + 1} bounds of rows and {new_indptr[n]} entries, got {indptr.shape[0]} and {slots.shape[0]}")
    if weights is not None and (weights.shape[0] < indptr[n] or new_weights is None or new_weights.shape[0] < new_indptr[n]):
        raise ValueError(f"expected {new_indptr[n]} weights, got {weights.shape[0]}")
    cdef const double* from_weights = NULL if weights is None or weights.shape[0] == 0 else &weights[0]
    cdef double* to_weights = NULL if from_weights == NULL else &new_weights[0]
    for i in prange(n, nogil=True, num_threads=num_threads, schedule="dynamic", chunksize=4096):
        at = new_indptr[i]
        old = indptr[order[i]]
        count = indptr[order[i] + 1] - old
        for k in range(count):
            slots[at + k] = places[neighbours[old + k]]
        if from_weights != NULL:
            memcpy(to_weights + at, from_weights + old, count * sizeof(double))


def mark_neighbours(const number[::1] neighbours, unsigned char[::1] marks):
    """``marks[v] = 1`` for every v among ``neighbours``."""
    cdef Py_ssize_t k
    with nogil:
        for k in range(neighbours.shape[0]):
            marks[neighbours[k]] = 1


def hash_entries(const int64_t[::1] indptr, const number[::1] neighbours, const double[::1] weights, uint64_t first):
    """The sum, modulo 2**64, of a hash of (first + row, neighbour, bits of the weight) of every entry: the same in any order."""
    cdef Py_ssize_t i, n = indptr.shape[0] - 1
    cdef int64_t k
    cdef uint64_t h, total = 0
    cdef const double* w = NULL if weights is None or weights.shape[0] == 0 else &weights[0]
    if w != NULL and weights.shape[0] < indptr[n] or neighbours.shape[0] < indptr[n]:
        raise ValueError(f"expected {indptr[n]} entries, got {neighbours.shape[0]}")
    with nogil:
        for i in range(n):
            for k in range(indptr[i], indptr[i + 1]):
                h = samesum_mix(samesum_mix(first + <uint64_t> i) ^ <uint64_t> neighbours[k])
                if w != NULL:
                    h = samesum_mix(h ^ <uint64_t> samesum_bits(w[k]))
                total += h
    return total


def sum_rows(const int64_t[::1] indptr, const double[::1] values, double[::1] out):
    """``out[i]``: the sum of row i's values, from left to right."""
    cdef Py_ssize_t i, n = out.shape[0]
    cdef int64_t k
    if indptr.shape[0] != n + 1 or values.shape[0] < indptr[n]:
        raise ValueError(f"expected {n + 1} bounds of rows and {indptr[n]} values, got {indptr.shape[0]} and {values.shape[0]}")
    with nogil:
        for i in range(n):
            out[i] = 0.0
            for k in range(indptr[i], indptr[i + 1]):
                out[i] += values[k]
