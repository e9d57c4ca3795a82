"""The partition kernels: stable, for codes of both widths, categories, sets of them and missing values."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from engine._kernels.histogram import CHUNK_ROWS, cut_chunks
from engine._kernels.partition import QUESTION, assign_leaves, partition_rows
from hypothesis import given
from hypothesis import strategies as st


def frozen(values: object, dtype: type) -> np.ndarray:
    array = np.array(values, dtype=dtype)
    array.flags.writeable = False
    return array


SETS = [{0}, {1, 4}, {63, 64, 255}, {300, 65534}, set()]
SUBSETS = np.zeros((len(SETS), 1024), dtype=np.uint64)
for _row, _codes in enumerate(SETS):
    for _code in _codes:
        SUBSETS[_row, _code >> 6] |= np.uint64(1 << (_code & 63))
SUBSETS.flags.writeable = False


def ask(questions):
    """For the kernels; a question: (is_wide, position, low, high, missing), and the number of a set if it has one."""
    asked = [(position, is_wide, low, high, missing, *(subset or [-1])) for is_wide, position, low, high, missing, *subset in questions]
    return frozen(asked, QUESTION)


def partition(rows, bounds, narrow, wide, questions, num_threads=1):
    """Rows after partitioning and the yes rows of each node; what is in no node stays."""
    rows = frozen(rows, np.uint32)
    begin, end = frozen(bounds[:-1], np.int64), frozen(bounds[1:], np.int64)
    n_yes = np.zeros(len(begin), dtype=np.int64)
    chunks = [frozen(array, np.int64) for array in cut_chunks(begin, end, num_threads)]
    out = rows.copy()
    partition_rows(rows, out, *chunks, narrow, wide, ask(questions), SUBSETS, n_yes, num_threads)
    if rows.tolist() == list(range(bounds[-1])):  # all rows in order need not be named
        again, n_again = np.empty_like(out), np.full_like(n_yes, -1)
        partition_rows(rows[:0], again, *chunks, narrow, wide, ask(questions), SUBSETS, n_again, num_threads)
        assert (again.tolist(), n_again.tolist()) == (out.tolist(), n_yes.tolist())
    return out.tolist(), n_yes.tolist()


def says_yes(row, narrow, wide, question):
    is_wide, position, low, high, missing, *subset = question
    code = (wide if is_wide else narrow)[position][row]
    return low <= code <= high or code == missing or (bool(subset) and subset[0] >= 0 and int(code) in SETS[subset[0]])


def naive_partition(rows, bounds, narrow, wide, questions):
    out, n_yes = list(rows), []
    for (a, b), question in zip(itertools.pairwise(bounds), questions, strict=True):
        answers = [says_yes(r, narrow, wide, question) for r in rows[a:b]]
        yes = [r for r, answer in zip(rows[a:b], answers, strict=True) if answer]
        out[a:b] = yes + [r for r, answer in zip(rows[a:b], answers, strict=True) if not answer]
        n_yes.append(len(yes))
    return out, n_yes


def test_partition_by_hand() -> None:
    narrow = frozen([[0, 1, 2, 3, 4, 255]], np.uint8)
    wide = frozen([[0, 0, 1, 300, 65534, 300]], np.uint16)
    rows = [5, 4, 3, 2, 1, 0]
    # up to 2; up to 2 and missing (255); the category 2; and in wide columns the category 300, or 0 and missing
    assert partition(rows, [0, 6], narrow, wide, [(0, 0, 0, 2, -1)]) == ([2, 1, 0, 5, 4, 3], [3])
    assert partition(rows, [0, 6], narrow, wide, [(0, 0, 0, 2, 255)]) == ([5, 2, 1, 0, 4, 3], [4])
    assert partition(rows, [0, 6], narrow, wide, [(0, 0, 2, 2, -1)]) == ([2, 5, 4, 3, 1, 0], [1])
    assert partition(rows, [0, 6], narrow, wide, [(1, 0, 300, 300, -1)]) == ([5, 3, 4, 2, 1, 0], [2])
    assert partition(rows, [0, 6], narrow, wide, [(1, 0, 0, 0, 65534)]) == ([4, 1, 0, 5, 3, 2], [3])
    # the sets {63, 64, 255} and {300, 65534}, with nothing between low and high
    assert partition(rows, [0, 6], narrow, wide, [(0, 0, 1, 0, -1, 2)]) == ([5, 4, 3, 2, 1, 0], [1])
    assert partition(rows, [0, 6], narrow, wide, [(1, 0, 1, 0, -1, 3)]) == ([5, 4, 3, 2, 1, 0], [3])
    # two nodes and an empty one between them
    questions = [(0, 0, 0, 2, -1), (0, 0, 0, 2, -1), (1, 0, 0, 0, -1)]
    assert partition(rows, [0, 3, 3, 6], narrow, wide, questions) == ([5, 4, 3, 1, 0, 2], [0, 0, 2])


@given(
    seed=st.integers(0, 2**32 - 1),
    n_rows=st.integers(0, 50),
    cuts=st.lists(st.integers(0, 50), max_size=3),
    num_threads=st.sampled_from([1, 2]),
)
def test_partition_is_the_naive_twins(seed: int, n_rows: int, cuts: list[int], num_threads: int) -> None:
    rng = np.random.default_rng(seed)
    narrow = frozen(rng.integers(0, 6, (2, n_rows)), np.uint8)
    wide = frozen(rng.integers(0, 6, (2, n_rows)) * 13000, np.uint16)
    rows = rng.permutation(n_rows).tolist()
    bounds = [0, *sorted(min(cut, n_rows) for cut in cuts), n_rows]
    questions = []
    for _ in bounds[1:]:
        is_wide, low = rng.integers(2), rng.integers(0, 6)
        high, missing = rng.integers(low, 6), rng.choice([-1, 5])
        scale = 13000 if is_wide else 1
        questions.append((is_wide, rng.integers(2), low * scale, high * scale, max(missing * scale, -1), rng.integers(-1, len(SETS))))
    assert partition(rows, bounds, narrow, wide, questions, num_threads) == naive_partition(rows, bounds, narrow, wide, questions)
    begin, end = np.array(bounds[:-1]), np.array(bounds[1:])
    for dtype in (np.uint16, np.uint32):
        number = np.arange(len(questions)) * 2 + 7
        leaf = np.full(n_rows, 5, dtype=dtype)
        order = frozen(rows, np.uint32)
        asked = ask(questions).copy()
        asked["position"][0] = -1  # the first node is a leaf
        assign_leaves(order, *cut_chunks(begin, end, num_threads), narrow, wide, asked, SUBSETS, number, leaf, num_threads)
        for k, (a, b) in enumerate(itertools.pairwise(bounds)):
            for r in rows[a:b]:
                assert leaf[r] == number[k] + (k > 0 and not says_yes(r, narrow, wide, questions[k]))


@pytest.mark.parametrize("num_threads", [1, 2, 3])
def test_chunks_of_a_large_node_are_joined_in_order(num_threads: int) -> None:
    n_rows = 3 * CHUNK_ROWS + 17
    rng = np.random.default_rng(1)
    narrow = frozen(rng.integers(0, 3, (1, n_rows)), np.uint8)
    wide = np.empty((0, n_rows), dtype=np.uint16)
    rows = rng.permutation(n_rows)
    bounds = [0, 5, n_rows - 3, n_rows]
    out, n_yes = partition(rows, bounds, narrow, wide, [(0, 0, 0, 1, -1)] * 3, num_threads)
    for (a, b), count in zip(itertools.pairwise(bounds), n_yes, strict=True):
        answers = narrow[0][rows[a:b]] <= 1
        assert out[a:b] == [*rows[a:b][answers].tolist(), *rows[a:b][~answers].tolist()]
        assert count == answers.sum()


@pytest.mark.parametrize("is_wide", [0, 1])
@pytest.mark.parametrize("n_rows", [0, 1, 63, 64, 65, 2 * CHUNK_ROWS + 77])
def test_all_rows_in_order(n_rows: int, is_wide: int) -> None:
    rng = np.random.default_rng(n_rows)
    narrow, wide = frozen(rng.integers(0, 5, (2, n_rows)), np.uint8), frozen(rng.integers(0, 5, (2, n_rows)), np.uint16)
    codes = (wide if is_wide else narrow)[1]
    out, n_yes = partition(range(n_rows), [0, n_rows], narrow, wide, [(is_wide, 1, 1, 2, 4)], 2)
    answers = np.isin(codes, [1, 2, 4])
    assert out == [*np.flatnonzero(answers).tolist(), *np.flatnonzero(~answers).tolist()]
    assert n_yes == [answers.sum()]
    for dtype in (np.uint16, np.uint32):
        leaf = np.zeros(n_rows, dtype=dtype)
        chunks = cut_chunks(frozen([0], np.int64), frozen([n_rows], np.int64), 2)
        assign_leaves(np.empty(0, np.uint32), *chunks, narrow, wide, ask([(is_wide, 1, 1, 2, 4)]), SUBSETS, np.array([3]), leaf, 2)
        assert leaf.tolist() == np.where(answers, 3, 4).tolist()


@given(
    codes=st.lists(st.integers(0, 255), max_size=200),
    low=st.integers(-1, 300),
    high=st.integers(-1, 300),
    missing=st.integers(-1, 255),
    subset=st.integers(-1, len(SETS) - 1),
)
def test_any_question_to_all_rows_in_order(codes, low, high, missing, subset) -> None:
    narrow, wide = frozen([codes], np.uint8), np.empty((0, len(codes)), dtype=np.uint16)
    rows, bounds, question = list(range(len(codes))), [0, len(codes)], [(0, 0, low, high, missing, subset)]
    assert partition(rows, bounds, narrow, wide, question) == naive_partition(rows, bounds, narrow, wide, question)


@pytest.mark.parametrize(("low", "high", "expected"), [(0, 255, 4), (300, 300, 0)])
def test_all_yes_and_all_no(low: int, high: int, expected: int) -> None:
    narrow = frozen([[0, 100, 200, 255]], np.uint8)
    out, n_yes = partition([3, 1, 0, 2], [0, 4], narrow, np.empty((0, 4), dtype=np.uint16), [(0, 0, low, high, -1)])
    assert out == [3, 1, 0, 2]
    assert n_yes == [expected]
