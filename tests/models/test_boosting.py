"""Training end to end: the seed's table, the same model on any ranks and threads, and what cannot be trained on."""

from __future__ import annotations

import io
import itertools
import warnings

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from engine.collectives import threads
from engine.collectives.serial import SerialComm
from engine.data.dataset import Dataset
from engine.encode import bins
from engine.errors import DataError
from engine.models._trees import lanes, training_rows
from engine.models._trees.boosting import train_trees
from engine.models._trees.objectives import LogisticLoss, Objective, SoftmaxLoss, SquaredError
from engine.models._trees.sampling import tree_key
from engine.progress import ProgressTable
from tests.oracles import naive_margins
from tests.threads_comm import collect_ranks, run_ranks
from tests.training import MUSHROOM, OPTIONS, TARGETS, cut_rows, fingerprint, log_losses, mixed_table, train, train_parts, with_target

SEED_LOG_LOSSES = [
    0.438946, 0.298226, 0.209494, 0.150114, 0.109027, 0.080002, 0.059165, 0.043689, 0.032431, 0.024130, 0.018026, 0.013546,
]  # fmt: skip
RANKS = (1, 2, 3, 4, 7)


@pytest.fixture(scope="module")
def mushroom():
    return train(str(MUSHROOM), task="classifier", target="label", max_iterations=12)


def test_the_seeds_table_to_the_last_digit(mushroom) -> None:
    assert [round(loss, 6) for loss in log_losses(mushroom)] == SEED_LOG_LOSSES
    assert {round(row["Training-accuracy"], 6) for row in mushroom.progress} == {0.999631}
    assert [row["Iteration"] for row in mushroom.progress] == list(range(1, 13))
    assert mushroom.num_examples == 8124
    assert sum(mushroom.num_examples_per_class.values()) == 8124
    assert round(mushroom.metrics["training_log_loss"], 6) == SEED_LOG_LOSSES[-1]


def test_the_preamble_of_the_seed() -> None:
    stream = io.StringIO()
    table = ProgressTable(["Iteration", "Elapsed Time", "Training-accuracy", "Training-log_loss"], stream=stream)
    options = {**OPTIONS, "metric": ["accuracy", "log_loss"], "max_iterations": 1}
    train_trees(
        str(MUSHROOM), target="label", features=None, task="classifier", options=options, num_threads=1, comm=SerialComm(), table=table
    )
    lines = stream.getvalue().splitlines()
    for label, number in [("examples", 8124), ("classes", 2), ("feature columns", 22), ("unpacked features", 22)]:
        assert any(line.startswith(f"Number of {label}") and line.endswith(f": {number}") for line in lines), label


@pytest.mark.parametrize("size", RANKS)
def test_mushroom_is_the_same_on_any_ranks_and_threads(mushroom, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "WORK_PER_THREAD", 1)
    expected = fingerprint(mushroom)
    for num_threads in (1, 2):
        arguments = {"task": "classifier", "target": "label", "max_iterations": 12, "num_threads": num_threads}
        for trained in run_ranks(size, lambda comm, arguments=arguments: train(str(MUSHROOM), comm=comm, **arguments)):
            assert fingerprint(trained) == expected


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("packed", [False, True])
def test_tables_are_the_same_on_any_ranks_and_threads(target: str, packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "WORK_PER_THREAD", 1)
    monkeypatch.setattr(bins, "QUANTILE_ROWS", 1000)
    if packed:
        monkeypatch.setattr(lanes, "FEW_ROWS", 0)
    table = with_target(mixed_table(1, 1500), target)
    options = {"task": TARGETS[target], "max_iterations": 4, "max_bins": 40, "random_seed": 3}
    alone = fingerprint(train(table, **options))
    for size in RANKS:
        for trained in train_parts(cut_rows(table, size), num_threads=1 + size % 2, **options):
            assert fingerprint(trained) == alone, size


