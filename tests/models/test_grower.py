"""Growing trees: against a naive grower in float64, on any ranks and threads, with histograms whole or in batches."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pyarrow as pa
import pytest
from engine._kernels.leaves import CONSTANT, STORED
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.collectives import threads
from engine.collectives.communicator import Communicator
from engine.collectives.serial import SerialComm
from engine.data.dataset import Dataset
from engine.data.stream import table_stream
from engine.encode.bins import encode_bins, fit_bins
from engine.encode.categories import fit_encoding
from engine.models._trees import grower, grown, lanes
from engine.models._trees.boosting import TrainedTrees
from engine.models._trees.ensemble import LEAF, TreeEnsemble
from engine.models._trees.grower import TreeGrower
from engine.models._trees.grown import MIN_GAIN, GrownTree, GrowthOptions, assemble
from engine.models._trees.histograms import share_columns
from engine.models._trees.lanes import Gradients
from tests.oracles import NaiveSplit, naive_answers, naive_best_split, naive_margins, naive_tree, walk_tree
from tests.threads_comm import run_ranks
from tests.training import TARGETS, cut_rows, fingerprint, mixed_table, train, train_parts, tree_arrays, with_target

ONE = 2**50
SCHEMA = pa.schema({"x": pa.float64(), "z": pa.int64(), "s": pa.string(), "y": pa.int64()})
rows_of_a_table = st.lists(
    st.tuples(
        st.none() | st.integers(-3, 3).map(float), st.none() | st.integers(0, 3), st.none() | st.sampled_from("abc"), st.integers(0, 2)
    ),
    min_size=2,
    max_size=25,
)


def quantised(value: float, unit: float) -> float:
    return round(value / unit) * unit


def first_gradients(task: str, y: NDArray[np.int64], output: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gradients and hessians before the first tree."""
    n_classes = len(np.unique(y))
    if task == "regression":
        return 0.5 - y, np.ones(len(y))
    if n_classes == 2:
        return 0.5 - (y == y.max()), np.full(len(y), 0.25)
    p = 1.0 / 3.0
    g = [quantised(p - (value == output), 2.0**-50) for value in y]
    return np.array(g), np.full(len(y), quantised(2 * p * (1 - p), 2.0**-51))


def check_first_trees(rows: list[tuple], task: str, **options: float) -> None:
    table = pa.Table.from_pylist([dict(zip(SCHEMA.names, row, strict=True)) for row in rows], schema=SCHEMA)
    trained = train(table, task=task, max_iterations=1, **options)
    matrix, y = trained.encoding.matrix(table), table["y"].to_numpy()
    is_category = [column.kind == "category" for column in trained.encoding.columns]
    for output in range(trained.ensemble.n_outputs):
        g, h = first_gradients(task, y, output)
        expected = naive_tree(matrix, is_category, g, h, **options)
        found = tree_arrays(trained.ensemble, output)
        for name, values in expected.items():
            if name in ("value", "gain", "cover"):
                np.testing.assert_allclose(found[name], values, rtol=1e-12, atol=1e-12, err_msg=name)
            else:
                assert found[name].tolist() == [float(v) for v in values], name


options_of_a_tree = {
    "max_depth": st.integers(1, 4),
    "min_child_weight": st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.5]),
    "min_loss_reduction": st.sampled_from([0.0, 0.0, 0.3, 1.0, 4.0]),
    "step_size": st.sampled_from([0.3, 1.0]),
}


@pytest.mark.filterwarnings("ignore:every value is missing", "ignore:target 'y' is constant")
@settings(max_examples=60)
@given(rows=rows_of_a_table, **options_of_a_tree)
def test_regression_trees_are_the_naive_twins(rows: list[tuple], **options: float) -> None:
    check_first_trees(rows, "regression", **options)


@pytest.mark.filterwarnings("ignore:every value is missing")
@settings(max_examples=60)
@given(rows=rows_of_a_table, **options_of_a_tree)
def test_classification_trees_are_the_naive_twins(rows: list[tuple], **options: float) -> None:
    assume(len({row[-1] for row in rows}) > 1)
    check_first_trees(rows, "classifier", **options)


