"""What limits growth beyond depth: leaves, directions, sets of categories, samples of rows and columns, the L1 penalty."""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from engine._kernels.leaves import CONSTANT
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.collectives.communicator import Communicator
from engine.collectives.serial import SerialComm
from engine.data.stream import table_stream
from engine.encode.bins import encode_bins, fit_bins
from engine.encode.categories import fit_encoding
from engine.encode.encoding import Encoding
from engine.models._trees.ensemble import CATEGORY, LEAF, NUMERIC, SUBSET
from engine.models._trees.grower import TreeGrower
from engine.models._trees.grown import GrownTree, GrowthOptions
from engine.models._trees.lanes import Gradients
from tests.threads_comm import run_ranks

ONE = 2**50
N = 1500


def make_table(seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    letters = pa.array([f"level {c:02}" for c in rng.integers(0, 12, N)])
    return pa.table({"x": rng.normal(size=N), "c": letters, "z": rng.integers(0, 5, N), "w": rng.normal(size=N)})


def make_gradients(table: pa.Table, part: slice, seed: int = 0) -> Gradients:
    """Squared error of a target that rises with x, falls with w, and depends on the letter's number in no order."""
    x, w = table.column("x").to_numpy(), table.column("w").to_numpy()
    letter = np.array([int(name[-2:]) for name in table.column("c").to_pylist()])
    noise = np.random.default_rng(seed).normal(size=N)
    y = np.tanh(x) - 0.5 * w + np.sin(5.0 * letter) + 0.3 * noise
    g = np.round(-y / 16 * ONE).astype(np.int64)
    total = int(g.sum())
    return Gradients(
        values=np.ascontiguousarray(g[part, None]), g_exponent=0, h_exponent=0, sums=np.array([total >> 26, total & 0x3FFFFFF, 0, N]),
        abs_g=int(np.abs(g).sum()), max_g=int(np.abs(g).max()), max_h=1, hessian=CONSTANT,
    )  # fmt: skip


def grow(
    table: pa.Table,
    comm: Communicator,
    bounds: list[int],
    *,
    rows: NDArray[np.uint32] | None = None,
    columns: NDArray[np.uint8] | None = None,
    **options: Any,
) -> tuple[GrownTree, NDArray[np.float64], Encoding]:
    """The tree, what it adds to this rank's scores, and the encoding; rank r holds rows ``bounds[r]`` to ``bounds[r + 1]``."""
    first, end = bounds[comm.rank], bounds[comm.rank + 1]
    part = table.slice(first, end - first)
    stream = table_stream(part, first, N)
    encoding = fit_encoding(stream, table.column_names, comm)
    specs = fit_bins(stream, encoding, max_bins=64, seed=0, comm=comm)
    limits = GrowthOptions(**{"max_depth": 5, "min_child_weight": 0.0, "min_loss_reduction": 0.0, "step_size": 1.0, **options})
    one = TreeGrower(encode_bins(stream, encoding, specs, num_threads=1), limits, first_row=first, n_rows=N, num_threads=1, comm=comm)
    own = None if rows is None else (rows[(rows >= first) & (rows < end)] - first).astype(np.uint32)
    tree = one.grow(make_gradients(table, slice(first, end)), key=5, rows=own, columns=columns)
    scores = np.zeros(end - first)
    one.leaf_values(tree).add_to(scores, 1)
    return tree, scores, encoding


def grow_alone(table: pa.Table, **options: Any) -> tuple[GrownTree, NDArray[np.float64], Encoding]:
    return grow(table, SerialComm(), [0, N], **options)


def content(tree: GrownTree) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in vars(tree).items()}


OPTIONS: dict[str, dict[str, Any]] = {
    "leaves": {"max_leaves": 7, "max_depth": 12},
    "directions": {"monotone": np.array([1, 0, 0, -1], dtype=np.int8)},
    "sets": {"partition": True},
    "L1": {"reg_alpha": 3.0},
    "sample": {"rows": np.flatnonzero(np.random.default_rng(1).random(N) < 0.6).astype(np.uint32)},
    "columns": {"columns": np.array([0, 1, 0, 1], dtype=np.uint8)},
    "all": {
        "max_leaves": 9,
        "monotone": np.array([1, 0, 0, -1], dtype=np.int8),
        "partition": True,
        "reg_alpha": 1.0,
        "rows": np.arange(0, N, 2, dtype=np.uint32),
        "columns": np.array([1, 1, 0, 1], dtype=np.uint8),
    },
}


@pytest.mark.parametrize("name", OPTIONS)
@settings(max_examples=6)
@given(seed=st.integers(0, 2**32 - 1), cuts=st.lists(st.integers(0, N), max_size=3))
def test_any_ranks_grow_the_same_tree(name: str, seed: int, cuts: list[int]) -> None:
    table = make_table(seed)
    bounds = [0, *sorted(cuts), N]
    tree, scores, _ = grow_alone(table, **OPTIONS[name])
    parts = run_ranks(len(bounds) - 1, lambda comm: grow(table, comm, bounds, **OPTIONS[name]))
    assert all(content(part) == content(tree) for part, _, _ in parts)
    assert np.concatenate([part for _, part, _ in parts]).tobytes() == scores.tobytes()


