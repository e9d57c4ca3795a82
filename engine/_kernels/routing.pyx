"""Rows sent down one tree by their bin codes, and the hash of rows that tells whether data is the same.

Rows are taken in blocks, and a block goes down level by level: the codes of its rows stay in cache, and loads of different rows overlap.
A row's score gets one addition a tree, whatever the block or thread.
"""

from cython.parallel cimport prange
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

import numpy as np

from engine._kernels.elementary cimport samesum_mix

cdef enum:
    ROWS_PER_BLOCK = 1024
    NARROW_CODES = 256
    LEAF = 0  # as in engine.models._trees.ensemble
    NUMERIC = 1
    CATEGORY = 2

cdef struct Node:
    const uint8_t* narrow  # codes of the column asked for, NULL if it is wide
    const uint16_t* wide
    uint64_t[4] answers  # of the 256 codes of a narrow column, one bit each
    const uint64_t* set  # of a wide column: NULL, or the categories that say yes
    int64_t n_words
    int32_t low, high, missing  # of a wide column without a set: yes from low to high, and at missing
    int32_t child[2]  # no, yes; a leaf asks any column and is its own child


def add_tree_values(
    const uint8_t[:, ::1] narrow, const uint16_t[:, ::1] wide, const uint8_t[::1] is_wide, const int32_t[::1] position,
    const int32_t[::1] missing_code, const uint8_t[::1] kind, const int32_t[::1] column, const int32_t[::1] code,
    const uint8_t[::1] missing_yes, const int32_t[::1] yes, const int32_t[::1] no, const double[::1] value,
    const int64_t[::1] set_start, const uint64_t[::1] set_bits, const uint32_t[::1] rows, bint all_rows, double[::1] scores,
    int num_threads,
):
    """``scores[r] += value[leaf of row r]`` for every row of ``rows``, or for all rows.

    ``narrow``, ``wide``, ``is_wide``, ``position``: as in ``BinMatrix``; ``missing_code``: [n_columns], -1 where no code means missing.
    The tree is as in ``GrownTree``: a row says yes if its code is at most ``code`` (NUMERIC), equals it (CATEGORY), or is in set number
    ``code`` (SUBSET); missing ones if ``missing_yes``. ``value``: [n_nodes]; ``rows``: without repetitions; ``scores``: [n_rows_local].
    """
    cdef Py_ssize_t n = scores.shape[0] if all_rows else rows.shape[0]
    cdef Py_ssize_t block, n_blocks = (n + ROWS_PER_BLOCK - 1) // ROWS_PER_BLOCK
    if n == 0:
        return
    cdef Node* nodes = <Node*> calloc(kind.shape[0], sizeof(Node))
    if nodes == NULL:
        raise MemoryError(f"cannot hold a tree of {kind.shape[0]} nodes")
    cdef Py_ssize_t k
    cdef int32_t n_levels = 0
    cdef int32_t[::1] depth = np.zeros(kind.shape[0], dtype=np.int32)
    try:
        for k in range(kind.shape[0]):
            fill_node(&nodes[k], k, narrow, wide, is_wide, position, missing_code, kind, column, code, missing_yes, yes, no, set_start,
                      set_bits)
            if kind[k] != LEAF:
                depth[yes[k]] = depth[no[k]] = depth[k] + 1
                n_levels = max(n_levels, depth[k] + 1)
        for block in prange(n_blocks, nogil=True, num_threads=max(1, min(num_threads, n_blocks)), schedule="static"):
            route_block(nodes, NULL if all_rows else &rows[0], block * ROWS_PER_BLOCK, min(ROWS_PER_BLOCK, n - block * ROWS_PER_BLOCK),
                        &value[0], &scores[0], n_levels)
    finally:
        free(nodes)


