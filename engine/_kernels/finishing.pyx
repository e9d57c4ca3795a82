"""From the nodes that a tree has grown to those that it keeps: exact sums, gains and leaf values, pruned, numbered breadth first.

A tree of depth 6 has some hundred nodes, of which NumPy would make a hundred small calls (see :mod:`engine._kernels.nodes`).
"""

from libc.math cimport INFINITY, fabs
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport free, malloc

from engine._kernels.nodes cimport Node

cdef extern from "split_search.h" nogil:
    double samesum_shrink(double g, double alpha)

cdef enum:
    LIMB_BITS = 26  # of engine.collectives.exact, and the kinds of engine.models._trees.ensemble
    LEAF = 0
    NUMERIC = 1
    CATEGORY = 2
    SUBSET = 3

cdef struct Grown:
    int64_t sums[4]     # gradients and hessians of its rows, in limbs
    double h
    double weight
    double score
    double gain
    double g
    Py_ssize_t grown    # its yes child as it grew, -1 of leaves; no is the next node
    Py_ssize_t yes      # the same after pruning
    Py_ssize_t home     # itself, or the leaf above it that pruning left
    Py_ssize_t number   # in the finished tree, -1 if it is pruned


cdef class Limits:
    """What a node's value and a split's gain depend on: units of the sums, penalties, and the least that a split must bring."""

    cdef double g_unit, h_unit, reg_lambda, reg_alpha, min_child_weight, least_gain, step_size
    cdef bint is_bounded

    def __init__(self, double g_unit, double h_unit, double reg_lambda, double reg_alpha, double min_child_weight, double least_gain,
                 double step_size, bint is_bounded):
        self.g_unit, self.h_unit = g_unit, h_unit
        self.reg_lambda, self.reg_alpha = reg_lambda, reg_alpha
        self.min_child_weight, self.least_gain, self.step_size = min_child_weight, least_gain, step_size
        self.is_bounded = is_bounded


def finish_nodes(const Node[::1] nodes, const uint8_t[::1] chosen, const int64_t[:, ::1] leaf_sums, Limits limits,
                 const int64_t[::1] cut_start, const double[::1] cut, const int64_t[::1] n_categories, bint has_sets,
                 int64_t[::1] place, uint8_t[::1] kind, int32_t[::1] column, int32_t[::1] code, double[::1] threshold,
                 uint8_t[::1] missing_yes, int32_t[::1] yes, int32_t[::1] no, double[::1] value, double[::1] gain, double[::1] cover,
                 int64_t[::1] leaf_node) -> int:
    """Write the nodes that stay, and return how many they are.

    ``nodes`` [n]: level after level, the children of the k-th split as nodes 2 k + 1 (yes) and 2 k + 2; ``chosen`` [n]: 0 for splits that
    are taken back, empty if none is. ``leaf_sums`` [n_leaves, 4]: limbs of gradients and hessians. ``cut``: thresholds by column, those of
    column j from ``cut_start[j]`` to ``cut_start[j + 1]``. ``has_sets``: whether categories split into sets. ``place`` [n]: where the
    nodes that stay were among ``nodes``; ``leaf_node`` [n_leaves]: the node that the rows of every leaf of growth end in; the other
    outputs [n] as in :class:`engine.models._trees.ensemble.TreeEnsemble`. Raises ``ValueError`` for nodes that are no tree.
    """
    cdef Py_ssize_t n = nodes.shape[0], n_splits = 0, n_kept, k
    cdef Grown* tree
    for k in range(n):
        n_splits += nodes[k].column >= 0
        if nodes[k].column >= n_categories.shape[0]:
            raise ValueError(f"expected columns below {n_categories.shape[0]}, got {nodes[k].column}")
    if n != 2 * n_splits + 1 or leaf_sums.shape[0] != n - n_splits or leaf_sums.shape[1] != 4:
        raise ValueError(f"expected two children of each of {n_splits} splits and sums of every leaf, got {n} nodes")
    if not (n == place.shape[0] == kind.shape[0] == column.shape[0] == code.shape[0] == threshold.shape[0] == missing_yes.shape[0]
            == yes.shape[0] == no.shape[0] == value.shape[0] == gain.shape[0] == cover.shape[0]):
        raise ValueError(f"expected room for {n} nodes in every output")
    if leaf_node.shape[0] != n - n_splits or chosen.shape[0] not in (0, n) or cut_start.shape[0] != n_categories.shape[0] + 1:
        raise ValueError(f"expected arrays for {n} nodes and {n_categories.shape[0]} columns")
    tree = <Grown*>malloc(n * sizeof(Grown))
    if tree == NULL:
        raise MemoryError
    with nogil:
        grow_links(nodes, chosen, tree)
        add_up(leaf_sums, nodes, tree)
        weigh(nodes, limits, tree, n)
        prune(limits, tree, n)
        n_kept = number_nodes(tree, n)
        find_homes(nodes, tree, leaf_node)
        for k in range(n):
            if tree[k].number >= 0:
                write_node(nodes, tree, k, limits.step_size, place, column, code, yes, no, value, gain, cover)
        write_questions(nodes, tree, n_kept, cut_start, cut, n_categories, has_sets, place, kind, threshold, missing_yes)
    free(tree)
    return n_kept


