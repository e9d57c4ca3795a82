"""Which child each row of a node goes to: a stable partition, rows that answer yes first, or the numbers of the leaves that end there."""

from cython.parallel cimport prange
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memmove

import numpy as np

cdef extern from "tree_kernels.h" nogil:
    void SAMESUM_PREFETCH(const void* address)
    enum: SAMESUM_FAR_AHEAD
    int64_t samesum_split_narrow(const uint8_t* codes, uint32_t* rows, uint32_t* scratch, int64_t begin, int64_t end,
                                 const uint8_t* answers)

# What a node asks its rows: the column's ``position`` among the narrow or the wide ones (-1: nothing), and which codes answer yes:
# ``low`` to ``high``, ``missing`` (-1: none), and those in row ``subset`` of the sets (-1: none), one bit a code.
QUESTION = np.dtype([(name, np.int32) for name in ("position", "is_wide", "low", "high", "missing", "subset")])

cdef packed struct Question:
    int32_t position
    int32_t is_wide
    int32_t low
    int32_t high
    int32_t missing
    int32_t subset

ctypedef fused leaf_t:
    uint16_t
    uint32_t


def partition_rows(uint32_t[::1] rows, uint32_t[::1] scratch, const int64_t[:, ::1] chunks, const uint8_t[:, ::1] narrow,
                   const uint16_t[:, ::1] wide, const Question[::1] questions, const uint64_t[:, ::1] subsets, int64_t[::1] n_yes,
                   int num_threads):
    """Reorder ``rows`` within every node by its question (:data:`QUESTION`).

    ``chunks``: [n_chunks, 3] node, begin, end, ascending. ``narrow``, ``wide``: codes by column. ``subsets``: [n_sets, n_words].
    ``n_yes``: [n_nodes], set.
    """
    cdef Py_ssize_t t, n_chunks = chunks.shape[0]
    if n_chunks == 0:
        return
    cdef int64_t[::1] counts = np.empty(n_chunks, dtype=np.int64)
    cdef Question q
    cdef const uint64_t* subset
    for t in prange(n_chunks, nogil=True, num_threads=num_threads, schedule="dynamic"):
        q = questions[chunks[t, 0]]
        subset = NULL if q.subset < 0 else &subsets[q.subset, 0]
        if q.is_wide:
            counts[t] = split_wide(&wide[q.position, 0], &rows[0], &scratch[0], chunks[t, 1], chunks[t, 2], q, subset, subsets.shape[1])
        else:
            counts[t] = split_narrow(&narrow[q.position, 0], &rows[0], &scratch[0], chunks[t, 1], chunks[t, 2], q, subset,
                                     subsets.shape[1])
    join_chunks(rows, scratch, chunks, counts, n_yes)


def assign_leaves(const uint32_t[::1] rows, const int64_t[:, ::1] chunks, const uint8_t[:, ::1] narrow, const uint16_t[:, ::1] wide,
                  const Question[::1] questions, const uint64_t[:, ::1] subsets, const int64_t[::1] number, leaf_t[::1] leaf,
                  int num_threads):
    """Number the leaf of every row: node k's rows are in leaf ``number[k]`` if it asks nothing or they answer yes, else in the next.

    ``leaf``: [n], set at ``rows``; other arguments as of :func:`partition_rows`.
    """
    cdef Py_ssize_t t, i
    cdef Question q
    cdef const uint64_t* subset
    cdef leaf_t first
    for t in prange(chunks.shape[0], nogil=True, num_threads=num_threads, schedule="dynamic"):
        q = questions[chunks[t, 0]]
        subset = NULL if q.subset < 0 else &subsets[q.subset, 0]
        first = <leaf_t> number[chunks[t, 0]]
        if q.position < 0:
            for i in range(chunks[t, 1], chunks[t, 2]):
                leaf[rows[i]] = first
        elif q.is_wide:
            number_wide(&wide[q.position, 0], &rows[0], chunks[t, 1], chunks[t, 2], q, subset, subsets.shape[1], first, &leaf[0])
        else:
            number_narrow(&narrow[q.position, 0], &rows[0], chunks[t, 1], chunks[t, 2], q, subset, subsets.shape[1], first, &leaf[0])


cdef inline bint says_yes(int32_t code, Question q, const uint64_t* subset, Py_ssize_t n_words) noexcept nogil:
    cdef bint chosen = subset != NULL and (code >> 6) < n_words and (subset[code >> 6] >> (code & 63)) & 1
    return ((code >= q.low) & (code <= q.high)) | (code == q.missing) | chosen


cdef inline void fill_answers(Question q, const uint64_t* subset, Py_ssize_t n_words, uint8_t* answers) noexcept nogil:
    """The answers of all 256 narrow codes."""
    cdef int32_t code
    for code in range(256):
        answers[code] = says_yes(code, q, subset, n_words)


cdef int64_t split_narrow(const uint8_t* codes, uint32_t* rows, uint32_t* scratch, int64_t begin, int64_t end, Question q,
                          const uint64_t* subset, Py_ssize_t n_words) noexcept nogil:
    cdef uint8_t[256] answers
    fill_answers(q, subset, n_words, answers)
    return samesum_split_narrow(codes, rows, scratch, begin, end, answers)


cdef int64_t split_wide(const uint16_t* codes, uint32_t* rows, uint32_t* scratch, int64_t begin, int64_t end, Question q,
                        const uint64_t* subset, Py_ssize_t n_words) noexcept nogil:
    cdef int64_t i, yes = begin, no = begin
    cdef uint32_t row
    cdef bint answer
    for i in range(begin, end):
        row = rows[i]
        SAMESUM_PREFETCH(codes + rows[min(i + SAMESUM_FAR_AHEAD, end - 1)])
        answer = says_yes(codes[row], q, subset, n_words)
        rows[yes] = row
        scratch[no] = row
        yes += answer
        no += 1 - answer
    return yes - begin


cdef void number_narrow(const uint8_t* codes, const uint32_t* rows, int64_t begin, int64_t end, Question q, const uint64_t* subset,
                        Py_ssize_t n_words, leaf_t first, leaf_t* leaf) noexcept nogil:
    cdef uint8_t[256] answers
    cdef int64_t i
    fill_answers(q, subset, n_words, answers)
    for i in range(begin, end):
        SAMESUM_PREFETCH(codes + rows[min(i + SAMESUM_FAR_AHEAD, end - 1)])
        leaf[rows[i]] = first + 1 - answers[codes[rows[i]]]


cdef void number_wide(const uint16_t* codes, const uint32_t* rows, int64_t begin, int64_t end, Question q, const uint64_t* subset,
                      Py_ssize_t n_words, leaf_t first, leaf_t* leaf) noexcept nogil:
    cdef int64_t i
    for i in range(begin, end):
        SAMESUM_PREFETCH(codes + rows[min(i + SAMESUM_FAR_AHEAD, end - 1)])
        leaf[rows[i]] = <leaf_t> (first + 1 - says_yes(codes[rows[i]], q, subset, n_words))


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
