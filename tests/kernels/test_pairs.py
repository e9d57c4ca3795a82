"""Pairs of children by one thread each: the splits and histograms that the separate steps have."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from engine._kernels.histogram import Words, build_histograms
from engine._kernels.nodes import OFFER
from engine._kernels.pairs import search_pairs
from engine._kernels.splits import CATEGORY, NUMBER, PARTITION, expand_siblings, find_best_splits
from numpy.typing import NDArray

from engine.encode.panels import plan_panels
from tests.encode.test_panels import make_panels
from tests.kernels.test_histogram import Table, chunks_of, frozen, pack, random_gradients

N_ROWS = 3000
N_CODES = [256, 5, 40, 1, 90, 300, 1000]  # the last two are wide
N_NARROW = 5
N_PAIRS = 11


class Case(NamedTuple):
    """A level's pairs of children, and how their splits are found."""

    codes: tuple  # of the table, for the kernels
    places: tuple
    words: Words
    rows: NDArray[np.uint32]
    bounds: list[int]
    order: NDArray[np.int64]
    smaller: NDArray[np.int64]
    parent: NDArray[np.int64]
    rules: tuple

    def build(self, nodes: list[tuple[int, int]], *, num_threads: int = 1) -> NDArray[np.int64]:
        """Histograms of nodes, given where their rows begin and end."""
        rows = np.concatenate([self.rows[begin:end] for begin, end in nodes])
        ends = np.cumsum([0, *(end - begin for begin, end in nodes)]).tolist()
        out = np.full((len(nodes) * sum(N_CODES), 2), -99)
        build_histograms(*self.codes, self.words, *self.kinds, rows, *chunks_of(ends, num_threads), len(nodes), out, num_threads)
        return out.reshape(len(nodes), sum(N_CODES), 2)

    @property
    def kinds(self) -> list[NDArray]:
        """The places of the narrow columns' codes, and of the wide ones'; the first column's are the first, of any number of nodes."""
        return [part[kind] for kind in (slice(N_NARROW), slice(N_NARROW, None)) for part in self.places]

    @property
    def children(self) -> list[tuple[int, int]]:
        return list(zip(self.bounds[:-1], self.bounds[1:], strict=True))