cdef void grow_links(const Node[::1] nodes, const uint8_t[::1] chosen, Grown* tree) noexcept nogil:
    cdef Py_ssize_t k, child = 1
    for k in range(nodes.shape[0]):
        tree[k].grown = -1
        if nodes[k].column >= 0:
            tree[k].grown = child
            child += 2
        tree[k].yes = tree[k].grown if chosen.shape[0] == 0 or chosen[k] else -1


cdef void add_up(const int64_t[:, ::1] leaf_sums, const Node[::1] nodes, Grown* tree) noexcept nogil:
    """Sums of leaves, and of the other nodes from their children's; low limbs are carried, so that equal sums have equal limbs."""
    cdef Py_ssize_t k, leaf = leaf_sums.shape[0]
    cdef int i
    cdef Grown* child
    cdef int64_t carry
    for k in range(nodes.shape[0] - 1, -1, -1):
        if tree[k].grown < 0:
            leaf -= 1
            for i in range(4):
                tree[k].sums[i] = leaf_sums[leaf, i]
        else:
            child = tree + tree[k].grown
            for i in range(4):
                tree[k].sums[i] = child[0].sums[i] + child[1].sums[i]
        for i in range(0, 4, 2):
            carry = tree[k].sums[i + 1] >> LIMB_BITS
            tree[k].sums[i] += carry
            tree[k].sums[i + 1] -= carry << LIMB_BITS


cdef inline double total(const int64_t* limbs, double unit) noexcept nogil:
    return (<double>limbs[0] * <double>(1 << LIMB_BITS) + <double>limbs[1]) * unit


cdef void weigh(const Node[::1] nodes, Limits limits, Grown* tree, Py_ssize_t n) noexcept nogil:
    """Weights ``-T(G) / (H + lambda)`` within bounds, 0 where nothing has a hessian, and what a split brings: its children's scores
    less the node's own (:mod:`engine._kernels.splits`). Splits with a child that is too light are taken back: lanes only estimated it."""
    cdef Py_ssize_t k
    cdef double shrunk, denominator
    cdef Grown* node
    cdef Grown* child
    for k in range(n - 1, -1, -1):
        node = tree + k
        node.g, node.h = total(node.sums, limits.g_unit), total(node.sums + 2, limits.h_unit)
        denominator = node.h + limits.reg_lambda
        shrunk = <double>((node.g > 0.0) - (node.g < 0.0)) * samesum_shrink(node.g, limits.reg_alpha)
        node.weight = -shrunk / denominator if denominator > 0.0 else 0.0
        node.weight = max(node.weight, nodes[k].lower)
        node.weight = min(node.weight, nodes[k].upper)
        if not limits.is_bounded:
            node.score = shrunk * shrunk / denominator if denominator > 0.0 else 0.0
        else:
            node.score = -(2.0 * node.g * node.weight + denominator * (node.weight * node.weight)
                           + 2.0 * limits.reg_alpha * fabs(node.weight))
        node.gain = 0.0
        if node.yes >= 0:
            child = tree + node.yes
            if min(child[0].h, child[1].h) < limits.min_child_weight:
                node.yes = -1
            else:
                node.gain = child[0].score + child[1].score - node.score


