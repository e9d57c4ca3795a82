"""Edges into rows: a first pass deals keys out to buckets of rows, then each bucket is sorted where it fits the cache.

A key is ``row << shift_of_row | neighbour``. Blocks of edges are counted, then dealt out from places that the counts of all blocks give, so
that edges of a bucket keep their order whichever thread takes which block.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

cdef extern from "radix.h" nogil:
    ctypedef struct samesum_pair:
        uint64_t key
        uint64_t value
    void samesum_sort_keys(uint64_t *items, uint64_t *scratch, Py_ssize_t size, int bits)
    void samesum_sort_pairs(samesum_pair *items, samesum_pair *scratch, Py_ssize_t size, int bits)

ctypedef fused number_t:
    uint32_t
    uint64_t


def count_buckets(const uint32_t[::1] rows, uint32_t first_row, int bucket_shift, int64_t[::1] counts):
    """Add to ``counts`` how many ``rows`` lie in each bucket, ``(row - first_row) >> bucket_shift``."""
    cdef Py_ssize_t i
    with nogil:
        for i in range(rows.shape[0]):
            counts[(rows[i] - first_row) >> bucket_shift] += 1


def deal_keys(
    const uint32_t[::1] rows,
    const uint32_t[::1] neighbours,
    uint32_t first_row,
    int bucket_shift,
    int row_shift,
    int64_t[::1] places,
    uint64_t[::1] keys,
):
    """Put each edge's key at its bucket's next place; ``places`` is where each bucket goes on in ``keys``, and is moved."""
    cdef Py_ssize_t i, bucket
    cdef uint64_t row
    with nogil:
        for i in range(rows.shape[0]):
            row = rows[i] - first_row
            bucket = <Py_ssize_t> (row >> bucket_shift)
            keys[places[bucket]] = row << row_shift | neighbours[i]
            places[bucket] += 1


def deal_pairs(
    const uint32_t[::1] rows,
    const uint32_t[::1] neighbours,
    uint32_t first_row,
    int bucket_shift,
    int row_shift,
    int64_t first_value,
    int64_t[::1] places,
    uint64_t[:, ::1] pairs,
):
    """As :func:`deal_keys`, with each edge's number, from ``first_value`` on, as the second of ``pairs`` [edges, 2]."""
    cdef Py_ssize_t i, bucket
    cdef uint64_t row
    with nogil:
        for i in range(rows.shape[0]):
            row = rows[i] - first_row
            bucket = <Py_ssize_t> (row >> bucket_shift)
            pairs[places[bucket], 0] = row << row_shift | neighbours[i]
            pairs[places[bucket], 1] = <uint64_t> (first_value + i)
            places[bucket] += 1


def sort_keys(uint64_t[::1] keys, uint64_t[::1] scratch, int bits):
    """Sort ``keys``, which have the same bits above the lower ``bits``, stable, in place; ``scratch`` has room for as many."""
    if scratch.shape[0] < keys.shape[0]:
        raise ValueError(f"expected room for {keys.shape[0]} keys, got {scratch.shape[0]}")
    if keys.shape[0] == 0:
        return
    with nogil:
        samesum_sort_keys(&keys[0], &scratch[0], keys.shape[0], bits)


def sort_pairs(uint64_t[:, ::1] pairs, uint64_t[:, ::1] scratch, int bits):
    """As :func:`sort_keys`, for ``pairs`` [n, 2] of a key and a value."""
    if scratch.shape[0] < pairs.shape[0] or pairs.shape[1] != 2 or scratch.shape[1] != 2:
        raise ValueError(f"expected room for {pairs.shape[0]} pairs, got {scratch.shape[0]}")
    if pairs.shape[0] == 0:
        return
    with nogil:
        samesum_sort_pairs(<samesum_pair *> &pairs[0, 0], <samesum_pair *> &scratch[0, 0], pairs.shape[0], bits)


def split_keys(const uint64_t[::1] keys, int row_shift, int64_t first_edge, int64_t first_row, int64_t[::1] ends, uint32_t[::1] neighbours):
    """Write out the sorted keys of one bucket.

    ``neighbours[i]`` is that of ``keys[i]``; ``ends[r]`` is the number of the edge behind the last of row ``first_row + r``, where
    ``keys[0]`` is edge ``first_edge``. Rows without edges end where the row before them does.
    """
    cdef Py_ssize_t i
    cdef Py_ssize_t row = 0
    cdef Py_ssize_t n_rows = ends.shape[0]
    cdef Py_ssize_t own
    cdef uint64_t mask = (<uint64_t> 1 << row_shift) - 1
    with nogil:
        for i in range(keys.shape[0]):
            own = <Py_ssize_t> (keys[i] >> row_shift) - first_row
            while row < own:
                ends[row] = first_edge + i
                row += 1
            neighbours[i] = <uint32_t> (keys[i] & mask)
        while row < n_rows:
            ends[row] = first_edge + keys.shape[0]
            row += 1


def unzip_pairs(const uint64_t[:, ::1] pairs, uint64_t[::1] keys, int64_t[::1] values):
    """Take ``pairs`` [n, 2] apart; ``keys`` may be memory that the pairs no longer need, not their own."""
    cdef Py_ssize_t i
    with nogil:
        for i in range(pairs.shape[0]):
            keys[i] = pairs[i, 0]
            values[i] = <int64_t> pairs[i, 1]


def order_parallel(
    const int64_t[::1] indptr, const number_t[::1] neighbours, uint64_t[::1] weights, uint64_t[::1] scratch
):
    """Put the weights of parallel edges, neighbours that are equal inside a row, into the order of their bits; ``scratch``: as many."""
    cdef Py_ssize_t row, start, stop, end
    with nogil:
        for row in range(indptr.shape[0] - 1):
            end = indptr[row + 1]
            start = indptr[row]
            while start < end:
                stop = start + 1
                while stop < end and neighbours[stop] == neighbours[start]:
                    stop += 1
                if stop - start > 1:
                    samesum_sort_keys(&weights[start], &scratch[start], stop - start, 64)
                start = stop


def count_numbers(const number_t[::1] numbers, uint64_t first, int64_t[::1] counts):
    """Add to ``counts[v - first]`` how often each number ``v`` occurs."""
    cdef Py_ssize_t i
    with nogil:
        for i in range(numbers.shape[0]):
            counts[numbers[i] - first] += 1


def count_owners(const number_t[::1] numbers, int shift, const int32_t[::1] owners, int64_t[::1] counts):
    """Add to ``counts`` how many of ``numbers`` each rank owns: rank ``owners[v >> shift]`` owns v."""
    cdef Py_ssize_t i
    with nogil:
        for i in range(numbers.shape[0]):
            counts[owners[numbers[i] >> shift]] += 1


def deal_numbers(
    const number_t[::1] numbers,
    const number_t[::1] payload,
    int shift,
    const int32_t[::1] owners,
    int64_t[::1] places,
    number_t[::1] out,
):
    """Put ``payload[i]`` at the next place of the rank that owns ``numbers[i]``; ``places`` is where each rank goes on, and is moved."""
    cdef Py_ssize_t i, owner
    with nogil:
        for i in range(numbers.shape[0]):
            owner = owners[numbers[i] >> shift]
            out[places[owner]] = payload[i]
            places[owner] += 1
