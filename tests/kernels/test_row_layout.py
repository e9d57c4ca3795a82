"""Rows in another order: most read first, then longest, entries as they were; hashes that no order changes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from engine._kernels.row_layout import MOST_ENTRIES, hash_entries, mark_neighbours, move_entries, order_rows, sum_rows
from hypothesis import given
from hypothesis import strategies as st

ROWS = st.lists(st.lists(st.integers(0, 9), max_size=6), max_size=12)


def frozen(values, dtype):
    array = np.array(values, dtype=dtype)
    array.flags.writeable = False
    return array


def bounds_of(rows):
    return frozen(np.cumsum([0, *map(len, rows)]), np.int64)


def class_of(reads):
    """ceil(log4(1 + reads)), by counting digits."""
    return len(np.base_repr(reads, 4)) if reads else 0


def flat(rows):
    return list(itertools.chain.from_iterable(rows))


@given(ROWS, st.booleans(), st.sampled_from([np.uint32, np.uint64]), st.sampled_from([1, 3]), st.data())
def test_rows_are_moved_whole(rows, weighted, dtype, threads, data):
    indptr, order, moved = bounds_of(rows), np.empty(len(rows), np.uint32), np.empty(len(rows) + 1, np.int64)
    numbers = st.one_of(st.integers(0, 70), st.sampled_from([2**62 - 1, 2**62, 2**63 - 1]))
    reads = data.draw(st.lists(numbers, min_size=len(rows), max_size=len(rows)))
    order_rows(indptr, frozen(reads, np.int64), order, moved)
    assert order.tolist() == sorted(range(len(rows)), key=lambda i: (-class_of(reads[i]), -len(rows[i])))
    assert moved.tolist() == bounds_of([rows[i] for i in order]).tolist()
    weights = frozen(np.arange(len(flat(rows))) / 3, np.float64) if weighted else None
    slots, new_weights = np.full(len(flat(rows)) + 2, 99, np.uint32), np.empty(len(flat(rows))) if weighted else None
    places = frozen([10 + v for v in range(10)], np.uint32)
    move_entries(indptr, frozen(flat(rows), dtype), weights, order, moved, places, slots, new_weights, threads)
    assert slots.tolist() == [10 + v for i in order for v in rows[i]] + [99, 99]
    if weighted:
        assert new_weights.tolist() == [weights[k] for i in order for k in range(indptr[i], indptr[i + 1])]


def test_the_longest_rows_are_alike():
    counts = [3, MOST_ENTRIES, MOST_ENTRIES + 5, MOST_ENTRIES - 1, 0]
    order, moved = np.empty(5, np.uint32), np.empty(6, np.int64)
    order_rows(frozen(np.cumsum([0, *counts]), np.int64), np.zeros(5, np.int64), order, moved)
    assert order.tolist() == [1, 2, 3, 0, 4]
    assert np.diff(moved).tolist() == [counts[i] for i in order]


@given(ROWS, st.sampled_from([np.uint32, np.uint64]), st.data())
def test_hashes_add_up_over_ranks(rows, dtype, data):
    weights = frozen(np.arange(len(flat(rows))) / 3, np.float64)
    whole = hash_entries(bounds_of(rows), frozen(flat(rows), dtype), weights, 5)
    cut = data.draw(st.integers(0, len(rows)))
    at = len(flat(rows[:cut]))
    first = hash_entries(bounds_of(rows[:cut]), frozen(flat(rows[:cut]), dtype), weights[:at], 5)
    rest = hash_entries(bounds_of(rows[cut:]), frozen(flat(rows[cut:]), dtype), weights[at:], 5 + cut)
    assert (first + rest) % 2**64 == whole


def test_hashes_tell_rows_neighbours_and_weights_apart():
    cases = [([[1], [2]], [1.0, 2.0]), ([[2], [1]], [1.0, 2.0]), ([[1], [2]], [2.0, 1.0]), ([[1, 2], []], [1.0, 2.0]), ([[1], [2]], None)]
    hashes = [hash_entries(bounds_of(r), frozen(flat(r), np.uint32), None if w is None else frozen(w, np.float64), 0) for r, w in cases]
    assert len(set(hashes)) == len(cases)


@given(ROWS)
def test_sums_and_marks(rows):
    values = [0.1 * v for v in flat(rows)]
    out = np.full(len(rows), np.nan)
    sum_rows(bounds_of(rows), frozen(values, np.float64), out)
    assert out.tolist() == [sum((0.1 * v for v in row), 0.0) for row in rows] or np.allclose(
        out, [sum(0.1 * v for v in row) for row in rows], rtol=1e-15
    )
    marks = np.zeros(10, np.uint8)
    mark_neighbours(frozen(flat(rows), np.uint32), marks)
    assert set(np.flatnonzero(marks)) == set(flat(rows))


def test_misfits_are_refused():
    with pytest.raises(ValueError, match="expected"):
        order_rows(frozen([0, 1], np.int64), np.zeros(2, np.int64), np.empty(2, np.uint32), np.empty(3, np.int64))
    with pytest.raises(ValueError, match="reads of 1"):
        order_rows(frozen([0, 1, 1], np.int64), np.zeros(1, np.int64), np.empty(2, np.uint32), np.empty(3, np.int64))
    with pytest.raises(ValueError, match="expected"):
        sum_rows(frozen([0, 3], np.int64), frozen([1.0], np.float64), np.empty(1))
    with pytest.raises(ValueError, match="expected"):
        hash_entries(frozen([0, 3], np.int64), frozen([1], np.uint32), None, 0)
