"""Random splits that depend on a seed and each row's global id alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def mix_ids(seed: int, ids: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """64 well-mixed bits for each id (splitmix64, Steele, Lea and Flood 2014, its state hashed from the seed)."""
    start = _scramble(np.array([seed & (2**64 - 1)], dtype=np.uint64) + _GOLDEN)
    return _scramble(start + ids * _GOLDEN)


def _scramble(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = (x ^ (x >> np.uint64(30))) * _MIX[0]
    x = (x ^ (x >> np.uint64(27))) * _MIX[1]
    return x ^ (x >> np.uint64(31))


@dataclass(frozen=True)
class Split:
    """One side of a random split: the rows whose hash is under ``fraction``, or the others."""

    seed: int
    fraction: float
    first: bool

    def keeps(self, first_row: int, n_rows: int) -> NDArray[np.bool_]:
        """For each of the rows ``first_row`` to ``first_row + n_rows``, by global id, whether this side has it."""
        bits = mix_ids(self.seed, np.arange(first_row, first_row + n_rows, dtype=np.uint64))
        under = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53 < self.fraction
        return under if self.first else ~under
