"""From rows to leaves, margins and probabilities.

A row's margin is the base score plus its leaves in tree order, whatever its block or thread: the bits do not depend on how rows are dealt
out. How trees are walked is said in forest.h.
"""

from cython.parallel cimport prange
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc

from engine._kernels.elementary cimport samesum_exp, samesum_sigmoid


cdef extern from "forest.h" nogil:
    enum:
        SAMESUM_BLOCK
        SAMESUM_SWEEP_LEAVES

    ctypedef struct samesum_split:
        int32_t plane
        int32_t limit
        uint8_t first
        uint8_t skip
        uint8_t equal

    ctypedef struct samesum_node:
        int32_t plane
        uint32_t flip
        uint32_t limit
        int32_t child

    ctypedef struct samesum_tree:
        const samesum_split* splits
        const samesum_node* nodes
        const int32_t* leaves
        const double* values
        const int32_t* numbers
        int32_t n_splits
        int32_t has_sets

    ctypedef struct samesum_forest:
        const samesum_tree* trees
        const uint64_t* words
        int64_t n_trees
        int64_t n_planes

    void samesum_add_values_8(const samesum_forest*, const void*, int, double*, int64_t)
    void samesum_add_values_16(const samesum_forest*, const void*, int, double*, int64_t)
    void samesum_add_values_32(const samesum_forest*, const void*, int, double*, int64_t)
    void samesum_store_leaves_8(const samesum_forest*, const void*, int, int32_t*)
    void samesum_store_leaves_16(const samesum_forest*, const void*, int, int32_t*)
    void samesum_store_leaves_32(const samesum_forest*, const void*, int, int32_t*)
    void samesum_rank_8(const double*, int64_t, const double*, int32_t, int64_t, int64_t, int64_t, void*)
    void samesum_rank_16(const double*, int64_t, const double*, int32_t, int64_t, int64_t, int64_t, void*)
    void samesum_rank_32(const double*, int64_t, const double*, int32_t, int64_t, int64_t, int64_t, void*)
    void samesum_number_8(const double*, int64_t, int32_t, int64_t, int64_t, void*)
    void samesum_number_16(const double*, int64_t, int32_t, int64_t, int64_t, void*)
    void samesum_number_32(const double*, int64_t, int32_t, int64_t, int64_t, void*)

cdef enum:
    NUMERIC = 1  # as in engine.models._trees.ensemble
    CATEGORY = 2
    SUBSET = 3
    ROWS_PER_BLOCK = 256

BLOCK = SAMESUM_BLOCK


