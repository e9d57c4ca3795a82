"""Binning kernels: distinct values, quantile cuts, codes, and their interleaving."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from engine._kernels.binning import bin_values, cut_quantiles, find_distinct, interleave_codes, prepare_values, split_distinct
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.encode.bins import distinct_values
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


def codes_of(values: object, thresholds: object, missing: int, dtype: type = np.uint8, num_threads: int = 1) -> list[int]:
    values = frozen(values)
    out = np.full(len(values), 77, dtype=dtype)
    bin_values(values, frozen(thresholds), missing, out, num_threads)
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
    assert find_distinct(frozen([1, 2, 3, 4]), 3, table, used) == -1


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
)
def test_codes_are_the_naive_twins(values: list[float], thresholds: list[float], num_threads: int, dtype: type) -> None:
    missing = len(thresholds) + 1
    assert codes_of(values, thresholds, missing, dtype, num_threads) == naive_bins(frozen(values), thresholds, missing)


def test_the_widest_codes() -> None:
    thresholds = np.arange(65533) + 0.5
    assert codes_of([-1, 0, 65532, 65533, 1e300, np.nan], thresholds, 65534, np.uint16) == [0, 0, 65532, 65533, 65533, 65534]


@pytest.mark.parametrize("shape", [(0, 0), (3, 0), (1, 1), (3, 5), (14, 9000)])
@pytest.mark.parametrize("num_threads", [1, 2])
def test_interleaved_codes(shape: tuple[int, int], num_threads: int) -> None:
    columns = np.random.default_rng(5).integers(0, 256, shape, dtype=np.uint8)
    columns.flags.writeable = False
    out = np.empty(shape[::-1], dtype=np.uint8)
    interleave_codes(columns, out, num_threads)
    assert (out == columns.T).all()
