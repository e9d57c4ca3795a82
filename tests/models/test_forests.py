"""Forests: means of trees fitted at the first scores, in margins or in class frequencies, beside other forests."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import xgboost
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.metrics import roc_auc_score

import engine
from tests.models.training_helpers import check_same_on_any_ranks, create, model_bytes, table_for
from tests.oracles import naive_margins

FORESTS = ("random_forest_classifier", "random_forest_regression")


def problem(seed: int, n_rows: int = 3000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers, noisy classes and noisy numbers that depend on them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n_rows, 10))
    score = x[:, 0] * x[:, 1] + np.sin(2 * x[:, 2]) + 0.5 * x[:, 3] + 0.5 * rng.normal(size=n_rows)
    return x, (score > 0).astype(int), score


def table_of(x: np.ndarray, y: np.ndarray) -> pa.Table:
    return pa.table({**{f"x{j}": x[:, j] for j in range(x.shape[1])}, "y": y})


@pytest.mark.parametrize("averaging", ["margin", "probability"])
@pytest.mark.parametrize(("toolkit", "target"), [(FORESTS[0], "sign"), (FORESTS[0], "grade"), (FORESTS[1], "amount")])
def test_the_same_bytes_on_any_ranks(toolkit: str, target: str, averaging: str) -> None:
    model = check_same_on_any_ranks(
        toolkit, table_for(toolkit, target=target), averaging=averaging, validation_set="auto", sample_weight="w"
    )
    assert (model.averaging, model.row_subsample, model.column_subsample) == (averaging, 0.8, 0.8)
    assert "step_size" not in model.list_fields()


def test_defaults_and_the_old_name_of_the_number_of_trees(capsys: pytest.CaptureFixture[str]) -> None:
    table = table_for("classifier")
    with pytest.warns(UserWarning, match="num_trees is deprecated; use max_iterations"):
        model = engine.random_forest_classifier.create(table.drop_columns(["w"]), "y", num_trees=4)
    assert (model.num_trees, model.max_iterations) == (4, 4)
    assert capsys.readouterr().out.startswith("Random forest classifier:\n")
    assert model_bytes(model) == model_bytes(engine.random_forest_classifier.create(table.drop_columns(["w"]), "y", max_iterations=4))


@pytest.mark.parametrize("toolkit", FORESTS)
def test_predictions_are_means_of_trees_grown_alone(toolkit: str) -> None:
    """Tree t of a forest is the first tree of boosting with a step size of 1, on the same sample: here, on all rows and columns."""
    table = table_for(toolkit)
    everything = {"row_subsample": 1.0, "column_subsample": 1.0}
    forest = create(toolkit, table, max_iterations=3, **everything)
    single = create(toolkit.replace("random_forest", "boosted_trees"), table, max_iterations=1, step_size=1.0)
    matrix = single._encoding.matrix(table.select(forest.features))
    np.testing.assert_allclose(naive_margins(forest._ensemble, matrix), naive_margins(single._ensemble, matrix), rtol=1e-12)
    tracked = forest.progress.column(2).to_pylist()  # three equal trees: their mean is each of them
    assert tracked == pytest.approx([tracked[0]] * 3, rel=1e-12)


@pytest.mark.parametrize("target", ["sign", "grade"])
def test_probability_averages_class_frequencies(target: str) -> None:
    """Of the rows in every leaf, counted one by one."""
    toolkit = "random_forest_classifier"
    table = table_for(toolkit, target=target)
    model = create(toolkit, table, averaging="probability", row_subsample=1.0, column_subsample=1.0, max_iterations=1)
    leaves = np.array(model.extract_features(table).to_pylist())
    y, classes = np.array(table["y"].to_pylist()), model.classes
    asked = [1] if len(classes) == 2 else range(len(classes))
    for tree, k in enumerate(asked):
        values = model._ensemble.value[model._ensemble.tree_start[tree] + leaves[:, tree]]
        for leaf in np.unique(leaves[:, tree]):
            rows = leaves[:, tree] == leaf
            assert values[rows] == pytest.approx(np.mean(y[rows] == classes[k]), abs=1e-12)


def test_probability_of_a_regression_averages_means() -> None:
    table = table_for("random_forest_regression")
    model = create("random_forest_regression", table, averaging="probability", row_subsample=1.0, column_subsample=1.0, max_iterations=2)
    leaves, y = np.array(model.extract_features(table).to_pylist()), table["y"].to_numpy()
    means = np.mean([[y[leaves[:, t] == leaf].mean() for leaf in leaves[:, t]] for t in range(2)], axis=0)
    np.testing.assert_allclose(model.predict(table).to_numpy(), means, rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize("averaging", ["margin", "probability"])
def test_classes_are_told_apart_as_well_as_by_other_forests(averaging: str) -> None:
    x, y, _ = problem(1)
    options: dict[str, Any] = {"max_iterations": 40, "max_depth": 8}
    ours = create("random_forest_classifier", table_of(x[:2000], y[:2000]), averaging=averaging, **options)
    auc = ours.evaluate(table_of(x[2000:], y[2000:]), "auc")["auc"]
    theirs = RandomForestClassifier(40, max_depth=8, max_features=0.8, max_samples=0.8, random_state=0).fit(x[:2000], y[:2000])
    booster = xgboost.train(
        {"num_parallel_tree": 40, "subsample": 0.8, "colsample_bytree": 0.8, "max_depth": 8, "eta": 1, "min_child_weight": 0.1,
         "objective": "binary:logistic", "base_score": 0.5, "nthread": 1},
        xgboost.DMatrix(x[:2000], y[:2000]), 1,
    )  # fmt: skip
    peers = [roc_auc_score(y[2000:], p) for p in (theirs.predict_proba(x[2000:])[:, 1], booster.predict(xgboost.DMatrix(x[2000:])))]
    assert auc > min(peers) - 0.005
    assert auc > max(peers) - 0.015


def test_numbers_are_predicted_as_well_as_by_other_forests() -> None:
    x, _, score = problem(2)
    ours = create("random_forest_regression", table_of(x[:2000], score[:2000]), averaging="probability", max_iterations=40, max_depth=8)
    rmse = ours.evaluate(table_of(x[2000:], score[2000:]))["rmse"]
    theirs = RandomForestRegressor(40, max_depth=8, max_features=0.8, max_samples=0.8, random_state=0).fit(x[:2000], score[:2000])
    assert rmse < 1.03 * np.sqrt(np.mean((theirs.predict(x[2000:]) - score[2000:]) ** 2))


@pytest.mark.parametrize("toolkit", FORESTS)
def test_saved_and_loaded(toolkit: str, tmp_path: pathlib.Path) -> None:
    table = table_for(toolkit)
    model = create(toolkit, table, averaging="probability")
    model.save(tmp_path / "model")
    loaded = engine.load_model(tmp_path / "model")
    assert type(loaded) is type(model)
    assert loaded.predict(table).equals(model.predict(table))