def test_a_tree_by_hand() -> None:
    # x < 2.5 parts residuals 0.5 - y into (-0.5, -0.5) and (-3.5, -3.5)
    trained = train(pa.table({"x": [1, 2, 3, 4], "y": [1, 1, 4, 4]}), task="regression", max_iterations=1, max_depth=3, step_size=1.0)
    tree = tree_arrays(trained.ensemble, 0)
    assert (tree["kind"].tolist(), tree["threshold"].tolist(), tree["yes"].tolist()) == ([1, 0, 0], [2.5, 0, 0], [1, -1, -1])
    assert tree["value"].tolist() == [0, 1 / 3, 7 / 3]
    assert tree["cover"].tolist() == [4, 2, 2]
    assert tree["gain"].tolist() == [pytest.approx(1 / 3 + 49 / 3 - 64 / 5), 0, 0]


def rounded_table(n_rows: int) -> pa.Table:
    """A mixed table whose numbers take few values, so that the naive search is quick."""
    table = mixed_table(3, n_rows).drop_columns(["v", "day"])
    return table.set_column(0, "x", pa.array(np.round(table["x"].to_numpy(), 1), from_pandas=True))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("few_rows", [lanes.FEW_ROWS, 0])
def test_every_node_of_later_trees_is_right(target: str, few_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums, leaves and gains from float64 gradients at the margins so far; and no other split gains more than rounding hides."""
    monkeypatch.setattr(lanes, "FEW_ROWS", few_rows)
    monkeypatch.setattr(lanes, "MEAN_UNITS", 0 if few_rows == 0 else lanes.MEAN_UNITS)
    table = rounded_table(150)
    if target == "amount":
        table = table.set_column(table.column_names.index(target), target, pa.array(np.clip(table[target].to_numpy(), -9, 9)))
    table = with_target(table, target)
    options = {"max_iterations": 3, "max_depth": 3, "min_child_weight": 1.0, "step_size": 0.5}
    trained = train(table, task=TARGETS[target], **options)
    matrix, ensemble = trained.encoding.matrix(table), trained.ensemble
    is_category = [column.kind == "category" for column in trained.encoding.columns]
    tolerance = 1e-9 if few_rows else 2e-2
    for tree in range(ensemble.n_trees):
        g, h = naive_gradients(trained, matrix, table["y"], tree)
        nodes = tree_arrays(ensemble, tree)
        members = rows_of_nodes(ensemble, tree, matrix)
        for node, rows in enumerate(members):
            total_g, total_h = math.fsum(g[rows]), math.fsum(h[rows])
            assert nodes["cover"][node] == pytest.approx(total_h, rel=1e-9)
            depth = depth_of(nodes, node)
            limits = {"reg_lambda": 1.0, "min_child_weight": options["min_child_weight"], "min_gain": MIN_GAIN}
            best = naive_best_split(matrix, rows, is_category, g, h, **limits) if depth < options["max_depth"] else None
            if nodes["kind"][node] == LEAF:
                assert nodes["value"][node] == pytest.approx(-total_g / (total_h + 1) * options["step_size"], rel=1e-9, abs=1e-12)
                assert best is None or best.gain < MIN_GAIN + tolerance or few_rows == 0
            else:
                taken = NaiveSplit(0.0, int(nodes["column"][node]), 0, float(nodes["threshold"][node]), bool(nodes["missing_yes"][node]))
                assert nodes["gain"][node] == pytest.approx(gain_of(taken, matrix[rows], is_category, g[rows], h[rows]), rel=1e-9)
                assert nodes["gain"][node] >= best.gain * (1 - tolerance) - tolerance
                assert min(nodes["cover"][nodes["yes"][node]], nodes["cover"][nodes["no"][node]]) >= options["min_child_weight"]


def gain_of(split: NaiveSplit, matrix, is_category, g, h) -> float:
    yes = naive_answers(matrix[:, split.column], is_category[split.column], split.threshold, split.missing_yes)
    score = [math.fsum(g[part]) ** 2 / (math.fsum(h[part]) + 1) for part in (yes, ~yes, yes | ~yes)]
    return score[0] + score[1] - score[2]


def depth_of(nodes: dict[str, NDArray], node: int) -> int:
    parents = {int(child): parent for parent in range(len(nodes["yes"])) for child in (nodes["yes"][parent], nodes["no"][parent])}
    return 0 if node == 0 else 1 + depth_of(nodes, parents[node])


def rows_of_nodes(ensemble: TreeEnsemble, tree: int, matrix: NDArray[np.float64]) -> list[NDArray[np.int64]]:
    """The rows that pass through every node of a tree."""
    nodes = tree_arrays(ensemble, tree)
    reached = np.array([walk_tree(ensemble, tree, row) for row in matrix])
    members: list[NDArray[np.int64]] = [np.flatnonzero(reached == node) for node in range(len(nodes["kind"]))]
    for node in reversed(range(len(members))):
        if nodes["kind"][node] != LEAF:
            members[node] = np.sort(np.concatenate([members[nodes["yes"][node]], members[nodes["no"][node]]]))
    return members


def naive_gradients(trained, matrix, target: pa.ChunkedArray, tree: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gradients and hessians in float64 before a tree's iteration."""
    k = trained.ensemble.n_outputs
    start = {name: array[: trained.ensemble.tree_start[tree - tree % k]] for name, array in trained.ensemble.arrays().items()}
    start |= {name: getattr(trained.ensemble, name) for name in ("set_start", "set_bits")}
    start["tree_start"] = trained.ensemble.tree_start[: tree - tree % k + 1]
    margins = naive_margins(TreeEnsemble(n_outputs=k, base_score=trained.ensemble.base_score, **start), matrix)
    if trained.classes is None:
        return margins[:, 0] - target.to_numpy(), np.ones(len(matrix))
    y = np.array([trained.classes.index(value) for value in target.to_pylist()])
    if k == 1:
        p = 1 / (1 + np.exp(-margins[:, 0]))
        return p - y, p * (1 - p)
    e = np.exp(margins - margins.max(axis=1, keepdims=True))
    p = (e / e.sum(axis=1, keepdims=True))[:, tree % k]
    return p - (y == tree % k), 2 * p * (1 - p)


# --- the same tree, however it is grown ---

# When histograms are kept, how many are searched at once, by whom, and when both children's are built.
WAYS = {
    "as it is": {},
    "no room": {"HISTOGRAM_BYTES": 1},
    "a pair a thread": {"SHARE_PAIRS": 0, "HISTOGRAM_BYTES": 1 << 20},
    "threads share nodes": {"PAIR_BYTES": 0},
    "a pair at once": {"BATCH_BYTES": 1},
    "always subtract": {"CACHED_BYTES": 0, "ROWS_A_CODE": 0},
    "subtract from large nodes": {"CACHED_BYTES": 0, "ROWS_A_CODE": 0.5},
    "always build": {"CACHED_BYTES": 0, "ROWS_A_CODE": 1_000_000_000, "BATCH_BYTES": 1},
}


def grow(
    table: pa.Table, gradients: Gradients, comm: Communicator, *, first_row: int, n_rows: int, num_threads: int = 1, **options: float
) -> tuple[GrownTree, NDArray[np.float64], list]:
    rows = table_stream(table, first_row, n_rows)
    encoding = fit_encoding(rows, table.column_names, comm)
    specs = fit_bins(rows, encoding, max_bins=64, seed=0, comm=comm)
    bins = encode_bins(rows, encoding, specs, num_threads=1)
    limits = GrowthOptions(**{"max_depth": 4, "min_child_weight": 0.0, "min_loss_reduction": 0.0, "step_size": 1.0, **options})
    one = TreeGrower(bins, limits, first_row=first_row, n_rows=n_rows, num_threads=num_threads, comm=comm)
    tree = one.grow(gradients, key=77)
    scores = np.zeros(table.num_rows)
    one.leaf_values(tree).add_to(scores, 1)
    return tree, scores, [*specs]


def make_gradients(g: NDArray[np.int64], h: NDArray[np.int64] | None, part: slice) -> Gradients:
    """Gradients of the rows of ``part``, with the sums of all."""
    values = g[:, None] if h is None else np.stack([g, h], axis=1)
    sum_g, sum_h = sum(g.tolist()), len(g) if h is None else sum(h.tolist())
    return Gradients(
        values=np.ascontiguousarray(values[part]), g_exponent=0, h_exponent=0,
        sums=np.array([sum_g >> 26, sum_g & 0x3FFFFFF, sum_h >> 26, sum_h & 0x3FFFFFF]), abs_g=sum(map(abs, g.tolist())),
        max_g=int(np.abs(g).max()), max_h=1 if h is None else int(h.max()), hessian=CONSTANT if h is None else STORED,
    )  # fmt: skip


def tree_bytes(tree: GrownTree) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in vars(tree).items()}


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    cuts=st.lists(st.integers(0, 300), max_size=6),
    constant=st.booleans(),
    packed=st.booleans(),
    way=st.sampled_from(sorted(WAYS)),
    num_threads=st.sampled_from([1, 2]),
)
def test_any_ranks_threads_and_batches_grow_the_same_tree(
    seed: int, cuts: list[int], constant: bool, packed: bool, way: str, num_threads: int
) -> None:
    n = 300
    rng = np.random.default_rng(seed)
    table = mixed_table(seed, n).drop_columns(list(TARGETS))
    g = rng.integers(-ONE, ONE, n) >> rng.integers(0, 40, n)
    h = None if constant else rng.integers(1, ONE, n) >> rng.integers(0, 40, n)
    bounds = [0, *sorted(cuts), n]

    def run(comm: Communicator) -> tuple[GrownTree, NDArray[np.float64], list]:
        first, end = bounds[comm.rank], bounds[comm.rank + 1]
        part = make_gradients(g, h, slice(first, end))
        options = {"first_row": first, "n_rows": n, "min_child_weight": 0.01, "num_threads": num_threads}
        return grow(table.slice(first, end - first), part, comm, **options)

    with pytest.MonkeyPatch.context() as patch:
        if packed:
            patch.setattr(lanes, "FEW_ROWS", 0)
            patch.setattr(lanes, "MEAN_UNITS", 0)
        alone, scores, _ = grow(table, make_gradients(g, h, slice(0, n)), SerialComm(), first_row=0, n_rows=n, min_child_weight=0.01)
        for name, value in WAYS[way].items():
            patch.setattr(grower, name, value)
        results = run_ranks(len(bounds) - 1, run)
    for tree, _, _ in results:
        assert tree_bytes(tree) == tree_bytes(alone)
    assert np.concatenate([part for _, part, _ in results]).tobytes() == scores.tobytes()
    assert sum(len(part) for _, part, _ in results) == n


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("sample", [1.0, 0.6])
def test_deep_trees_are_the_same_in_every_way(way: str, sample: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """With some columns left out too, whose histograms nobody reads."""
    table = with_target(mixed_table(7, 900), "sign")
    samples = {"column_subsample": sample, "row_subsample": sample}
    options = {"task": "classifier", "max_iterations": 3, "max_depth": 9, "max_bins": 64, **samples}
    expected = fingerprint(train(table, **options))
    for name, value in WAYS[way].items():
        monkeypatch.setattr(grower, name, value)
    for num_threads in (1, 2):
        assert fingerprint(train(table, num_threads=num_threads, **options)) == expected


def test_ranks_with_other_numbers_of_threads_reduce_as_often(monkeypatch: pytest.MonkeyPatch) -> None:
    table = with_target(mixed_table(7, 900), "sign")
    options = {"task": "classifier", "max_iterations": 2, "max_depth": 7}
    whole = fingerprint(train(table, **options))
    monkeypatch.setattr(grower, "BATCH_BYTES", 1)
    monkeypatch.setattr(threads, "WORK_PER_THREAD", 1)
    parts = cut_rows(table, 3)

    def run(comm: Communicator) -> TrainedTrees:
        return train(Dataset(parts[comm.rank], sharded=True), comm=comm, num_threads=1 + 3 * comm.rank, **options)

    assert [fingerprint(trained) for trained in run_ranks(3, run)] == [whole] * 3


@pytest.mark.parametrize("n_batches", [1, 2, 5, 1000])
@pytest.mark.parametrize("n_ranks", [1, 3])
def test_histograms_in_batches_change_nothing(n_batches: int, n_ranks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    table = with_target(mixed_table(5, 800), "grade")
    options = {"task": "classifier", "max_iterations": 2, "max_depth": 6, "max_bins": 32}
    whole = fingerprint(train(table, **options))
    monkeypatch.setattr(grower, "HISTOGRAM_BYTES", 200_000 // n_batches)
    assert [fingerprint(part) for part in train_parts(cut_rows(table, n_ranks), **options)] == [whole] * n_ranks


def test_scores_are_those_of_walking_the_tree() -> None:
    rng = np.random.default_rng(6)
    n = 500
    table = mixed_table(6, n).drop_columns(list(TARGETS))
    gradients = make_gradients(rng.integers(-ONE, ONE, n), rng.integers(1, ONE, n), slice(0, n))
    tree, scores, _ = grow(table, gradients, SerialComm(), first_row=0, n_rows=n, max_depth=8)
    ensemble = assemble([tree], n_outputs=1, base_score=0.0)
    matrix = fit_encoding(table_stream(table), table.column_names, SerialComm()).matrix(table)
    assert naive_margins(ensemble, matrix)[:, 0].tobytes() == scores.tobytes()


def test_children_that_only_rounding_made_heavy_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand tiny hessians count one lane unit each, enough for min_child_weight; their full sum is not."""
    monkeypatch.setattr(lanes, "FEW_ROWS", 0)
    monkeypatch.setattr(lanes, "MEAN_UNITS", 0)
    n = 2000
    x = np.arange(n)
    g = np.where(x < 1000, ONE, -ONE)
    h = np.where(x < 1000, 1, ONE)
    dropped = []
    original = grown.finish_nodes

    def spy(nodes, *arguments):
        n_kept = original(nodes, *arguments)
        dropped.append(len(nodes) - n_kept)
        return n_kept

    monkeypatch.setattr(grown, "finish_nodes", spy)
    table = pa.table({"x": x // 250})
    for size in (1, 3):
        for depth in (1, 2, 4):
            dropped.clear()
            bounds = [n * r // size for r in range(size + 1)]

            def run(comm: Communicator, bounds=bounds, depth=depth):
                first, end = bounds[comm.rank], bounds[comm.rank + 1]
                part = make_gradients(g, h, slice(first, end))
                return grow(table.slice(first, end - first), part, comm, first_row=first, n_rows=n, max_depth=depth, min_child_weight=1e-3)[
                    0
                ]

            trees = run_ranks(size, run)
            assert sum(dropped) > 0
            assert (trees[0].cover >= 1e-3).all()
            assert trees[0].cover[0] == pytest.approx(1000)
            assert all(tree_bytes(tree) == tree_bytes(trees[0]) for tree in trees)


@given(st.lists(st.integers(1, 300), max_size=12), st.integers(1, 9))
def test_columns_are_shared_in_order_and_all(n_codes: list[int], n_ranks: int) -> None:
    shares = share_columns(np.array(n_codes, dtype=np.int64), n_ranks).tolist()
    assert len(shares) == n_ranks + 1
    assert (shares[0], shares[-1]) == (0, len(n_codes))
    assert shares == sorted(shares)
    owned = [sum(n_codes[a:b]) for a, b in itertools.pairwise(shares)]
    assert max(owned) <= sum(n_codes) / n_ranks + 2 * max(n_codes, default=0)


def test_columns_of_nothing_grow_a_root() -> None:
    table = pa.table({"v": pa.array([[], []], type=pa.list_(pa.float64()))})
    tree, scores, specs = grow(table, make_gradients(np.array([ONE, ONE]), None, slice(0, 2)), SerialComm(), first_row=0, n_rows=2)
    assert (tree.kind.tolist(), specs) == ([LEAF], [])
    assert scores.tolist() == [-2 / 3, -2 / 3]


def test_threads_are_used_where_there_is_work(monkeypatch: pytest.MonkeyPatch) -> None:
    assert threads.useful_threads(4, 0) == 1
    assert threads.useful_threads(4, 10 * threads.WORK_PER_THREAD) == 4
    table = with_target(mixed_table(7, 3000), "sign")
    alone = fingerprint(train(table, task="classifier"))
    monkeypatch.setattr(threads, "WORK_PER_THREAD", 1)
    for num_threads in (2, 3):
        assert fingerprint(train(table, task="classifier", num_threads=num_threads)) == alone