cdef void prune(Limits limits, Grown* tree, Py_ssize_t n) noexcept nogil:
    """Turn splits between two leaves that gain too little into leaves, from the bottom up."""
    cdef Py_ssize_t k, yes
    for k in range(n - 1, -1, -1):
        yes = tree[k].yes
        if yes >= 0 and tree[k].gain < limits.least_gain and tree[yes].yes < 0 and tree[yes + 1].yes < 0:
            tree[k].yes = -1


cdef Py_ssize_t number_nodes(Grown* tree, Py_ssize_t n) noexcept nogil:
    """Number the nodes that can be reached from the root; children come after their parents."""
    cdef Py_ssize_t k, n_kept = 0
    for k in range(n):
        tree[k].number = 0 if k == 0 else -1
    for k in range(n):
        if tree[k].number < 0:
            continue
        tree[k].number = n_kept
        n_kept += 1
        if tree[k].yes >= 0:
            tree[tree[k].yes].number = tree[tree[k].yes + 1].number = 0  # whatever it will be
    return n_kept


cdef void find_homes(const Node[::1] nodes, Grown* tree, int64_t[::1] leaf_node) noexcept nogil:
    cdef Py_ssize_t k, i, leaf = 0
    tree[0].home = 0
    for k in range(nodes.shape[0]):
        if tree[k].grown < 0:
            leaf_node[leaf] = tree[tree[k].home].number
            leaf += 1
            continue
        for i in range(tree[k].grown, tree[k].grown + 2):
            tree[i].home = i if tree[k].home == k and tree[k].yes >= 0 else tree[k].home


cdef void write_node(const Node[::1] nodes, const Grown* tree, Py_ssize_t k, double step_size, int64_t[::1] place, int32_t[::1] column,
                     int32_t[::1] code, int32_t[::1] yes, int32_t[::1] no, double[::1] value, double[::1] gain,
                     double[::1] cover) noexcept nogil:
    cdef const Grown* node = tree + k
    cdef Py_ssize_t at = node.number
    cdef bint is_split = node.yes >= 0
    place[at] = k
    cover[at] = node.h
    column[at] = nodes[k].column if is_split else -1
    code[at] = nodes[k].code if is_split else -1
    yes[at] = <int32_t>tree[node.yes].number if is_split else -1
    no[at] = <int32_t>tree[node.yes + 1].number if is_split else -1
    value[at] = 0.0 if is_split else node.weight * step_size
    gain[at] = node.gain if is_split else 0.0


cdef void write_questions(const Node[::1] nodes, const Grown* tree, Py_ssize_t n_kept, const int64_t[::1] cut_start,
                          const double[::1] cut, const int64_t[::1] n_categories, bint has_sets, const int64_t[::1] place,
                          uint8_t[::1] kind, double[::1] threshold, uint8_t[::1] missing_yes) noexcept nogil:
    """Thresholds of splits (a category's code, a set's number, infinity where yes is every value that is not missing), their kinds, and
    where missing values go: as training has learned, to the heavier child where it had none."""
    cdef Py_ssize_t at, n_sets = 0
    cdef int64_t cut_at
    cdef const Node* node
    cdef const Grown* child
    for at in range(n_kept):
        node = &nodes[place[at]]
        kind[at], threshold[at], missing_yes[at] = LEAF, 0.0, 0
        if tree[place[at]].yes < 0:
            continue
        if n_categories[node.column] == 0:
            child = tree + tree[place[at]].yes
            cut_at = cut_start[node.column] + node.code
            kind[at] = NUMERIC
            threshold[at] = cut[cut_at] if cut_at < cut_start[node.column + 1] else INFINITY
            missing_yes[at] = child[0].h >= child[1].h if node.missing_yes == 2 else node.missing_yes == 1
        elif has_sets:
            kind[at], threshold[at] = SUBSET, n_sets
            n_sets += 1
        else:
            kind[at], threshold[at] = CATEGORY, node.code
