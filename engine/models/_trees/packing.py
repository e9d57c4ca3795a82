"""Trees over small codes instead of numbers: a row's values are looked up once among the ensemble's own thresholds, not in every tree."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine._kernels.prediction import PackedTrees
from engine.models._trees.ensemble import CATEGORY, LEAF, NUMERIC, SUBSET, TreeEnsemble

Floats = NDArray[np.float64]
ALL_ONES = np.uint64(0xFFFF_FFFF_FFFF_FFFF)


@dataclass(frozen=True)
class CodedColumn:
    """How a column's values become codes: their place among ``thresholds``, or the number of one of ``n_known`` categories.

    ``low``: the plane of the splits that missing values answer with yes, ``high`` of those that they answer with no, -1 where there are
    none; all categories are in plane ``high``.
    """

    low: int
    high: int
    thresholds: Floats | None
    n_known: int

    @property
    def largest(self) -> int:
        """The largest code."""
        return self.n_known + 1 if self.thresholds is None else len(self.thresholds)


class CodedTrees:
    """An ensemble whose splits compare codes, packed for the kernels; its columns' codes are made on the way."""

    def __init__(self, ensemble: TreeEnsemble) -> None:
        plane = np.full(len(ensemble.kind), -1, dtype=np.int32)
        limit = np.zeros(len(ensemble.kind), dtype=np.int32)
        kind = ensemble.kind.copy()
        words = [np.array([ALL_ONES])]
        n_planes, self.columns = 0, dict[int, CodedColumn]()
        inner = np.flatnonzero(kind != LEAF)
        order = inner[np.argsort(ensemble.column[inner], kind="stable")]
        for nodes in np.split(order, np.flatnonzero(np.diff(ensemble.column[order])) + 1) if len(order) else []:
            if (kind[nodes] == NUMERIC).all():
                coded, limit[nodes] = code_thresholds(ensemble.threshold[nodes], ensemble.missing_yes[nodes], n_planes)
            elif (kind[nodes] == NUMERIC).any():
                raise ValueError(f"column {int(ensemble.column[nodes[0]])} is split as a number and as a category")
            else:
                coded = code_categories(ensemble, nodes, n_planes, kind=kind, limit=limit, words=words)
            plane[nodes] = np.where(ensemble.missing_yes[nodes], coded.low, coded.high) if coded.low >= 0 else coded.high
            n_planes = max(coded.low, coded.high) + 1
            self.columns[int(ensemble.column[nodes[0]])] = coded
        largest = max((coded.largest for coded in self.columns.values()), default=0)
        bits = 8 if largest < 1 << 8 else 16 if largest < 1 << 16 else 32
        trees = ensemble.tree_start, kind, plane, limit, ensemble.yes, ensemble.no, ensemble.value
        self.packed = PackedTrees(bits, max(1, n_planes), *trees, np.concatenate(words))

    def add_values(self, columns: Iterable[Floats], out: Floats) -> None:
        """Add the leaves of every row to ``out`` [n, n_outputs], in tree order. ``columns``: the encoded ones, [n] each."""
        self.packed.add_values(self.codes(columns, len(out)), out)

    def store_leaves(self, columns: Iterable[Floats], out: NDArray[np.int32]) -> None:
        """Set ``out`` [n, n_trees] to the numbers of the rows' leaves. ``columns``: the encoded ones, [n] each."""
        self.packed.store_leaves(self.codes(columns, len(out)), out)

    def codes(self, columns: Iterable[Floats], n_rows: int) -> NDArray[np.uint8]:
        """Codes of the encoded ``columns``, each [n_rows], as the kernels take them."""
        codes = np.zeros(self.packed.n_bytes(n_rows), dtype=np.uint8)
        n_columns = 0
        for number, values in enumerate(columns):
            n_columns += 1
            coded = self.columns.get(number)
            if coded is None:
                continue
            if coded.thresholds is None:
                self.packed.code_categories(values, coded.n_known, coded.high, codes)
            else:
                self.packed.code_numbers(values, coded.thresholds, coded.low, coded.high, codes)
        needed = max(self.columns, default=-1) + 1
        if n_columns < needed:
            raise ValueError(f"expected at least {needed} columns, got {n_columns}")
        return codes


def code_thresholds(threshold: Floats, missing_yes: NDArray[np.uint8], n_planes: int) -> tuple[CodedColumn, NDArray[np.int32]]:
    """A column of numbers, and for each of its splits the first code that says no."""
    distinct, place = np.unique(threshold, return_inverse=True)
    low = n_planes if missing_yes.any() else -1
    high = -1 if missing_yes.all() else max(n_planes, low + 1)
    return CodedColumn(low, high, distinct, 0), (place + 1).astype(np.int32)


def code_categories(
    ensemble: TreeEnsemble,
    nodes: NDArray[np.int64],
    n_planes: int,
    *,
    kind: NDArray[np.uint8],
    limit: NDArray[np.int32],
    words: list[NDArray[np.uint64]],
) -> CodedColumn:
    """A column of categories; sets its splits' ``kind`` and ``limit``, and appends to ``words`` the sets that say yes.

    A single category that missing values side with becomes a set of both.
    """
    number = ensemble.threshold[nodes].astype(np.int64)
    single = kind[nodes] == CATEGORY
    sets = number[~single]
    n_known = int(max(number[single].max(initial=-1) + 1, 64 * (ensemble.set_start[sets + 1] - ensemble.set_start[sets]).max(initial=0)))
    limit[nodes[single]] = number[single]
    n_words = sum(map(len, words))
    for node in nodes[~single | (ensemble.missing_yes[nodes] != 0)].tolist():
        code, made = int(ensemble.threshold[node]), np.zeros((n_known + 1) // 64 + 1, dtype=np.uint64)
        if kind[node] == SUBSET:
            given = ensemble.set_bits[ensemble.set_start[code] : ensemble.set_start[code + 1]]
            made[: len(given)] = given
        else:
            made[code >> 6] |= np.uint64(1 << (code & 63))
        if ensemble.missing_yes[node]:
            made[(n_known + 1) >> 6] |= np.uint64(1 << ((n_known + 1) & 63))
        kind[node], limit[node] = SUBSET, n_words
        words.append(made)
        n_words += len(made)
    return CodedColumn(-1, n_planes, None, n_known)
