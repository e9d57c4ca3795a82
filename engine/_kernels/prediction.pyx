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

cdef struct Tree:
    Node* nodes
    int64_t start
    int depth
    int has_category


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
    cdef Py_ssize_t block, n_blocks = (matrix.shape[0] + ROWS_PER_BLOCK - 1) // ROWS_PER_BLOCK
    check_shapes(matrix, kind, column, out.shape[0])
    cdef PackedTrees packed = PackedTrees(tree_start, kind, column, threshold, missing_yes, yes, no)
    cdef const Tree* trees = packed.trees
    cdef Py_ssize_t n_trees = packed.n_trees
    num_threads = useful_threads(num_threads, n_blocks)
    for block in prange(n_blocks, nogil=True, num_threads=num_threads, schedule="static"):
        add_margins(matrix, base_score, trees, n_trees, value, out, block * ROWS_PER_BLOCK)


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
    cdef Py_ssize_t block, n_blocks = (matrix.shape[0] + ROWS_PER_BLOCK - 1) // ROWS_PER_BLOCK
    check_shapes(matrix, kind, column, out.shape[0])
    cdef PackedTrees packed = PackedTrees(tree_start, kind, column, threshold, missing_yes, yes, no)
    cdef const Tree* trees = packed.trees
    cdef Py_ssize_t n_trees = packed.n_trees
    num_threads = useful_threads(num_threads, n_blocks)
    for block in prange(n_blocks, nogil=True, num_threads=num_threads, schedule="static"):
        store_leaves(matrix, trees, n_trees, out, block * ROWS_PER_BLOCK)