cdef class PackedTrees:
    """Trees over planes of codes, with all that a step needs side by side.

    ``bits``: 8, 16 or 32, of a code. ``n_planes``: at least 1. ``tree_start``, ``kind``, ``yes``, ``no`` and ``value`` as in
    ``TreeEnsemble``. ``plane``: [n_nodes] where each split looks. ``limit``: [n_nodes], yes is code < limit (NUMERIC), code == limit
    (CATEGORY), or, for a SUBSET, bit ``code & 63`` of word ``code >> 6`` of ``words`` from ``limit`` on; word 0 is all ones. Raises
    ``ValueError`` where branches do not form trees.

    Codes of n rows are bytes, [ceil(n / BLOCK), n_planes, BLOCK] codes, zero beyond the last row; the methods that take them need no GIL.
    """

    cdef samesum_forest forest
    cdef samesum_tree* trees
    cdef samesum_split* splits
    cdef samesum_node* nodes
    cdef int32_t* leaves
    cdef int32_t* numbers
    cdef double* values
    cdef const uint64_t[::1] words
    cdef readonly int bits

    def __cinit__(
        self,
        int bits,
        Py_ssize_t n_planes,
        const int64_t[::1] tree_start,
        const uint8_t[::1] kind,
        const int32_t[::1] plane,
        const int32_t[::1] limit,
        const int32_t[::1] yes,
        const int32_t[::1] no,
        const double[::1] value,
        const uint64_t[::1] words,
    ):
        cdef Py_ssize_t t, n_nodes = kind.shape[0], n_trees = tree_start.shape[0] - 1
        self.bits = bits
        self.words = words
        self.trees = <samesum_tree*> calloc(n_trees + 1, sizeof(samesum_tree))
        self.splits = <samesum_split*> calloc(n_nodes + 1, sizeof(samesum_split))
        self.nodes = <samesum_node*> calloc(n_nodes + 1, sizeof(samesum_node))
        self.leaves = <int32_t*> calloc(n_nodes + 1, sizeof(int32_t))
        self.numbers = <int32_t*> calloc(n_nodes + 1, sizeof(int32_t))
        self.values = <double*> calloc(n_nodes + 1, sizeof(double))
        if not (self.trees and self.splits and self.nodes and self.leaves and self.numbers and self.values):
            raise MemoryError(f"no room for {n_nodes} tree nodes")
        self.forest = samesum_forest(self.trees, &self.words[0], n_trees, n_planes)
        for t in range(n_trees):
            self.pack(t, tree_start[t], tree_start[t + 1] - tree_start[t], kind, plane, limit, yes, no, value)

    def __dealloc__(self):
        free(self.trees)
        free(self.splits)
        free(self.nodes)
        free(self.leaves)
        free(self.numbers)
        free(self.values)

    cdef int pack(
        self,
        Py_ssize_t t,
        Py_ssize_t start,
        Py_ssize_t n,
        const uint8_t[::1] kind,
        const int32_t[::1] plane,
        const int32_t[::1] limit,
        const int32_t[::1] yes,
        const int32_t[::1] no,
        const double[::1] value,
    ) except -1:
        """Pack tree t: its nodes so that the two children of a node are neighbours, its leaves from yes to no."""
        cdef Py_ssize_t i, free_slot = 1
        cdef int32_t* slot = <int32_t*> malloc(3 * n * sizeof(int32_t))
        cdef int32_t* below = slot + n  # leaves below a node
        cdef int32_t* first = slot + 2 * n  # the first of them
        cdef samesum_split* split = self.splits + start
        cdef samesum_tree* tree = &self.trees[t]
        if slot == NULL:
            raise MemoryError(f"no room for {n} tree nodes")
        try:
            for i in range(n):
                slot[i] = -1
            slot[0] = first[0] = 0
            for i in range(n - 1, -1, -1):
                below[i] = below[yes[start + i]] + below[no[start + i]] if kind[start + i] else 1
            for i in range(n):
                if slot[i] < 0 or (kind[start + i] and free_slot + 2 > n):
                    raise ValueError(f"the branches of tree {t} do not form a tree")
                if kind[start + i]:
                    slot[yes[start + i]] = <int32_t> free_slot
                    slot[no[start + i]] = <int32_t> free_slot + 1
                    first[yes[start + i]] = first[i]
                    first[no[start + i]] = first[i] + below[yes[start + i]]
                    self.put_node(start + slot[i], kind[start + i], plane[start + i], limit[start + i], <int32_t> free_slot)
                    tree.has_sets |= kind[start + i] == SUBSET
                    if below[0] <= SAMESUM_SWEEP_LEAVES:
                        split.plane = plane[start + i]
                        split.limit = limit[start + i] - <int32_t> (1 << (self.bits - 1))
                        split.first = <uint8_t> first[i]
                        split.skip = <uint8_t> below[yes[start + i]]
                        split.equal = kind[start + i] == CATEGORY
                        split += 1
                    free_slot += 2
                else:
                    self.nodes[start + slot[i]] = samesum_node(0, 0, <uint32_t> -1, slot[i])
                    self.leaves[start + slot[i]] = first[i]
                    self.values[start + first[i]] = value[start + i]
                    self.numbers[start + first[i]] = <int32_t> i
        finally:
            free(slot)
        if split > self.splits + start and not tree.has_sets:
            tree.splits = self.splits + start
            tree.n_splits = <int32_t> (split - tree.splits)
        tree.nodes = self.nodes + start
        tree.leaves = self.leaves + start
        tree.values = self.values + start
        tree.numbers = self.numbers + start
        return 0

    cdef void put_node(self, Py_ssize_t place, uint8_t kind, int32_t plane, int32_t limit, int32_t child) noexcept:
        """Write an inner node; codes have their sign bit flipped."""
        cdef uint32_t flip = <uint32_t> 1 << (self.bits - 1)
        if kind == NUMERIC:
            self.nodes[place] = samesum_node(plane, flip, <uint32_t> limit, child)
        elif kind == CATEGORY:
            self.nodes[place] = samesum_node(plane, flip ^ <uint32_t> limit, 1, child)
        else:
            self.nodes[place] = samesum_node(~plane, <uint32_t> limit, <uint32_t> -1, child)

    def code_numbers(self, const double[::1] values, const double[::1] thresholds, Py_ssize_t low, Py_ssize_t high, uint8_t[::1] codes):
        """Set the codes of a column of numbers: how many ``thresholds`` (ascending, at least one) are at or below each value.

        NaN is below all of them in plane ``low``, above all of them in plane ``high``; -1 leaves a plane out.
        """
        cdef int64_t n = values.shape[0], n_planes = self.forest.n_planes
        cdef int32_t m = <int32_t> thresholds.shape[0]
        self.check_codes(codes, n, max(low, high))
        if m == 0:
            raise ValueError("expected at least one threshold, got none")
        if n == 0:
            return
        with nogil:
            if self.bits == 8:
                samesum_rank_8(&values[0], n, &thresholds[0], m, n_planes, low, high, &codes[0])
            elif self.bits == 16:
                samesum_rank_16(&values[0], n, &thresholds[0], m, n_planes, low, high, &codes[0])
            else:
                samesum_rank_32(&values[0], n, &thresholds[0], m, n_planes, low, high, &codes[0])

    def code_categories(self, const double[::1] values, int32_t n_known, Py_ssize_t plane, uint8_t[::1] codes):
        """Set the codes of a column of categories: their numbers, ``n_known`` for others, ``n_known + 1`` for NaN."""
        cdef int64_t n = values.shape[0], n_planes = self.forest.n_planes
        self.check_codes(codes, n, plane)
        if n == 0:
            return
        with nogil:
            if self.bits == 8:
                samesum_number_8(&values[0], n, n_known, n_planes, plane, &codes[0])
            elif self.bits == 16:
                samesum_number_16(&values[0], n, n_known, n_planes, plane, &codes[0])
            else:
                samesum_number_32(&values[0], n, n_known, n_planes, plane, &codes[0])

    def add_values(self, const uint8_t[::1] codes, double[:, ::1] out):
        """Add to ``out[i, k]`` the leaf values of row i in trees k, k + n_outputs, ..., in this order. ``out``: [n, n_outputs]."""
        cdef int64_t number, begin, n = out.shape[0], n_outputs = out.shape[1]
        cdef int64_t stride = self.forest.n_planes * SAMESUM_BLOCK * (self.bits >> 3)
        cdef const void* block
        cdef int n_rows
        self.check_codes(codes, n, 0)
        with nogil:
            for number in range((n + SAMESUM_BLOCK - 1) // SAMESUM_BLOCK):
                begin = number * SAMESUM_BLOCK
                block = &codes[number * stride]
                n_rows = <int> min(n - begin, <int64_t> SAMESUM_BLOCK)
                if self.bits == 8:
                    samesum_add_values_8(&self.forest, block, n_rows, &out[begin, 0], n_outputs)
                elif self.bits == 16:
                    samesum_add_values_16(&self.forest, block, n_rows, &out[begin, 0], n_outputs)
                else:
                    samesum_add_values_32(&self.forest, block, n_rows, &out[begin, 0], n_outputs)

    def store_leaves(self, const uint8_t[::1] codes, int32_t[:, ::1] out):
        """``out[i, t]`` = number, within tree t, of the leaf that row i reaches. ``out``: [n, n_trees]."""
        cdef int64_t number, begin, n = out.shape[0]
        cdef int64_t stride = self.forest.n_planes * SAMESUM_BLOCK * (self.bits >> 3)
        cdef const void* block
        cdef int n_rows
        self.check_codes(codes, n, 0)
        if out.shape[1] == 0:
            return
        with nogil:
            for number in range((n + SAMESUM_BLOCK - 1) // SAMESUM_BLOCK):
                begin = number * SAMESUM_BLOCK
                block = &codes[number * stride]
                n_rows = <int> min(n - begin, <int64_t> SAMESUM_BLOCK)
                if self.bits == 8:
                    samesum_store_leaves_8(&self.forest, block, n_rows, &out[begin, 0])
                elif self.bits == 16:
                    samesum_store_leaves_16(&self.forest, block, n_rows, &out[begin, 0])
                else:
                    samesum_store_leaves_32(&self.forest, block, n_rows, &out[begin, 0])

    def n_bytes(self, int64_t n_rows) -> int:
        """Bytes of the codes of ``n_rows`` rows."""
        return (n_rows + SAMESUM_BLOCK - 1) // SAMESUM_BLOCK * self.forest.n_planes * SAMESUM_BLOCK * (self.bits >> 3)

    cdef int check_codes(self, const uint8_t[::1] codes, int64_t n_rows, Py_ssize_t plane) except -1:
        """Refuse codes that would make a walk read or write outside its arrays."""
        if codes.shape[0] != self.n_bytes(n_rows):
            raise ValueError(f"expected {self.n_bytes(n_rows)} bytes of codes for {n_rows} rows, got {codes.shape[0]}")
        if plane > 0 and plane >= self.forest.n_planes:
            raise ValueError(f"expected a plane below {self.forest.n_planes}, got {plane}")
        return 0


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
