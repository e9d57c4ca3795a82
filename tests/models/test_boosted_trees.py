"""The toolkits from ``create`` to a saved model: real training on small tables."""

from __future__ import annotations

import inspect
import pathlib
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import engine
from engine.errors import CommunicationError, DataError, MissingFileError, OptionError
from tests.threads_comm import collect_ranks, run_ranks

MUSHROOM = pathlib.Path(__file__).parents[2] / "examples" / "data" / "mushroom.csv"
LOG_LOSSES = [0.438946, 0.298226, 0.209494, 0.150114, 0.109027, 0.080002]


def make_table(n_rows: int = 300, n_classes: int = 3) -> pa.Table:
    """Numbers, strings, vectors, maps and lists with gaps, and targets that depend on them."""
    rng = np.random.default_rng(4)
    x, colour = rng.normal(size=n_rows), rng.choice(["red", "grün", "blue"], n_rows)
    score = x + (colour == "red") + 0.3 * rng.normal(size=n_rows)
    gaps = rng.random(n_rows) < 0.1
    return pa.table(
        {
            "x": pa.array(x, mask=gaps),
            "n": pa.array(rng.integers(0, 9, n_rows)),
            "colour": pa.array(colour.tolist(), mask=np.roll(gaps, 3)),
            "v": pa.array([[a, -a] for a in x.tolist()]),
            "m": pa.array([[("k", a)] if a > 0 else [] for a in x.tolist()], pa.map_(pa.string(), pa.float64())),
            "tags": pa.array([["new"] if a > 1 else [] for a in x.tolist()], pa.list_(pa.string())),
            "label": pa.array([f"class {int(k)}" for k in np.clip(np.round(score), 0, n_classes - 1)]),
            "y": pa.array(score),
        }
    )


TABLE = make_table()
FEATURES = ["x", "n", "colour", "v", "m", "tags"]
QUICK: dict[str, Any] = {"features": FEATURES, "max_iterations": 4, "max_depth": 3, "verbose": False}


def create_three(**options: Any) -> Any:
    return engine.boosted_trees_classifier.create(TABLE, "label", **{**QUICK, **options})


def create_regression(**options: Any) -> Any:
    return engine.boosted_trees_regression.create(TABLE, "y", **{**QUICK, **options})


def test_mushroom_gives_the_published_table(capsys: pytest.CaptureFixture[str]) -> None:
    model = engine.boosted_trees_classifier.create(str(MUSHROOM), target="label", max_iterations=6)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:6] == [
        "Boosted trees classifier:",
        "-" * 56,
        "Number of examples          : 8124",
        "Number of classes           : 2",
        "Number of feature columns   : 22",
        "Number of unpacked features : 22",
    ]
    assert [line.split("|")[3:5] for line in lines[9:-1]] == [[" 0.999631          ", f" {loss:.6f}          "] for loss in LOG_LOSSES]
    metrics = model.evaluate(MUSHROOM, metric=["accuracy", "log_loss"])
    assert metrics == {"accuracy": model.training_accuracy, "log_loss": model.training_log_loss}
    assert len(model.predict(MUSHROOM)) == 8124
    assert model.get_feature_importance()["count"].to_pylist()[0] > 0


@pytest.mark.parametrize("size", [1, 3])
def test_evaluate_on_the_training_rows_is_the_last_row_of_the_table(size: int) -> None:
    """Predicted margins are the very doubles that training had."""
    for make in (create_three, create_regression):
        for model in run_ranks(size, lambda comm, make=make: make(comm=comm)):
            last = model.progress.to_pylist()[-1]
            metrics = model.evaluate(TABLE)
            for name in model.tracked_metrics:
                assert model.get(f"training_{name}") == metrics[name] == last[f"Training-{name}"]


@pytest.mark.parametrize("make", [create_three, create_regression])
def test_saved_bytes_do_not_depend_on_ranks(make: Any, tmp_path: pathlib.Path) -> None:
    def train(comm: Any) -> None:
        make(comm=comm).save(tmp_path / str(comm.size))

    for size in (1, 2, 5):
        run_ranks(size, train)
    for name in ("model.json", "arrays.safetensors"):
        assert len({(tmp_path / str(size) / name).read_bytes() for size in (1, 2, 5)}) == 1
    assert engine.load_model(tmp_path / "5").predict(TABLE).equals(make().predict(TABLE))