def make_case(lane: str, *, bounded: bool, searched: list[int], empty: bool) -> Case:
    random = np.random.default_rng(4)
    table = Table.random(9, N_ROWS, N_CODES[:N_NARROW], N_CODES[N_NARROW:])
    panel = plan_panels(N_NARROW, len(N_CODES) - N_NARROW, N_ROWS)
    panels = make_panels(table.narrow, table.wide, panel)
    panels.flags.writeable = False
    starts = np.concatenate([[0], np.cumsum(N_CODES)])
    places = starts[:-1].copy(), np.full(len(N_CODES), starts[-1]), np.array(N_CODES, dtype=np.int32)
    # children of some rows, of many, whose sums go through local histograms, and of none
    sizes = random.multinomial(N_ROWS - 700, np.ones(2 * N_PAIRS - 1) / (2 * N_PAIRS - 1)).tolist()
    sizes.insert(6, 700)
    if empty:
        sizes[3], sizes[2] = 0, sizes[2] + sizes[3]
    bounds = np.cumsum([0, *sizes])
    count = np.diff(bounds).reshape(-1, 2)
    smaller = 2 * np.arange(N_PAIRS) + (count[:, 1] < count[:, 0])
    gh = random_gradients(5, N_ROWS)
    n_nodes = 2 * N_PAIRS
    monotone = np.array([1, 0, -1, 0, 1, 0, 0] if bounded else [], dtype=np.int8)
    weights = np.full(n_nodes, -5.0), np.full(n_nodes, 5.0)
    rules = (
        starts, np.array([NUMBER, CATEGORY, PARTITION, NUMBER, NUMBER, PARTITION, NUMBER], dtype=np.uint8),
        np.array([1, 0, 0, 0, 0, 0, 1], dtype=np.uint8), np.array(searched, dtype=np.uint8), monotone, *weights,
        2.0**-14, 2.0**-15, 1.0, 0.1, 0.01, 1e-6, 3,
    )  # fmt: skip
    codes = frozen(table.narrow), frozen(table.wide), panels, frozen(panel)
    rows, order, parent = (random.permutation(n) for n in (N_ROWS, N_PAIRS, N_PAIRS))
    return Case(codes, places, pack(gh, lane), frozen(rows.astype(np.uint32)), bounds.tolist(), order, smaller, parent, rules)


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.parametrize("subtracts", [True, False])
@pytest.mark.parametrize(
    ("lane", "bounded", "searched", "empty"),
    [
        ("packed", False, [1] * 7, False),
        ("pairs", False, [1] * 7, True),
        ("packed", True, [1, 1, 0, 1, 1, 0, 1], True),
        ("pairs", True, [0] * 7, False),
    ],
)
def test_the_splits_of_the_separate_steps(
    num_threads: int, keeps: bool, subtracts: bool, lane: str, bounded: bool, searched: list[int], empty: bool
) -> None:
    case = make_case(lane, bounded=bounded, searched=searched, empty=empty)
    children = case.children
    parents = np.zeros((N_PAIRS, sum(N_CODES), 2), dtype=np.int64)
    parents[case.parent] = case.build([(children[2 * k][0], children[2 * k + 1][1]) for k in range(N_PAIRS)])
    hist = np.zeros((2 * N_PAIRS, sum(N_CODES), 2), dtype=np.int64)
    if subtracts:
        small = case.build([children[k] for k in case.smaller])
        expand_siblings(parents, case.parent, small, case.smaller, case.rules[0], case.rules[3], hist, 1)
    else:
        hist = case.build(children)
    n_words = -(-max(N_CODES) // 64)
    expected, expected_set = np.full(2 * N_PAIRS, -9, OFFER), np.full((2 * N_PAIRS, n_words), 3, np.uint64)
    find_best_splits(hist, *case.rules, expected, expected_set, 1)
    assert (expected["column"] >= 0).any() == any(searched)

    best, subset = np.full(2 * N_PAIRS, -7, OFFER), np.full((2 * N_PAIRS, n_words), 5, np.uint64)
    out = np.full((2 * N_PAIRS if keeps else 0, sum(N_CODES), 2), -77)
    begin, end = (np.array(part) for part in (case.bounds[:-1], case.bounds[1:]))
    search_pairs(
        *case.codes, case.words, *case.kinds, case.rows, case.order, begin, end, case.smaller, parents if subtracts else parents[:0],
        case.parent, out, *case.rules, best, subset, num_threads,
    )  # fmt: skip
    assert best.tobytes() == expected.tobytes()
    assert subset.tolist() == expected_set.tolist()
    if keeps:
        codes = np.repeat(searched, N_CODES) == 1
        assert (out[:, codes] == hist[:, codes]).all()


def test_arguments_that_do_not_fit() -> None:
    case = make_case("packed", bounded=False, searched=[1] * 7, empty=False)
    begin, end = (np.array(part) for part in (case.bounds[:-1], case.bounds[1:]))
    none = np.empty((0, sum(N_CODES), 2), dtype=np.int64)
    best, subset = np.zeros(2 * N_PAIRS, OFFER), np.zeros((2 * N_PAIRS, 16), np.uint64)

    def search(rows=case.rows, begin=begin, out=none):
        search_pairs(
            *case.codes, case.words, *case.kinds, rows, case.order, begin, end, case.smaller, none, case.parent, out,
            *case.rules, best, subset, 1,
        )  # fmt: skip

    with pytest.raises(ValueError, match="rows in the order of nodes"):
        search(rows=case.rows[:0])
    with pytest.raises(ValueError, match="expected two nodes for each of 11 pairs, got 21"):
        search(begin=begin[:-1])
    with pytest.raises(ValueError, match="expected histograms of 1692 codes, got 1692 and 3"):
        search(out=np.zeros((2 * N_PAIRS, 3, 2), dtype=np.int64))
