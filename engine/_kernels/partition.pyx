"""Stable partition of each node's rows by the split chosen for it: rows that answer yes first, both halves in their old order."""

from cython.parallel cimport prange
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy, memmove

import numpy as np

cdef extern from "tree_kernels.h" nogil:
    void SAMESUM_PREFETCH(const void* address)
    enum: SAMESUM_FAR_AHEAD
    int64_t samesum_split_narrow(const uint8_t* codes, uint32_t* rows, uint32_t* scratch, int64_t begin, int64_t end,
                                 const uint8_t* answers)


def partition_rows(uint32_t[::1] rows, uint32_t[::1] scratch, const int64_t[:, ::1] chunks, const uint8_t[:, ::1] narrow,
                   const uint16_t[:, ::1] wide, const uint8_t[::1] is_wide, const int32_t[::1] position, const int32_t[::1] yes_low,
                   const int32_t[::1] yes_high, const int32_t[::1] yes_missing, int64_t[::1] n_yes, int num_threads):
    """Reorder ``rows`` within every node.

    ``chunks``: [n_chunks, 3] node, begin, end, ascending. Node k asks column codes at ``position[k]`` of ``narrow`` or ``wide``: a row says
    yes if its code lies in ``yes_low[k]`` to ``yes_high[k]``, or equals ``yes_missing[k]`` (-1 for none). ``n_yes``: [n_nodes], set.
    """
    cdef Py_ssize_t t, n_chunks = chunks.shape[0]
    if n_chunks == 0:
        return
    cdef int64_t[::1] counts = np.empty(n_chunks, dtype=np.int64)
    cdef int64_t k
    for t in prange(n_chunks, nogil=True, num_threads=num_threads, schedule="dynamic"):
        k = chunks[t, 0]
        if is_wide[k]:
            counts[t] = split_wide(&wide[position[k], 0], &rows[0], &scratch[0], chunks[t, 1], chunks[t, 2],
                                   yes_low[k], yes_high[k], yes_missing[k])
        else:
            counts[t] = split_narrow(&narrow[position[k], 0], &rows[0], &scratch[0], chunks[t, 1], chunks[t, 2],
                                     yes_low[k], yes_high[k], yes_missing[k])
    join_chunks(rows, scratch, chunks, counts, n_yes)


cdef int64_t split_narrow(const uint8_t* codes, uint32_t* rows, uint32_t* scratch, int64_t begin, int64_t end, int32_t low, int32_t high,
                          int32_t missing) noexcept nogil:
    """Split a chunk by a table of the answers of all 256 codes."""
    cdef uint8_t[256] answers
    cdef int32_t code
    for code in range(256):
        answers[code] = low <= code <= high or code == missing
    return samesum_split_narrow(codes, rows, scratch, begin, end, answers)


cdef int64_t split_wide(const uint16_t* codes, uint32_t* rows, uint32_t* scratch, int64_t begin, int64_t end, int32_t low, int32_t high,
                        int32_t missing) noexcept nogil:
    """The same for 16-bit codes, comparing each."""
    cdef int64_t i, yes = begin, no = begin
    cdef uint32_t row
    cdef int32_t code
    cdef bint answer
    for i in range(begin, end):
        row = rows[i]
        SAMESUM_PREFETCH(codes + rows[min(i + SAMESUM_FAR_AHEAD, end - 1)])
        code = codes[row]
        answer = ((code >= low) & (code <= high)) | (code == missing)
        rows[yes] = row
        scratch[no] = row
        yes += answer
        no += 1 - answer
    return yes - begin


cdef join_chunks(uint32_t[::1] rows, uint32_t[::1] scratch, const int64_t[:, ::1] chunks, const int64_t[::1] counts, int64_t[::1] n_yes):
    """Put the chunks' yes rows together, then their no rows."""
    cdef Py_ssize_t t = 0, first, n_chunks = chunks.shape[0]
    cdef int64_t at, count
    n_yes[:] = 0
    while t < n_chunks:
        first = t
        at = chunks[t, 1]
        while t < n_chunks and chunks[t, 0] == chunks[first, 0]:
            if at != chunks[t, 1]:
                memmove(&rows[at], &rows[chunks[t, 1]], counts[t] * sizeof(uint32_t))
            at += counts[t]
            t += 1
        n_yes[chunks[first, 0]] = at - chunks[first, 1]
        for t in range(first, t):
            count = chunks[t, 2] - chunks[t, 1] - counts[t]
            if count:
                memcpy(&rows[at], &scratch[chunks[t, 1]], count * sizeof(uint32_t))
            at += count
        t += 1
