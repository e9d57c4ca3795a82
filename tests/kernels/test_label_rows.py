"""The label propagation kernel: by hand, beside a naive twin, for any number of classes, cuts and threads."""

from __future__ import annotations

import math

import numpy as np
import pytest
from engine._kernels.label_rows import CLASS_BLOCK, propagate_rows
from engine._kernels.ranks import AHEAD, FRACTION_BITS
from hypothesis import given
from hypothesis import strategies as st

UNIT = -46


def frozen(values, dtype):
    array = np.array(values, dtype=dtype)
    array.flags.writeable = False
    return array


def padded(values):
    values = np.asarray(values, float)
    stride = -(-values.shape[1] // CLASS_BLOCK) * CLASS_BLOCK
    return np.hstack([values, np.zeros((len(values), stride - values.shape[1]))])


def run(rows, values, before, *, n_classes, offset=0, self_weight=1.0, fixed=None, marks=None, weights=None, cuts=None, threads=1):
    """New values, what changed, and totals."""
    n = len(rows)
    indptr = frozen(np.cumsum([0, *map(len, rows)]), np.int64)
    slots = frozen([slot for row in rows for slot in row] + [0] * AHEAD, np.uint32)
    weights = None if weights is None else frozen([weight for row in weights for weight in row], np.float64)
    following, changed, totals = padded(before), np.full(n, 7, np.uint8), np.zeros(5, np.int64)
    propagate_rows(
        indptr, slots, weights, frozen(padded(values), np.float64), offset, n_classes, self_weight,
        frozen(np.zeros(n) if fixed is None else fixed, np.uint8), None if marks is None else frozen(marks, np.uint8), UNIT, following,
        changed, np.full((threads, following.shape[1]), np.nan), frozen([0, n] if cuts is None else cuts, np.int64), totals, threads,
    )  # fmt: skip
    assert (following[:, n_classes:] == 0).all()
    return following[:, :n_classes], changed, totals


def value_of(high, low):
    return math.ldexp(float((int(high) << FRACTION_BITS) + int(low)), UNIT)


def naive_row(own, entries, weights, self_weight):
    sums = [self_weight * value for value in own]
    for k, entry in enumerate(entries):
        sums = [a + (b if weights is None else weights[k] * b) for a, b in zip(sums, entry, strict=True)]
    whole = 0.0
    for value in sums:
        whole += value
    return [value / whole for value in sums] if whole > 0 else list(own)


def test_by_hand():
    """Row 0 hears vertex 2 and itself; row 1 is fixed; values of two steps ago are (0.5, 0.5) everywhere."""
    values = [[0.5, 0.5], [1.0, 0.0], [0.0, 1.0]]
    found, changed, totals = run([[2], [0]], values, [[0.5, 0.5], [1.0, 0.0]], n_classes=2, fixed=[0, 1])
    assert found.tolist() == [[0.25, 0.75], [1.0, 0.0]]
    assert changed.tolist() == [1, 0]
    assert value_of(*totals[:2]) == pytest.approx(math.sqrt(0.125), rel=1e-13)
    assert totals[:2].tolist() == totals[2:4].tolist()
    assert totals[4] == 1


def test_a_row_of_sum_zero_keeps_its_values():
    found, changed, _ = run([[], [0]], [[0.25, 0.75], [0.5, 0.5]], [[0, 0], [0, 0]], n_classes=2, self_weight=0.0, weights=[[], [0.0]])
    assert found.tolist() == [[0.25, 0.75], [0.5, 0.5]]
    assert changed.tolist() == [0, 0]


@st.composite
def problems(draw):
    n, n_classes = draw(st.integers(1, 7)), draw(st.sampled_from([1, 2, 3, 4, 5, 8, 11, 16, 17, 35]))
    seed = draw(st.integers(0, 1000))
    random = np.random.default_rng(seed)
    n_slots = n + draw(st.integers(0, 3))
    rows = [random.integers(0, n_slots, random.integers(0, 9)).tolist() for _ in range(n)]
    weights = [random.random(len(row)).tolist() for row in rows] if draw(st.booleans()) else None
    values = random.random((n_slots, n_classes))
    inner = sorted(draw(st.lists(st.integers(0, n), max_size=3)))
    return {
        "rows": rows, "values": values, "before": random.random((n, n_classes)), "n_classes": n_classes, "weights": weights,
        "offset": n_slots - n,
        "fixed": random.random(n) < 0.2, "self_weight": draw(st.sampled_from([0.0, 1.0, 0.3])), "cuts": [0, *inner, n],
    }  # fmt: skip


@given(problems(), st.sampled_from([1, 3]))
def test_as_the_naive_twin_for_any_cuts_and_threads(problem, threads):
    found, changed, totals = run(**problem, threads=threads)
    values, offset, fixed = problem["values"], problem["offset"], problem["fixed"]
    near = far = 0.0
    for i, row in enumerate(problem["rows"]):
        own = values[offset + i].tolist()
        weights = problem["weights"] and problem["weights"][i]
        expected = naive_row(own, [values[slot].tolist() for slot in row], weights, problem["self_weight"])
        if fixed[i]:
            expected = problem["before"][i].tolist()
        else:
            near += math.dist(expected, own)
            far += math.dist(expected, problem["before"][i])
        assert found[i].tolist() == expected
        assert changed[i] == (not fixed[i] and expected != own)
    assert value_of(*totals[:2]) == pytest.approx(near, rel=1e-12, abs=1e-12)
    assert value_of(*totals[2:4]) == pytest.approx(far, rel=1e-12, abs=1e-12)
    assert totals[4] == (~fixed).sum()
    assert totals.tolist() == run(**{**problem, "cuts": None})[2].tolist()


def test_rows_that_hear_of_no_change_are_copied():
    values = [[0.5, 0.5], [0.25, 0.75], [0.0, 1.0]]
    before = [[0.5, 0.5], [0.0, 1.0]]
    found, changed, totals = run([[2], [1, 2]], values, before, n_classes=2, marks=[0, 0, 0])
    assert found.tolist() == values[:2]
    assert (changed.tolist(), totals[4]) == ([0, 0], 0)
    assert value_of(*totals[2:4]) == pytest.approx(math.sqrt(0.125), rel=1e-13)
    assert run([[2], [1, 2]], values, before, n_classes=2, marks=[0, 0, 1])[2][4] == 2
    assert run([[2], [1, 2]], values, before, n_classes=2, marks=[0, 1, 0])[2][4] == 1


def test_no_rows():
    assert run([], np.zeros((0, 2)), np.zeros((0, 2)), n_classes=2)[2].tolist() == [0] * 5


@pytest.mark.parametrize(
    "changes", [{"fixed": [0]}, {"marks": [0]}, {"n_classes": 9}, {"n_classes": 0}, {"offset": 2}, {"cuts": [0]}, {"cuts": [0, 9]}]
)
def test_misfits_are_refused(changes):
    with pytest.raises(ValueError, match="expected"):
        run(**{"rows": [[0], [1]], "values": np.ones((2, 2)), "before": np.ones((2, 2)), "n_classes": 2, **changes})
