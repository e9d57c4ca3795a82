"""Histograms of gradients and hessians by bin code, for many nodes at once; all sums are of integers, so their order is free.

Three lanes (see :mod:`engine.models._trees.lanes`): *packed* adds one 64-bit word per bin, gradient above hessian, into a histogram that
stays in the first-level cache, and widens it every 32,768 rows, before it can overflow; *pairs* adds two full integers.
"""

from cython.parallel cimport prange, threadid
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

import numpy as np

cdef extern from "tree_kernels.h" nogil:
    enum: SAMESUM_CODES
    enum: SAMESUM_MAX_GROUP
    void samesum_add_packed(const uint8_t* codes, const uint32_t* rows, int64_t n, const int64_t* packed, int64_t* hist, int width)
    void samesum_add_pairs(const uint8_t* codes, const uint32_t* rows, int64_t n, const int64_t* pairs, int64_t* hist, int width)
    void samesum_gather_packed(const int64_t* gh, int width, const uint32_t* rows, int64_t begin, int64_t end, uint64_t first_row,
                               uint64_t key, int g_shift, int h_shift, int h_bits, int64_t* packed, int64_t* out)
    void samesum_gather_pairs(const int64_t* gh, int width, const uint32_t* rows, int64_t begin, int64_t end, int g_shift, int h_shift,
                              int64_t* pairs, int64_t* out)
    void samesum_gather_words(const int64_t* gh, int width, const uint32_t* rows, int64_t begin, int64_t end, int64_t* out)
    void samesum_sum_rows(const int64_t* gh, int width, const uint32_t* rows, int64_t begin, int64_t end, int64_t* out)
    void samesum_lock(int32_t* lock)
    void samesum_unlock(int32_t* lock)

# Rows that one packed histogram can take: 2**15 gradients of 15 bits and hessians of 16 bits fit in 32 bits each.
CHUNK_ROWS = 32768
cdef enum:
    CHUNK = 32768
    # below this many rows it is cheaper to add to the result than to clear and widen a local histogram
    FEW_ROWS = 512


def cut_chunks(const int64_t[::1] begin, const int64_t[::1] end):
    """Cut every node's rows into chunks of at most ``CHUNK_ROWS``: int64 [n_chunks, 3], node, first row, end."""
    cdef Py_ssize_t k, n = 0
    cdef int64_t first
    for k in range(begin.shape[0]):
        n += (end[k] - begin[k] + CHUNK - 1) // CHUNK
    out = np.empty((n, 3), dtype=np.int64)
    cdef int64_t[:, ::1] chunks = out
    n = 0
    for k in range(begin.shape[0]):
        first = begin[k]
        while first < end[k]:
            chunks[n, 0] = k
            chunks[n, 1] = first
            chunks[n, 2] = min(first + CHUNK, end[k])
            first += CHUNK
            n += 1
    return out


def gather_gradients(const int64_t[:, ::1] gh, const uint32_t[::1] rows, const int64_t[:, ::1] chunks, uint64_t first_row, uint64_t key,
                     int g_shift, int h_shift, int h_bits, int64_t[::1] packed, int64_t[:, ::1] sums, int num_threads):
    """Put the gradients of the chunks' rows into node order for :func:`build_histograms`, and add up full sums per node.

    ``gh``: [n, 2] gradient and hessian, or [n, 1] where every hessian is 1. ``h_bits``: 0 for pairs, where ``packed`` [2 n] gets both,
    shifted right by ``g_shift`` and ``h_shift``; else ``packed`` [n] gets ``(g >> g_shift) << h_bits) + (h >> h_shift)``, rounded up or
    down by a threshold that walks evenly over row ids (``first_row`` and ``key``), so that sums of many rows keep no bias; a positive
    hessian stays positive. ``sums``: [n_nodes, 4], limbs of g and h, added to. ``rows`` of length 0 stands for all rows in order.
    """
    cdef Py_ssize_t t, k, n_chunks = chunks.shape[0]
    if n_chunks == 0:
        return
    cdef int64_t[:, ::1] parts = np.empty((n_chunks, 4), dtype=np.int64)
    cdef const uint32_t* order = NULL if rows.shape[0] == 0 else &rows[0]
    cdef int width = <int> gh.shape[1]
    for t in prange(n_chunks, nogil=True, num_threads=num_threads, schedule="static"):
        if h_bits == 0:
            samesum_gather_pairs(&gh[0, 0], width, order, chunks[t, 1], chunks[t, 2], g_shift, h_shift, &packed[0], &parts[t, 0])
        else:
            samesum_gather_packed(&gh[0, 0], width, order, chunks[t, 1], chunks[t, 2], first_row, key, g_shift, h_shift, h_bits, &packed[0],
                                  &parts[t, 0])
    for t in range(n_chunks):
        for k in range(4):
            sums[chunks[t, 0], k] += parts[t, k]


