"""What each column contributes to a row's margins: exact Shapley values of trees.

S. M. Lundberg, G. G. Erion, S.-I. Lee, Consistent Individualized Feature Attribution for Tree Ensembles (2018), algorithm 2: what a tree is
expected to say if only some columns are known follows both branches of the other columns' splits, by the covers of the training rows.
"""

from libc.math cimport isnan
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

cdef enum:
    LEAF = 0  # as in engine.models._trees.ensemble
    NUMERIC = 1
    CATEGORY = 2


cdef struct Step:
    # a column on the way to a node: the shares of rows that pass its splits while it is unknown, and known
    int32_t column
    double unknown
    double known
    double weight  # of the sets with as many known columns as this step has before it


cdef struct Trees:
    const uint8_t* kind
    const int32_t* column
    const double* threshold
    const uint8_t* missing_yes
    const int32_t* yes
    const int32_t* no
    const double* value
    const int64_t* set_start
    const uint64_t* set_bits
    double* share  # [n_nodes] of the rows that say yes
    double* mean  # [n_nodes] expected value below


def explain_rows(
    const double[:, ::1] matrix,
    const int64_t[::1] tree_start,
    const uint8_t[::1] kind,
    const int32_t[::1] column,
    const double[::1] threshold,
    const uint8_t[::1] missing_yes,
    const int32_t[::1] yes,
    const int32_t[::1] no,
    const double[::1] value,
    const double[::1] cover,
    const int64_t[::1] set_start,
    const uint64_t[::1] set_bits,
    const int32_t[::1] feature,
    double[:, :, ::1] out,
):
    """Add to ``out[i, k, feature[c]]`` what column c contributes to output k of row i, and to the last the expected value.

    ``matrix``: [n, n_columns], NaN where missing; trees as in ``TreeEnsemble``; ``feature``: [n_columns], below n_features; ``out``: [n,
    n_outputs, n_features + 1]. Trees are added in order, nodes depth first, yes before no.
    """
    cdef Py_ssize_t i, t, c, n = matrix.shape[0], n_nodes = kind.shape[0], n_columns = matrix.shape[1], last = out.shape[2] - 1
    cdef Py_ssize_t k, depth, n_trees = tree_start.shape[0] - 1, n_outputs = out.shape[1]
    if out.shape[0] != n or feature.shape[0] != n_columns:
        raise ValueError(f"expected {n} x {n_columns} values for {out.shape[0]} rows of {feature.shape[0]} columns")
    for c in range(n_columns):
        if not 0 <= feature[c] < last:
            raise ValueError(f"expected features below {last}, got {feature[c]}")
    if n == 0 or n_nodes == 0:
        return
    cdef double* room = <double*> calloc(2 * n_nodes + n_columns + 1, sizeof(double))
    cdef int32_t* level = <int32_t*> calloc(n_nodes, sizeof(int32_t))
    cdef Step* steps = NULL
    cdef Trees trees
    try:
        if room == NULL or level == NULL:
            raise MemoryError(f"no room for {n_nodes} tree nodes")
        trees.kind, trees.column, trees.threshold, trees.missing_yes = &kind[0], &column[0], &threshold[0], &missing_yes[0]
        trees.yes, trees.no, trees.value, trees.set_start = &yes[0], &no[0], &value[0], &set_start[0]
        trees.set_bits = &set_bits[0] if set_bits.shape[0] > 0 else NULL
        trees.share, trees.mean = room, room + n_nodes
        depth = 0
        for t in range(n_trees):
            depth = max(depth, measure(&trees, tree_start[t], tree_start[t + 1] - tree_start[t], &cover[0], level))
        steps = <Step*> calloc((depth + 2) * (depth + 3) // 2, sizeof(Step))
        if steps == NULL:
            raise MemoryError(f"no room for paths of length {depth}")
        with nogil:
            for i in range(n):
                for t in range(n_trees):
                    k = t % n_outputs
                    explain(&trees, tree_start[t], 0, &matrix[i, 0] if n_columns else NULL, room + 2 * n_nodes, steps, 0, 1.0, 1.0, -1)
                    for c in range(n_columns):
                        out[i, k, feature[c]] += room[2 * n_nodes + c]
                        room[2 * n_nodes + c] = 0.0
                    out[i, k, last] += trees.mean[tree_start[t]]
    finally:
        free(room)
        free(level)
        free(steps)


cdef Py_ssize_t measure(Trees* trees, Py_ssize_t start, Py_ssize_t n, const double* cover, int32_t* level) noexcept nogil:
    """Set the shares and means of one tree, whose children come after their parents; return its depth."""
    cdef Py_ssize_t i, yes, no, depth = 0
    level[start] = 0
    for i in range(start, start + n):
        depth = max(depth, level[i])
        if trees.kind[i] != LEAF:
            level[start + trees.yes[i]] = level[start + trees.no[i]] = level[i] + 1
    for i in range(start + n - 1, start - 1, -1):
        if trees.kind[i] == LEAF:
            trees.mean[i] = trees.value[i]
            continue
        yes, no = start + trees.yes[i], start + trees.no[i]
        trees.share[i] = cover[yes] / (cover[yes] + cover[no]) if cover[yes] + cover[no] > 0.0 else 0.5
        trees.mean[i] = trees.share[i] * trees.mean[yes] + (1.0 - trees.share[i]) * trees.mean[no]
    return depth


cdef bint says_yes(const Trees* trees, Py_ssize_t i, const double* row) noexcept nogil:
    """Whether a row goes to the yes branch of node i."""
    cdef double x = row[trees.column[i]]
    cdef int64_t word
    if isnan(x):
        return trees.missing_yes[i]
    if trees.kind[i] == NUMERIC:
        return x < trees.threshold[i]
    if trees.kind[i] == CATEGORY:
        return x == trees.threshold[i]
    word = trees.set_start[<int64_t> trees.threshold[i]] + (<int64_t> x >> 6)
    return x >= 0 and word < trees.set_start[<int64_t> trees.threshold[i] + 1] and trees.set_bits[word] >> (<int64_t> x & 63) & 1


cdef void explain(
    const Trees* trees, Py_ssize_t start, Py_ssize_t node, const double* row, double* values, Step* path, int length, double unknown,
    double known, int32_t column,
) noexcept nogil:
    """Add what a node's leaves contribute; ``path``: ``length`` steps, with room for all below behind them."""
    cdef Py_ssize_t i = start + node
    cdef int k
    cdef bint yes
    cdef double above_unknown = 1.0, above_known = 1.0, share
    if unknown == 0.0 and known == 0.0:
        return
    extend(path, length, unknown, known, column)
    length += 1
    if trees.kind[i] == LEAF:
        for k in range(1, length):
            values[path[k].column] += weigh_without(path, length, k) * (path[k].known - path[k].unknown) * trees.value[i]
        return
    for k in range(1, length):
        if path[k].column == trees.column[i]:
            above_unknown, above_known = path[k].unknown, path[k].known
            unwind(path, length, k)
            length -= 1
            break
    cdef Step* below = path + length  # a copy for each branch, which changes its weights
    yes, share, column = says_yes(trees, i, row), trees.share[i], trees.column[i]
    memcpy(below, path, length * sizeof(Step))
    explain(trees, start, trees.yes[i], row, values, below, length, above_unknown * share, above_known if yes else 0.0, column)
    memcpy(below, path, length * sizeof(Step))
    explain(trees, start, trees.no[i], row, values, below, length, above_unknown * (1.0 - share), 0.0 if yes else above_known, column)


cdef void extend(Step* path, int length, double unknown, double known, int32_t column) noexcept nogil:
    """Put a step at the end and update the weights of all sets of steps."""
    cdef int k
    path[length] = Step(column, unknown, known, 1.0 if length == 0 else 0.0)
    for k in range(length - 1, -1, -1):
        path[k + 1].weight += known * path[k].weight * (k + 1) / (length + 1)
        path[k].weight = unknown * path[k].weight * (length - k) / (length + 1)


cdef void unwind(Step* path, int length, int at) noexcept nogil:
    """Take step ``at`` away again, as if it had never been put there."""
    cdef int k
    cdef double following = path[length - 1].weight, own
    cdef double known = path[at].known, unknown = path[at].unknown
    for k in range(length - 2, -1, -1):
        if known != 0.0:
            own = path[k].weight
            path[k].weight = following * length / ((k + 1) * known)
            following = own - path[k].weight * unknown * (length - 1 - k) / length
        else:
            path[k].weight = path[k].weight * length / (unknown * (length - 1 - k))
    for k in range(at, length - 1):
        path[k].column, path[k].unknown, path[k].known = path[k + 1].column, path[k + 1].unknown, path[k + 1].known


cdef double weigh_without(const Step* path, int length, int at) noexcept nogil:
    """The sum of the weights that :func:`unwind` would leave."""
    cdef int k
    cdef double following = path[length - 1].weight, total = 0.0, made
    cdef double known = path[at].known, unknown = path[at].unknown
    for k in range(length - 2, -1, -1):
        if known != 0.0:
            made = following * length / ((k + 1) * known)
            total += made
            following = path[k].weight - made * unknown * (length - 1 - k) / length
        else:
            total += path[k].weight * length / (unknown * (length - 1 - k))
    return total