def fill_probabilities(const double[:, ::1] margins, double[:, ::1] out, int num_threads):
    """``out[i, k]`` = probability of class k: logistic for one margin column (the margin of class 1 of two), softmax for more.

    ``margins``: [n, 1] with ``out`` [n, 2], else both [n, n_classes]. Sums run in class order.
    """
    cdef Py_ssize_t i, n = margins.shape[0]
    if out.shape[0] != n or out.shape[1] != (2 if margins.shape[1] == 1 else margins.shape[1]):
        raise ValueError(f"expected room for {n} rows of probabilities, got {out.shape[0]} x {out.shape[1]}")
    num_threads = useful_threads(num_threads, (n + ROWS_PER_BLOCK - 1) // ROWS_PER_BLOCK)
    if margins.shape[1] == 1:
        for i in prange(n, nogil=True, num_threads=num_threads, schedule="static"):
            out[i, 1] = samesum_sigmoid(margins[i, 0])
            out[i, 0] = 1.0 - out[i, 1]
    else:
        for i in prange(n, nogil=True, num_threads=num_threads, schedule="static"):
            softmax(margins, out, i)


cdef inline int useful_threads(int num_threads, Py_ssize_t n_blocks) noexcept nogil:
    """As many threads as have a block to work on: on one row, starting a second takes fifty times as long as the walk."""
    return <int> max(1, min(<Py_ssize_t> num_threads, n_blocks))


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


cdef class PackedTrees:
    """The trees of one call, with all that a step needs side by side."""

    cdef Tree* trees
    cdef Node* nodes
    cdef Py_ssize_t n_trees

    def __cinit__(
        self,
        const int64_t[::1] tree_start,
        const uint8_t[::1] kind,
        const int32_t[::1] column,
        const double[::1] threshold,
        const uint8_t[::1] missing_yes,
        const int32_t[::1] yes,
        const int32_t[::1] no,
    ):
        cdef Py_ssize_t i, t
        self.n_trees = tree_start.shape[0] - 1
        self.nodes = <Node*> malloc((kind.shape[0] + 1) * sizeof(Node))
        self.trees = <Tree*> malloc((self.n_trees + 1) * sizeof(Tree))
        if self.nodes == NULL or self.trees == NULL:
            raise MemoryError(f"no room for {kind.shape[0]} tree nodes")
        for t in range(self.n_trees):
            self.trees[t].nodes = self.nodes + tree_start[t]
            self.trees[t].start = tree_start[t]
            for i in range(tree_start[t], tree_start[t + 1]):
                if kind[i]:
                    self.nodes[i] = Node(threshold[i], [no[i], yes[i]], column[i], kind[i] == NUMERIC, kind[i] == CATEGORY, missing_yes[i])
                else:
                    self.nodes[i] = Node(0.0, [<int32_t> (i - tree_start[t]), <int32_t> (i - tree_start[t])], 0, 0, 0, 0)
            measure_tree(&self.trees[t], tree_start[t + 1] - tree_start[t])

    def __dealloc__(self):
        free(self.nodes)
        free(self.trees)


cdef int measure_tree(Tree* tree, Py_ssize_t n_nodes) except -1:
    """Find a tree's depth, children coming after their parents, and whether it asks for categories."""
    cdef Py_ssize_t i, side
    cdef int* level = <int*> malloc(n_nodes * sizeof(int))
    if level == NULL:
        raise MemoryError(f"no room for the levels of {n_nodes} tree nodes")
    tree.depth = 0
    tree.has_category = 0
    level[0] = 0
    for i in range(n_nodes):
        tree.has_category |= tree.nodes[i].is_category
        tree.depth = max(tree.depth, level[i])
        for side in range(2):
            if tree.nodes[i].child[side] != i:
                level[tree.nodes[i].child[side]] = level[i] + 1
    free(level)
    return 0


cdef inline void descend(const Tree* tree, int has_category, const double* rows, Py_ssize_t stride, int n_rows, int32_t* at) noexcept nogil:
    """Bring ``n_rows`` rows from the root to their leaves; a row that arrives early stays in its leaf."""
    cdef int i, go, _level
    cdef double x
    cdef const Node* node
    for i in range(n_rows):
        at[i] = 0
    for _level in range(tree.depth):
        for i in range(n_rows):
            node = &tree.nodes[at[i]]
            x = rows[i * stride + node.column]
            # a NaN compares false with everything, itself included
            if has_category:
                go = ((x < node.threshold) & node.is_numeric) | ((x == node.threshold) & node.is_category) | ((x != x) & node.missing_yes)
            else:
                go = (x < node.threshold) | ((x != x) & node.missing_yes)
            at[i] = node.child[go]


cdef void find_leaves(const Tree* tree, const double* rows, Py_ssize_t stride, Py_ssize_t n_rows, int32_t* at) noexcept nogil:
    """Set ``at[0:n_rows]`` to the rows' leaves; constant arguments let the compiler unroll the usual cases."""
    cdef Py_ssize_t begin = 0
    while begin < n_rows:
        if n_rows - begin < ROWS_ABREAST:
            descend(tree, True, rows + begin * stride, stride, <int> (n_rows - begin), at + begin)
        elif tree.has_category:
            descend(tree, True, rows + begin * stride, stride, ROWS_ABREAST, at + begin)
        else:
            descend(tree, False, rows + begin * stride, stride, ROWS_ABREAST, at + begin)
        begin += ROWS_ABREAST


cdef void add_margins(
    const double[:, ::1] matrix,
    double base_score,
    const Tree* trees,
    Py_ssize_t n_trees,
    const double[::1] value,
    double[:, ::1] out,
    Py_ssize_t begin,
) noexcept nogil:
    """Set the margins of one block of rows."""
    cdef Py_ssize_t n_rows = min(matrix.shape[0] - begin, <Py_ssize_t> ROWS_PER_BLOCK)
    cdef Py_ssize_t i, t, k, n_outputs = out.shape[1]
    cdef int32_t at[ROWS_PER_BLOCK]
    cdef const double* rows = &matrix[begin, 0] if matrix.shape[1] else NULL
    for i in range(n_rows):
        for k in range(n_outputs):
            out[begin + i, k] = base_score
    for t in range(n_trees):
        k = t % n_outputs
        find_leaves(&trees[t], rows, matrix.shape[1], n_rows, at)
        for i in range(n_rows):
            out[begin + i, k] += value[trees[t].start + at[i]]


cdef void store_leaves(
    const double[:, ::1] matrix, const Tree* trees, Py_ssize_t n_trees, int32_t[:, ::1] out, Py_ssize_t begin
) noexcept nogil:
    """Set the leaves of one block of rows."""
    cdef Py_ssize_t n_rows = min(matrix.shape[0] - begin, <Py_ssize_t> ROWS_PER_BLOCK)
    cdef Py_ssize_t i, t
    cdef int32_t at[ROWS_PER_BLOCK]
    cdef const double* rows = &matrix[begin, 0] if matrix.shape[1] else NULL
    for t in range(n_trees):
        find_leaves(&trees[t], rows, matrix.shape[1], n_rows, at)
        for i in range(n_rows):
            out[begin + i, t] = at[i]


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
