"""The nodes of one depth of a growing tree: the best of the splits that ranks offer, and the children.

A level is a few dozen numbers, of which NumPy would make a hundred small calls, between kernels that have driven the interpreter out of
the caches: 3 of the 24 ms that two ranks took for a tree on a million rows.
"""

from libc.stdint cimport int64_t

import numpy as np

# A node: its rows on this rank (``begin`` to ``end`` of the order) and over all ranks, the split chosen for it (``column`` -1: none; other
# fields as of an offer), and bounds on the weights of all leaves below. Numbers of 64 bits come first, so that nothing is padded.
NODE = np.dtype(
    [(name, np.int64) for name in ("begin", "end", "n_rows")]
    + [(name, np.float64) for name in ("gain", "middle", "lower", "upper")]
    + [(name, np.int32) for name in ("column", "code", "missing_yes", "unused")]
)
# The best split of a node by some of the columns, as :func:`engine._kernels.splits.find_best_splits` says it.
OFFER = np.dtype(
    [(name, np.float64) for name in ("gain", "middle")] + [(name, np.int32) for name in ("column", "code", "missing_yes", "unused")]
)


def take_best(const Offer[:, ::1] offers, Node[::1] nodes, int64_t[::1] winner):
    """Give every node the best of its ``offers`` [n_offers, n_nodes], the first of equal gains; ``winner`` [n_nodes]: which it was."""
    cdef Py_ssize_t k, i, best
    if offers.shape[1] != nodes.shape[0] or winner.shape[0] != nodes.shape[0]:
        raise ValueError(f"expected offers for {nodes.shape[0]} nodes, got {offers.shape[1]}")
    for k in range(nodes.shape[0]):
        best = 0
        for i in range(1, offers.shape[0]):
            if offers[i, k].gain > offers[best, k].gain:
                best = i
        winner[k] = best
        nodes[k].gain = offers[best, k].gain
        nodes[k].middle = offers[best, k].middle
        nodes[k].column = offers[best, k].column
        nodes[k].code = offers[best, k].code
        nodes[k].missing_yes = offers[best, k].missing_yes


def make_children(const Node[::1] parents, const int64_t[::1] split, const int64_t[::1] n_yes_local, const int64_t[::1] n_yes,
                  Node[::1] children, int64_t[::1] smaller):
    """Fill the pairs of ``children`` [2 n_split], yes before no, of the parents ``split``, with their rows and no splits of their own.

    ``n_yes_local``, ``n_yes`` [n_split]: rows that say yes, on this rank and over all. ``smaller`` [n_split]: which child of each pair
    has fewer rows over all ranks, of equal ones yes, as its place among the children.
    """
    cdef Py_ssize_t k
    cdef const Node* parent
    if not split.shape[0] == n_yes_local.shape[0] == n_yes.shape[0] == smaller.shape[0] == children.shape[0] // 2:
        raise ValueError(f"expected two children of each of {split.shape[0]} nodes, got {children.shape[0]}")
    for k in range(split.shape[0]):
        parent = &parents[split[k]]
        children[2 * k].begin = parent.begin
        children[2 * k].end = children[2 * k + 1].begin = parent.begin + n_yes_local[k]
        children[2 * k + 1].end = parent.end
        children[2 * k].n_rows = n_yes[k]
        children[2 * k + 1].n_rows = parent.n_rows - n_yes[k]
        smaller[k] = 2 * k + (2 * n_yes[k] > parent.n_rows)
