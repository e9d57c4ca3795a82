"""Growing one tree, level by level: reduce histograms, choose splits, partition rows.

Per level, ranks talk in three places: the reduction of histograms (:mod:`engine.models._trees.histograms`), the choice among the columns'
owners, and the rows of each child, which decide whose histogram is built and whose is its parent's minus its sibling's. Once per tree
they add up the leaves' full sums, from which the other nodes' follow.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine._kernels.gradients import add_leaf_values
from engine._kernels.histogram import cut_chunks, sum_gradients
from engine._kernels.partition import partition_rows
from engine._kernels.splits import expand_siblings, find_best_splits
from engine.collectives.communicator import Communicator
from engine.collectives.exact import normalize_limbs
from engine.encode.bins import BinMatrix
from engine.models._trees.grown import MIN_GAIN, GrownTree, GrowthOptions, Level, finish_tree
from engine.models._trees.histograms import NO_ROWS, HistogramBuilder, Ints
from engine.models._trees.lanes import Fit, Gradients, Lanes, choose_lanes

HISTOGRAM_BYTES = 1 << 30  # histograms of a level above this are built in batches, and not kept for subtraction


class TreeGrower:
    """Grows trees on one set of binned rows; holds the order of rows by leaf of the last tree grown."""

    def __init__(
        self, bins: BinMatrix, options: GrowthOptions, *, first_row: int, n_rows: int, num_threads: int, comm: Communicator
    ) -> None:
        self.bins, self.options, self.first_row, self.n_rows = bins, options, first_row, n_rows
        self.num_threads, self.comm = num_threads, comm
        self.histograms = HistogramBuilder(bins, num_threads=num_threads, comm=comm)
        own = slice(self.histograms.columns.start, self.histograms.columns.stop)
        self._is_category = np.array([spec.n_categories > 0 for spec in bins.specs], dtype=np.uint8)
        self._missing_code = np.array([spec.n_codes - 1 if spec.has_missing else -1 for spec in bins.specs], dtype=np.int32)
        self._own_is_category = self._is_category[own]
        self._own_has_missing = (self._missing_code[own] >= 0).astype(np.uint8)
        self._in_order = np.arange(bins.n_rows_local, dtype=np.uint32)
        self.rows = np.empty(bins.n_rows_local, dtype=np.uint32)
        self._scratch = np.empty(bins.n_rows_local, dtype=np.uint32)

    def grow(
        self, gradients: Gradients, *, key: int, rows: NDArray[np.uint32] | None = None, columns: NDArray[np.uint8] | None = None
    ) -> GrownTree:
        """Grow a tree on all ranks' rows; collective. ``key`` numbers the tree in what is rounded at random.

        ``rows``: this rank's rows of the sample, ascending; None for all. ``columns``: which may be asked, [n_columns]; None for all.
        """
        fit = Fit(gradients, choose_lanes(gradients, self.n_rows), key)
        self.histograms.begin_tree(fit, self.first_row)
        sample = self._in_order if rows is None else rows
        self.rows[: len(sample)] = sample
        n_rows = np.array([len(sample)])
        self.comm.allreduce_sum(n_rows, name="count rows of the sample")
        self._left_out = np.zeros(0, np.int64) if columns is None else np.flatnonzero(columns[self.histograms.columns] == 0)
        begin, end = np.zeros(1, dtype=np.int64), np.full(1, len(sample), dtype=np.int64)
        level = Level.leaves(begin, end, n_rows)
        hist = self.histograms.reduce_histograms(NO_ROWS if rows is None else self.rows, begin, end)
        self._choose_splits(level, slice(None), hist, fit.lanes)
        kept: Ints | None = hist.copy()
        levels = [level]
        for depth in range(1, self.options.max_depth + 1):
            if not (level.column >= 0).any():
                break
            level, kept = self._grow_level(level, kept, fit.lanes, depth)
            levels.append(level)
        self._reduce_sums(levels, gradients)
        return finish_tree(levels, self.bins.specs, gradients, self.options)

    def add_leaf_values(self, tree: GrownTree, scores: NDArray[np.float64]) -> None:
        """Add the last tree's leaves to this rank's ``scores`` [n_rows_local]."""
        add_leaf_values(self.rows, tree.leaf_begin, tree.leaf_end, tree.leaf_value, scores, self.num_threads)

    def _grow_level(self, parents: Level, kept: Ints | None, lanes: Lanes, depth: int) -> tuple[Level, Ints | None]:
        """Split the parents' rows, choose the children's splits, and return them with their histograms, None if there is no room."""
        split = np.flatnonzero(parents.column >= 0)
        children = self._split_rows(parents, split)
        if depth == self.options.max_depth:
            return children, None
        small = np.arange(len(split)) * 2 + (2 * children.n_rows[0::2] > parents.n_rows[split])
        per_batch = max(1, HISTOGRAM_BYTES // max(1, 2 * self.histograms.node_bytes))
        fits = len(split) <= per_batch
        hist: Ints | None = None
        for first in range(0, len(split), per_batch):
            pairs = slice(first, min(first + per_batch, len(split)))
            nodes = slice(2 * first, 2 * pairs.stop)
            build = np.arange(nodes.start, nodes.stop) if kept is None else small[pairs]
            hist = self.histograms.reduce_histograms(self.rows, children.begin[build], children.end[build])
            if kept is not None:
                hist = self._expand_siblings(kept, split[pairs], hist, build - nodes.start, name="odd" if depth % 2 else "even")
            elif fits:
                hist = hist.copy()
            self._choose_splits(children, nodes, hist, lanes)
        return children, hist if fits else None

    def _split_rows(self, parents: Level, split: Ints) -> Level:
        """Partition this rank's rows; children come in pairs, yes before no. Collective: counts the rows of all ranks."""
        begin, end, column = parents.begin[split], parents.end[split], parents.column[split]
        code = parents.code[split]
        n_yes = np.zeros(len(split), dtype=np.int64)
        partition_rows(
            self.rows, self._scratch, cut_chunks(begin, end), self.bins.narrow, self.bins.wide, self.bins.is_wide[column],
            self.bins.position[column], code * self._is_category[column], code,
            np.where(parents.missing_yes[split] == 1, self._missing_code[column], np.int32(-1)), n_yes, self.num_threads,
        )  # fmt: skip
        middle = begin + n_yes
        self.comm.allreduce_sum(n_yes, name="count rows of children")
        return Level.leaves(
            begin=interleave(begin, middle),
            end=interleave(middle, end),
            n_rows=interleave(n_yes, parents.n_rows[split] - n_yes),
        )

    def _reduce_sums(self, levels: list[Level], gradients: Gradients) -> None:
        """Full sums of all nodes: those of leaves from their rows, those of others from their children; collective."""
        leaves = [level.column < 0 for level in levels]
        begin, end = (
            np.concatenate([getattr(level, name)[leaf] for level, leaf in zip(levels, leaves, strict=True)]) for name in ("begin", "end")
        )
        sums = np.zeros((len(begin), 4), dtype=np.int64)
        sum_gradients(gradients.values, self.rows, cut_chunks(begin, end), sums, self.num_threads)
        self.comm.allreduce_sum(sums, name="sum leaves")
        normalize_limbs(sums)
        children = sums[:0]
        for level, leaf in zip(reversed(levels), reversed(leaves), strict=True):
            at = len(sums) - int(leaf.sum())
            level.sums[leaf] = sums[at:]
            level.sums[~leaf] = normalize_limbs(children[0::2] + children[1::2])
            children, sums = level.sums, sums[:at]

    def _expand_siblings(self, parents: Ints, parent: Ints, small: Ints, place: Ints, *, name: str) -> Ints:
        """Histograms of pairs of children: the built ones at their places, their siblings by subtraction. ``name``: of the buffer."""
        both = self.histograms.buffer(name, 2 * small.size).reshape(2 * len(small), *small.shape[1:])
        flat = [hist.reshape(len(hist), hist[:1].size) for hist in (parents, small, both)]
        expand_siblings(flat[0], parent, flat[1], place, flat[2], self.num_threads)
        return both

    def _choose_splits(self, level: Level, batch: slice, hist: Ints, lanes: Lanes) -> None:
        """Set the best split of every node of a batch: each rank searches its own columns, then all compare. Collective."""
        n = len(hist)
        for left_out in self._left_out.tolist():
            hist[:, self.histograms.column_start[left_out] : self.histograms.column_start[left_out + 1]] = 0
        gain, column, code, missing = np.empty(n), np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.uint8)
        find_best_splits(
            hist, self.histograms.column_start, self._own_is_category, self._own_has_missing, lanes.g_unit, lanes.h_unit,
            self.options.reg_lambda, self.options.min_child_weight, MIN_GAIN, gain, column, code, missing, self.num_threads,
        )  # fmt: skip
        offers = np.empty((n, 4))
        offers[:, 0] = gain
        offers[:, 1] = np.where(column >= 0, column + self.histograms.columns.start, -1)
        offers[:, 2], offers[:, 3] = code, missing
        gathered = self.comm.allgather(offers.reshape(-1), name="choose splits")
        best = offers
        if len(gathered) > 1:
            every = np.concatenate(gathered).reshape(-1, n, 4)
            # ranks own ascending columns, so the first of equal gains is the lowest column; no split counts as MIN_GAIN, below any split
            best = every[np.argmax(every[:, :, 0], axis=0), np.arange(n)]
        level.column[batch], level.code[batch], level.missing_yes[batch] = best[:, 1], best[:, 2], best[:, 3]


def interleave(yes: Ints, no: Ints) -> Ints:
    """``yes[0], no[0], yes[1], no[1], ...``."""
    out = np.empty(2 * len(yes), dtype=np.int64)
    out[0::2], out[1::2] = yes, no
    return out
