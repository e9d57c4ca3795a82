"""Growing one tree, level by level: reduce histograms, choose splits, partition rows.

Per level, ranks talk in three places: the reduction of histograms (:mod:`engine.models._trees.histograms`), the choice among the columns'
owners, and the rows of each child, which decide whose histogram is built and whose is its parent's minus its sibling's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine._kernels.gradients import add_leaf_values
from engine._kernels.histogram import cut_chunks, sum_gradients
from engine._kernels.partition import partition_rows
from engine._kernels.splits import expand_siblings, find_best_splits
from engine.collectives.communicator import Communicator
from engine.collectives.exact import limbs_to_floats, normalize_limbs
from engine.encode.bins import BinMatrix
from engine.models._trees.grown import MIN_GAIN, GrownTree, GrowthOptions, Level, finish_tree
from engine.models._trees.histograms import HistogramBuilder, Ints
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
        self.rows = self._in_order.copy()
        self._scratch = np.empty(bins.n_rows_local, dtype=np.uint32)

    def grow(self, gradients: Gradients, *, key: int) -> GrownTree:
        """Grow a tree on all ranks' rows; collective. ``key`` numbers the tree in what is rounded at random."""
        fit = Fit(gradients, choose_lanes(gradients, self.n_rows), key)
        self.rows[:] = self._in_order
        begin, end = np.zeros(1, dtype=np.int64), np.full(1, len(self.rows), dtype=np.int64)
        level = Level.leaves(begin, end, np.array([self.n_rows]), gradients.sums.reshape(1, 4))
        everything = self.rows[:0]
        hist, _ = self.histograms.reduce_histograms(fit, everything, begin, end, first_row=self.first_row)
        kept: Ints | None = hist.copy()
        self._choose_splits(level, slice(None), hist, fit.lanes)
        levels = [level]
        for depth in range(1, self.options.max_depth + 1):
            if not (level.column >= 0).any():
                break
            level, kept = self._grow_level(level, kept, fit, depth)
            levels.append(level)
        return finish_tree(levels, self.bins.specs, gradients, self.options)

    def add_leaf_values(self, tree: GrownTree, scores: NDArray[np.float64]) -> None:
        """Add the last tree's leaves to this rank's ``scores`` [n_rows_local]."""
        add_leaf_values(self.rows, tree.leaf_begin, tree.leaf_end, tree.leaf_value, scores, self.num_threads)

    def _grow_level(self, parents: Level, kept: Ints | None, fit: Fit, depth: int) -> tuple[Level, Ints | None]:
        """Split the parents' rows and choose the children's splits; parents with a child that is too light become leaves."""
        split = np.flatnonzero(parents.column >= 0)
        children = self._split_rows(parents, split)
        small = np.arange(len(split)) * 2 + (2 * children.n_rows[0::2] > parents.n_rows[split])
        if depth == self.options.max_depth:
            children.sums = self._reduce_sums(fit.gradients, children, parents.sums[split], small)
            return self._drop_light_children(parents, split, children, None, fit.gradients)
        per_batch = max(1, HISTOGRAM_BYTES // max(1, 2 * self.histograms.node_bytes))
        fits = len(split) <= per_batch
        hist: Ints | None = None
        for first in range(0, len(split), per_batch):
            pairs = slice(first, min(first + per_batch, len(split)))
            nodes = slice(2 * first, 2 * pairs.stop)
            if kept is None:
                built, children.sums[nodes] = self._reduce_histograms(fit, children, np.arange(nodes.start, nodes.stop))
                hist = built.copy() if fits else built
            else:
                built, sums = self._reduce_histograms(fit, children, small[pairs])
                place, parent = small[pairs] - nodes.start, split[pairs]
                children.sums[nodes] = pair_up(sums, normalize_limbs(parents.sums[parent] - sums), place)
                hist = self._expand_siblings(kept, parent, built, place, name="odd" if depth % 2 else "even")
            self._choose_splits(children, nodes, hist, fit.lanes)
        return self._drop_light_children(parents, split, children, hist if fits else None, fit.gradients)

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
            sums=np.zeros((2 * len(split), 4), dtype=np.int64),
        )

    def _reduce_sums(self, gradients: Gradients, children: Level, parent_sums: Ints, small: Ints) -> Ints:
        """Full sums of all children, from those of the smaller ones; collective."""
        sums = np.zeros((len(small), 4), dtype=np.int64)
        sum_gradients(gradients.values, self.rows, cut_chunks(children.begin[small], children.end[small]), sums, self.num_threads)
        self.comm.allreduce_sum(sums, name="sum leaves")
        return pair_up(sums, normalize_limbs(parent_sums - sums), small)

    def _reduce_histograms(self, fit: Fit, level: Level, nodes: Ints) -> tuple[Ints, Ints]:
        """Histograms and full sums of some of a level's nodes; collective."""
        return self.histograms.reduce_histograms(fit, self.rows, level.begin[nodes], level.end[nodes], first_row=self.first_row)

    def _expand_siblings(self, parents: Ints, parent: Ints, small: Ints, place: Ints, *, name: str) -> Ints:
        """Histograms of pairs of children: the built ones at their places, their siblings by subtraction. ``name``: of the buffer."""
        both = self.histograms.buffer(name, 2 * small.size).reshape(2 * len(small), *small.shape[1:])
        flat = [hist.reshape(len(hist), hist[:1].size) for hist in (parents, small, both)]
        expand_siblings(flat[0], parent, flat[1], place, flat[2], self.num_threads)
        return both

    def _choose_splits(self, level: Level, batch: slice, hist: Ints, lanes: Lanes) -> None:
        """Set the best split of every node of a batch: each rank searches its own columns, then all compare. Collective."""
        n = len(hist)
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

    def _drop_light_children(
        self, parents: Level, split: Ints, children: Level, hist: Ints | None, gradients: Gradients
    ) -> tuple[Level, Ints | None]:
        """Turn parents into leaves where a child's full hessian sum is below min_child_weight; lanes only estimated it."""
        weight = limbs_to_floats(children.sums[:, 2:]) * gradients.h_unit
        light = (weight < self.options.min_child_weight).reshape(-1, 2).any(axis=1)
        if not light.any():
            return children, hist
        parents.column[split[light]] = -1
        stay = np.repeat(~light, 2)
        kept = Level(*(getattr(children, name)[stay] for name in children.__dataclass_fields__))
        return kept, hist[stay] if hist is not None else None


def interleave(yes: Ints, no: Ints) -> Ints:
    """``yes[0], no[0], yes[1], no[1], ...``."""
    out = np.empty(2 * len(yes), dtype=np.int64)
    out[0::2], out[1::2] = yes, no
    return out


def pair_up(small: Ints, large: Ints, places: Ints) -> Ints:
    """Put ``small[k]`` at ``places[k]``, one of 2 k and 2 k + 1, and ``large[k]`` at the other."""
    out = np.empty((2 * len(small), *small.shape[1:]), dtype=small.dtype)
    out[places] = small
    out[places ^ 1] = large
    return out
