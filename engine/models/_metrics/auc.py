"""The exact area under the ROC curve: how often a positive row scores above a negative one, ties counting half.

Equal scores are added up on every rank, the score range is cut at sampled keys, and the owner of each range counts the pairs in it as
integers; so the result is one division of two integers, however the rows are spread and wherever the cuts fall.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine._kernels.metrics import fill_score_keys, sum_products
from engine.collectives.communicator import Communicator

SAMPLES_PER_RANK = 256
LIMB_BITS = 32
N_LIMBS = 4


@dataclass(frozen=True)
class KeyCounts:
    """Distinct score keys, ascending, and the number of rows, or their weight, that each has."""

    keys: NDArray[np.uint64]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, keys: NDArray[np.uint64], weights: NDArray[np.int64] | None = None) -> KeyCounts:
        """Count equal keys, or add up their weights."""
        if weights is not None:
            return cls.merge([cls(keys, weights)])
        distinct, counts = np.unique(keys, return_counts=True)
        return cls(distinct, counts.astype(np.int64))

    @classmethod
    def merge(cls, parts: list[KeyCounts]) -> KeyCounts:
        """Add up the counts of several ranks."""
        keys = np.concatenate([part.keys for part in parts])
        distinct, places = np.unique(keys, return_inverse=True)
        counts = np.zeros(len(distinct), dtype=np.int64)
        np.add.at(counts, places, np.concatenate([part.counts for part in parts]))
        return cls(distinct, counts)

    def slice(self, begin: int, end: int) -> KeyCounts:
        """The keys at places ``begin`` to ``end``."""
        return KeyCounts(self.keys[begin:end], self.counts[begin:end])


def compute_auc(
    comm: Communicator, scores: NDArray[np.float64], positive: NDArray[np.bool_], weights: NDArray[np.int64] | None = None
) -> float | None:
    """The exact AUC of ``scores`` (finite, this rank's rows) over all ranks; None without positive or without negative rows; collective.

    ``weights``: whole numbers of 0 or more, below 2**62 in all; a pair of rows counts as much as the product of theirs.
    """
    auc = compute_auc_fraction(comm, scores, positive, weights)
    return None if auc is None else auc.numerator / auc.denominator


def compute_macro_auc(
    comm: Communicator, probabilities: NDArray[np.float64], codes: NDArray[Any], weights: NDArray[np.int64] | None = None
) -> float | None:
    """The mean over classes of the exact one-against-the-rest AUC, without the classes that have none; collective."""
    columns = [np.ascontiguousarray(probabilities[:, k]) for k in range(probabilities.shape[1])]
    areas = [compute_auc_fraction(comm, column, codes == k, weights) for k, column in enumerate(columns)]
    known = [area for area in areas if area is not None]
    if not known:
        return None
    mean = sum(known, Fraction(0)) / len(known)
    return mean.numerator / mean.denominator


def compute_auc_fraction(
    comm: Communicator, scores: NDArray[np.float64], positive: NDArray[np.bool_], weights: NDArray[np.int64] | None
) -> Fraction | None:
    """:func:`compute_auc` before its division."""
    keys = np.empty(len(scores), dtype=np.uint64)
    fill_score_keys(np.ascontiguousarray(scores), keys)
    local = [KeyCounts.of(keys[rows], None if weights is None else weights[rows]) for rows in (~positive, positive)]
    totals = np.array([part.counts.sum() for part in local], dtype=np.int64)
    negatives, positives = exchange_ranges(comm, local)
    numerator = reduce_pairs(comm, negatives, positives)
    comm.allreduce_sum(totals, name="AUC: count rows")
    n_pairs = int(totals[0]) * int(totals[1])
    return Fraction(numerator, 2 * n_pairs) if n_pairs else None


def exchange_ranges(comm: Communicator, local: list[KeyCounts]) -> list[KeyCounts]:
    """Give every rank one range of keys, with all ranks' counts in it; ranges ascend with the rank."""
    if comm.size == 1:
        return local
    samples = np.concatenate([part.keys[:: len(part.keys) // SAMPLES_PER_RANK + 1] for part in local])
    pool = np.sort(np.concatenate(comm.allgather(samples, name="AUC: sample scores")))
    splitters = pool[[len(pool) * r // comm.size for r in range(1, comm.size)]] if len(pool) else np.zeros(comm.size - 1, np.uint64)
    cuts = [[0, *np.searchsorted(part.keys, splitters).tolist(), len(part.keys)] for part in local]
    outgoing = [pack([part.slice(cut[r], cut[r + 1]) for part, cut in zip(local, cuts, strict=True)]) for r in range(comm.size)]
    incoming = [unpack(array, len(local)) for array in comm.alltoall(outgoing, name="AUC: exchange scores")]
    return [KeyCounts.merge([parts[i] for parts in incoming]) for i in range(len(local))]


def pack(parts: list[KeyCounts]) -> NDArray[np.uint64]:
    """Several lists of keys and counts as one message, their lengths first."""
    lengths = np.array([len(part.keys) for part in parts], dtype=np.uint64)
    return np.concatenate([lengths, *(array for part in parts for array in (part.keys, part.counts.astype(np.uint64)))])


def unpack(message: NDArray[np.uint64], n_parts: int) -> list[KeyCounts]:
    """The inverse of :func:`pack`."""
    bounds = np.cumsum([n_parts, *np.repeat(message[:n_parts].astype(np.int64), 2)])
    return [
        KeyCounts(message[bounds[2 * i] : bounds[2 * i + 1]], message[bounds[2 * i + 1] : bounds[2 * i + 2]].astype(np.int64))
        for i in range(n_parts)
    ]


def reduce_pairs(comm: Communicator, negatives: KeyCounts, positives: KeyCounts) -> int:
    """Twice the pairs of a positive above a negative row, plus the pairs that tie, over all ranks' ranges."""
    totals = comm.allgather(np.array([negatives.counts.sum()], dtype=np.int64), name="AUC: count negatives")
    below = int(sum(int(total[0]) for total in totals[: comm.rank]))
    cumulative = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(negatives.counts)]) + below
    left = np.searchsorted(negatives.keys, positives.keys, side="left")
    right = np.searchsorted(negatives.keys, positives.keys, side="right")
    limbs = np.zeros(N_LIMBS, dtype=np.int64)
    sum_products((cumulative[left] + cumulative[right]).astype(np.uint64), positives.counts, limbs)
    comm.allreduce_sum(limbs, name="AUC: count pairs")
    return sum(int(limb) << (LIMB_BITS * i) for i, limb in enumerate(limbs))