@settings(max_examples=20)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_rows=st.integers(6, 60),
    cuts=st.lists(st.integers(0, 60), max_size=6),
    target=st.sampled_from(sorted(TARGETS)),
    max_bins=st.sampled_from([2, 5, 256, 300]),
    min_loss_reduction=st.sampled_from([0.0, 0.5]),
)
def test_any_partition_gives_the_same_model(
    seed: int, n_rows: int, cuts: list[int], target: str, max_bins: int, min_loss_reduction: float
) -> None:
    """Few rows, empty ranks, and columns of which some ranks see nothing."""
    table = with_target(mixed_table(seed, n_rows, missing=0.5), target)
    assume(len(table["y"].unique()) > 1)
    options = {"task": TARGETS[target], "max_iterations": 3, "max_bins": max_bins, "min_loss_reduction": min_loss_reduction}
    bounds = [0, *sorted(min(cut, n_rows) for cut in cuts), n_rows]
    parts = [table.slice(a, b - a) for a, b in itertools.pairwise(bounds)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        alone = fingerprint(train(table, **options))
        for trained in train_parts(parts, **options):
            assert fingerprint(trained) == alone


def test_more_ranks_than_rows() -> None:
    table = pa.table({"x": [1.0, 2.0, 3.0], "s": ["a", None, "b"], "y": ["u", "v", "v"]})
    alone = fingerprint(train(table, task="classifier"))
    for trained in train_parts(cut_rows(table, 7), task="classifier"):
        assert fingerprint(trained) == alone


def test_several_tables_are_the_same_as_one() -> None:
    table = with_target(mixed_table(2, 500), "grade")
    pieces = pa.concat_tables([table.slice(0, 1), table.slice(1, 0), table.slice(1, 300), table.slice(301)])
    assert pieces["x"].num_chunks > 1
    assert fingerprint(train(pieces, task="classifier")) == fingerprint(train(table.combine_chunks(), task="classifier"))


def objective_of(trained, table: pa.Table) -> Objective:
    shared = {"n_rows": table.num_rows, "num_threads": 1, "comm": SerialComm()}
    if trained.classes is None:
        return SquaredError(table["y"].to_numpy().astype(float), **shared)
    y = np.array([trained.classes.index(value) for value in table["y"].to_pylist()], dtype=np.int32)
    return LogisticLoss(y, **shared) if len(trained.classes) == 2 else SoftmaxLoss(y, n_classes=len(trained.classes), **shared)


@pytest.mark.parametrize("target", TARGETS)
def test_walking_the_trees_gives_the_margins_of_training_bit_by_bit(target: str) -> None:
    table = with_target(mixed_table(4, 300), target)
    trained = train(table, task=TARGETS[target])
    margins = naive_margins(trained.ensemble, trained.encoding.matrix(table))
    metrics = objective_of(trained, table).evaluate(np.ascontiguousarray(margins.T))
    assert {f"training_{name}": value for name, value in metrics.items()} == trained.metrics
    if target == "amount":
        errors = margins[:, 0] - table["y"].to_numpy()
        assert metrics["max_error"] == np.abs(errors).max()
        assert metrics["rmse"] == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-12)
    else:
        predicted = margins.argmax(axis=1) if margins.shape[1] > 1 else (margins[:, 0] >= 0).astype(int)
        assert metrics["accuracy"] == np.mean(
            [trained.classes[k] == value for k, value in zip(predicted, table["y"].to_pylist(), strict=True)]
        )


def test_two_outputs_of_softmax_start_from_the_same_scores() -> None:
    """The trees of one iteration do not see each other: they are those of each class alone."""
    table = with_target(mixed_table(8, 200), "grade")
    one = train(table, task="classifier", max_iterations=1).ensemble
    objective = objective_of(train(table, task="classifier", max_iterations=1), table)
    objective.evaluate(np.zeros((3, 200)))
    for k in range(3):
        sums = objective.gradients(k).sums
        root_cover = ((int(sums[2]) << 26) + int(sums[3])) * 2.0**-51
        assert one.cover[one.tree_start[k]] == pytest.approx(root_cover, rel=1e-15)