def gather_words(const int64_t[::1] words, int per_row, const uint32_t[::1] rows, const int64_t[:, ::1] chunks, int64_t[::1] out,
                 int num_threads):
    """Put the chunks' rows of ``words`` [n * per_row] into node order: word j of ``rows[i]`` goes to ``out[i * per_row + j]``."""
    cdef Py_ssize_t t, n_chunks = chunks.shape[0]
    if n_chunks == 0:
        return
    for t in prange(n_chunks, nogil=True, num_threads=num_threads, schedule="static"):
        samesum_gather_words(&words[0], per_row, &rows[0], chunks[t, 1], chunks[t, 2], &out[0])


def build_histograms(const uint8_t[::1] grouped, const int32_t[::1] group_start, const uint16_t[:, ::1] wide, const uint32_t[::1] rows,
                     const int64_t[:, ::1] chunks, const int64_t[::1] packed, int h_bits, Py_ssize_t n_rows,
                     const int64_t[::1] narrow_base, const int64_t[::1] narrow_stride, const int32_t[::1] narrow_codes,
                     const int64_t[::1] wide_base, const int64_t[::1] wide_stride, int64_t[:, ::1] out, int num_threads):
    """Add up gradients by code for every node and column.

    ``grouped``, ``group_start``, ``wide``: the codes (:class:`engine.encode.bins.BinMatrix`), ``n_rows`` of them per column. ``chunks``,
    ``packed``, ``h_bits``, ``rows``: as :func:`gather_gradients` left them. Code c of a column for node k is at
    ``out[base + k * stride + c]``, a gradient and a hessian; ``out`` must be zero. ``narrow_codes``: codes of each narrow column.
    """
    cdef Py_ssize_t t, n_groups = group_start.shape[0] - 1, n_wide = wide.shape[0], n_chunks = chunks.shape[0]
    cdef Py_ssize_t per_chunk = n_groups + n_wide
    if n_chunks == 0 or per_chunk == 0:
        return
    cdef Py_ssize_t n_nodes = chunks[n_chunks - 1, 0] + 1
    cdef const uint32_t* order = NULL if rows.shape[0] == 0 else &rows[0]
    cdef Py_ssize_t local_size = SAMESUM_MAX_GROUP * SAMESUM_CODES * (2 if h_bits == 0 else 1)
    cdef int64_t* local = <int64_t*> calloc(num_threads * local_size, sizeof(int64_t))
    cdef int32_t* locks = <int32_t*> calloc(n_nodes * per_chunk, sizeof(int32_t))
    if local == NULL or locks == NULL:
        free(local)
        free(locks)
        raise MemoryError(f"cannot hold local histograms of {num_threads} threads")
    cdef const uint8_t* no_codes = NULL
    cdef const uint8_t* codes = no_codes if grouped.shape[0] == 0 else &grouped[0]
    cdef int64_t k, first, end
    cdef Py_ssize_t g, c
    for t in prange(n_chunks * per_chunk, nogil=True, num_threads=num_threads, schedule="dynamic"):
        k = chunks[t // per_chunk, 0]
        first = chunks[t // per_chunk, 1]
        end = chunks[t // per_chunk, 2]
        g = t % per_chunk
        if g < n_groups:
            c = group_start[g]
            add_group(codes + n_rows * c, group_start[g + 1] - <int> c, order, first, end, &packed[0], h_bits,
                      local + threadid() * local_size, &narrow_base[c], &narrow_stride[c], &narrow_codes[c], k, &out[0, 0],
                      locks + k * per_chunk + g)
        else:
            c = g - n_groups
            samesum_lock(locks + k * per_chunk + g)
            add_wide(&wide[c, 0], order, first, end, &packed[0], h_bits, &out[wide_base[c] + k * wide_stride[c], 0])
            samesum_unlock(locks + k * per_chunk + g)
    free(local)
    free(locks)


cdef void add_group(const uint8_t* codes, int width, const uint32_t* order, int64_t first, int64_t end, const int64_t* packed, int h_bits,
                    int64_t* local, const int64_t* base, const int64_t* stride, const int32_t* n_codes, int64_t node, int64_t* out,
                    int32_t* lock) noexcept nogil:
    cdef int64_t i, v, h_mask = (<int64_t> 1 << h_bits) - 1
    cdef int j, c
    cdef int64_t* slot
    cdef const uint8_t* row_codes
    if end - first <= FEW_ROWS:
        samesum_lock(lock)
        for i in range(first, end):
            row_codes = codes + (<int64_t> order[i] if order != NULL else i) * width
            for j in range(width):
                slot = out + 2 * (base[j] + node * stride[j] + row_codes[j])
                add_word(slot, packed, i, h_bits, h_mask)
        samesum_unlock(lock)
        return
    memset(local, 0, width * SAMESUM_CODES * sizeof(int64_t) * (2 if h_bits == 0 else 1))
    if h_bits == 0:
        # the pairs of half a group fit in the first-level cache; rows are short, so reading them twice is cheap
        samesum_add_pairs(codes if order != NULL else codes + first * width, order + first if order != NULL else NULL, end - first,
                          packed + 2 * first, local, width)
    else:
        samesum_add_packed(codes if order != NULL else codes + first * width, order + first if order != NULL else NULL, end - first,
                           packed + first, local, width)
    samesum_lock(lock)
    for j in range(width):
        slot = out + 2 * (base[j] + node * stride[j])
        for c in range(n_codes[j]):
            if h_bits == 0:
                slot[2 * c] += local[2 * (j * SAMESUM_CODES + c)]
                slot[2 * c + 1] += local[2 * (j * SAMESUM_CODES + c) + 1]
            else:
                v = local[j * SAMESUM_CODES + c]
                slot[2 * c] += v >> h_bits
                slot[2 * c + 1] += v & h_mask
    samesum_unlock(lock)


cdef inline void add_word(int64_t* slot, const int64_t* packed, int64_t i, int h_bits, int64_t h_mask) noexcept nogil:
    if h_bits == 0:
        slot[0] += packed[2 * i]
        slot[1] += packed[2 * i + 1]
    else:
        slot[0] += packed[i] >> h_bits
        slot[1] += packed[i] & h_mask


cdef void add_wide(const uint16_t* codes, const uint32_t* order, int64_t first, int64_t end, const int64_t* packed, int h_bits,
                   int64_t* out) noexcept nogil:
    cdef int64_t i, h_mask = (<int64_t> 1 << h_bits) - 1
    for i in range(first, end):
        add_word(out + 2 * codes[order[i] if order != NULL else i], packed, i, h_bits, h_mask)


def sum_gradients(const int64_t[:, ::1] gh, const uint32_t[::1] rows, const int64_t[:, ::1] chunks, int64_t[:, ::1] sums, int num_threads):
    """Full sums per node alone, for leaves: limbs of g and h added to ``sums`` [n_nodes, 4]."""
    cdef Py_ssize_t t, k, n_chunks = chunks.shape[0]
    if n_chunks == 0:
        return
    cdef int64_t[:, ::1] parts = np.empty((n_chunks, 4), dtype=np.int64)
    cdef const uint32_t* order = NULL if rows.shape[0] == 0 else &rows[0]
    cdef int width = <int> gh.shape[1]
    for t in prange(n_chunks, nogil=True, num_threads=num_threads, schedule="static"):
        samesum_sum_rows(&gh[0, 0], width, order, chunks[t, 1], chunks[t, 2], &parts[t, 0])
    for t in range(n_chunks):
        for k in range(4):
            sums[chunks[t, 0], k] += parts[t, k]
