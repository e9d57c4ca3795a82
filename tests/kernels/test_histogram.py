"""Histogram kernels: every lane against naive sums, for any nodes, chunks, threads and ranks."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from engine._kernels.histogram import CHUNK_ROWS, Words, build_histograms, cut_chunks
from engine._kernels.leaves import CONSTANT, OF_GRADIENT, STORED, logistic_hessian
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.encode.panels import plan_panels
from tests.encode.test_panels import make_panels
from tests.oracles import naive_histogram

ONE = 2**50
HESSIAN = {"constant": CONSTANT, "logistic": OF_GRADIENT, "logistic pairs": OF_GRADIENT}  # of lanes; stored in others
LANES = {
    "pairs": (0, 0, 0),
    "shifted pairs": (7, 9, 0),
    "packed": (36, 35, 32),
    "constant": (21, 0, 17),
    "logistic": (35, 34, 32),
    "logistic pairs": (7, 9, 0),
}


@dataclass
class Table:
    """Codes of narrow and wide columns."""

    narrow: NDArray[np.uint8]
    wide: NDArray[np.uint16]
    n_codes: list[int]

    @classmethod
    def random(cls, seed: int, n_rows: int, narrow_codes: list[int], wide_codes: list[int]) -> Table:
        rng = np.random.default_rng(seed)
        narrow = np.array([rng.integers(0, c, n_rows) for c in narrow_codes], dtype=np.uint8).reshape(len(narrow_codes), n_rows)
        wide = np.array([rng.integers(0, c, n_rows) for c in wide_codes], dtype=np.uint16).reshape(len(wide_codes), n_rows)
        return cls(narrow, wide, [*narrow_codes, *wide_codes])

    def rows(self, part: slice) -> Table:
        return Table(np.ascontiguousarray(self.narrow[:, part]), np.ascontiguousarray(self.wide[:, part]), self.n_codes)

    def naive(self, pairs: list[tuple[int, int]], nodes: list[list[int]]) -> list[list[list[int]]]:
        """[node][code of any column] -> [g, h]"""
        columns = [*self.narrow.tolist(), *self.wide.tolist()]
        return [
            [pair for column, n in zip(columns, self.n_codes, strict=True) for pair in naive_histogram(column, pairs, rows, n)]
            for rows in nodes
        ]


def random_gradients(seed: int, n_rows: int, *, constant: bool = False) -> NDArray[np.int64]:
    rng = np.random.default_rng(seed)
    g = rng.integers(-ONE, ONE + 1, (n_rows, 1))
    h = rng.integers(0, ONE + 1, (n_rows, 1)) >> rng.integers(0, 51, (n_rows, 1))
    gh = g if constant else np.concatenate([g, h], axis=1)
    gh.flags.writeable = False
    return gh


def frozen(array: NDArray) -> NDArray:
    array = array.copy()
    array.flags.writeable = False
    return array


def make_words(gh: NDArray[np.int64], lane: str, *, first_row: int = 0, key: int = 5) -> Words:
    """The words of all rows, not packed yet."""
    room = np.full(len(gh) * (1 if LANES[lane][2] else 2), -7, dtype=np.int64)
    return Words(frozen(gh), HESSIAN.get(lane, STORED), first_row, key, *LANES[lane], room)


def pack(gh: NDArray[np.int64], lane: str, *, num_threads: int = 1, **numbers: int) -> Words:
    """The words of all rows."""
    words = make_words(gh, lane, **numbers)
    words.pack(num_threads)
    return words


def chunks_of(bounds: list[int], num_threads: int) -> list[NDArray[np.int64]]:
    """Chunks and tasks; node k holds places bounds[k] to bounds[k + 1]."""
    begin, end = (frozen(np.array(part, dtype=np.int64)) for part in (bounds[:-1], bounds[1:]))
    return [frozen(array) for array in cut_chunks(begin, end, num_threads)]


def unpack(words: Words, lane: str) -> list[tuple[int, int]]:
    """The (g, h) of every word."""
    h_bits, packed = LANES[lane][2], np.array(words.words)
    if h_bits == 0:
        return [tuple(pair) for pair in packed.reshape(-1, 2).tolist()]
    return [(word >> h_bits, word & ((1 << h_bits) - 1)) for word in packed.tolist()]


def build(table: Table, words: Words, rows: NDArray[np.uint32], bounds: list[int], num_threads: int = 1) -> list[list[list[int]]]:
    n_nodes, n_narrow = len(bounds) - 1, len(table.narrow)
    starts = np.concatenate([[0], np.cumsum(table.n_codes)]).astype(np.int64)
    base, stride = starts[:-1], np.full(len(table.n_codes), starts[-1], dtype=np.int64)
    panel = plan_panels(n_narrow, len(table.wide), table.narrow.shape[1])
    out = np.full((n_nodes * int(starts[-1]), 2), -99)  # what was there before does not matter
    panels = make_panels(table.narrow, table.wide, panel)
    panels.flags.writeable = False
    build_histograms(
        frozen(table.narrow), frozen(table.wide), panels, frozen(panel), words,
        base[:n_narrow], stride[:n_narrow], np.array(table.n_codes[:n_narrow], dtype=np.int32), base[n_narrow:], stride[n_narrow:],
        np.array(table.n_codes[n_narrow:], dtype=np.int32), frozen(rows), *chunks_of(bounds, num_threads), n_nodes, out, num_threads,
    )  # fmt: skip
    return out.reshape(n_nodes, int(starts[-1]), 2).tolist()


def histograms(
    table: Table, gh: NDArray[np.int64], lane: str, rows: NDArray[np.uint32], bounds: list[int], *, first_row: int = 0, num_threads: int = 1
) -> list[list[list[int]]]:
    return build(table, pack(gh, lane, first_row=first_row, num_threads=num_threads), rows, bounds, num_threads)


def test_histogram_by_hand() -> None:
    table = Table(np.array([[0, 1, 1]], dtype=np.uint8), np.array([[300, 2, 300]], dtype=np.uint16), [2, 301])
    gh = np.array([[5, 1], [-7, 2], [9, 3]])
    hist = histograms(table, gh, "pairs", np.array([2, 0, 1], dtype=np.uint32), [0, 2, 3])
    assert hist[0][:2] == [[5, 1], [9, 3]]
    assert hist[1][:2] == [[0, 0], [-7, 2]]
    assert hist[0][2 + 300] == [14, 4]
    assert hist[1][2 + 2] == [-7, 2]
    assert hist[0][2 + 2] == [0, 0]


@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("lane", LANES)
def test_words_are_packed_on_the_way_where_all_rows_come_in_order(lane: str, num_threads: int) -> None:
    n_rows = 2 * CHUNK_ROWS + 13
    table = Table.random(4, n_rows, [256, *[9] * 80], [300, 400])
    gh = random_gradients(5, n_rows, constant=lane in HESSIAN)
    beforehand, on_the_way = pack(gh, lane, first_row=3), make_words(gh, lane, first_row=3)
    in_order = np.empty(0, dtype=np.uint32)
    with pytest.raises(ValueError, match="expected packed words, or all rows in order"):
        build(table, on_the_way, np.arange(n_rows, dtype=np.uint32), [0, n_rows])
    expected = build(table, beforehand, np.arange(n_rows, dtype=np.uint32), [0, n_rows])
    assert build(table, beforehand, in_order, [0, n_rows], num_threads) == expected
    assert build(table, on_the_way, in_order, [0, n_rows], num_threads) == expected
    assert np.array_equal(beforehand.words, on_the_way.words)
    with pytest.raises(ValueError, match="expected room for the words of"):
        Words(gh, HESSIAN.get(lane, STORED), 0, 0, *LANES[lane], np.empty(n_rows + 1, dtype=np.int64))
    with pytest.raises(ValueError, match="expected gradients with"):
        Words(gh, STORED if lane in HESSIAN else CONSTANT, 0, 0, *LANES[lane], np.empty(2 * n_rows, dtype=np.int64))


def test_chunks_by_hand() -> None:
    begin, end = np.array([0, 10, 10]), np.array([10, 10, 10 + 2 * CHUNK_ROWS + 1])
    third = end[2] // 3  # as many tasks as chunks of the greatest length would need
    chunks, tasks = cut_chunks(begin, end, 1)
    assert chunks.tolist() == [[0, 0, 10], [2, 10, third], [2, third, 2 * third], [2, 2 * third, end[2]]]
    assert tasks.tolist() == [0, 2, 3, 4]
    chunks, tasks = cut_chunks(np.array([5]), np.array([6]), 2)
    assert (chunks.tolist(), tasks.tolist()) == ([[0, 5, 6]], [0, 0, 1])
    for nothing in (begin[:0], begin[:2]):
        chunks, tasks = cut_chunks(nothing, nothing, 2)
        assert (chunks.shape, tasks.tolist()) == ((0, 3), [0])


@given(
    sizes=st.lists(st.sampled_from([0, 1, 2, 700, CHUNK_ROWS - 1, CHUNK_ROWS, CHUNK_ROWS + 1, 3 * CHUNK_ROWS + 5]), max_size=8),
    gap=st.integers(0, 3),
    num_threads=st.integers(1, 5),
)
def test_chunks_cover_every_row_in_even_tasks(sizes: list[int], gap: int, num_threads: int) -> None:
    """Each row of each node once and in order, no node's beside another's, as many tasks for each thread, of nearly as many rows."""
    begin = np.cumsum([0, *(size + gap for size in sizes)])[:-1].astype(np.int64)
    end = begin + np.array(sizes, dtype=np.int64)
    chunks, tasks = cut_chunks(begin, end, num_threads)
    rows = [(k, row) for k, first, last in chunks.tolist() for row in (first, last - 1)]
    assert rows == sorted(rows)
    assert all(begin[k] <= first < last <= end[k] and last - first <= CHUNK_ROWS for k, first, last in chunks.tolist())
    assert sum(last - first for _, first, last in chunks.tolist()) == sum(sizes)
    assert np.all(np.bincount(chunks[:, 0], weights=chunks[:, 2] - chunks[:, 1], minlength=len(sizes)) == sizes)
    per_task = [int((chunks[a:b, 2] - chunks[a:b, 1]).sum()) for a, b in itertools.pairwise(tasks.tolist())]
    assert len(per_task) % num_threads == 0
    assert max(per_task, default=0) <= CHUNK_ROWS
    assert max(per_task, default=0) - min(per_task, default=0) <= 1


@pytest.mark.parametrize("lane", LANES)
@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), n_rows=st.integers(1, 60), wide=st.booleans(), cuts=st.lists(st.integers(0, 60), max_size=4))
def test_histograms_are_the_naive_twins(lane: str, seed: int, n_rows: int, wide: bool, cuts: list[int]) -> None:
    rng = np.random.default_rng(seed)
    table = Table.random(seed, n_rows, [256, *rng.integers(1, 6, rng.integers(0, 18))], [257, 400][: 2 * wide])
    gh = random_gradients(seed, n_rows, constant=lane in HESSIAN)
    rows = rng.permutation(n_rows).astype(np.uint32)
    bounds = [0, *sorted(min(cut, n_rows) for cut in cuts), n_rows]
    packed = pack(gh, lane)
    words = unpack(packed, lane)
    g_shift, h_shift, _ = LANES[lane]
    for row, (g, h) in enumerate(words):
        full_g = int(gh[row, 0])
        full_h = 1 if lane == "constant" else logistic_hessian(full_g) if lane in HESSIAN else int(gh[row, 1])
        assert g in (full_g >> g_shift, -(-full_g >> g_shift))
        assert h in (full_h >> h_shift, -(-full_h >> h_shift))
        assert (h > 0) == (full_h > 0)
    nodes = [rows[a:b].tolist() for a, b in itertools.pairwise(bounds)]
    expected = table.naive(words, nodes)
    assert build(table, packed, rows, bounds, 1) == expected
    assert build(table, packed, rows, bounds, 2) == expected


@pytest.mark.parametrize("lane", LANES)
def test_large_nodes_use_local_histograms_and_give_the_same_sums(lane: str) -> None:
    n_rows = 2 * CHUNK_ROWS + 5000
    table = Table.random(1, n_rows, [256, 3, 1, 200, *[17] * 16], [1000])
    gh = random_gradients(2, n_rows, constant=lane in HESSIAN)
    rows = np.random.default_rng(3).permutation(n_rows).astype(np.uint32)
    bounds = [0, 400, CHUNK_ROWS + 1000, CHUNK_ROWS + 1000, n_rows]
    hist = histograms(table, gh, lane, rows, bounds)
    assert histograms(table, gh, lane, rows, bounds, num_threads=3) == hist
    words = np.array(unpack(pack(gh, lane), lane))
    starts = np.cumsum([0, *table.n_codes])
    for node, (a, b) in enumerate(itertools.pairwise(bounds)):
        for j, codes in enumerate([*table.narrow, *table.wide]):
            expected = np.zeros((table.n_codes[j], 2), dtype=np.int64)
            np.add.at(expected, codes[rows[a:b]], words[rows[a:b]])
            assert hist[node][starts[j] : starts[j + 1]] == expected.tolist(), (node, j)


@pytest.mark.parametrize("lane", [lane for lane in LANES if lane != "pairs"])  # which are for sums below 2**62
def test_no_lane_overflows_where_all_gradients_are_largest(lane: str) -> None:
    n_rows = 70_000
    table = Table(np.zeros((2, n_rows), dtype=np.uint8), np.zeros((1, n_rows), dtype=np.uint16), [1, 256, 300])
    g_shift, h_shift, _ = LANES[lane]
    for sign in (1, -1):
        gh = np.full((n_rows, 1 if lane in HESSIAN else 2), ONE)
        gh[:, 0] *= sign
        everything = np.empty(0, dtype=np.uint32)
        hist = histograms(table, gh, lane, everything, [0, n_rows])
        expected = [n_rows * (sign * ONE >> g_shift), n_rows if lane in HESSIAN else n_rows * (ONE >> h_shift)]
        for place in (0, 1, 257):
            assert hist[0][place] == expected
        just_below = gh - sign
        hist = histograms(table, just_below, lane, everything, [0, n_rows])
        assert abs(hist[0][0][0] - expected[0]) <= n_rows
        assert hist[0][0] == hist[0][1] == hist[0][257]


@pytest.mark.parametrize("lane", LANES)
@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(0, 90), num_threads=st.sampled_from([1, 2]))
def test_any_placement_of_the_rows_gives_the_same_sums(lane: str, seed: int, cut: int, num_threads: int) -> None:
    """Two ranks add up to one, whatever order each holds its rows in: rounding depends on the global id of a row alone."""
    n_rows, first_row = 90, 12345
    rng = np.random.default_rng(seed)
    table = Table.random(seed, n_rows, [256, 9, 2], [400])
    gh = random_gradients(seed, n_rows, constant=lane in HESSIAN)
    whole = histograms(table, gh, lane, np.empty(0, dtype=np.uint32), [0, n_rows], first_row=first_row)
    parts = []
    for part in (slice(0, cut), slice(cut, n_rows)):
        size = part.stop - part.start
        rows = rng.permutation(size).astype(np.uint32)
        hist = histograms(table.rows(part), gh[part], lane, rows, [0, size], first_row=first_row + part.start, num_threads=num_threads)
        parts.append(np.array(hist))
    assert (parts[0] + parts[1]).tolist() == whole


@pytest.mark.parametrize("constant", [True, False])
def test_rounding_keeps_no_bias(constant: bool) -> None:
    """Equal gradients between two lane values must come out at their mean over many rows, and over every fourth row."""
    n_rows = 1 << 16
    lane = "constant" if constant else "packed"
    g_shift, h_shift, _ = LANES[lane]
    for fraction in (0.1, 0.5, 0.9):
        gh = np.empty((n_rows, 1 if constant else 2), dtype=np.int64)
        gh[:, 0] = int((20 + fraction) * 2**g_shift)
        gh[:, 1:] = int((40 + fraction) * 2**h_shift)
        for key in (0, 2**63, 2**64 - 1):
            words = np.array(unpack(pack(gh, lane, first_row=99, key=key), lane))
            for step in (1, 4, 1000):
                n = len(words[::step])
                tolerance = 4 * np.sqrt(0.25 / n)
                assert abs(words[::step, 0].mean() - 20 - fraction) < tolerance
                assert constant or abs(words[::step, 1].mean() - 40 - fraction) < tolerance


def test_trees_round_differently() -> None:
    gh = random_gradients(1, 1000)
    first, second = (np.array(pack(gh, "packed", key=key).words) for key in (1, 2))
    assert (first != second).mean() > 0.3


@pytest.mark.parametrize("lane", LANES)
def test_no_rows_and_no_columns(lane: str) -> None:
    rows = np.empty(0, dtype=np.uint32)
    gh = np.empty((0, 1 if lane in HESSIAN else 2), dtype=np.int64)
    empty = Table.random(0, 0, [3, 256], [300])
    assert np.array(histograms(empty, gh, lane, rows, [0, 0, 0])).tolist() == np.zeros((2, 559, 2)).tolist()
    bare = Table.random(0, 3, [], [])
    gh = random_gradients(1, 3, constant=lane in HESSIAN)
    assert histograms(bare, gh, lane, np.arange(3, dtype=np.uint32), [0, 1, 3], num_threads=2) == [[], []]


@pytest.mark.parametrize(
    ("n_narrow", "n_wide"), [(1, 0), (3, 0), (14, 1), (15, 5), (28, 0), (29, 3), (64, 0), (63, 2), (65, 0), (100, 0), (0, 1), (0, 40)]
)
@pytest.mark.parametrize("density", [1.0, 0.5, 0.02])
@pytest.mark.parametrize(("lane", "num_threads"), [("packed", 1), ("packed", 3), ("pairs", 3)])
def test_panels_of_any_width_and_rows_of_any_density(n_narrow: int, n_wide: int, density: float, lane: str, num_threads: int) -> None:
    """Rows far apart go in smaller blocks; panels of many columns in several groups; threads add to the same wide columns."""
    rng = np.random.default_rng(n_narrow)
    n_columns = n_narrow + n_wide
    table = Table.random(n_columns, 60_000, [200] * n_narrow, [300] * n_wide)
    gh = random_gradients(3, 60_000)
    rows = np.flatnonzero(rng.random(60_000) < density).astype(np.uint32)
    ends = np.cumsum([0, *table.n_codes])
    hist = np.array(histograms(table, gh, lane, rows, [0, len(rows)], num_threads=num_threads)[0])
    words = np.array(unpack(pack(gh, lane), lane))[rows]
    codes = [*table.narrow, *table.wide]
    for column in {0, n_columns // 2, max(n_narrow - 1, 0), n_columns - 1}:
        expected = np.zeros((table.n_codes[column], 2), dtype=np.int64)
        np.add.at(expected, codes[column][rows], words)
        assert hist[ends[column] : ends[column + 1]].tolist() == expected.tolist()
