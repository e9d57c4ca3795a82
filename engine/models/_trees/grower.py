"""Growing one tree, level by level: reduce histograms, choose splits, partition rows.

Per level, ranks talk in three places: the reduction of histograms (:mod:`engine.models._trees.histograms`), the choice among the columns'
owners, and the rows of each child, which decide whose histogram is built and whose is its parent's minus its sibling's. Once per tree
they add up the leaves' full sums, from which the other nodes' follow.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine._kernels.histogram import cut_chunks
from engine._kernels.leaves import sum_leaves
from engine._kernels.nodes import OFFER, make_children, take_best
from engine._kernels.pairs import search_pairs
from engine._kernels.partition import QUESTION, ask_questions, assign_leaves, partition_rows
from engine._kernels.splits import CATEGORY, NUMBER, PARTITION, expand_siblings, find_best_splits
from engine.collectives.communicator import Communicator
from engine.encode.bins import BinMatrix
from engine.models._trees.ensemble import LEAF
from engine.models._trees.grown import MIN_GAIN, Cuts, GrownTree, GrowthOptions, LeafValues, Level, choose_best_first, finish_tree
from engine.models._trees.histograms import NO_ROWS, HistogramBuilder, Ints
from engine.models._trees.lanes import Fit, Gradients, Lanes, choose_lanes

NO_DIRECTIONS = np.empty(0, dtype=np.int8)
Leaves = NDArray[np.uint16] | NDArray[np.uint32]
MOST_SHORT = 65_535  # leaves that 16 bits number, one number more standing for none
HISTOGRAM_BYTES = 1 << 30  # histograms of a level above this are not kept for subtraction
BATCH_BYTES = 1 << 22  # of histograms that a rank searches as soon as they are there, while a cache has them
FEWEST_PAIRS = 4  # of children in a batch, however many bytes they take
PAIR_BYTES = 1 << 20  # of a pair's histograms that a thread builds and searches alone, while its cache has them
SHARE_PAIRS = 2  # largest pairs that a thread's share of the work has room for where threads take whole pairs: else they would wait
SEARCHED_CODE = 3  # rows of a column that are added up while a code of a pair is searched
CACHED_BYTES = 1 << 23  # of a level's histograms that are worth keeping whatever it costs to build them anew
ROWS_A_CODE = 4  # a code of a column and node: to add up fewer is faster than to keep the parent's histogram in memory and subtract from it


def pairs_at_once(pair_bytes: int, n_ranks: int) -> int:
    """Pairs of children whose histograms are reduced and searched together: a batch for every rank, and enough pairs for threads to share.

    The same on all ranks, whose threads may differ in number: they reduce as often.
    """
    return max(1, min(HISTOGRAM_BYTES, max(n_ranks * BATCH_BYTES, FEWEST_PAIRS * pair_bytes)) // pair_bytes)


class Pairs(NamedTuple):
    """Pairs of children whose splits are to be found, and room for what this rank offers."""

    rows: NDArray[np.uint32]  # this rank's, in the order of nodes
    nodes: NDArray[np.void]  # [2 n_pairs]
    smaller: Ints  # [n_pairs], the child with fewer rows
    kept: Ints | None  # histograms of the level above, unless both children are built
    parent: Ints  # [n_pairs], each pair's among those
    offer: NDArray[np.void]
    subset: NDArray[np.uint64]


class TreeGrower:
    """Grows trees on one set of binned rows; holds the order of rows by leaf of the last tree grown."""

    def __init__(
        self, bins: BinMatrix, options: GrowthOptions, *, first_row: int, n_rows: int, num_threads: int, comm: Communicator
    ) -> None:
        self.bins, self.options, self.first_row, self.n_rows = bins, options, first_row, n_rows
        self.num_threads, self.comm = num_threads, comm
        self.histograms = HistogramBuilder(bins, num_threads=num_threads, comm=comm)
        own = self._own = slice(self.histograms.columns.start, self.histograms.columns.stop)
        category = PARTITION if options.partition else CATEGORY
        kind = np.array([category if spec.n_categories else NUMBER for spec in bins.specs], dtype=np.uint8)
        self._n_words = max([-(-spec.n_categories // 64) for spec in bins.specs], default=0) if options.partition else 0
        self._missing_code = np.array([spec.n_codes - 1 if spec.has_missing else -1 for spec in bins.specs], dtype=np.int32)
        self._question = np.zeros(len(bins.specs), dtype=QUESTION)  # what each column asks, but for the code
        self._question["position"], self._question["is_wide"] = bins.position, bins.is_wide
        self._question["low"], self._question["high"] = np.where(kind == CATEGORY, -1, 0), np.where(kind == PARTITION, -1, 0)
        self._question["subset"] = np.where(kind == PARTITION, 0, -1)
        self._cuts = Cuts(bins.specs)
        self._own_kind = kind[own]
        self._own_monotone = NO_DIRECTIONS if options.monotone is None else np.ascontiguousarray(options.monotone[own])
        self._all_columns = np.ones(len(bins.specs), dtype=np.uint8)
        self._own_has_missing = (self._missing_code[own] >= 0).astype(np.uint8)
        # rows by node: a level's splits read one of these and write the other, where leaves of the level before last stay
        self._orders = np.empty((2, bins.n_rows_local), dtype=np.uint32)
        self._leaf = np.empty(2 * bins.n_rows_local, dtype=np.uint16)
        self.leaf: Leaves = self._leaf[: bins.n_rows_local]

    def grow(
        self, gradients: Gradients, *, key: int, rows: NDArray[np.uint32] | None = None, columns: NDArray[np.uint8] | None = None
    ) -> GrownTree:
        """Grow a tree on all ranks' rows; collective. ``key`` numbers the tree in what is rounded at random.

        ``rows``: this rank's part of a sample, ascending; None takes all rows. ``columns`` [n_encoded_columns]: 0 for those that no
        split may use.
        """
        self._own_columns = (self._all_columns if columns is None else columns)[self._own]
        fit = Fit(gradients, choose_lanes(gradients, self.n_rows), key)
        self.histograms.begin_tree(fit, self.first_row)
        self._sample = NO_ROWS if rows is None else rows
        self._n_rows_local = self.bins.n_rows_local if rows is None else len(rows)
        n_rows = np.full(1, self.n_rows if rows is None else len(rows))
        if rows is not None:
            self.comm.allreduce_sum(n_rows, name="count rows of the sample")
        level = Level.leaves(1, n_words=self._n_words)
        level.nodes["end"], level.nodes["n_rows"] = self._n_rows_local, n_rows
        hist = self.histograms.reduce_histograms(self._sample, level.nodes["begin"], level.nodes["end"])
        offer, subset = self._make_offers(1)
        self._search(hist, level.nodes, fit.lanes, offer, subset)
        self._agree_on_splits(level, offer, subset)
        kept: Ints | None = hist.copy()
        levels = [level]
        for depth in range(1, self.options.max_depth + 1):
            if self.options.max_leaves is not None:
                chosen = choose_best_first(np.concatenate([level.nodes for level in levels]), self.options.max_leaves)
                level.nodes["column"][~chosen[-len(level.nodes) :]] = -1
            if depth == self.options.max_depth or not level.is_split.any():
                break
            level, kept = self._grow_level(level, kept, fit.lanes, depth)
            levels.append(level)
        n_leaves = self._number_leaves(levels)
        return finish_tree(levels, self._reduce_leaf_sums(n_leaves, gradients), self._cuts, gradients, self.options)

    def _rows_at(self, depth: int) -> NDArray[np.uint32]:
        """This rank's rows in the order of the nodes at ``depth``, leaves above left out; of length 0 for all rows in order."""
        return self._sample if depth == 0 else self._orders[depth % 2, : self._n_rows_local]

    def leaf_values(self, tree: GrownTree) -> LeafValues:
        """What the last tree adds to this rank's rows, 0 at those that it was not grown on; until the next tree is grown."""
        return LeafValues(self.leaf, np.append(tree.value[tree.leaf_node], 0.0))

    def leaf_rows(self, tree: GrownTree) -> tuple[NDArray[np.uint32], Ints, Ints]:
        """This rank's rows in the leaves of the last tree, leaf after leaf, and where each leaf's begin and end among them."""
        node = np.append(tree.leaf_node, len(tree.kind))[self.leaf]
        rows = np.argsort(node, kind="stable").astype(np.uint32)
        begin, end = (np.searchsorted(node[rows], np.flatnonzero(tree.kind == LEAF), side=side) for side in ("left", "right"))
        return rows, begin, end

    def _grow_level(self, parents: Level, kept: Ints | None, lanes: Lanes, depth: int) -> tuple[Level, Ints | None]:
        """Split the parents' rows, choose the children's splits, and return them with their histograms, None if there is no room or use.

        Collective.
        """
        split = parents.is_split.nonzero()[0]
        children, smaller = self._split_rows(parents, split, depth)
        pairs = Pairs(self._rows_at(depth), children.nodes, smaller, kept, split, *self._make_offers(len(children.nodes)))
        pair_bytes = max(1, 2 * self.histograms.node_bytes)
        keep = depth + 1 < self.options.max_depth and self._subtracts(children, len(split) * pair_bytes)
        room = "odd" if depth % 2 else "even"
        work = self._work_of(pairs)
        if self.comm.size == 1 and pair_bytes <= PAIR_BYTES and SHARE_PAIRS * self.num_threads * work.max() <= work.sum():
            hist = self.histograms.kept_nodes(room, 2 * len(split) if keep else 0)
            self._search_pairs(pairs, np.argsort(-work, kind="stable"), lanes, hist)
        else:
            batch = pairs_at_once(pair_bytes, self.comm.size)
            hist = self.histograms.kept_nodes(room, 2 * (len(split) if keep else min(batch, len(split))))
            self._search_batches(pairs, lanes, batch, keep, hist)
        self._agree_on_splits(children, pairs.offer, pairs.subset)
        return children, hist if keep else None

    def _work_of(self, pairs: Pairs) -> Ints:
        """What it takes to build and search the histograms of each pair, in additions to a code."""
        n_rows = pairs.nodes["n_rows"]
        built = n_rows[0::2] + n_rows[1::2] if pairs.kept is None else n_rows[pairs.smaller]
        return built * len(self.bins.specs) + SEARCHED_CODE * (self.histograms.node_bytes // 16)

    def _search_pairs(self, pairs: Pairs, order: Ints, lanes: Lanes, hist: Ints) -> None:
        """Find the best splits of many pairs, one pair a thread; their histograms go to ``hist`` unless it is empty. On one rank alone."""
        nodes, kept = pairs.nodes, hist[:0] if pairs.kept is None else pairs.kept
        search_pairs(
            *self.histograms.pack_source(), pairs.rows, order, nodes["begin"], nodes["end"], pairs.smaller, kept, pairs.parent, hist,
            *self._rules(nodes, lanes), pairs.offer, pairs.subset, self.num_threads,
        )  # fmt: skip

    def _search_batches(self, pairs: Pairs, lanes: Lanes, batch: int, keep: bool, both: Ints) -> None:
        """Reduce the histograms of ``batch`` pairs at a time, while a cache of every rank has them, and find their best splits; collective.

        They stay in ``both`` if it is to ``keep`` them; it has room for a batch at least.
        """
        for first in range(0, len(pairs.smaller), batch):
            part = slice(first, min(first + batch, len(pairs.smaller)))
            nodes = slice(2 * first, 2 * part.stop)
            build = np.arange(nodes.start, nodes.stop) if pairs.kept is None else pairs.smaller[part]
            hist = self.histograms.reduce_histograms(pairs.rows, pairs.nodes["begin"][build], pairs.nodes["end"][build])
            if pairs.kept is not None:
                small, hist = hist, both[nodes] if keep else both[: nodes.stop - nodes.start]
                self._expand_siblings(pairs.kept, pairs.parent[part], small, build - nodes.start, hist)
            elif keep:
                both[nodes] = hist
            self._search(hist, pairs.nodes[nodes], lanes, pairs.offer[nodes], pairs.subset[nodes])

    def _subtracts(self, level: Level, level_bytes: int) -> bool:
        """Whether children of a level's nodes are had by subtraction from its histograms, of ``level_bytes``; the same on all ranks."""
        if level_bytes > HISTOGRAM_BYTES:
            return False
        if level_bytes <= CACHED_BYTES or self.comm.size > 1:  # ranks would have twice as much to tell each other
            return True
        codes, added = self.histograms.node_bytes // 16, int(level.nodes["n_rows"].sum()) * len(self.bins.specs)
        return added > ROWS_A_CODE * 2 * len(level.nodes) * codes

    def _split_rows(self, parents: Level, split: Ints, depth: int) -> tuple[Level, Ints]:
        """Partition this rank's rows into nodes at ``depth``; children come in pairs, yes before no. Collective: counts all ranks' rows.

        Returns with them the child of each pair that has fewer rows.
        """
        asking = parents.nodes[split]
        n_yes = np.empty((2, len(split)), dtype=np.int64)
        partition_rows(
            self._rows_at(depth - 1), self._rows_at(depth), *cut_chunks(asking["begin"], asking["end"], self.num_threads),
            self.bins.narrow, self.bins.wide, self._questions(parents, split), parents.subset[split], n_yes[0], self.num_threads,
        )  # fmt: skip
        n_yes[1] = n_yes[0]
        self.comm.allreduce_sum(n_yes[1], name="count rows of children")
        children = Level.leaves(2 * len(split), n_words=self._n_words)
        smaller = np.empty(len(split), dtype=np.int64)
        make_children(parents.nodes, split, n_yes[0], n_yes[1], children.nodes, smaller)
        self._bound(children, parents, split)
        return children, smaller

    def _bound(self, children: Level, parents: Level, split: Ints) -> None:
        """Set the bounds on the children's weights, if any column has a direction."""
        if self.options.monotone is not None:
            bound_children(children.nodes, parents.nodes[split], self.options.monotone)

    def _questions(self, level: Level, which: Ints) -> NDArray[np.void]:
        """What nodes ask their rows, for the kernels."""
        asked = np.empty(len(which), dtype=QUESTION)
        ask_questions(level.nodes, which, self._question, self._missing_code, asked)
        return asked

    def _number_leaves(self, levels: list[Level]) -> int:
        """Number the leaf of every row, level by level, and return how many there are.

        Children of the greatest depth, which are leaves, become a last level.
        """
        ends = [(~level.is_split).nonzero()[0] for level in levels]
        last, split = levels[-1], levels[-1].is_split.nonzero()[0]
        n_leaves = sum(map(len, ends)) + 2 * len(split)
        self.leaf = self._leaf.view(np.uint32) if n_leaves > MOST_SHORT else self._leaf[: self.bins.n_rows_local]
        if self._n_rows_local < len(self.leaf):
            self.leaf.fill(n_leaves)
        first = 0
        for depth, (level, which) in enumerate(zip(levels, ends, strict=True)):
            if len(which):
                self._number(depth, level, which, np.full(len(which), -1, dtype=QUESTION), first + np.arange(len(which)))
            first += len(which)
        if len(split):
            self._number(len(levels) - 1, last, split, self._questions(last, split), first + 2 * np.arange(len(split)))
            levels.append(Level.leaves(2 * len(split), n_words=self._n_words))
            self._bound(levels[-1], last, split)
        return n_leaves

    def _number(self, depth: int, level: Level, which: Ints, questions: NDArray[np.void], number: Ints) -> None:
        """Number the rows of the nodes ``which``: as ``number``, or one more if they say no."""
        asking = level.nodes[which]
        chunks, tasks = cut_chunks(asking["begin"], asking["end"], self.num_threads)
        rows, subset = self._rows_at(depth), level.subset[which]
        assign_leaves(rows, chunks, tasks, self.bins.narrow, self.bins.wide, questions, subset, number, self.leaf, self.num_threads)

    def _reduce_leaf_sums(self, n_leaves: int, gradients: Gradients) -> Ints:
        """Full sums of all leaves from all ranks' rows, [n_leaves, 4] limbs; collective."""
        sums = np.zeros((n_leaves, 4), dtype=np.int64)
        sum_leaves(gradients.values, gradients.hessian, self.leaf, sums, self.num_threads)
        self.comm.allreduce_sum(sums, name="sum leaves")
        return sums

    def _expand_siblings(self, parents: Ints, parent: Ints, small: Ints, place: Ints, out: Ints) -> None:
        """Histograms of pairs of children: the built ones at their places, their siblings by subtraction."""
        expand_siblings(parents, parent, small, place, self.histograms.column_start, self._own_columns, out, self.num_threads)

    def _make_offers(self, n: int) -> tuple[NDArray[np.void], NDArray[np.uint64]]:
        """Room for the splits that this rank offers for n nodes, and for the sets of categories that say yes."""
        return np.empty(n, dtype=OFFER), np.zeros((n, self._n_words), np.uint64)

    def _rules(self, nodes: NDArray[np.void], lanes: Lanes) -> tuple[Any, ...]:
        """How the best splits of nodes are found by this rank's own columns, for the kernels."""
        return (
            self.histograms.column_start, self._own_kind, self._own_has_missing, self._own_columns, self._own_monotone,
            nodes["lower"], nodes["upper"], lanes.g_unit, lanes.h_unit, self.options.reg_lambda, self.options.reg_alpha,
            self.options.min_child_weight, MIN_GAIN, self._own.start,
        )  # fmt: skip

    def _search(self, hist: Ints, nodes: NDArray[np.void], lanes: Lanes, offer: NDArray[np.void], subset: NDArray[np.uint64]) -> None:
        """Find the best splits of nodes from their histograms."""
        find_best_splits(hist, *self._rules(nodes, lanes), offer, subset, self.num_threads)

    def _agree_on_splits(self, level: Level, offer: NDArray[np.void], subset: NDArray[np.uint64]) -> None:
        """Set the best split of every node: each rank offers what it has found, and all compare. Collective."""
        winner = np.empty(len(level.nodes), dtype=np.int64)
        # ranks own ascending columns, so the first of equal gains is the lowest column; no split counts as MIN_GAIN, below any split
        take_best(self.comm.stack(offer, name="choose splits"), level.nodes, winner)
        if self._n_words:
            subset[winner != self.comm.rank] = 0
            self.comm.allreduce_sum(subset, name="choose sets of categories")
            level.subset[:] = subset


def bound_children(children: NDArray[np.void], parents: NDArray[np.void], monotone: NDArray[np.int8]) -> None:
    """Bounds on the children's weights: their parents', and between two children that must be in order the mean of their weights."""
    direction, middle = monotone[parents["column"]], parents["middle"]
    for name, side in (("lower", -1), ("upper", 1)):
        bound = parents[name]
        children[name][0::2] = np.where(direction == side, middle, bound)  # yes
        children[name][1::2] = np.where(direction == -side, middle, bound)  # no
