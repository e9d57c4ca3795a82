"""Naive twins of the kernels: one element at a time, nothing clever. Tests compare the kernels with them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from engine.models._trees.ensemble import LEAF, NUMERIC, TreeEnsemble


# --- trees: prediction ---


def walk_tree(ensemble: TreeEnsemble, tree: int, row: NDArray[np.float64]) -> int:
    """Number, within its tree, of the leaf that a row reaches, one comparison at a time."""
    start, node = int(ensemble.tree_start[tree]), 0
    while ensemble.kind[start + node] != LEAF:
        i = start + node
        x = row[ensemble.column[i]]
        if math.isnan(x):
            goes_yes = bool(ensemble.missing_yes[i])
        elif ensemble.kind[i] == NUMERIC:
            goes_yes = x < ensemble.threshold[i]
        else:
            goes_yes = x == ensemble.threshold[i]
        node = int(ensemble.yes[i] if goes_yes else ensemble.no[i])
    return node


def naive_margins(ensemble: TreeEnsemble, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Margins of every row, leaf by leaf in tree order."""
    out = np.full((len(matrix), ensemble.n_outputs), ensemble.base_score)
    for i, row in enumerate(matrix):
        for tree in range(ensemble.n_trees):
            out[i, tree % ensemble.n_outputs] += ensemble.value[ensemble.tree_start[tree] + walk_tree(ensemble, tree, row)]
    return out
