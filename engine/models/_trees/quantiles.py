"""Exact quantiles of groups of rows over all ranks, such as the rows of a tree's leaves.

The quantile q of a group is its smallest value whose cumulative weight is at least q times the group's weight. It is found by counting
the digits of sortable integers from the highest to the lowest: one reduction of integers a digit, for all groups at once.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from engine._kernels.quantiles import count_digits, fill_scores, gather_residual_keys
from engine.collectives.communicator import Communicator

KEY_BITS = 64
DIGIT_BITS = 12  # at most: a group's counts stay in the first-level cache
CELL_BITS = 20  # the counts of all groups: 8 MB


def residual_quantiles(
    y: NDArray[np.float64],
    scores: NDArray[np.float64],
    rows: NDArray[np.uint32],
    begin: NDArray[np.int64],
    end: NDArray[np.int64],
    *,
    quantile: float,
    weights: NDArray[np.int64] | None,
    num_threads: int,
    comm: Communicator,
) -> NDArray[np.float64]:
    """The quantile of ``y - scores`` of every group of rows, ``rows[begin[k]:end[k]]`` on this rank; collective.

    ``weights``: whole numbers, below 2**62 in all; None for 1. ``quantile``: in (0, 1), taken as the decimal fraction that it is written
    as. Groups are the same on all ranks; one without weight has the quantile 0.
    """
    keys, own = np.empty(len(rows), dtype=np.uint64), None if weights is None else np.empty(len(rows), dtype=np.int64)
    gather_residual_keys(scores, y, weights, rows, keys, own, num_threads)
    prefix, total, left = (np.zeros(len(begin), dtype=kind) for kind in (np.uint64, np.int64, np.int64))
    end = end.copy()
    most = min(DIGIT_BITS, max(1, CELL_BITS - len(begin).bit_length()))
    shift = KEY_BITS
    while shift > 0:
        n_bits = min(most, shift)
        shift -= n_bits
        counts = np.zeros((len(begin), 1 << n_bits), dtype=np.int64)
        count_digits(keys, own, begin, end, prefix, shift, n_bits, counts, num_threads)
        comm.allreduce_sum(counts, name="count digits")
        cumulative = np.cumsum(counts, axis=1)
        if shift + n_bits == KEY_BITS:
            total = cumulative[:, -1]
            left = target_weights(total, quantile)
        digit = (cumulative < left[:, None]).sum(axis=1)
        left -= np.where(digit > 0, np.take_along_axis(cumulative, np.maximum(digit - 1, 0)[:, None], axis=1)[:, 0], 0)
        prefix |= digit.astype(np.uint64) << np.uint64(shift)
    values = np.empty(len(begin))
    fill_scores(prefix, values)
    return np.where(total > 0, values, 0.0)


def target_weights(total: NDArray[np.int64], quantile: float) -> NDArray[np.int64]:
    """The smallest whole numbers that are at least ``quantile`` times ``total``."""
    exact = Fraction(repr(quantile))
    return np.array([-(-exact.numerator * each // exact.denominator) for each in total.tolist()], dtype=np.int64)
