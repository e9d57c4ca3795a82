"""Whether arrays from a file are trees that kernels may walk."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from engine.encode.encoding import Encoding
from engine.errors import ModelFileError
from engine.models._trees.ensemble import CATEGORY, LEAF, NUMERIC, SUBSET, TreeEnsemble

WITHOUT_NODES = ("tree_start", "set_start", "set_bits")  # arrays that are not one value a node


def check_ensemble(ensemble: TreeEnsemble, encoding: Encoding) -> TreeEnsemble:
    """Return ``ensemble`` if no walk over encoded rows could leave its arrays or not end; else raise :class:`ModelFileError`."""
    for problem in find_problems(ensemble, encoding):
        raise ModelFileError(f"the model's trees are damaged: {problem}; train or copy the model again")
    return ensemble


def find_problems(ensemble: TreeEnsemble, encoding: Encoding) -> Iterator[str]:
    """What is wrong, the gravest first: later checks rely on earlier ones."""
    start, n_nodes = ensemble.tree_start, len(ensemble.kind)
    for name, array in ensemble.arrays().items():
        if array.ndim != 1 or (name not in WITHOUT_NODES and len(array) != n_nodes):
            yield f"{name} has shape {array.shape}, expected ({n_nodes},)"
    if len(start) == 0 or start[0] != 0 or start[-1] != n_nodes or (np.diff(start) < 1).any():
        yield "tree_start does not divide the nodes into trees"
    if ensemble.n_outputs < 1 or ensemble.n_trees % ensemble.n_outputs:
        yield f"{ensemble.n_trees} trees cannot be shared by {ensemble.n_outputs} outputs"
    if (ensemble.kind > SUBSET).any() or (ensemble.missing_yes > 1).any():
        yield "a node is of no known kind"
    inner = np.flatnonzero(ensemble.kind != LEAF)
    tree = np.searchsorted(start, inner, side="right") - 1
    place, size = inner - start[tree], start[tree + 1] - start[tree]
    for name in ("yes", "no"):
        child = getattr(ensemble, name)[inner]
        if ((child <= place) | (child >= size)).any():
            yield f"a {name} branch leads outside its tree"
    reached = np.sort(np.concatenate([start[:-1], start[tree] + ensemble.yes[inner], start[tree] + ensemble.no[inner]]))
    if not np.array_equal(reached, np.arange(n_nodes)):
        yield "the branches do not form trees"
    column, n_columns = ensemble.column[inner], len(encoding.columns)
    if ((column < 0) | (column >= n_columns)).any():
        yield f"a split asks for a column beyond the {n_columns} that there are"
    n_categories = np.array([len(each.categories) for each in encoding.columns], dtype=np.int64)[column]
    is_category, code = ensemble.kind[inner] == CATEGORY, ensemble.threshold[inner]
    if (is_category & ~((code >= 0) & (code < n_categories) & (code == np.floor(code)))).any():
        yield "a split asks for a category that there is not"
    if (np.isnan(code) | ((ensemble.kind[inner] == NUMERIC) & (n_categories > 0))).any():
        yield "a split compares what cannot be ordered"
    yield from find_set_problems(ensemble, n_categories[ensemble.kind[inner] == SUBSET])


def find_set_problems(ensemble: TreeEnsemble, n_categories: NDArray[np.int64]) -> Iterator[str]:
    """What is wrong with the sets of SUBSET nodes, whose columns have ``n_categories``."""
    start, n_sets = ensemble.set_start, len(ensemble.set_start) - 1
    if n_sets < 0 or start[0] != 0 or start[-1] != len(ensemble.set_bits) or (np.diff(start) < 0).any():
        yield "set_start does not divide the sets"
    nodes = np.flatnonzero(ensemble.kind == SUBSET)
    number = ensemble.threshold[nodes]
    if ((number < 0) | (number >= n_sets) | (number != np.floor(number))).any():
        yield "a split asks for a set that there is not"
    largest = np.array([ensemble.members(node).max(initial=-1) for node in nodes.tolist()], dtype=np.int64)
    if ((largest >= n_categories) | (n_categories == 0)).any():
        yield "a split asks for a category that there is not"
