"""Lanes: packed where the numbers allow it, and never so narrow that sums overflow or drown in rounding."""

from __future__ import annotations

import numpy as np
import pytest
from engine._kernels.leaves import CONSTANT, STORED
from hypothesis import example, given
from hypothesis import strategies as st

from engine.models._trees import lanes
from engine.models._trees.lanes import FEW_ROWS, Gradients, Lanes, choose_lanes

ONE = 2**50


def gradients(*, max_g: int, mean_g: int, n_rows: int, max_h: int = 1, mean_h: int = 1, constant: bool = False) -> Gradients:
    sum_h = mean_h * n_rows
    return Gradients(
        values=np.empty((0, 1 if constant else 2), dtype=np.int64),
        g_exponent=3,
        h_exponent=0 if constant else -2,
        sums=np.array([0, 0, sum_h >> 26, sum_h & 0x3FFFFFF]),
        abs_g=mean_g * n_rows,
        max_g=max_g,
        max_h=max_h,
        hessian=CONSTANT if constant else STORED,
    )


def choose(n_rows: int, **facts: int) -> Lanes:
    return choose_lanes(gradients(n_rows=n_rows, **facts), n_rows)


def test_units() -> None:
    logistic, squared = gradients(max_g=1, mean_g=1, n_rows=1), gradients(max_g=1, mean_g=1, n_rows=1, constant=True)
    assert (logistic.g_unit, logistic.h_unit) == (2.0**-47, 2.0**-52)
    assert (squared.g_unit, squared.h_unit) == (2.0**-47, 1.0)


def test_many_rows_of_like_gradients_are_packed() -> None:
    found = choose(1_000_000, max_g=ONE, mean_g=ONE // 2, max_h=ONE, mean_h=ONE // 2)
    assert found == Lanes(36, 35, 32, 2.0**-11, 2.0**-17)
    found = choose(1_000_000, max_g=ONE, mean_g=ONE // 2, constant=True)
    assert found == Lanes(21, 0, 17, 2.0**-26, 1.0)


def test_few_rows_take_two_words_without_loss() -> None:
    for n_rows in (1, 100, 2000):
        assert choose(n_rows, max_g=ONE, mean_g=ONE, max_h=ONE, mean_h=ONE) == Lanes(0, 0, 0, 2.0**-47, 2.0**-52)
    assert choose(FEW_ROWS - 1, max_g=ONE, mean_g=ONE, max_h=ONE, mean_h=ONE).h_bits == 0
    assert choose(FEW_ROWS, max_g=ONE, mean_g=ONE, max_h=ONE, mean_h=ONE).h_bits == 32


@pytest.mark.parametrize(("mean_g", "mean_h", "packed"), [(ONE >> 5, ONE >> 5, True), (ONE >> 8, ONE, False), (ONE, ONE >> 9, False)])
def test_heavy_tails_take_two_words(mean_g: int, mean_h: int, packed: bool) -> None:
    assert (choose(1_000_000, max_g=ONE, mean_g=mean_g, max_h=ONE, mean_h=mean_h).h_bits > 0) == packed


def test_outliers_a_million_times_the_spread_are_packed_where_hessians_are_constant() -> None:
    assert choose(1_000_000, max_g=ONE, mean_g=ONE >> 20, constant=True).h_bits == 17
    assert choose(1_000_000, max_g=ONE, mean_g=ONE >> 28, constant=True).h_bits == 0


def test_no_gradient_at_all() -> None:
    for constant in (True, False):
        found = choose(1_000_000, max_g=0, mean_g=0, max_h=1, mean_h=1, constant=constant)
        assert (found.g_shift, found.h_shift) == (0, 0)


@example(8_589_934_601, 1_073_741_823, 1, 0.0, 0.0, True)
@given(
    st.integers(1, 2**40), st.integers(0, ONE), st.integers(1, ONE), st.floats(0, 1), st.floats(0, 1), st.booleans()
)  # fmt: skip
def test_lanes_hold_every_sum(n_rows: int, max_g: int, max_h: int, g_share: float, h_share: float, constant: bool) -> None:
    facts = {"max_g": max_g, "mean_g": int(max_g * g_share), "constant": constant}
    if not constant:
        facts |= {"max_h": max_h, "mean_h": max(1, int(max_h * h_share))}
    found = choose(n_rows, **facts)
    largest_g = -(-max_g >> found.g_shift)
    largest_h = -(-facts.get("max_h", 1) >> found.h_shift)
    assert found.g_unit == 2.0 ** (3 - 50 + found.g_shift)
    if found.h_bits == 0:
        assert largest_g * n_rows <= 2**62
        assert largest_h * n_rows <= 2**62
    else:
        assert largest_h * 32768 < 2**found.h_bits
        assert largest_g * 32768 < 2 ** (63 - found.h_bits)
        assert largest_g * n_rows < 2**63


def test_the_choice_knows_nothing_of_this_rank() -> None:
    whole = gradients(max_g=ONE, mean_g=ONE // 3, n_rows=1_000_000, max_h=ONE, mean_h=ONE // 5)
    elsewhere = Gradients(**{**vars(whole), "values": np.zeros((12345, 2), dtype=np.int64)})
    assert choose_lanes(elsewhere, 1_000_000) == choose_lanes(whole, 1_000_000)
    assert lanes.MEAN_UNITS * 2**6 == 2**lanes.GRADIENT_BITS
