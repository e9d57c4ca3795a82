"""Which child each row of a node goes to: a stable partition, rows that answer yes first, or the numbers of the leaves that end there."""

from cython.parallel cimport prange
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

import numpy as np

from engine._kernels.nodes cimport Node

cdef extern from "tree_kernels.h" nogil:
    void SAMESUM_PREFETCH(const void* address)
    enum: SAMESUM_FAR_AHEAD
    int64_t samesum_answer_narrow(const uint8_t* codes, const uint32_t* rows, int64_t n, const uint8_t* answers, uint64_t* said)
    int64_t samesum_answer_range(const uint8_t* codes, int64_t n, int32_t low, int32_t high, int32_t missing, uint64_t* said)
    enum: SAMESUM_ANSWER_WORDS
    void samesum_fill_answers(int32_t low, int32_t high, int32_t missing, const uint64_t* subset, int64_t n_words, int64_t size,
                              uint64_t* answers)
    uint64_t samesum_answer(const uint64_t* answers, uint16_t code)
    int64_t samesum_answer_wide(const uint16_t* codes, const uint32_t* rows, int64_t n, const uint64_t* answers, uint64_t* said)
    void samesum_place_rows(const uint32_t* rows, uint32_t first, int64_t n, int64_t n_yes, const uint64_t* said, uint32_t* yes,
                            uint32_t* no)

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


def partition_rows(const uint32_t[::1] rows, uint32_t[::1] out, const int64_t[:, ::1] chunks, const int64_t[::1] tasks,
                   const uint8_t[:, ::1] narrow, const uint16_t[:, ::1] wide, const Question[::1] questions,
                   const uint64_t[:, ::1] subsets, int64_t[::1] n_yes, int num_threads):
    """Put the ``rows`` of every node, those that answer its question (:data:`QUESTION`) with yes first, at the same places of ``out``.

    ``rows``: of length 0 for all rows in order. ``chunks``, ``tasks``: of the nodes, ascending
    (:func:`engine._kernels.histogram.cut_chunks`). ``narrow``, ``wide``: codes by column. ``subsets``: [n_sets, n_words]. ``n_yes``:
    [n_nodes], set.
    """
    cdef Py_ssize_t t, task, n_chunks = chunks.shape[0], n_tasks = tasks.shape[0] - 1
    n_yes[:] = 0
    if n_chunks == 0:
        return
    cdef int64_t[::1] word = first_words(chunks)
    cdef uint64_t[::1] said = np.empty(word[n_chunks], dtype=np.uint64)
    cdef int64_t[::1] counts = np.empty(n_chunks, dtype=np.int64)
    cdef const uint32_t* order = NULL
    if rows.shape[0]:
        order = &rows[0]
    cdef const uint32_t* part
    cdef Question q
    cdef int64_t begin, n
    for task in prange(n_tasks, nogil=True, num_threads=num_threads, schedule="dynamic"):
        for t in range(tasks[task], tasks[task + 1]):
            begin = chunks[t, 1]
            n = chunks[t, 2] - begin
            part = NULL if order == NULL else order + begin
            q = questions[chunks[t, 0]]
            if q.is_wide:
                counts[t] = answer_wide(&wide[q.position, 0 if part != NULL else begin], part, n, q, subsets, &said[word[t]])
            else:
                counts[t] = answer_narrow(&narrow[q.position, 0 if part != NULL else begin], part, n, q, subsets, &said[word[t]])
    cdef int64_t[:, ::1] place = place_chunks(chunks, counts, n_yes)
    for task in prange(n_tasks, nogil=True, num_threads=num_threads, schedule="dynamic"):
        for t in range(tasks[task], tasks[task + 1]):
            begin = chunks[t, 1]
            samesum_place_rows(NULL if order == NULL else order + begin, <uint32_t> begin, chunks[t, 2] - begin, counts[t],
                               &said[word[t]], &out[0] + place[t, 0], &out[0] + place[t, 1])


def ask_questions(const Node[::1] nodes, const int64_t[::1] which, const Question[::1] columns, const int32_t[::1] missing,
                  Question[::1] out):
    """What the nodes ``which`` ask their rows, to ``out``: each column's own of ``columns``, with the code that its node has chosen.

    A column of numbers has ``low`` 0 there, one of categories -1, one whose categories part into sets ``high`` -1 and ``subset`` 0: the
    k-th node's set is in row k. ``missing``: the code of each column's missing values, -1 if it has none.
    """
    cdef Py_ssize_t k
    cdef int32_t column, code
    if out.shape[0] != which.shape[0]:
        raise ValueError(f"expected room for the questions of {which.shape[0]} nodes, got {out.shape[0]}")
    for k in range(which.shape[0]):
        column, code = nodes[which[k]].column, nodes[which[k]].code
        out[k] = columns[column]
        if out[k].subset >= 0:
            out[k].subset = <int32_t> k
        else:
            out[k].high = code
            if out[k].low < 0:
                out[k].low = code
        out[k].missing = missing[column] if nodes[which[k]].missing_yes == 1 else -1