def test_wide_columns() -> None:
    rng = np.random.default_rng(9)
    n = 3000
    x = rng.normal(size=n)
    words = [f"w{i:03}" for i in rng.integers(0, 600, n)]
    table = pa.table(
        {"x": pa.array(np.where(rng.random(n) < 0.1, np.nan, x), from_pandas=True), "w": words, "y": x + (np.array(words) == "w007")}
    )
    options = {"task": "regression", "max_bins": 2000, "max_iterations": 20}
    trained = train(table, **options)
    assert trained.metrics["training_rmse"] < 0.6 * table["y"].to_numpy().std()
    assert [fingerprint(part) for part in train_parts(cut_rows(table, 3), **options)] == [fingerprint(trained)] * 3


@pytest.mark.parametrize("max_bins", [2, 65_535])
def test_limits_of_bins(max_bins: int) -> None:
    table = with_target(mixed_table(10, 400), "amount")
    assert np.isfinite(train(table, task="regression", max_bins=max_bins).metrics["training_rmse"])


def test_pruning_takes_splits_that_gain_too_little() -> None:
    table = with_target(mixed_table(11, 400), "sign")
    sizes = []
    for least in (0.0, 1.0, 5.0, 1e6):
        ensemble = train(table, task="classifier", min_loss_reduction=least).ensemble
        inner = ensemble.kind != 0
        sizes.append(len(ensemble.kind))
        # a weak split stays only above a strong one
        weak = np.flatnonzero(inner & (ensemble.gain < least))
        starts = ensemble.tree_start[np.searchsorted(ensemble.tree_start, weak, side="right") - 1]
        assert all(inner[s + ensemble.yes[i]] or inner[s + ensemble.no[i]] for i, s in zip(weak, starts, strict=True))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 5  # a root for each tree


@pytest.mark.parametrize("scale", [1e-200, 1e-3, 1.0, 1e6, 1e90])
def test_targets_of_any_scale(scale: float) -> None:
    x = np.arange(100) % 10
    trained = train(pa.table({"x": x, "y": x * scale}), task="regression", max_iterations=30, max_depth=4)
    assert trained.metrics["training_rmse"] < max(0.05 * scale, 5e-4)


def test_a_constant_target_warns_and_trains() -> None:
    with pytest.warns(UserWarning, match=r"target 'y' is constant \(7.0\)"):
        trained = train(pa.table({"x": [1, 2, 3], "y": [7, 7, 7]}), task="regression", max_iterations=100)
    assert trained.metrics["training_rmse"] == pytest.approx(0, abs=1e-6)


def test_columns_of_nothing_warn_once_and_take_no_split() -> None:
    table = pa.table({"none": pa.nulls(20), "hole": pa.array([None] * 20, type=pa.string()), "x": range(20), "y": [0.0, 1.0] * 10})
    with pytest.warns(UserWarning, match="every value is missing") as caught:
        results = train_parts(cut_rows(table, 3), task="regression")
    assert [str(w.message) for w in caught] == ["every value is missing in column 'none', 'hole': the model cannot use it"]
    assert set(results[0].ensemble.column.tolist()) <= {-1, 2}