def test_fields_of_trained_models() -> None:
    model = create_three(step_size=np.float32(0.5), random_seed=None)
    assert model.classes == ["class 0", "class 1", "class 2"]
    assert sum(model.num_examples_per_class.values()) == model.num_examples == 300
    assert model.features == FEATURES
    assert model.unpacked_features == ["x", "n", "colour", "v[0]", "v[1]", "m[k]", "tags"]
    assert (model.step_size, model.random_seed, model.num_trees) == (0.5, 0, 12)
    assert model.training_time > 0
    assert model.progress.num_rows == 4
    assert create_regression().summary(output="dict")["sections"][1][3][0] == "Training max_error"


@pytest.mark.parametrize("labels", [[True, False], [7, -2], [0.5, 1.5], ["ja", "nein"]])
def test_classes_of_any_type(labels: list[Any], tmp_path: pathlib.Path) -> None:
    x = np.arange(40) % 2
    model = engine.boosted_trees_classifier.create({"x": x, "y": [labels[i] for i in x]}, "y", verbose=False)
    assert model.classes == sorted(labels)
    assert [type(label) for label in model.classes] == [type(label) for label in sorted(labels)]
    assert model.predict({"x": 1}) == labels[1]
    assert model.evaluate({"x": x, "y": [labels[i] for i in x]}, "accuracy") == {"accuracy": 1.0}
    model.save(tmp_path / "model")
    assert engine.load_model(tmp_path / "model").classes == model.classes
    assert engine.load_model(tmp_path / "model").predict({"x": 0}) == labels[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"max_dept": 3},
            r"unknown option 'max_dept' \(did you mean 'max_depth'\?\); the options are features, max_iterations, validation_set",
        ),
        ({"max_depth": 0}, r"max_depth must be an integer in \[1, 64\], got 0"),
        ({"step_size": 2}, r"step_size must be a number in \[0, 1\], got 2"),
        ({"features": ["y"]}, "features must not hold the target, got 'y'"),
        ({"verbose": "no"}, "verbose must be True or False, got 'no'"),
        ({"num_threads": -1}, "num_threads must be an integer >= 1 or None, got -1"),
        ({"target": 3}, "target must be the name of a column, got 3"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], message: str) -> None:
    given = {"target": "y", **QUICK, **options}
    _, errors = collect_ranks(2, lambda comm: engine.boosted_trees_regression.create(TABLE, comm=comm, **given))
    assert [type(error) for error in errors] == [OptionError] * 2
    with pytest.raises(OptionError, match=message):
        engine.boosted_trees_regression.create(TABLE, **given)


def test_ranks_must_agree_on_options() -> None:
    _, errors = collect_ranks(2, lambda comm: create_three(comm=comm, max_depth=3 + comm.rank))
    assert all(isinstance(error, CommunicationError) and "max_depth" in str(error) for error in errors)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (TABLE, DataError, "target 'lable' is not a column of the data"),
        ("no/such/file.csv", MissingFileError, "no/such/file.csv"),
        (3, DataError, "expected a path, a list of paths, a table or a dict of arrays, got int"),
    ],
)
def test_data_that_cannot_be_used(data: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        engine.boosted_trees_classifier.create(data, "lable", verbose=False)


@pytest.mark.parametrize("toolkit", ["boosted_trees_classifier", "boosted_trees_regression"])
def test_options_after_the_target_need_their_names(toolkit: str) -> None:
    parameters = inspect.signature(getattr(engine, toolkit).create).parameters
    positional = [name for name, p in parameters.items() if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    assert positional == ["dataset", "target"]
    defaults = {name: p.default for name, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}
    shared = {
        "features": None,
        "max_iterations": 10,
        "validation_set": None,
        "sample_weight": None,
        "max_depth": 6,
        "step_size": 0.3,
        "min_loss_reduction": 0.0,
        "min_child_weight": 0.1,
        "row_subsample": 1.0,
        "column_subsample": 1.0,
        "reg_lambda": 1.0,
        "reg_alpha": 0.0,
        "max_leaves": None,
        "monotone_constraints": None,
        "categorical": "onehot",
        "max_bins": 256,
        "max_categories": 65535,
        "metric": "auto",
        "early_stopping_rounds": None,
        "initial_model": None,
        "callback": None,
        "random_seed": None,
        "model_checkpoint_path": None,
        "model_checkpoint_interval": 5,
        "resume_from_checkpoint": None,
        "verbose": True,
        "num_threads": None,
        "memory_limit": None,
        "cache_dir": None,
        "comm": None,
    }
    assert defaults == shared | ({"class_weights": None} if "classifier" in toolkit else {"objective": "auto", "quantile": None})