@pytest.mark.parametrize("max_leaves", [2, 3, 5, 8, 17, 1000])
def test_leaves_are_those_of_the_largest_gains_first(max_leaves: int) -> None:
    """The tree is the part of the whole one that a greedy walk from the root reaches."""
    table = make_table(3)
    whole, _, _ = grow_alone(table, max_depth=8)
    chosen: set[int] = set()
    frontier = [(-whole.gain[0], 0)]
    while frontier and len(chosen) < max_leaves - 1:
        _, node = heapq.heappop(frontier)
        chosen.add(node)
        for child in (whole.yes[node], whole.no[node]):
            if whole.kind[child] != LEAF:
                heapq.heappush(frontier, (-whole.gain[child], child))
    tree, _, _ = grow_alone(table, max_depth=8, max_leaves=max_leaves)
    assert (tree.kind == LEAF).sum() == len(chosen) + 1 == min(max_leaves, (whole.kind == LEAF).sum())
    twin = {0: 0}
    for node in range(len(tree.kind)):
        if tree.kind[node] != LEAF:
            assert twin[node] in chosen
            assert (tree.column[node], tree.threshold[node]) == (whole.column[twin[node]], whole.threshold[twin[node]])
            twin |= {int(tree.yes[node]): int(whole.yes[twin[node]]), int(tree.no[node]): int(whole.no[twin[node]])}


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), depth=st.integers(1, 8))
def test_predictions_keep_their_direction(seed: int, depth: int) -> None:
    """Whatever the other columns are, the tree's value only rises with x and only falls with w."""
    table = make_table(seed)
    tree, _, encoding = grow_alone(table, max_depth=depth, monotone=np.array([1, 0, 0, -1], dtype=np.int8))
    matrix = encoding.matrix(table.slice(0, 40))
    for column, sign in ((0, 1), (3, -1)):
        steps = []
        for value in np.linspace(-3, 3, 25):
            matrix_at = matrix.copy()
            matrix_at[:, column] = value
            steps.append([walk(tree, row) for row in matrix_at])
        assert (sign * np.diff(np.array(steps), axis=0) >= 0).all()


def walk(tree: GrownTree, row: NDArray[np.float64]) -> float:
    node = 0
    while tree.kind[node] != LEAF:
        x = row[tree.column[node]]
        if tree.kind[node] == SUBSET:
            bits = tree.set_bits[tree.set_start[int(tree.threshold[node])] :]
            yes = bool(int(bits[int(x) >> 6]) >> (int(x) & 63) & 1)
        else:
            yes = x < tree.threshold[node] if tree.kind[node] == NUMERIC else x == tree.threshold[node]
        node = tree.yes[node] if yes else tree.no[node]
    return float(tree.value[node])


def test_sets_of_categories_split_what_single_ones_cannot() -> None:
    table = make_table(9)
    for depth in (1, 3, 6):
        sets, scores, encoding = grow_alone(table, max_depth=depth, partition=True)
        single, _, _ = grow_alone(table, max_depth=depth)
        assert CATEGORY not in sets.kind
        assert SUBSET not in single.kind
        assert sets.gain[0] >= single.gain[0]
        assert [walk(sets, row) for row in encoding.matrix(table)] == scores.tolist()
    assert (sets.kind == SUBSET).sum() == len(sets.set_start) - 1 > 1
    column = np.array([1, 0, 0, 0], dtype=np.uint8)[[1, 0, 2, 3]]
    alone, _, _ = grow_alone(table, max_depth=1, partition=True, columns=column)
    assert (alone.kind[0], alone.column[0], int(alone.set_bits[0]).bit_count()) == (SUBSET, 1, alone.code[0])


def test_samples_leave_the_other_rows_and_columns_alone() -> None:
    table = make_table(4)
    rows = np.arange(0, N, 3, dtype=np.uint32)
    tree, scores, _ = grow_alone(table, rows=rows, columns=np.array([0, 0, 1, 1], dtype=np.uint8))
    assert set(tree.column[tree.kind != LEAF].tolist()) == {2, 3}
    assert tree.cover[0] == len(rows)
    others = np.setdiff1d(np.arange(N), rows)
    assert (scores[others] == 0.0).all()
    assert (scores[rows] != 0.0).all()
    part = make_gradients(table, slice(0, N)).values[rows, 0].sum() / ONE
    stump, _, _ = grow_alone(table, rows=rows, max_depth=1, min_loss_reduction=1e9)
    assert stump.value.tolist() == pytest.approx([-part / (len(rows) + 1)])
    nobody, scores, _ = grow_alone(table, rows=rows[:0])
    assert (nobody.kind.tolist(), nobody.value.tolist(), scores.any()) == ([LEAF], [0.0], False)


def test_the_l1_penalty_moves_weights_to_0() -> None:
    table = make_table(5)
    total = make_gradients(table, slice(0, N)).values.sum() / ONE
    for alpha in (0.0, abs(total) / 2, 2 * abs(total)):
        tree, _, _ = grow_alone(table, max_depth=1, min_loss_reduction=1e9, reg_alpha=alpha)
        assert tree.value[0] == pytest.approx(-np.sign(total) * max(abs(total) - alpha, 0.0) / (N + 1))
    gains = [grow_alone(table, reg_alpha=alpha)[0].gain.sum() for alpha in (0.0, 0.5, 1.0)]
    assert gains == sorted(gains, reverse=True)
