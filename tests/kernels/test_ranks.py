"""The PageRank kernels: by hand, beside a naive twin, for any cut of the rows and any number of threads."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from engine._kernels.ranks import AHEAD, FRACTION_BITS, rank_rows, spread_ranks
from hypothesis import given
from hypothesis import strategies as st

UNIT = -46


def frozen(values, dtype):
    array = np.array(values, dtype=dtype)
    array.flags.writeable = False
    return array


def value_of(totals, unit=UNIT):
    """The limbs as an exact fraction."""
    return [Fraction((int(high) << FRACTION_BITS) + int(low)) * Fraction(2) ** unit for high, low in totals.reshape(-1, 2)]


def naive_sum(entries, weights):
    """Entry k to accumulator k mod 4, those after the last four to the first; (0 + 1) + (2 + 3)."""
    part, whole = [0.0] * 4, len(entries) // 4 * 4
    for k, entry in enumerate(entries):
        part[k % 4 if k < whole else 0] += entry if weights is None else weights[k] * entry
    return (part[0] + part[1]) + (part[2] + part[3])


def run(rows, given_, ranks, inverse, *, weights=None, base=0.15, base_of=None, damping=0.85, cuts=None, threads=1, dtype=np.float64):
    """Ranks, deltas, what is given next, and totals."""
    n = len(rows)
    indptr = frozen(np.cumsum([0, *map(len, rows)]), np.int64)
    slots = frozen([slot for row in rows for slot in row] + [0] * AHEAD, np.uint32)
    weights = None if weights is None else frozen([weight for row in weights for weight in row], np.float64)
    ranks, deltas, following, totals = np.array(ranks, float), np.empty(n), np.empty(n, dtype), np.zeros(4, np.int64)
    rank_rows(
        indptr, slots, weights, frozen(given_, dtype), base, None if base_of is None else frozen(base_of, np.float64), damping,
        frozen(inverse, np.float64), UNIT, ranks, deltas, following, frozen([0, n] if cuts is None else cuts, np.int64), totals, threads,
    )  # fmt: skip
    return ranks, deltas, following, totals


def test_by_hand():
    """Row 0 reads both, row 1 nothing; vertex 1 gives nothing."""
    ranks, deltas, following, totals = run([[0, 1], []], [0.5, 0.25], [1.0, 1.0], [0.5, 0.0], base=0.25, damping=0.5)
    assert ranks.tolist() == [0.625, 0.25]
    assert deltas.tolist() == [0.375, 0.75]
    assert following.tolist() == [0.3125, 0.0]
    assert value_of(totals) == [Fraction(9, 8), Fraction(1, 4)]


def test_weights_and_bases_of_rows():
    ranks, _, _, _ = run([[0, 1], [1]], [0.5, 0.25], [1, 1], [1, 1], weights=[[2.0, 4.0], [8.0]], base=0.5, base_of=[1.0, 3.0], damping=1.0)
    assert ranks.tolist() == [2.5, 3.5]


@st.composite
def problems(draw):
    n = draw(st.integers(1, 12))
    rows = [draw(st.lists(st.integers(0, n - 1), max_size=11)) for _ in range(n)]
    value = st.floats(0, 1e3, allow_nan=False)
    numbers = lambda count: draw(st.lists(value, min_size=count, max_size=count))  # noqa: E731
    weights = [numbers(len(row)) for row in rows] if draw(st.booleans()) else None
    inverse = [draw(st.sampled_from([0.0, 0.25, 1.0])) for _ in range(n)]
    inner = sorted(draw(st.lists(st.integers(0, n), max_size=4)))
    return rows, numbers(n), numbers(n), inverse, weights, [0, *inner, n]


@given(problems(), st.sampled_from([1, 3]), st.sampled_from([np.float64, np.float32]))
def test_as_the_naive_twin_for_any_cuts_and_threads(problem, threads, dtype):
    rows, given_, before, inverse, weights, cuts = problem
    given_ = np.array(given_, dtype)
    ranks, deltas, following, totals = run(rows, given_, before, inverse, weights=weights, cuts=cuts, threads=threads, dtype=dtype)
    expected = [0.15 + 0.85 * naive_sum([float(given_[s]) for s in row], weights and weights[i]) for i, row in enumerate(rows)]
    assert ranks.tolist() == expected
    assert deltas.tolist() == [abs(new - old) for new, old in zip(expected, before, strict=True)]
    assert following.tolist() == np.array([rank * share for rank, share in zip(expected, inverse, strict=True)]).astype(dtype).tolist()
    unit = Fraction(2) ** UNIT
    exact = [
        sum(round(Fraction(delta) / unit) for delta in deltas.tolist()) * unit,
        sum(round(Fraction(rank) / unit) for rank, share in zip(expected, inverse, strict=True) if share == 0) * unit,
    ]
    assert all(abs(found - right) <= len(rows) * unit for found, right in zip(value_of(totals), exact, strict=True))
    again = run(rows, given_, before, inverse, weights=weights, threads=1, dtype=dtype)
    assert totals.tolist() == again[3].tolist()


def test_totals_are_added_to_and_carry():
    """A thousand calls of one row are one call of a thousand rows."""
    draw = np.random.default_rng(1)
    before, inverse = draw.random(1000), np.zeros(1000)
    whole = run([[]] * 1000, [0.0] * 1000, before, inverse)[3]
    summed = sum(np.array(value_of(run([[]], [0.0], [x], [0.0])[3]), dtype=object) for x in before)
    assert value_of(whole) == list(summed)
    assert 0 <= whole[1] < 1 << FRACTION_BITS


def test_no_rows():
    _, _, _, totals = run([], np.zeros(0), [], [])
    assert totals.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_spreading_ranks(dtype):
    ranks, inverse = frozen([0.5, 0.3, 2.0, 1e-9], np.float64), frozen([0.1, 0.0, 1 / 3, 0.0], np.float64)
    following, totals = np.empty(4, dtype), np.zeros(4, np.int64)
    spread_ranks(ranks, inverse, UNIT, following, totals)
    assert following.tolist() == (ranks * inverse).astype(dtype).tolist()
    assert math.isclose(float(value_of(totals)[1]), 0.3 + 1e-9, rel_tol=1e-13)
    assert value_of(totals)[0] == 0


@pytest.mark.parametrize(
    "changes", [{"cuts": [0]}, {"cuts": [0, 2, 1, 2]}, {"inverse": [1.0]}, {"base_of": [1.0]}, {"ranks": [1.0]}, {"weights": [[1.0], []]}]
)
def test_misfits_are_refused(changes):
    arguments = {"rows": [[0, 1], []], "given_": [1.0, 1.0], "ranks": [1.0, 1.0], "inverse": [1.0, 1.0], **changes}
    with pytest.raises(ValueError, match="expected"):
        run(arguments.pop("rows"), arguments.pop("given_"), arguments.pop("ranks"), arguments.pop("inverse"), **arguments)
