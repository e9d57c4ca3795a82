"""Options of training: each does what it says, and the model is the same on any number of ranks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import engine
from engine.errors import DataError, OptionError
from engine.models._trees.sampling import sample_columns, sample_rows, tree_key
from tests.models.training_helpers import check_same_on_any_ranks, create, create_parts, model_bytes, table_for
from tests.threads_comm import collect_ranks, run_ranks

TOOLKITS = ("boosted_trees_classifier", "boosted_trees_regression", "random_forest_classifier", "random_forest_regression")


@pytest.mark.parametrize("toolkit", TOOLKITS)
@pytest.mark.parametrize(
    "options",
    [
        {"row_subsample": 0.5, "random_seed": 1},
        {"column_subsample": 0.4, "random_seed": 2},
        {"sample_weight": "w"},
        {"metric": None},
        {"validation_set": "auto", "row_subsample": 0.7},
    ],
    ids=lambda options: "-".join(options),
)
def test_the_same_bytes_on_any_ranks(toolkit: str, options: dict[str, Any]) -> None:
    model = check_same_on_any_ranks(toolkit, table_for(toolkit), **options)
    assert {name: model.get(name) for name in options if name not in ("metric", "validation_set")} == {
        name: value for name, value in options.items() if name not in ("metric", "validation_set")
    }


@pytest.mark.parametrize("target", ["sign", "grade"])
@pytest.mark.parametrize("toolkit", [name for name in TOOLKITS if "classifier" in name])
def test_class_weights_on_any_ranks(toolkit: str, target: str) -> None:
    table = table_for(toolkit, target=target)
    classes = sorted(table["y"].unique().to_pylist())
    weights = {label: 1.0 + 2 * place for place, label in enumerate(classes)}
    model = check_same_on_any_ranks(toolkit, table, class_weights=weights, sample_weight="w")
    assert model.class_weights == weights
    counts = create(toolkit, table).num_examples_per_class
    auto = create(toolkit, table, class_weights="auto").class_weights
    total = sum(1 / count for count in counts.values())
    assert auto == pytest.approx({label: 1 / count / total for label, count in counts.items()}, rel=1e-14)
    assert create(toolkit, table).class_weights == dict.fromkeys(classes, 1.0)


@pytest.mark.parametrize("objective", [{"objective": "poisson"}, {"objective": "quantile", "quantile": 0.9}, {"objective": "quantile"}])
def test_objectives_on_any_ranks(objective: dict[str, Any]) -> None:
    table = table_for("regression")
    counts = pa.array(np.abs(np.round(table["y"].to_numpy())).clip(0, 20))
    table = table.set_column(table.column_names.index("y"), "y", counts)
    model = check_same_on_any_ranks("boosted_trees_regression", table, row_subsample=0.8, **objective)
    assert model.quantile == ({"poisson": None}.get(model.objective, objective.get("quantile", 0.5)))
    metric = {"poisson": "poisson_deviance", "quantile": "quantile_loss"}[model.objective]
    values = model.progress[f"Training-{metric}"].to_pylist()
    assert values[-1] < values[0]
    assert model.get(f"training_{metric}") == values[-1]


def test_weights_of_whole_rows_are_repetitions() -> None:
    """A row of weight 3 is three rows: the same splits, and leaves that differ by rounding at most."""
    table = table_for("regression", 120).drop_columns(["w"])
    times = np.arange(120) % 4
    weighted = table.append_column("w", pa.array(times.astype(float)))
    repeated = table.take(pa.array(np.repeat(np.arange(120), times)))
    ours = create("boosted_trees_regression", weighted, sample_weight="w", max_bins=1000)
    theirs = create("boosted_trees_regression", repeated, max_bins=1000)
    assert ours.training_rmse == pytest.approx(theirs.training_rmse, rel=1e-9)
    np.testing.assert_allclose(ours.predict(repeated).to_numpy(), theirs.predict(repeated).to_numpy(), rtol=1e-9, atol=1e-6)


def test_samples_are_of_the_size_asked_and_differ_by_tree() -> None:
    keys = [tree_key(7, tree) for tree in range(3)]
    samples = [sample_rows(key, 0.25, first_row=0, n_rows=100_000) for key in keys]
    assert all(abs(len(sample) - 25_000) < 600 for sample in samples)
    assert len(np.intersect1d(samples[0], samples[1])) < 7000
    parts = [sample_rows(keys[0], 0.25, first_row=first, n_rows=50_000) + first for first in (0, 50_000)]
    assert np.array_equal(np.concatenate(parts), samples[0])
    assert sample_rows(keys[0], 1.0, first_row=0, n_rows=5) is None
    assert len(sample_rows(keys[0], 0.0, first_row=0, n_rows=5)) == 0
    drawn = [sample_columns(key, 0.3, 10) for key in keys]
    assert [columns.sum() for columns in drawn] == [3, 3, 3]
    assert sample_columns(keys[0], 0.0, 10).sum() == 1
    assert sample_columns(keys[0], 1.0, 10) is None
    assert len({columns.tobytes() for columns in drawn}) == 3


def test_a_tree_asks_only_the_columns_drawn_for_it() -> None:
    model = create("boosted_trees_regression", table_for("regression"), column_subsample=0.3, random_seed=5)
    ensemble, n_columns = model._ensemble, len(model._encoding.columns)
    for tree in range(ensemble.n_trees):
        asked = ensemble.column[slice(*ensemble.tree_start[tree : tree + 2].tolist())]
        drawn = np.flatnonzero(sample_columns(tree_key(5, tree), 0.3, n_columns))
        assert set(asked.tolist()) <= {-1, *drawn.tolist()}


@pytest.mark.parametrize("toolkit", TOOLKITS)
def test_training_metrics_are_those_of_evaluate(toolkit: str) -> None:
    """Rows outside the samples count too, and validation rows are judged as any others."""
    table, other = table_for(toolkit, 500), table_for(toolkit, 200, seed=11)
    options = {"row_subsample": 0.5, "column_subsample": 0.7, "validation_set": other}
    model = create(toolkit, table, **options)
    assert model.num_validation_examples == 200
    for side, rows in (("training", table), ("validation", other)):
        for metric, value in model.evaluate(rows, metric=model.metric).items():
            exact = "boosted" in toolkit
            assert model.get(f"{side}_{metric}") == (value if exact else pytest.approx(value, rel=1e-12))


def test_validation_is_shared_out_and_need_not_be_like_training() -> None:
    """Unseen categories, missing values where training has none, empty shards, a class that validation lacks."""
    table = table_for("classifier", 300, target="grade")
    full = table.set_column(0, "x", pa.array(np.nan_to_num(table["x"].to_numpy())))
    words = pa.array([None, "new", "a", "b"] * 5)
    odd = table.slice(0, 20).set_column(2, "word", words)
    odd = odd.filter(pa.array([label != "high" for label in odd["y"].to_pylist()]))
    model = check_same_on_any_ranks("boosted_trees_classifier", full, sizes=(2, 7, 30), validation=odd)
    metrics = model.evaluate(odd, metric=["accuracy", "log_loss"])
    assert metrics == {name: model.get(f"validation_{name}") for name in metrics}
    assert list(model.progress.column_names) == [
        "Iteration", "Elapsed Time", "Training-accuracy", "Validation-accuracy", "Training-log_loss", "Validation-log_loss",
    ]  # fmt: skip


def test_auto_sets_five_percent_apart(capsys: pytest.CaptureFixture[str]) -> None:
    table = table_for("regression", 2000)
    model = create("boosted_trees_regression", table, validation_set="auto", verbose=True, random_seed=4)
    out = capsys.readouterr().out
    assert out.startswith("PROGRESS: Creating a validation set from 5 percent of training data. This may take a while.\n")
    first, second = engine.Dataset(table).random_split(0.95, seed=4)
    assert (model.num_examples, model.num_validation_examples) == (first.num_rows, second.num_rows)
    apart = create("boosted_trees_regression", first.to_table(), validation_set=second.to_table(), random_seed=4)
    assert model_bytes(apart) == model_bytes(model)
    few = create("boosted_trees_regression", table.slice(0, 99), validation_set="auto", verbose=True)
    assert few.num_validation_examples == 0
    assert few.validation_rmse is None
    assert "PROGRESS" not in capsys.readouterr().out


def test_validation_rows_of_unknown_classes_are_left_out_with_a_warning() -> None:
    table = pa.table({"x": [1.0, 2.0, 3.0, 4.0], "y": ["a", "b", "a", "b"]})
    other = pa.table({"x": [1.0, 2.0, 3.0], "y": ["a", "c", "b"]})
    with pytest.warns(UserWarning, match="1 rows of the validation set are left out: training has no row of class 'c'"):
        assert create("boosted_trees_classifier", table, validation_set=other).num_validation_examples == 2


def test_early_stopping_keeps_the_best_model(capsys: pytest.CaptureFixture[str]) -> None:
    table, other = table_for("regression", 300), table_for("regression", 300, seed=8)
    options = {"max_iterations": 60, "step_size": 0.9, "validation_set": other, "metric": ["rmse", "max_error"], "early_stopping_rounds": 3}
    model = create("boosted_trees_regression", table, verbose=True, **options)
    values = model.progress["Validation-max_error"].to_pylist()
    best = int(np.argmin(values)) + 1
    assert len(values) == best + 3 < 60
    assert f"Early stop triggered. Returning the best model at iteration: {best}\n" in capsys.readouterr().out
    assert (model.num_trees, model.validation_max_error) == (best, values[best - 1])
    assert model.evaluate(other)["max_error"] == model.validation_max_error
    assert model.evaluate(table)["rmse"] == model.training_rmse
    del options["validation_set"]
    for each in create_parts(3, "boosted_trees_regression", table, validation=other, **options):
        assert model_bytes(each) == model_bytes(model)


def test_early_stopping_on_what_should_rise() -> None:
    table, other = table_for("classifier", 300), table_for("classifier", 300, seed=8)
    options = {"max_iterations": 40, "step_size": 1.0, "metric": ["log_loss", "auc"], "early_stopping_rounds": 4}
    model = create("boosted_trees_classifier", table, validation_set=other, **options)
    assert model.num_trees == int(np.argmax(model.progress["Validation-auc"].to_pylist())) + 1


def test_a_callback_sees_every_iteration_and_rank_0_may_stop() -> None:
    table = table_for("regression")
    seen: dict[int, list[int]] = {0: [], 1: []}

    def run(comm: Any) -> Any:
        def callback(record: Any) -> bool:
            seen[comm.rank].append(record.iteration)
            assert set(record.metrics) == {"training_max_error", "training_rmse"}
            with pytest.raises(TypeError):
                record.metrics["training_rmse"] = 0
            return record.iteration == 3 if comm.rank == 0 else record.iteration == 1

        return create("boosted_trees_regression", table, comm=comm, callback=callback)

    models = run_ranks(2, run)
    assert seen == {0: [1, 2, 3], 1: [1, 2, 3]}
    assert model_bytes(models[1]) == model_bytes(models[0])
    assert models[0].num_trees == 3


def test_an_error_in_one_ranks_callback_is_every_ranks() -> None:
    def run(comm: Any) -> Any:
        def callback(record: Any) -> None:
            if comm.rank == 1:
                raise DataError("no more")

        return create("boosted_trees_regression", table_for("regression"), comm=comm, callback=callback)

    _, errors = collect_ranks(2, run)
    assert [str(error) for error in errors] == ["no more (on rank 1)"] * 2


@pytest.mark.parametrize("target", ["amount", "grade", "sign"])
def test_going_on_from_a_model_is_training_at_one_go(target: str) -> None:
    """With the same data and seed, n iterations and then m more are n + m, samples and all."""
    toolkit = "boosted_trees_regression" if target == "amount" else "boosted_trees_classifier"
    table = table_for(toolkit, target=target)
    first = create(toolkit, table, max_iterations=2, row_subsample=0.7)
    both = check_same_on_any_ranks(toolkit, table, max_iterations=4, row_subsample=0.7, initial_model=first)
    whole = create(toolkit, table, max_iterations=6, row_subsample=0.7)
    assert both._ensemble.arrays().keys() == whole._ensemble.arrays().keys()
    for name, array in whole._ensemble.arrays().items():
        np.testing.assert_array_equal(both._ensemble.arrays()[name], array, name)
    assert both.predict(table).equals(whole.predict(table))


def test_going_on_with_new_categories_and_keys() -> None:
    old = pa.table({"s": ["b", "d", "b", "d"] * 5, "m": [{"k": 1.0}, {"q": 2.0}] * 10, "y": [0.0, 5.0, 0.0, 5.0] * 5})
    new = pa.table({"s": ["a", "c", None, "d"] * 5, "m": [{"j": 1.0}, {"q": 3.0}] * 10, "y": [0.0, 1.0, 2.0, 5.0] * 5})
    first = create("boosted_trees_regression", old, max_iterations=3, min_child_weight=0.0)
    before = first.predict(old), first.predict(new)
    both = create("boosted_trees_regression", new, max_iterations=1, step_size=0.0, initial_model=first)
    assert both.predict(old).equals(before[0])
    assert both.predict(new).equals(before[1])
    assert both.num_trees == 4


@pytest.mark.parametrize(
    ("toolkit", "options", "error", "message"),
    [
        ("boosted_trees_classifier", {"row_subsample": 1.5}, OptionError, r"row_subsample must be a number in \[1e-06, 1\], got 1.5"),
        ("boosted_trees_classifier", {"max_leaves": 1}, OptionError, r"max_leaves must be an integer >= 2 or None, got 1"),
        ("boosted_trees_classifier", {"metric": "rmse"}, OptionError, "unknown metric 'rmse'"),
        ("boosted_trees_classifier", {"class_weights": "balanced"}, OptionError, "class_weights must be None, 'auto' or a dict"),
        ("boosted_trees_classifier", {"class_weights": {True: 0, False: 1}}, OptionError, "positive numbers, got 0 for class True"),
        ("boosted_trees_classifier", {"class_weights": {True: 2}}, OptionError, "must have every class, got none for False"),
        ("boosted_trees_classifier", {"class_weights": {True: 2, False: 1, "z": 1}}, OptionError, "a weight for 'z', which is no class"),
        ("boosted_trees_regression", {"objective": "huber"}, OptionError, "objective must be one of 'auto', 'squared_error'"),
        ("boosted_trees_regression", {"quantile": 0.3}, OptionError, "quantile is for objective='quantile', got quantile=0.3"),
        ("boosted_trees_regression", {"objective": "quantile", "quantile": 1}, OptionError, r"quantile must be a number in \(0, 1\)"),
        ("boosted_trees_regression", {"early_stopping_rounds": 3}, OptionError, "early_stopping_rounds watches a validation set"),
        (
            "boosted_trees_regression",
            {"early_stopping_rounds": 3, "validation_set": "auto", "metric": None},
            OptionError,
            "early_stopping_rounds watches the last metric, got none",
        ),
        (
            "boosted_trees_regression",
            {"monotone_constraints": {"word": 1}},
            OptionError,
            "feature 'word' is of kind 'str', expected a number",
        ),
        ("boosted_trees_regression", {"monotone_constraints": {"z": 1}}, OptionError, "'z' is no feature"),
        ("boosted_trees_regression", {"monotone_constraints": {"x": 2}}, OptionError, "must be -1, 0 or 1, got 2 for feature 'x'"),
        ("boosted_trees_regression", {"sample_weight": "y"}, OptionError, "sample_weight must be neither the target nor a feature"),
        ("boosted_trees_regression", {"sample_weight": "word"}, DataError, "sample_weight 'word' has a missing value"),
        ("boosted_trees_regression", {"sample_weight": "amount"}, DataError, "'amount'"),
        ("boosted_trees_regression", {"callback": 3}, OptionError, "callback must be a function"),
        (
            "boosted_trees_regression",
            {"initial_model": 3},
            OptionError,
            "initial_model must be a trained model of trees or the path of one",
        ),
        ("boosted_trees_regression", {"resume_from_checkpoint": "auto"}, OptionError, "looks in model_checkpoint_path, got None"),
        ("random_forest_regression", {"step_size": 0.1}, OptionError, "unknown option 'step_size'"),
        ("random_forest_regression", {"averaging": "mean"}, OptionError, "averaging must be one of 'margin', 'probability'"),
        ("random_forest_regression", {"averaging": "probability", "reg_alpha": 1.0}, OptionError, "leave out reg_alpha"),
    ],
)
def test_what_cannot_be(toolkit: str, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        create(toolkit, table_for(toolkit), **options)
    _, errors = collect_ranks(2, lambda comm: create(toolkit, table_for(toolkit), comm=comm, **options))
    assert [type(each) for each in errors] == [error] * 2


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([0.0] * 400, "sample_weight 'w' is 0 in every row"),
        ([1.0] * 399 + [-1.0], r"got -1.0 in row 399"),
        ([1.0] * 399 + [None], r"has a missing value in row 399"),
    ],
)
def test_weights_that_cannot_be(column: list[Any], message: str) -> None:
    table = table_for("regression").drop_columns(["w"]).append_column("w", pa.array(column))
    _, errors = collect_ranks(2, lambda comm: create("boosted_trees_regression", table, comm=comm, sample_weight="w"))
    assert all(isinstance(error, DataError) for error in errors)
    with pytest.raises(DataError, match=message):
        raise errors[0]


def test_an_initial_model_must_fit() -> None:
    table = table_for("regression")
    first = create("boosted_trees_regression", table)
    with pytest.raises(OptionError, match="initial_model has the features"):
        create("boosted_trees_regression", table, features=["x"], initial_model=first)
    with pytest.raises(OptionError, match="initial_model has the toolkit 'boosted_trees_regression', expected 'boosted_trees_classifier'"):
        create("boosted_trees_classifier", table_for("classifier"), initial_model=first)
    with pytest.raises(OptionError, match="initial_model has the objective 'squared_error', expected 'quantile'"):
        create("boosted_trees_regression", table, objective="quantile", initial_model=first)
    two = create("boosted_trees_classifier", table_for("classifier"))
    with pytest.raises(OptionError, match="initial_model has the classes False, True, the data 'high', 'low', 'middle'"):
        create("boosted_trees_classifier", table_for("classifier", target="grade"), initial_model=two)
