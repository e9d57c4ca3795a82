"""Samples of rows and columns, one for each tree. Each is a function of the seed, the tree, and a row's number or a column's.

There is no generator whose state would have to be kept: hash(hash(key of the tree, what is drawn), row or column).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine._kernels.exact import hash_counters

ROWS, COLUMNS = 1, 2


def tree_key(seed: int, tree: int) -> int:
    """A number of 64 bits for one tree."""
    return int(hash_range(seed, tree, 1)[0])


def sample_rows(key: int, fraction: float, *, first_row: int, n_rows: int) -> NDArray[np.uint32] | None:
    """This rank's rows in the sample of a tree, ascending: each is in it with probability ``fraction``; None for all rows.

    ``first_row``: global number of the first of ``n_rows`` rows here.
    """
    if fraction >= 1:
        return None
    limit = np.uint64(int(fraction * 2.0**64))
    return np.flatnonzero(hash_range(tree_key(key, ROWS), first_row, n_rows) < limit).astype(np.uint32)


def sample_columns(key: int, fraction: float, n_columns: int) -> NDArray[np.uint8] | None:
    """Which columns a tree may ask, [n_columns]: ``floor(fraction * n_columns)`` of them, at least one; None for all."""
    if fraction >= 1:
        return None
    n_drawn = max(1, int(fraction * n_columns))
    drawn = np.zeros(n_columns, dtype=np.uint8)
    drawn[np.argsort(hash_range(tree_key(key, COLUMNS), 0, n_columns))[:n_drawn]] = 1
    return drawn


def hash_range(key: int, first: int, n: int) -> NDArray[np.uint64]:
    """hash(key, first + i) for i up to ``n``, 64 bits each; none comes twice."""
    hashes = np.empty(n, dtype=np.uint64)
    hash_counters(key, first, hashes)
    return hashes