def test_all_missing_on_some_ranks_is_no_reason_to_warn() -> None:
    table = pa.table({"x": pa.array([None, None, 1.0, 2.0]), "y": [0.0, 1.0, 2.0, 3.0]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train_parts(cut_rows(table, 2), task="regression")


GOOD = pa.table({"x": [1.0, 2.0, 3.0, 4.0], "y": ["a", "b", "a", "b"]})


@pytest.mark.parametrize(
    ("table", "arguments", "message"),
    [
        (GOOD, {"target": "z"}, r"target 'z' is not a column of the data.*columns: 'x', 'y'"),
        (GOOD, {"features": ["w"]}, r"feature 'w' is not a column of the data"),
        (GOOD, {"features": ["y"]}, r"feature 'y' is the target"),
        (GOOD.select(["y"]), {}, r"expected at least one feature column beside the target 'y', got none"),
        (GOOD.slice(0, 1), {}, r"target 'y' has one class, 'a'"),
        (GOOD.slice(0, 0), {}, r"target 'y' has no rows"),
        (GOOD, {"task": "regression"}, r"target 'y': expected numbers for a regression, got string"),
        (pa.table({"x": [1, 2, 3], "y": ["a", "b", None]}), {}, r"target 'y' has a missing value in row 2"),
        (pa.table({"x": [1, 2, 3], "y": [0.0, 1.0, np.nan]}), {}, r"target 'y' has nan in row 2"),
        (pa.table({"x": [1, 2, 3], "y": [0.0, np.inf, 1.0]}), {"task": "regression"}, r"target 'y' has inf in row 1"),
        (pa.table({"x": [1, 2, 3], "y": [0.0, 1.0, None]}), {"task": "regression"}, r"target 'y' has a missing value in row 2"),
        (pa.table({"x": [1.0], "y": [1.0]}).slice(0, 0), {"task": "regression"}, r"target 'y' has no rows"),
        (pa.table({"x": [[[1]], [[2]]], "y": [0, 1]}), {}, r"column 'x': expected numbers, got list"),
        (pa.table({"x": [[1], [1, 2]], "y": [0, 1]}), {}, r"column 'x': expected vectors of one length, got lengths 1, 2"),
    ],
)
def test_bad_input_is_one_clear_error_on_every_rank(table: pa.Table, arguments: dict, message: str) -> None:
    arguments = {"task": "classifier", **arguments}
    with pytest.raises(DataError, match=message):
        train(table, **arguments)
    parts = cut_rows(table, 3)
    _, errors = collect_ranks(3, lambda comm: train(Dataset(parts[comm.rank], sharded=True), comm=comm, **arguments))
    assert {type(error) for error in errors} == {DataError}
    assert len({str(error) for error in errors}) == 1
    with pytest.raises(DataError, match=message):
        raise errors[0]


def test_more_rows_than_a_rank_can_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_rows, "MOST_ROWS", 3)
    with pytest.raises(DataError, match=r"expected at most 3 rows on each rank, got 4; use more ranks"):
        train(GOOD, task="classifier")
    parts = [GOOD, GOOD.slice(0, 1)]
    _, errors = collect_ranks(2, lambda comm: train(Dataset(parts[comm.rank], sharded=True), comm=comm, task="classifier"))
    assert {str(error) for error in errors} == {"expected at most 3 rows on each rank, got 4; use more ranks (on rank 0)"}
    assert train_parts(cut_rows(GOOD, 2), task="classifier")[0].num_examples == 4


def test_features_choose_columns_and_other_columns_do_not_matter() -> None:
    table = pa.table({"a": [1, 2, 3, 4], "bad": [b"", b"", b"", b""], "b": [1.0, None, 0.0, 1.0], "y": [0, 1, 0, 1]})
    trained = train(table, task="classifier", features=["b", "a"])
    assert list(trained.encoding.sources) == ["a", "b"]


def test_the_seed_matters_where_rows_are_sampled_and_only_there(monkeypatch: pytest.MonkeyPatch) -> None:
    table = with_target(mixed_table(12, 1200), "amount")
    plain = [fingerprint(train(table, task="regression", max_bins=16, random_seed=seed)) for seed in (0, 1)]
    assert plain[0] == plain[1]
    monkeypatch.setattr(bins, "QUANTILE_ROWS", 300)
    sampled = [fingerprint(train(table, task="regression", max_bins=16, random_seed=seed)) for seed in (0, 1, 0)]
    assert sampled[0] == sampled[2] != sampled[1]


def test_keys_of_trees_differ() -> None:
    keys = {tree_key(seed, tree) for seed in (0, 1, 2**63 - 1) for tree in range(100)}
    assert len(keys) == 300
