"""Order statistics by counting digits: against sorting, for any groups, weights and ranks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from engine._kernels.quantiles import count_digits, fill_scores, gather_residual_keys
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.collectives.serial import SerialComm
from engine.models._trees import quantiles
from engine.models._trees.quantiles import residual_quantiles, target_weights
from tests.oracles import naive_quantile
from tests.threads_comm import run_ranks

VALUES = st.sampled_from([0.0, -0.0, 1.0, -1.0, 5e-324, 1e300, -1e300]) | st.floats(-1e6, 1e6)


def groups_of(sizes: list[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    bounds = np.cumsum([0, *sizes])
    return bounds[:-1], bounds[1:]


@settings(deadline=None, max_examples=30)
@given(
    groups=st.lists(st.lists(st.tuples(VALUES, st.integers(0, 5)), max_size=12), min_size=1, max_size=6),
    quantile=st.sampled_from([0.1, 0.25, 0.5, 0.7, 0.999]),
    weighted=st.booleans(),
    cell_bits=st.sampled_from([6, 20]),
)
def test_quantiles_against_sorting(groups: list[list[tuple[float, int]]], quantile: float, weighted: bool, cell_bits: int) -> None:
    flat = [row for group in groups for row in group]
    y, weights = np.array([row[0] for row in flat]), np.array([row[1] for row in flat], dtype=np.int64)
    expected = [naive_quantile([v for v, _ in group], [w if weighted else 1 for _, w in group], str(quantile)) for group in groups]

    def run(comm: Any) -> list[float]:
        own = [list(range(comm.rank, len(group), comm.size)) for group in groups]
        starts = np.cumsum([0, *map(len, groups)])
        rows = np.array([starts[k] + i for k, part in enumerate(own) for i in part], dtype=np.uint32)
        begin, end = groups_of([len(part) for part in own])
        found = residual_quantiles(
            y, np.zeros(len(y)), rows, begin, end, quantile=quantile, weights=weights if weighted else None, num_threads=2, comm=comm
        )
        return found.tolist()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantiles, "CELL_BITS", cell_bits)
        for size in (1, 3):
            assert run_ranks(size, run) == [expected] * size


def test_quantiles_are_the_decimal_fractions_they_are_written_as() -> None:
    assert target_weights(np.array([0, 1, 10, 11]), 0.1).tolist() == [0, 1, 1, 2]
    assert target_weights(np.array([10, 2**61]), 0.7).tolist() == [7, -(-7 * 2**61 // 10)]
    assert target_weights(np.array([2**61]), 1e-300).tolist() == [1]


def test_many_leaves_and_many_rows() -> None:
    rng = np.random.default_rng(3)
    n, n_leaves = 40_000, 3000
    y, scores = rng.normal(size=n) ** 3, rng.normal(size=n)
    rows = rng.permutation(n).astype(np.uint32)
    begin, end = groups_of(np.diff([0, *np.sort(rng.integers(0, n, n_leaves - 1)), n]).tolist())
    found = residual_quantiles(y, scores, rows, begin, end, quantile=0.5, weights=None, num_threads=2, comm=SerialComm())
    residuals = (y - scores)[rows]
    for k, (a, b) in enumerate(zip(begin, end, strict=True)):
        assert found[k] == (np.sort(residuals[a:b])[(b - a + 1) // 2 - 1] if b > a else 0.0)


@given(st.lists(st.tuples(VALUES, VALUES), max_size=20))
def test_keys_are_ordered_as_residuals_and_turn_back(rows: list[tuple[float, float]]) -> None:
    y, scores = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    keys, own = np.empty(len(rows), np.uint64), np.empty(len(rows), np.int64)
    order = np.arange(len(rows), dtype=np.uint32)[::-1].copy()
    gather_residual_keys(scores, y, np.arange(len(rows)), order, keys, own, 1)
    assert own.tolist() == order.tolist()
    back = np.empty(len(rows))
    fill_scores(keys, back)
    assert back.tolist() == (y - scores)[order].tolist()
    assert (np.sort(keys) == keys[np.argsort(back, kind="stable")]).all()


def test_digits_are_counted_where_keys_start_alike() -> None:
    keys = np.array([0x1234, 0x1299, 0x4412, 0x1234, 0x5634], dtype=np.uint64)
    weights = np.array([1, 2, 4, 8, 16])
    begin, end = np.array([0, 4]), np.array([4, 5])
    out = np.zeros((2, 256), dtype=np.int64)
    count_digits(keys, weights, begin, end, np.array([0x1200, 0x7700], dtype=np.uint64), 0, 8, out, 2)
    assert {int(d): int(out[0, d]) for d in np.flatnonzero(out[0])} == {0x34: 9, 0x99: 2}
    assert not out[1].any()
    assert end.tolist() == [3, 4]
    assert (keys[:3].tolist(), weights[:3].tolist()) == ([0x1234, 0x1299, 0x1234], [1, 2, 8])