def assign_leaves(const uint32_t[::1] rows, const int64_t[:, ::1] chunks, const int64_t[::1] tasks, const uint8_t[:, ::1] narrow,
                  const uint16_t[:, ::1] wide, const Question[::1] questions, const uint64_t[:, ::1] subsets,
                  const int64_t[::1] number, leaf_t[::1] leaf, int num_threads):
    """Number the leaf of every row: node k's rows are in leaf ``number[k]`` if it asks nothing or they answer yes, else in the next.

    ``leaf``: [n], set at ``rows``; other arguments as of :func:`partition_rows`.
    """
    cdef Py_ssize_t t, task
    cdef Question q
    cdef const uint64_t* subset
    cdef const uint32_t* order = NULL
    if rows.shape[0]:
        order = &rows[0]
    cdef leaf_t first
    for task in prange(tasks.shape[0] - 1, nogil=True, num_threads=num_threads, schedule="dynamic"):
        for t in range(tasks[task], tasks[task + 1]):
            q = questions[chunks[t, 0]]
            subset = NULL if q.subset < 0 else &subsets[q.subset, 0]
            first = <leaf_t> number[chunks[t, 0]]
            if q.position < 0:
                number_alike(order, chunks[t, 1], chunks[t, 2], first, &leaf[0])
            elif q.is_wide:
                number_wide(&wide[q.position, 0], order, chunks[t, 1], chunks[t, 2], q, subset, subsets.shape[1], first, &leaf[0])
            else:
                number_narrow(&narrow[q.position, 0], order, chunks[t, 1], chunks[t, 2], q, subset, subsets.shape[1], first, &leaf[0])


cdef inline void fill_wide(Question q, const uint64_t* subset, Py_ssize_t n_words, uint64_t* answers) noexcept nogil:
    """The answers of all wide codes, a bit each."""
    samesum_fill_answers(q.low, q.high, q.missing, subset, n_words, SAMESUM_ANSWER_WORDS, answers)


cdef inline void fill_narrow(Question q, const uint64_t* subset, Py_ssize_t n_words, uint8_t* answers) noexcept nogil:
    """The answers of all 256 narrow codes, a byte each."""
    cdef uint64_t[4] bits
    cdef int code
    samesum_fill_answers(q.low, q.high, q.missing, subset, n_words, 4, bits)
    for code in range(256):
        answers[code] = <uint8_t> samesum_answer(bits, <uint16_t> code)


cdef int64_t answer_narrow(const uint8_t* codes, const uint32_t* rows, int64_t n, Question q, const uint64_t[:, ::1] subsets,
                           uint64_t* said) noexcept nogil:
    cdef uint8_t[256] answers
    if rows == NULL and q.subset < 0:
        return samesum_answer_range(codes, n, q.low, q.high, q.missing, said)
    fill_narrow(q, NULL if q.subset < 0 else &subsets[q.subset, 0], subsets.shape[1], answers)
    return samesum_answer_narrow(codes, rows, n, answers, said)


cdef int64_t answer_wide(const uint16_t* codes, const uint32_t* rows, int64_t n, Question q, const uint64_t[:, ::1] subsets,
                         uint64_t* said) noexcept nogil:
    cdef uint64_t[SAMESUM_ANSWER_WORDS] answers
    fill_wide(q, NULL if q.subset < 0 else &subsets[q.subset, 0], subsets.shape[1], answers)
    return samesum_answer_wide(codes, rows, n, answers, said)


cdef inline int64_t row_at(const uint32_t* rows, int64_t i) noexcept nogil:
    return i if rows == NULL else rows[i]


cdef void number_alike(const uint32_t* rows, int64_t begin, int64_t end, leaf_t number, leaf_t* leaf) noexcept nogil:
    cdef int64_t i
    for i in range(begin, end):
        leaf[row_at(rows, i)] = number


cdef void number_narrow(const uint8_t* codes, const uint32_t* rows, int64_t begin, int64_t end, Question q, const uint64_t* subset,
                        Py_ssize_t n_words, leaf_t first, leaf_t* leaf) noexcept nogil:
    cdef uint8_t[256] answers
    cdef int64_t i, row
    fill_narrow(q, subset, n_words, answers)
    for i in range(begin, end):
        row = row_at(rows, i)
        leaf[row] = first + 1 - answers[codes[row]]


cdef void number_wide(const uint16_t* codes, const uint32_t* rows, int64_t begin, int64_t end, Question q, const uint64_t* subset,
                      Py_ssize_t n_words, leaf_t first, leaf_t* leaf) noexcept nogil:
    cdef uint64_t[SAMESUM_ANSWER_WORDS] answers
    cdef int64_t i, row
    fill_wide(q, subset, n_words, answers)
    for i in range(begin, end):
        SAMESUM_PREFETCH(codes + row_at(rows, min(i + SAMESUM_FAR_AHEAD, end - 1)))
        row = row_at(rows, i)
        leaf[row] = <leaf_t> (first + 1 - samesum_answer(answers, codes[row]))


cdef int64_t[::1] first_words(const int64_t[:, ::1] chunks):
    """Where the answers of each chunk begin, in words of 64, and where the last ones end."""
    cdef Py_ssize_t t
    cdef int64_t[::1] word = np.zeros(chunks.shape[0] + 1, dtype=np.int64)
    for t in range(chunks.shape[0]):
        word[t + 1] = word[t] + (chunks[t, 2] - chunks[t, 1] + 63) // 64
    return word


cdef int64_t[:, ::1] place_chunks(const int64_t[:, ::1] chunks, const int64_t[::1] counts, int64_t[::1] n_yes):
    """Where each chunk's yes rows and no rows go, [n_chunks, 2]; sets ``n_yes`` of the nodes."""
    cdef Py_ssize_t t = 0, first, n_chunks = chunks.shape[0]
    cdef int64_t yes, no
    cdef int64_t[:, ::1] place = np.empty((n_chunks, 2), dtype=np.int64)
    while t < n_chunks:
        first = t
        yes = chunks[t, 1]
        while t < n_chunks and chunks[t, 0] == chunks[first, 0]:
            place[t, 0] = yes
            yes += counts[t]
            t += 1
        n_yes[chunks[first, 0]] = yes - chunks[first, 1]
        no = yes
        for t in range(first, t):
            place[t, 1] = no
            no += chunks[t, 2] - chunks[t, 1] - counts[t]
        t += 1
    return place
