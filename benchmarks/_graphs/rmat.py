"""R-MAT graphs (Chakrabarti, Zhan, Faloutsos 2004) with the Graph500 parameters: skewed as the web is, and the same on every machine."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

QUADRANTS = (0.57, 0.19, 0.19, 0.05)
_LEVELS = 2  # of the recursion that one draw of 16 bits decides
_BATCH = 1 << 20


def edge_batches(scale: int, edges_per_vertex: int = 16, *, seed: int = 1) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Sources and destinations, int64, of 2**scale vertices whose numbers are permuted, in batches of about a million edges."""
    names = _permutation(1 << scale, seed)
    total = edges_per_vertex << scale
    for at in range(0, total, _BATCH):
        source, destination = _draw(scale, min(_BATCH, total - at), seed, at // _BATCH)
        yield names[source], names[destination]


def edges(scale: int, edges_per_vertex: int = 16, *, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """All of :func:`edge_batches` in two arrays."""
    sources, destinations = zip(*edge_batches(scale, edges_per_vertex, seed=seed), strict=True)
    return np.concatenate(sources), np.concatenate(destinations)


def _draw(scale: int, n: int, seed: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    rounds = -(-scale // _LEVELS)
    raw = np.random.Philox(key=[seed, batch]).random_raw(-(-n * rounds // 4)).view(np.uint16)[: n * rounds].reshape(rounds, n)
    table = _outcomes()
    both = np.zeros(n, dtype=np.uint64)  # source bits above, destination bits below
    for draws in raw:
        both = both << np.uint64(_LEVELS) | table[draws]
    mask = np.uint64((1 << scale) - 1)
    return ((both >> np.uint64(32)) & mask).astype(np.int64), (both & mask).astype(np.int64)


def _outcomes() -> np.ndarray:
    """For each draw the bits that it adds: the cumulated probabilities of all outcomes, cut into 2**16 parts."""
    chance, bits = np.ones(1), np.zeros(1, dtype=np.uint64)
    for _ in range(_LEVELS):
        chance = np.outer(chance, QUADRANTS).ravel()
        step = np.array([0, 1, 1 << 32, 1 << 32 | 1], dtype=np.uint64)
        bits = (bits[:, None] << np.uint64(1) | step[None, :]).ravel()
    ends = np.round(np.cumsum(chance) * (1 << 16)).astype(np.int64)
    return np.repeat(bits, np.diff(ends, prepend=0))


def _permutation(n: int, seed: int) -> np.ndarray:
    return np.argsort(np.random.Philox(key=[seed, 1 << 40]).random_raw(n), kind="stable").astype(np.int64)
