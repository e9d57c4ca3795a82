"""Data at the ends of what there may be: heavy tails, nothing to learn, one row, deep trees, few and many bins, columns and levels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import xgboost

import engine
from engine.data.dataset import Dataset
from engine.errors import DataError
from engine.models._trees import lanes
from tests.models.training_helpers import check_same_on_any_ranks, create
from tests.threads_comm import run_ranks

N = 600


def numbers(seed: int, n: int = N, k: int = 5) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {f"x{j}": rng.normal(size=n) for j in range(k)}


def test_log_normal_weights_split_as_well_as_double_precision_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights over ten orders of magnitude, in narrow lanes wherever these say that they are exact enough."""
    monkeypatch.setattr(lanes, "FEW_ROWS", 0)
    n = 8000
    train, test = slice(0, n // 2), slice(n // 2, n)
    losses = np.zeros(2)
    for seed in (1, 2, 3):
        rng = np.random.default_rng(seed)
        x = {f"x{j}": rng.normal(size=n) for j in range(5)}
        weights = rng.lognormal(0.0, 2.5, n)
        y = x["x0"] * x["x1"] + x["x2"] + 0.3 * rng.normal(size=n)
        table, matrix = pa.table({**x, "w": weights, "y": y}), np.column_stack(list(x.values()))
        model = create("boosted_trees_regression", table[train], sample_weight="w", max_iterations=40, max_depth=5, min_child_weight=1.0)
        booster = xgboost.train(
            {"max_depth": 5, "eta": 0.3, "min_child_weight": 1.0, "lambda": 1.0, "base_score": 0.5, "nthread": 1},
            xgboost.DMatrix(matrix[train], y[train], weight=weights[train]), 40,
        )  # fmt: skip
        for k, predicted in enumerate((model.predict(table[test]).to_numpy(), booster.predict(xgboost.DMatrix(matrix[test])))):
            losses[k] += np.average((predicted - y[test]) ** 2, weights=weights[test])
    assert losses[0] < losses[1]


def test_huge_counts() -> None:
    x = numbers(2)
    y = np.round(np.exp(3 * x["x0"]) * 1e12)
    model = check_same_on_any_ranks("boosted_trees_regression", pa.table({**x, "y": y}), objective="poisson", max_iterations=60)
    predicted = model.predict(pa.table(x)).to_numpy()
    assert np.isfinite(predicted).all()
    assert np.corrcoef(np.log1p(predicted), np.log1p(y))[0, 1] > 0.95


@pytest.mark.parametrize("value", [0.0, 0.5, 1e99])
def test_nothing_to_learn(value: float) -> None:
    """A constant target: every gradient at its maximum, or 0 where it is the base score."""
    with pytest.warns(UserWarning, match="constant|same"):
        model = check_same_on_any_ranks("boosted_trees_regression", pa.table({**numbers(3), "y": np.full(N, value)}), max_iterations=40)
    assert model.predict(pa.table(numbers(3))).to_numpy() == pytest.approx(np.full(N, value), rel=1e-5, abs=1e-5)


def test_classes_that_no_column_tells_apart() -> None:
    table = pa.table({"x": np.ones(N), "z": np.full(N, np.nan), "y": np.arange(N) % 2})
    with pytest.warns(UserWarning, match="every value is missing in column 'z'"):
        model = check_same_on_any_ranks("boosted_trees_classifier", table)
    assert model.predict(table, output_type="probability").to_numpy() == pytest.approx(np.full(N, 0.5))


def test_one_row_and_ranks_without_any() -> None:
    table = pa.table({"x": [1.5], "y": [3.0]})
    for toolkit in ("boosted_trees_regression", "random_forest_regression"):
        with pytest.warns(UserWarning, match="constant|same"):
            model = check_same_on_any_ranks(toolkit, table, row_subsample=1.0, validation=table)
        assert model.get("num_validation_examples") == 1
        assert model.predict(table).to_pylist()[0] == pytest.approx(3.0, abs=2.5)


def test_validation_rows_on_one_rank_only() -> None:
    table = pa.table({**numbers(4), "y": np.arange(N) % 3})

    def run(comm: Any) -> Any:
        own, few = (Dataset(rows if comm.rank == rank else rows[:0], sharded=True) for rank, rows in ((1, table), (0, table[:7])))
        model = create("boosted_trees_classifier", own, comm=comm, features=["x0", "x1"], validation_set=few)
        return model.progress.column("Validation-log_loss").to_pylist()

    alone = create("boosted_trees_classifier", table, features=["x0", "x1"], validation_set=table[:7]).progress
    assert run_ranks(3, run) == [alone.column("Validation-log_loss").to_pylist()] * 3


def test_a_class_that_validation_does_not_have() -> None:
    table = pa.table({**numbers(5), "y": np.arange(N) % 3})
    two = table.filter(pa.array(np.arange(N) % 3 < 2))
    model = check_same_on_any_ranks("boosted_trees_classifier", table, validation=two, metric=["accuracy", "log_loss"])
    assert model.get("num_validation_examples") == two.num_rows


def test_weights_that_are_all_0() -> None:
    table = pa.table({**numbers(6), "w": np.zeros(N), "y": np.arange(N) % 2})
    with pytest.raises(DataError, match="0 in every row"):
        create("boosted_trees_classifier", table, sample_weight="w")


@pytest.mark.parametrize("max_bins", [2, 65535])
def test_few_and_many_bins(max_bins: int) -> None:
    x = numbers(7, 3000, 3)
    y = np.where(x["x0"] > 0, 1.0, -1.0) + 0.001 * x["x1"]
    model = check_same_on_any_ranks("boosted_trees_regression", pa.table({**x, "y": y}), max_bins=max_bins, max_iterations=20)
    assert model.get("training_rmse") < (0.5 if max_bins == 2 else 0.01)


def test_trees_of_depth_30() -> None:
    x = np.arange(4000, dtype=np.float64)
    table = pa.table({"x": x, "y": 1.05 ** (x / 10)})  # every split takes the largest values off
    model = check_same_on_any_ranks("boosted_trees_regression", table, max_depth=30, max_bins=4096, max_iterations=3, min_child_weight=0.0)
    depth = max(len(line) - len(line.lstrip()) for line in model.dump_to_text()[0].splitlines())  # a blank a level
    assert 15 < depth <= 30


def test_ten_thousand_columns() -> None:
    n, k = 60, 10_000
    rng = np.random.default_rng(8)
    matrix = rng.normal(size=(k, n))
    table = pa.table({f"x{j}": matrix[j] for j in range(k)} | {"y": (matrix[1234] > 0).astype(np.int64)})
    model = engine.boosted_trees_classifier.create(table, "y", max_iterations=1, max_depth=1, verbose=False)
    assert model.get_feature_importance()["name"][0].as_py() == "x1234"


def test_a_million_levels_are_refused_by_name_and_count() -> None:
    levels = np.char.mod("%d", np.arange(1_000_000))
    with pytest.raises(DataError, match="word.*1000000"):
        engine.boosted_trees_classifier.create({"word": levels, "y": np.arange(1_000_000) % 2}, "y", verbose=False)