cdef int fill_node(
    Node* node, Py_ssize_t k, const uint8_t[:, ::1] narrow, const uint16_t[:, ::1] wide, const uint8_t[::1] is_wide,
    const int32_t[::1] position, const int32_t[::1] missing_code, const uint8_t[::1] kind, const int32_t[::1] column,
    const int32_t[::1] code, const uint8_t[::1] missing_yes, const int32_t[::1] yes, const int32_t[::1] no, const int64_t[::1] set_start,
    const uint64_t[::1] set_bits,
) except -1:
    cdef int32_t c, j = max(column[k], 0)
    if is_wide.shape[0]:
        if is_wide[j]:
            node.wide = &wide[position[j], 0]
        else:
            node.narrow = &narrow[position[j], 0]
    if kind[k] == LEAF:
        node.child[0] = node.child[1] = <int32_t> k
        return 0
    node.child[0], node.child[1] = no[k], yes[k]
    node.missing = missing_code[j] if missing_yes[k] else -1
    if kind[k] == NUMERIC or kind[k] == CATEGORY:
        node.low, node.high = code[k] if kind[k] == CATEGORY else 0, code[k]
    else:
        node.n_words = set_start[code[k] + 1] - set_start[code[k]]
        node.set = &set_bits[set_start[code[k]]] if node.n_words else NULL
        node.low, node.high = 0, -1
    for c in range(NARROW_CODES if node.wide == NULL else 0):
        if says_yes(node, c):
            node.answers[c >> 6] |= <uint64_t> 1 << (c & 63)
    return 0


cdef inline bint says_yes(const Node* node, int32_t code) noexcept nogil:
    if node.set != NULL:
        return (code >> 6) < node.n_words and (node.set[code >> 6] >> (code & 63)) & 1
    return (node.low <= code) & (code <= node.high) | (code == node.missing)


cdef void route_block(const Node* nodes, const uint32_t* rows, int64_t first, int64_t n, const double* value,
                      double* scores, int32_t n_levels) noexcept nogil:
    cdef int32_t[ROWS_PER_BLOCK] at
    cdef int64_t i, row
    cdef int32_t c, _level
    cdef bint answer
    cdef const Node* node
    memset(at, 0, sizeof(at))
    for _level in range(n_levels):
        for i in range(n):
            node = nodes + at[i]
            row = rows[first + i] if rows != NULL else first + i
            if node.wide == NULL:
                c = node.narrow[row]
                answer = (node.answers[c >> 6] >> (c & 63)) & 1
            else:
                answer = says_yes(node, node.wide[row])
            at[i] = node.child[answer]
    for i in range(n):
        row = rows[first + i] if rows != NULL else first + i
        scores[row] += value[at[i]]


def hash_rows(
    const uint8_t[:, ::1] narrow, const uint16_t[:, ::1] wide, const uint64_t[:, ::1] words, uint64_t first_row, int num_threads
) -> int:
    """The sum, modulo 2**64, over rows of a hash of the row's number, codes and ``words``: the same however rows are dealt out.

    ``narrow``: [n_narrow, n], ``wide``: [n_wide, n], ``words``: [n_words, n], any other bits that belong to a row. ``first_row``: number of
    the first row here.
    """
    cdef Py_ssize_t n = words.shape[1]
    cdef Py_ssize_t block, n_blocks = (n + ROWS_PER_BLOCK - 1) // ROWS_PER_BLOCK
    cdef uint64_t total = 0
    cdef uint64_t[::1] sums = np.zeros(max(n_blocks, 1), dtype=np.uint64)
    for block in prange(n_blocks, nogil=True, num_threads=num_threads, schedule="static"):
        sums[block] = hash_block(narrow, wide, words, first_row, block * ROWS_PER_BLOCK, min(ROWS_PER_BLOCK, n - block * ROWS_PER_BLOCK))
    for block in range(n_blocks):
        total += sums[block]
    return total


cdef uint64_t hash_block(
    const uint8_t[:, ::1] narrow, const uint16_t[:, ::1] wide, const uint64_t[:, ::1] words, uint64_t first_row, int64_t first, int64_t n
) noexcept nogil:
    cdef uint64_t[ROWS_PER_BLOCK] state
    cdef uint64_t total = 0
    cdef int64_t i
    cdef Py_ssize_t j
    for i in range(n):
        state[i] = samesum_mix(first_row + <uint64_t> (first + i))
    for j in range(narrow.shape[0]):
        for i in range(n):
            state[i] = samesum_mix(state[i] ^ narrow[j, first + i])
    for j in range(wide.shape[0]):
        for i in range(n):
            state[i] = samesum_mix(state[i] ^ wide[j, first + i])
    for j in range(words.shape[0]):
        for i in range(n):
            state[i] = samesum_mix(state[i] ^ words[j, first + i])
    for i in range(n):
        total += state[i]
    return total
