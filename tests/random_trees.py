"""Random ensembles and rows for tests of everything that reads trees."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.models._trees.ensemble import CATEGORY, LEAF, NUMERIC, SUBSET, TreeEnsemble


def random_ensemble(
    seed: int, *, n_trees: int = 5, n_outputs: int = 1, columns: str = "nnc", max_nodes: int = 31, n_categories: int = 4
) -> TreeEnsemble:
    """An ensemble over ``columns``, one letter each: ``n`` a number, ``c`` a category's code, ``s`` one that is split by sets too.

    Numbers are cut at small integers; a set's number is its bits' value.
    """
    rng = np.random.default_rng(seed)
    nodes: list[tuple[float, ...]] = []
    starts = [0]
    for _ in range(n_trees):
        nodes += _random_tree(rng, columns, int(rng.integers(0, max_nodes // 2 + 1)), n_categories)
        starts.append(len(nodes))
    table = np.array(nodes, dtype=np.float64).reshape(len(nodes), 9)
    types = [np.uint8, np.int32, np.float64, np.uint8, np.int32, np.int32, np.float64, np.float64, np.float64]
    return TreeEnsemble(
        n_outputs,
        float(rng.normal()),
        np.array(starts, dtype=np.int64),
        *(table[:, i].astype(t) for i, t in enumerate(types)),
        set_start=np.arange((1 << n_categories) + 1, dtype=np.int64),
        set_bits=np.arange(1 << n_categories, dtype=np.uint64),
    )


def _random_tree(rng: np.random.Generator, columns: str, n_splits: int, n_categories: int) -> list[tuple[float, ...]]:
    """A tree's nodes breadth first: kind, column, threshold, missing_yes, yes, no, value, gain, cover."""
    n_splits = n_splits if columns else 0
    nodes: list[tuple[float, ...]] = []
    n_planned = 1
    for number in range(2 * n_splits + 1):
        inner_left = n_splits - sum(node[0] != LEAF for node in nodes)
        must_split = number == n_planned - 1 and inner_left > 0
        if inner_left > 0 and (must_split or rng.random() < 0.6):
            column = int(rng.integers(len(columns)))
            kind = NUMERIC if columns[column] == "n" else SUBSET if columns[column] == "s" and rng.random() < 0.7 else CATEGORY
            low, high = {NUMERIC: (-2, 3), CATEGORY: (0, n_categories), SUBSET: (0, 1 << n_categories)}[kind]
            threshold = float(rng.integers(low, high))
            nodes.append((kind, column, threshold, rng.integers(2), n_planned, n_planned + 1, 0.0, rng.random(), rng.random() * 9))
            n_planned += 2
        else:
            nodes.append((LEAF, -1, 0.0, 0, -1, -1, rng.normal(), 0.0, rng.random() * 9))
    return nodes


def random_matrix(seed: int, n_rows: int, *, columns: str = "nnc", n_categories: int = 4) -> NDArray[np.float64]:
    """Rows for :func:`random_ensemble`: small integers and a few NaN; categories from -1 (unseen)."""
    rng = np.random.default_rng(seed)
    matrix = np.empty((n_rows, len(columns)))
    for j, letter in enumerate(columns):
        matrix[:, j] = rng.integers(-1, n_categories, n_rows) if letter != "n" else rng.integers(-3, 4, n_rows)
        if letter == "n":
            matrix[rng.random(n_rows) < 0.2, j] = np.nan
    return matrix
