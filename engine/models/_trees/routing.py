"""Rows sent down trees by their bin codes: rows outside a tree's sample, validation rows, and all rows when training is resumed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine._kernels.binning import bin_values
from engine._kernels.routing import add_tree_values
from engine.encode.bins import BinMatrix, BinSpec, index_thresholds, place_columns
from engine.encode.encoding import Encoding
from engine.models._trees.ensemble import LEAF, NUMERIC, SUBSET, TreeEnsemble
from engine.models._trees.grown import GrownTree

NO_ROWS = np.empty(0, dtype=np.uint32)


@dataclass(frozen=True)
class RowCodes:
    """Rows as bin codes by column: narrow ones [n_narrow, n_rows], wide ones [n_wide, n_rows]; the rest is [n_columns]."""

    narrow: NDArray[np.uint8]
    wide: NDArray[np.uint16]
    is_wide: NDArray[np.uint8]
    position: NDArray[np.int32]
    missing_code: NDArray[np.int32]  # -1 where no row has it missing

    @classmethod
    def of_bins(cls, bins: BinMatrix) -> RowCodes:
        """The codes of training rows, shared with them."""
        missing_code = np.array([spec.n_codes - 1 if spec.has_missing else -1 for spec in bins.specs], dtype=np.int32)
        return cls(bins.narrow, bins.wide, bins.is_wide, bins.position, missing_code)


def encode_codes(table: pa.Table, encoding: Encoding, specs: Sequence[BinSpec], *, num_threads: int) -> RowCodes:
    """Other rows by the bins of training: a code more in every column stands for missing numbers and for categories not seen there."""
    n_codes = np.array([(spec.n_categories or len(spec.thresholds) + 1) + 1 for spec in specs], dtype=np.int64)
    is_wide, position = place_columns(n_codes.tolist())
    narrow = np.empty((int((~is_wide).sum()), table.num_rows), dtype=np.uint8)
    wide = np.empty((int(is_wide.sum()), table.num_rows), dtype=np.uint16)
    for j, values in enumerate(encoding.values(table)):
        out = (wide if is_wide[j] else narrow)[position[j]]
        if specs[j].n_categories:
            out[:] = np.where(values < 0, n_codes[j] - 1, values)
        else:
            bin_values(values, *index_thresholds(specs[j].thresholds, values.dtype), int(n_codes[j]) - 1, out, num_threads)
    has_missing = [spec.n_categories == 0 for spec in specs]
    return RowCodes(narrow, wide, is_wide.astype(np.uint8), position, np.where(has_missing, n_codes - 1, -1).astype(np.int32))


class Router:
    """Adds trees to the scores of one set of rows."""

    def __init__(self, codes: RowCodes, *, num_threads: int) -> None:
        self.codes, self._num_threads = codes, num_threads

    def add(self, tree: GrownTree, scores: NDArray[np.float64], rows: NDArray[np.uint32] | None = None) -> None:
        """Add the value of its leaf to the score of every row, or of ``rows``; ``scores``: [n_rows]."""
        codes = self.codes
        code = np.where(tree.kind == SUBSET, tree.threshold, tree.code).astype(np.int32)
        add_tree_values(
            codes.narrow, codes.wide, codes.is_wide, codes.position, codes.missing_code, tree.kind, tree.column, code, tree.missing_yes,
            tree.yes, tree.no, tree.value, tree.set_start, tree.set_bits, NO_ROWS if rows is None else rows, rows is None, scores,
            self._num_threads,
        )  # fmt: skip


def take_apart(ensemble: TreeEnsemble, specs: Sequence[BinSpec]) -> list[GrownTree]:
    """The trees of an ensemble that was grown on these bins, as they were then, without the rows of their leaves."""
    return [_take_tree(ensemble, specs, tree) for tree in range(ensemble.n_trees)]


def _take_tree(ensemble: TreeEnsemble, specs: Sequence[BinSpec], tree: int) -> GrownTree:
    nodes = slice(*ensemble.tree_start[tree : tree + 2].tolist())
    kind, column, threshold = ensemble.kind[nodes], ensemble.column[nodes], ensemble.threshold[nodes].copy()
    sets = threshold[kind == SUBSET].astype(np.int64)
    first, last = (int(sets.min()), int(sets.max()) + 1) if len(sets) else (0, 0)
    threshold[kind == SUBSET] -= first
    words = slice(*ensemble.set_start[[first, last]].tolist())
    return GrownTree(
        kind=kind,
        column=column,
        code=codes_of(kind, column, threshold, specs),
        threshold=threshold,
        missing_yes=ensemble.missing_yes[nodes],
        yes=ensemble.yes[nodes],
        no=ensemble.no[nodes],
        value=ensemble.value[nodes],
        gain=ensemble.gain[nodes],
        cover=ensemble.cover[nodes],
        set_start=ensemble.set_start[first : last + 1] - ensemble.set_start[first],
        set_bits=ensemble.set_bits[words],
        leaf_node=np.empty(0, dtype=np.int64),
    )


def codes_of(
    kind: NDArray[np.uint8], column: NDArray[np.int32], threshold: NDArray[np.float64], specs: Sequence[BinSpec]
) -> NDArray[np.int32]:
    """The bin code of every node's split: thresholds are found among the column's own, of which infinity is the one after the last."""
    code = np.full(len(kind), -1, dtype=np.int32)
    for node in np.flatnonzero(kind != LEAF).tolist():
        among = specs[column[node]].thresholds
        code[node] = np.searchsorted(among, threshold[node]) if kind[node] == NUMERIC else threshold[node]
    return code
