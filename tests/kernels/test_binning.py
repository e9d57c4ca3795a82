"""Binning kernels: distinct values, quantile cuts, codes, and their interleaving."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from engine._kernels.binning import (
    add_distinct,
    bin_values,
    cut_quantiles,
    index_edges,
    interleave_codes,
    prepare_values,
    split_distinct,
)
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.encode.bins import ColumnSketch, index_thresholds
from tests.oracles import naive_bins, naive_quantile_cuts

numbers = st.floats(allow_nan=False, allow_infinity=False).map(lambda v: v + 0.0)
few_numbers = st.integers(-5, 5).map(float)


def frozen(values: object) -> NDArray[np.float64]:
    array = np.array(values, dtype=np.float64)
    array.flags.writeable = False
    return array


def cuts_of(values: object, n_bins: int) -> list[float]:
    out = np.empty(n_bins - 1)
    return out[: cut_quantiles(frozen(values), out)].tolist()


def distinct_values(values: NDArray[np.float64], most: int) -> NDArray[np.float64] | None:
    """In two batches, as they come."""
    sketch = ColumnSketch(most, len(values))
    for part in np.split(values, [len(values) // 2]):
        sketch.add(part, slice(None))
    return None if sketch.n_distinct < 0 else sketch.distinct


def codes_of(
    values: object, thresholds: object, missing: int, dtype: type = np.uint8, num_threads: int = 1, real: type = np.float64
) -> list[int]:
    with np.errstate(over="ignore"):
        values = frozen(values).astype(real)
    out = np.full(len(values), 77, dtype=dtype)
    bin_values(values, *index_thresholds(frozen(thresholds), values.dtype), missing, out, num_threads)
    return out.tolist()


def test_distinct_values_by_hand() -> None:
    assert distinct_values(frozen([3, 1, np.nan, 3, 2, 1]), 3).tolist() == [1, 2, 3]
    assert distinct_values(frozen([3, 1, np.nan, 3, 2, 1]), 2) is None
    assert distinct_values(frozen([]), 2).tolist() == []
    assert distinct_values(frozen([np.nan]), 1).tolist() == []
    assert distinct_values(frozen([0.0, 0.0]), 1).tolist() == [0.0]


@given(st.lists(numbers | few_numbers | st.just(np.nan), max_size=40), st.integers(1, 12))
def test_distinct_values_are_a_set(values: list[float], most: int) -> None:
    found = distinct_values(frozen(values), most)
    expected = sorted({v for v in values if v == v})
    assert found is None if len(expected) > most else found.tolist() == expected


def test_many_distinct_values_that_fill_the_table() -> None:
    values = np.random.default_rng(0).normal(size=65535)
    assert distinct_values(frozen(np.tile(values, 2)), 65535).tolist() == np.sort(values).tolist()
    assert distinct_values(frozen([*values, 0.0]), 65535) is None


def test_a_count_above_the_limit_says_so() -> None:
    table, used = np.empty(8), np.zeros(8, dtype=np.uint8)
    assert add_distinct(frozen([1, 2, 3]), 3, 0, table, used) == 3
    assert add_distinct(frozen([3, 2]), 3, 3, table, used) == 3
    assert add_distinct(frozen([2, 4]), 3, 3, table, used) == -1


@pytest.mark.parametrize("real", [np.float32, np.float64])
def test_distinct_values_are_finite_and_have_one_zero(real: type) -> None:
    values = np.array([np.inf, -0.0, 0.0, -np.inf, np.nan], dtype=real)
    largest = np.finfo(np.float64).max
    found = distinct_values(values, 3)
    assert found.tolist() == [-largest, 0.0, largest]
    assert not np.signbit(found[1])


def test_prepared_values() -> None:
    values = frozen([1.5, -0.0, np.inf, -np.inf, np.nan, 5e-324])
    out = np.empty(6)
    assert prepare_values(values, out) is True
    largest = np.finfo(np.float64).max
    assert out.tolist()[:4] == [1.5, 0.0, largest, -largest]
    assert not np.signbit(out[1])
    assert np.isnan(out[4])
    assert out[5] == 5e-324
    assert prepare_values(frozen([1.0]), np.empty(1)) is False
    assert prepare_values(frozen([]), np.empty(0)) is False


def test_thresholds_are_midpoints_that_part_neighbours() -> None:
    largest = np.finfo(np.float64).max
    distinct = [-largest, -2.0, 0.0, 5e-324, 1.0, np.nextafter(1.0, 2), 3.0, largest]
    out = np.empty(7)
    assert split_distinct(frozen(distinct), out) == 7
    assert out[2] == 5e-324  # no number lies between 0 and the smallest
    assert out[4] == distinct[5]
    assert out[5] == pytest.approx(2.0)
    assert codes_of(distinct, out, 8) == list(range(8))
    assert split_distinct(frozen([]), np.empty(0)) == 0
    assert split_distinct(frozen([1.0]), np.empty(0)) == 0


@given(st.sets(numbers, min_size=2, max_size=20))
def test_thresholds_part_any_distinct_values(values: set[float]) -> None:
    distinct = sorted(values)
    out = np.empty(len(distinct) - 1)
    split_distinct(frozen(distinct), out)
    assert all(low < t <= high for (low, high), t in zip(itertools.pairwise(distinct), out.tolist(), strict=True))


def test_quantiles_by_hand() -> None:
    assert cuts_of([1, 2, 3, 4, 5, 6], 3) == [2.5, 4.5]
    assert cuts_of([1, 2, 3, 4, 5, 6, 7], 3) == [3.5, 5.5]
    assert cuts_of([1, 2], 5) == [1.5]
    assert cuts_of([7, 7, 7], 3) == []
    assert cuts_of([], 3) == []
    assert cuts_of([1, 2, 3], 1) == []


def test_a_spike_takes_one_bin_and_leaves_the_others_to_the_rest() -> None:
    values = np.sort(np.concatenate([np.zeros(900), np.arange(1, 101)]))
    cuts = cuts_of(values, 11)
    codes = np.bincount(codes_of(values, cuts, 99))
    assert codes.tolist() == [900] + [10] * 10


@given(st.lists(few_numbers | st.integers(0, 30).map(float), max_size=60).map(sorted), st.integers(1, 12))
@example([0.0] * 5 + [1.0], 2)
@example([0.0] + [1.0] * 5, 2)
def test_quantiles_are_the_naive_twins(values: list[float], n_bins: int) -> None:
    cuts = cuts_of(values, n_bins)
    below = [sum(v < cut for v in values) for cut in cuts]
    assert below == naive_quantile_cuts(values, n_bins)
    assert all(a < b for a, b in itertools.pairwise([0, *below, len(values) or 1]))


@given(st.integers(1, 300), st.integers(1, 40))
def test_bins_of_distinct_values_hold_equally_many(n: int, n_bins: int) -> None:
    counts = np.bincount(codes_of(np.arange(n), cuts_of(np.arange(n), n_bins), 255))
    assert len(counts) == min(n, n_bins)
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_codes_by_hand(dtype: type) -> None:
    assert codes_of([0, 1, 1.5, 2, np.nan, -1], [1, 2], 3, dtype) == [0, 1, 1, 2, 3, 0]
    assert codes_of([5, np.nan], [], 1, dtype) == [0, 1]
    assert codes_of([], [1, 2], 3, dtype) == []


@given(
    st.lists(numbers | few_numbers | st.just(np.nan), max_size=40),
    st.sets(few_numbers | numbers, max_size=40).map(sorted),
    st.sampled_from([1, 2]),
    st.sampled_from([np.uint8, np.uint16]),
    st.sampled_from([np.float32, np.float64]),
)
@example([np.inf, -np.inf, 1.0], [-1e300, 1.0, 1e300], 1, np.uint8, np.float32)
@example([0.1, -0.1], [0.1], 1, np.uint8, np.float32)
@example([0.0, 5e-324, 1e-323], [5e-324, 1e-323], 1, np.uint8, np.float64)
@example([1.7e308, -1.7e308], [-1.6e308, 0.0, 1.6e308], 1, np.uint8, np.float64)
def test_codes_are_the_naive_twins(values: list[float], thresholds: list[float], num_threads: int, dtype: type, real: type) -> None:
    missing = len(thresholds) + 1
    with np.errstate(over="ignore"):
        rounded = frozen(values).astype(real).astype(np.float64)
    assert codes_of(values, thresholds, missing, dtype, num_threads, real) == naive_bins(rounded, thresholds, missing)


@given(st.lists(numbers, max_size=60).map(sorted), st.sampled_from([1, 2, 64]))
def test_an_index_counts_the_edges_before_each_bucket(edges: list[float], n_buckets: int) -> None:
    starts = np.empty(n_buckets, dtype=np.uint16)
    low, scale, most = index_edges(frozen(edges), starts)
    ends = np.append(starts[1:], len(edges))
    assert most == max(ends - starts)
    assert (np.diff(starts) >= 0).all()
    assert low == (edges[0] if edges else 0)
    assert scale >= 0


def test_edges_far_apart_and_close_together() -> None:
    rng = np.random.default_rng(1)
    for edges in (np.exp(5 * rng.normal(size=255)), 1e9 + rng.random(255), np.concatenate([rng.random(127), 1e6 + rng.random(127)])):
        edges = np.unique(edges)
        values = np.concatenate([edges, np.nextafter(edges, -np.inf), rng.choice(edges, 300) * rng.random(300)])
        for real in (np.float32, np.float64):
            expected = np.searchsorted(edges, values.astype(real).astype(np.float64), side="right").tolist()
            assert codes_of(values, edges, 999, np.uint16, 1, real) == expected


def test_the_widest_codes() -> None:
    thresholds = np.arange(65533) + 0.5
    assert codes_of([-1, 0, 65532, 65533, 1e300, np.nan], thresholds, 65534, np.uint16) == [0, 0, 65532, 65533, 65533, 65534]


@pytest.mark.parametrize("n_wide", [0, 1, 3])
@pytest.mark.parametrize("shape", [(0, 0), (3, 0), (1, 1), (3, 5), (7, 100), (8, 31), (9, 16), (14, 9000), (16, 4097)])
@pytest.mark.parametrize("num_threads", [1, 2])
def test_interleaved_codes(shape: tuple[int, int], n_wide: int, num_threads: int) -> None:
    random = np.random.default_rng(5)
    (n_narrow, n_rows) = shape
    narrow = random.integers(0, 256, shape, dtype=np.uint8)
    wide = random.integers(0, 65_536, (n_wide, n_rows), dtype=np.uint16)
    narrow.flags.writeable = wide.flags.writeable = False
    out = np.full((n_rows, n_narrow + 2 * n_wide + 1), 7, dtype=np.uint8)
    begin, end = n_rows // 3, n_rows - n_rows // 5
    interleave_codes(narrow, wide, begin, end, out, num_threads)
    assert (out[begin:end, :n_narrow] == narrow.T[begin:end]).all()
    assert (out[begin:end, n_narrow:-1].copy().view(np.uint16) == wide.T[begin:end]).all()
    assert (out[:, -1] == 7).all()
    assert (out[:begin] == 7).all()
    assert (out[end:] == 7).all()


def test_a_row_needs_room_for_its_codes() -> None:
    narrow, wide = np.zeros((2, 3), dtype=np.uint8), np.zeros((1, 3), dtype=np.uint16)
    with pytest.raises(ValueError, match="expected room for 4 bytes a row, got 3"):
        interleave_codes(narrow, wide, 0, 3, np.zeros((3, 3), dtype=np.uint8), 1)
