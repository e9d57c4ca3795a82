"""Fixed-point sums and hashes: exact for any order, split and scale."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from engine._kernels.exact import hash_counters, sum_fixed_point
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.collectives.exact import (
    exponent_above,
    exponents_above,
    limbs_to_float,
    limbs_to_floats,
    limbs_to_int,
    normalize_limbs,
    sum_exact,
    sum_parts,
)
from engine.collectives.serial import SerialComm
from tests.oracles import naive_fixed_point
from tests.threads_comm import run_ranks

finite = st.floats(allow_nan=False, allow_infinity=False)


def limbs_of(values: NDArray[np.float64], exponent: int) -> NDArray[np.int64]:
    values = np.array(values, dtype=np.float64)
    values.flags.writeable = False
    out = np.zeros(3, dtype=np.int64)
    sum_fixed_point(values, exponent, out)
    return out


def test_sum_by_hand() -> None:
    # units of 2**-50: 1 is 2**50, or 2**24 in the upper limb of units of 2**26
    assert limbs_of([1.0, 2.0**-50, -(2.0**-51)], 0).tolist() == [1 << 24, 1, 0]
    assert limbs_of([-(2.0**-50)], 0).tolist() == [-1, (1 << 26) - 1, 0]
    assert limbs_of([np.nan, np.inf, -np.inf, 0.5], 0).tolist() == [1 << 23, 0, 3]
    assert limbs_of([], 0).tolist() == [0, 0, 0]


@given(st.lists(finite, max_size=20), st.integers(0, 40))
def test_sum_is_the_naive_twins(values: list[float], slack: int) -> None:
    exponent = exponent_above(max((abs(v) for v in values), default=0.0)) + slack
    high, low, bad = limbs_of(values, exponent).tolist()
    assert bad == 0
    assert limbs_to_int(high, low) == naive_fixed_point(values, exponent)


@pytest.mark.parametrize("extreme", [5e-324, 3e-320, 2.0**-1022, 1.1e-300, 1.7e308, 1.0])
def test_extreme_scales_keep_fifty_bits(extreme: float) -> None:
    exponent = exponent_above(extreme)
    high, low, _ = limbs_of([extreme, extreme, -extreme], exponent).tolist()
    assert limbs_to_float(high, low, exponent) == pytest.approx(extreme, rel=2.0**-50, abs=0)


def test_a_sum_beyond_the_largest_double_is_infinite() -> None:
    assert sum_exact(SerialComm(), np.full(4, 1.7e308), name="sum") == np.inf
    assert sum_exact(SerialComm(), np.full(4, -1.7e308), name="sum") == -np.inf


@given(st.lists(st.floats(-1, 1), max_size=50), st.lists(st.integers(0, 50), max_size=3), st.randoms(use_true_random=False))
def test_any_order_and_split_gives_the_same_sum(values: list[float], cuts: list[int], random) -> None:
    whole = limbs_of(values, 0)
    shuffled = random.sample(values, len(values))
    bounds = [0, *sorted(min(cut, len(values)) for cut in cuts), len(values)]
    parts = sum(limbs_of(shuffled[a:b], 0) for a, b in itertools.pairwise(bounds))
    assert normalize_limbs(parts[None, :2].copy()).tolist() == normalize_limbs(whole[None, :2].copy()).tolist()


@given(st.lists(finite, max_size=12), st.integers(1, 4))
def test_sum_over_ranks_is_that_of_one(values: list[float], size: int) -> None:
    column = np.array(values, dtype=np.float64)
    alone = sum_exact(SerialComm(), column, name="sum")
    bounds = [len(values) * r // size for r in range(size + 1)]
    together = run_ranks(size, lambda comm: sum_exact(comm, column[bounds[comm.rank] : bounds[comm.rank + 1]], name="sum"))
    assert together == [alone] * size


def test_sum_is_correctly_rounded_for_numbers_of_one_scale() -> None:
    values = np.random.default_rng(1).uniform(0.5, 1, 1000)
    exact = naive_fixed_point(values, 0)
    assert sum_exact(SerialComm(), values, name="sum", bound=1.0) == exact / 2**50


def test_a_nan_on_one_rank_is_a_nan_on_all() -> None:
    results = run_ranks(3, lambda comm: sum_exact(comm, np.array([np.nan if comm.rank == 1 else 1.0]), name="sum"))
    assert np.isnan(results).all()


@pytest.mark.parametrize(("bound", "exponent"), [(0.0, 0), (1.0, 0), (1.0000001, 1), (2.0, 1), (0.5, -1), (5e-324, -1074), (1.7e308, 1024)])
def test_exponent_above(bound: float, exponent: int) -> None:
    assert exponent_above(bound) == exponent


@given(st.lists(st.tuples(st.integers(-(2**61), 2**61), st.integers(-(2**61), 2**61)), min_size=1, max_size=5))
def test_normal_limbs_have_one_form_for_each_value(limbs: list[tuple[int, int]]) -> None:
    normal = normalize_limbs(np.array(limbs, dtype=np.int64))
    assert ((normal[:, 1] >= 0) & (normal[:, 1] < 1 << 26)).all()
    assert [limbs_to_int(*pair) for pair in normal.tolist()] == [limbs_to_int(*pair) for pair in limbs]
    np.testing.assert_allclose(limbs_to_floats(normal), [float(limbs_to_int(*pair)) for pair in limbs], rtol=1e-15)


def naive_mix(z: int) -> int:
    """splitmix64's finaliser."""
    mask = 2**64 - 1
    z = (z + 0x9E3779B97F4A7C15) & mask
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & mask
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & mask
    return z ^ (z >> 31)


def test_mix_is_splitmix64() -> None:
    # the first number of splitmix64 with seed 0, as published with it
    assert naive_mix(0) == 0xE220A8397B1DCDAF


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**64 - 1), st.integers(0, 20))
def test_hashes_are_functions_of_key_and_counter(key: int, first: int, n: int) -> None:
    out = np.empty(n, dtype=np.uint64)
    hash_counters(key, first, out)
    assert out.tolist() == [naive_mix(naive_mix(key) ^ ((first + i) % 2**64)) for i in range(n)]


def test_hashes_of_one_key_never_collide_and_spread_evenly() -> None:
    out = np.empty(1 << 16, dtype=np.uint64)
    hash_counters(7, 0, out)
    assert len(np.unique(out)) == len(out)
    counts = np.bincount((out >> np.uint64(60)).astype(np.int64), minlength=16)
    assert abs(counts - 4096).max() < 5 * 64  # five standard deviations


def test_exponents_of_many_bounds_are_those_of_each() -> None:
    bounds = np.array([0.0, 5e-324, 2.0**-1022, 0.3, 0.5, 1.0, np.nextafter(1.0, 2.0), 3.0, 2.0**400, 1.7e308])
    assert exponents_above(bounds).tolist() == [exponent_above(bound) for bound in bounds.tolist()]


def test_parts_add_up_to_the_whole() -> None:
    values = np.random.default_rng(0).normal(size=1000)
    whole = sum_exact(SerialComm(), values, name="sum", bound=8.0)
    assert sum_parts(SerialComm(), np.array_split(np.flip(values).copy(), 7), name="sum", bound=8.0) == whole
