"""From rows to leaves, margins and probabilities.

Rows are taken in blocks that stay in cache while all trees pass over them; within a block eight rows walk a tree side by side, so that
their loads overlap. A row's margin is the base score plus its leaves in tree order, whatever the block or thread: the bits do not depend on
how rows are dealt out.
"""

from cython.parallel cimport prange
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport free, malloc

from engine._kernels.elementary cimport samesum_exp, samesum_sigmoid

cdef enum:
    ROWS_PER_BLOCK = 256
    ROWS_ABREAST = 8
    NUMERIC = 1  # as in engine.models._trees.ensemble
    CATEGORY = 2

cdef struct Node:
    double threshold
    int32_t child[2]  # no, yes; a leaf is its own child
    int32_t column
    uint8_t is_numeric
    uint8_t is_category
    uint8_t missing_yes


def predict_margins(
    const double[:, ::1] matrix,
    double base_score,
    const int64_t[::1] tree_start,
    const uint8_t[::1] kind,
    const int32_t[::1] column,
    const double[::1] threshold,
    const uint8_t[::1] missing_yes,
    const int32_t[::1] yes,
    const int32_t[::1] no,
    const double[::1] value,
    double[:, ::1] out,
    int num_threads,
):
    """``out[i, k]`` = ``base_score`` plus the leaf values of row i in trees k, k + n_outputs, ..., added in this order.

    ``matrix``: [n, n_columns], NaN where missing; trees as in ``TreeEnsemble``; ``out``: [n, n_outputs].
    """
    cdef Py_ssize_t block, n = matrix.shape[0]
    check_shapes(matrix, kind, column, out.shape[0])
    cdef Node* nodes = pack_nodes(tree_start, kind, column, threshold, missing_yes, yes, no)
    try:
        for block in prange((n + ROWS_PER_BLOCK - 1) // ROWS_PER_BLOCK, nogil=True, num_threads=num_threads, schedule="static"):
            add_margins(matrix, base_score, nodes, tree_start, value, out, block * ROWS_PER_BLOCK)
    finally:
        free(nodes)


def predict_leaves(
    const double[:, ::1] matrix,
    const int64_t[::1] tree_start,
    const uint8_t[::1] kind,
    const int32_t[::1] column,
    const double[::1] threshold,
    const uint8_t[::1] missing_yes,
    const int32_t[::1] yes,
    const int32_t[::1] no,
    int32_t[:, ::1] out,
    int num_threads,
):
    """``out[i, t]`` = number, within tree t, of the leaf that row i reaches. ``matrix``: [n, n_columns]; ``out``: [n, n_trees]."""
    cdef Py_ssize_t block, n = matrix.shape[0]
    check_shapes(matrix, kind, column, out.shape[0])
    cdef Node* nodes = pack_nodes(tree_start, kind, column, threshold, missing_yes, yes, no)
    try:
        for block in prange((n + ROWS_PER_BLOCK - 1) // ROWS_PER_BLOCK, nogil=True, num_threads=num_threads, schedule="static"):
            store_leaves(matrix, nodes, tree_start, out, block * ROWS_PER_BLOCK)
    finally:
        free(nodes)


def fill_probabilities(const double[:, ::1] margins, double[:, ::1] out, int num_threads):
    """``out[i, k]`` = probability of class k: logistic for one margin column (the margin of class 1 of two), softmax for more.

    ``margins``: [n, 1] with ``out`` [n, 2], else both [n, n_classes]. Sums run in class order.
    """
    cdef Py_ssize_t i, n = margins.shape[0]
    if out.shape[0] != n or out.shape[1] != (2 if margins.shape[1] == 1 else margins.shape[1]):
        raise ValueError(f"expected room for {n} rows of probabilities, got {out.shape[0]} x {out.shape[1]}")
    if margins.shape[1] == 1:
        for i in prange(n, nogil=True, num_threads=num_threads, schedule="static"):
            out[i, 0] = samesum_sigmoid(-margins[i, 0])
            out[i, 1] = samesum_sigmoid(margins[i, 0])
    else:
        for i in prange(n, nogil=True, num_threads=num_threads, schedule="static"):
            softmax(margins, out, i)


cdef int check_shapes(const double[:, ::1] matrix, const uint8_t[::1] kind, const int32_t[::1] column, Py_ssize_t n_out) except -1:
    """Refuse shapes that would make the walk read or write outside its arrays."""
    cdef Py_ssize_t i, needed = 0
    for i in range(kind.shape[0]):
        if kind[i] and column[i] >= needed:
            needed = column[i] + 1
    if n_out != matrix.shape[0]:
        raise ValueError(f"expected room for {matrix.shape[0]} rows, got {n_out}")
    if matrix.shape[1] < needed:
        raise ValueError(f"expected at least {needed} columns, got {matrix.shape[1]}")
    return 0


cdef Node* pack_nodes(
    const int64_t[::1] tree_start,
    const uint8_t[::1] kind,
    const int32_t[::1] column,
    const double[::1] threshold,
    const uint8_t[::1] missing_yes,
    const int32_t[::1] yes,
    const int32_t[::1] no,
) except NULL:
    """The trees with all that a step needs side by side; the caller frees the result."""
    cdef Py_ssize_t tree, i, n_nodes = kind.shape[0]
    cdef Node* nodes = <Node*> malloc((n_nodes + 1) * sizeof(Node))
    if nodes == NULL:
        raise MemoryError(f"no room for {n_nodes} tree nodes")
    for tree in range(tree_start.shape[0] - 1):
        for i in range(tree_start[tree], tree_start[tree + 1]):
            nodes[i].threshold = threshold[i]
            nodes[i].is_numeric = kind[i] == NUMERIC
            nodes[i].is_category = kind[i] == CATEGORY
            if kind[i]:
                nodes[i].child[0] = no[i]
                nodes[i].child[1] = yes[i]
                nodes[i].column = column[i]
                nodes[i].missing_yes = missing_yes[i]
            else:
                nodes[i].child[0] = nodes[i].child[1] = <int32_t> (i - tree_start[tree])
                nodes[i].column = 0
                nodes[i].missing_yes = 0
    return nodes


cdef inline void walk(const Node* tree, const double* rows, Py_ssize_t stride, int n_rows, int32_t* at) noexcept nogil:
    """Bring ``n_rows`` rows to their leaves, one level a turn, until none moves; ``at``: [n_rows], set."""
    cdef int i, go, moved = 1
    cdef int32_t after
    cdef double x
    cdef const Node* node
    for i in range(n_rows):
        at[i] = 0
    if tree[0].child[0] == 0:  # a single leaf: there may be no column to look at
        return
    while moved:
        moved = 0
        for i in range(n_rows):
            node = &tree[at[i]]
            x = rows[i * stride + node.column]
            # a NaN compares false with everything, itself included
            go = ((x < node.threshold) & node.is_numeric) | ((x == node.threshold) & node.is_category) | ((x != x) & node.missing_yes)
            after = node.child[go]
            moved |= after != at[i]
            at[i] = after


cdef inline void walk_group(const Node* tree, const double* rows, Py_ssize_t stride, Py_ssize_t n_rows, int32_t* at) noexcept nogil:
    """:func:`walk`, with the full width known to the compiler."""
    if n_rows >= ROWS_ABREAST:
        walk(tree, rows, stride, ROWS_ABREAST, at)
    else:
        walk(tree, rows, stride, <int> n_rows, at)


cdef void add_margins(
    const double[:, ::1] matrix,
    double base_score,
    const Node* nodes,
    const int64_t[::1] tree_start,
    const double[::1] value,
    double[:, ::1] out,
    Py_ssize_t begin,
) noexcept nogil:
    """Set the margins of one block of rows."""
    cdef Py_ssize_t end = min(begin + ROWS_PER_BLOCK, matrix.shape[0])
    cdef Py_ssize_t row, i, tree, k, n_outputs = out.shape[1]
    cdef int32_t at[ROWS_ABREAST]
    cdef const double* rows = &matrix[begin, 0] if matrix.shape[1] else NULL
    for row in range(begin, end):
        for k in range(n_outputs):
            out[row, k] = base_score
    for tree in range(tree_start.shape[0] - 1):
        k = tree % n_outputs
        row = begin
        while row < end:
            walk_group(&nodes[tree_start[tree]], rows + (row - begin) * matrix.shape[1], matrix.shape[1], end - row, at)
            for i in range(min(end - row, <Py_ssize_t> ROWS_ABREAST)):
                out[row + i, k] += value[tree_start[tree] + at[i]]
            row += ROWS_ABREAST


cdef void store_leaves(
    const double[:, ::1] matrix, const Node* nodes, const int64_t[::1] tree_start, int32_t[:, ::1] out, Py_ssize_t begin
) noexcept nogil:
    """Set the leaves of one block of rows."""
    cdef Py_ssize_t end = min(begin + ROWS_PER_BLOCK, matrix.shape[0])
    cdef Py_ssize_t row, i, tree
    cdef int32_t at[ROWS_ABREAST]
    cdef const double* rows = &matrix[begin, 0] if matrix.shape[1] else NULL
    for tree in range(tree_start.shape[0] - 1):
        row = begin
        while row < end:
            walk_group(&nodes[tree_start[tree]], rows + (row - begin) * matrix.shape[1], matrix.shape[1], end - row, at)
            for i in range(min(end - row, <Py_ssize_t> ROWS_ABREAST)):
                out[row + i, tree] = at[i]
            row += ROWS_ABREAST


cdef inline void softmax(const double[:, ::1] margins, double[:, ::1] out, Py_ssize_t i) noexcept nogil:
    """Row i's class probabilities; the largest margin is taken off first, so nothing overflows."""
    cdef Py_ssize_t k
    cdef double top = margins[i, 0], total = 0.0
    for k in range(1, margins.shape[1]):
        top = margins[i, k] if margins[i, k] > top else top
    for k in range(margins.shape[1]):
        out[i, k] = samesum_exp(margins[i, k] - top)
        total += out[i, k]
    for k in range(margins.shape[1]):
        out[i, k] = out[i, k] / total
