"""The three linear toolkits as users call them: the same bytes on any ranks, resume, answers, fields, files, and errors on all ranks."""

from __future__ import annotations

import math
import pathlib
import re
import warnings

import numpy as np
import onnxruntime
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import engine
from engine.data.dataset import Dataset
from engine.errors import DataError, EngineError, ModelFileError, OptionError
from engine.models._linear.distributions import quantile, two_sided
from tests.models.linear_helpers import FEATURES, TARGET, TOOLKITS, create, design_of, mixed_frame
from tests.models.training_helpers import model_bytes
from tests.threads_comm import run_ranks
from tests.training import cut_rows

CASES = [
    *((toolkit, solver, {}) for toolkit in TOOLKITS for solver in ("newton", "lbfgs")),
    *((toolkit, solver, {"l1_penalty": 3.0}) for toolkit in TOOLKITS[:2] for solver in ("fista", "proximal_newton")),
]
LONG = {"max_iterations": 30, "convergence_threshold": 1e-8}


def table_of(frame):
    """The frame as Arrow has it, maps as maps."""
    columns = {name: pa.array(frame[name]) for name in frame if name not in ("m", "v", "tags")}
    columns["v"] = pa.array(list(frame["v"]), pa.list_(pa.float64()))
    columns["m"] = pa.array([list(m.items()) for m in frame["m"]], pa.map_(pa.string(), pa.float64()))
    columns["tags"] = pa.array(list(frame["tags"]), pa.list_(pa.string()))
    return pa.table(columns)


def on_ranks(size, toolkit, table, **options):
    """Every rank's model, where each holds a part of the rows."""

    def run(comm):
        return create(toolkit, Dataset(cut_rows(table, size)[comm.rank], sharded=True), comm=comm, **options)

    return run_ranks(size, run)


@pytest.mark.parametrize(("toolkit", "solver", "more"), CASES)
def test_same_bytes_on_any_ranks_and_threads(toolkit, solver, more):
    table = table_of(mixed_frame(400))
    options = {"solver": solver, "sample_weight": "w", "offset": "o", "validation_set": "auto", **LONG, **more}
    expected = model_bytes(create(toolkit, table, **options))
    assert model_bytes(create(toolkit, table, num_threads=2, **options)) == expected
    for size in (2, 3):
        for model in on_ranks(size, toolkit, table, **options):
            assert model_bytes(model) == expected, size


def test_same_bytes_with_many_classes_and_more_ranks_than_rows():
    frame = mixed_frame(300, classes=4)
    table = table_of(frame)
    expected = model_bytes(create("logistic_classifier", table, class_weights="auto", **LONG))
    assert all(model_bytes(m) == expected for m in on_ranks(3, "logistic_classifier", table, class_weights="auto", **LONG))
    few = pa.table({"x": [1.0, 2.0, 4.0], "y": [1.0, 2.0, 2.5]})
    alone = model_bytes(engine.linear_regression.create(few, "y", verbose=False))

    def run(comm):
        return engine.linear_regression.create(Dataset(cut_rows(few, 5)[comm.rank], sharded=True), "y", verbose=False, comm=comm)

    assert all(model_bytes(model) == alone for model in run_ranks(5, run))


@pytest.mark.parametrize(("toolkit", "solver", "more"), CASES)
def test_resumed_trainings_have_the_same_bytes(tmp_path, toolkit, solver, more):
    table = table_of(mixed_frame(300, classes=3 if toolkit == "logistic_classifier" else 2))
    options = {"solver": solver, "validation_set": "auto", "convergence_threshold": 1e-6, **more}
    whole = create(toolkit, table, max_iterations=9, **options)
    expected = model_bytes(whole)
    for stop in (1, 2, 5):
        folder = tmp_path / str(stop)
        create(toolkit, table, max_iterations=stop, model_checkpoint_path=folder, model_checkpoint_interval=1, **options)
        resumed = {"model_checkpoint_path": folder, "resume_from_checkpoint": "auto", "max_iterations": 9}
        for model in on_ranks(2, toolkit, table, **options, **resumed):
            assert model_bytes(model) == expected, stop
        assert model.progress.drop_columns(["Elapsed Time"]) == whole.progress.drop_columns(["Elapsed Time"])


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    table = table_of(mixed_frame(300))
    kept = {"model_checkpoint_path": tmp_path, "model_checkpoint_interval": 1}
    create("logistic_classifier", table, solver="lbfgs", max_iterations=3, **kept)
    named = {"solver": "lbfgs", "resume_from_checkpoint": tmp_path / "model_checkpoint_3"}
    with pytest.raises(OptionError, match=r"trained with l2_penalty=0.01, got 0.5: resume with the same options"):
        create("logistic_classifier", table, l2_penalty=0.5, **named)
    with pytest.raises(OptionError, match=r"trained with solver='lbfgs', got 'newton'"):
        create("logistic_classifier", table, **{**named, "solver": "newton"})
    with pytest.raises(DataError, match="is of other data: its num_examples is 300, got 299"):
        create("logistic_classifier", table.slice(1), **named)
    with pytest.raises(OptionError, match="is of toolkit 'logistic_classifier', expected 'svm_classifier'"):
        create("svm_classifier", table, **named)
    with pytest.raises(OptionError, match="is of iteration 3, past max_iterations=2: allow as many or more"):
        create("logistic_classifier", table, max_iterations=2, **named)
    file = tmp_path / "model_checkpoint_3" / "arrays.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(ModelFileError, match="damaged"):
        create("logistic_classifier", table, **named)


@pytest.mark.parametrize("toolkit", TOOLKITS)
def test_saved_models_answer_the_same(tmp_path, toolkit):
    frame = mixed_frame()
    model = create(toolkit, frame, offset="o")
    model.save(tmp_path / "m")
    loaded = engine.load_model(tmp_path / "m")
    assert type(loaded) is type(model)
    assert loaded.predict(frame).equals(model.predict(frame))
    assert loaded.coefficients == model.coefficients
    assert loaded.summary("str") == model.summary("str")
    assert loaded.list_fields() == model.list_fields()
    (tmp_path / "m" / "run.json").unlink()
    assert engine.load_model(tmp_path / "m").training_time is None


def test_predictions_are_the_sum_of_products():
    frame = mixed_frame()
    model = create("linear_regression", frame)
    values = model.coefficients.column("value").to_numpy()
    expected = design_of(model, frame) @ values[1:] + values[0]
    np.testing.assert_allclose(model.predict(frame).to_numpy(), expected, rtol=1e-12)
    residual = expected - frame["amount"]
    assert model.evaluate(frame) == {
        "max_error": pytest.approx(np.abs(residual).max()),
        "rmse": pytest.approx(np.sqrt(np.mean(residual**2))),
    }
    assert model.training_loss == pytest.approx(np.sum(residual**2))
    assert model.evaluate(frame, metric="rmse")["rmse"] == pytest.approx(model.training_rmse)
    assert model.predict(frame.iloc[0].to_dict()) == pytest.approx(expected[0])


def test_offsets_are_added():
    frame = mixed_frame()
    model = create("linear_regression", frame, offset="o")
    moved = model.predict(frame.assign(o=frame["o"] + 5.0)).to_numpy() - model.predict(frame).to_numpy()
    np.testing.assert_allclose(moved, 5.0, rtol=1e-9)
    with pytest.raises(DataError, match="'o'"):
        model.predict(frame.drop(columns="o"))
    with pytest.raises(DataError, match="offset 'o' has a missing value in row 3"):
        model.predict(frame.assign(o=frame["o"].mask(frame.index == 3)))


@pytest.mark.parametrize("classes", [2, 3])
def test_output_types_of_logistic(classes):
    frame = mixed_frame(classes=classes)
    model = create("logistic_classifier", frame)
    x, table = design_of(model, frame), model.coefficients.column("value").to_numpy().reshape(classes - 1, -1)
    margins = np.column_stack([np.zeros(len(frame)), x @ table[:, 1:].T + table[:, 0]])
    probabilities = np.exp(margins) / np.exp(margins).sum(axis=1, keepdims=True)
    vectors = np.array(model.predict(frame, output_type="probability_vector").to_pylist())
    np.testing.assert_allclose(vectors, probabilities, rtol=1e-9, atol=1e-15)
    assert model.predict(frame).to_pylist() == [model.classes[k] for k in np.argmax(margins, axis=1)]
    answered = model.classify(frame).to_pandas()
    np.testing.assert_allclose(answered["probability"], probabilities.max(axis=1), rtol=1e-9)
    top = model.predict_topk(frame, k=2).to_pandas()
    np.testing.assert_allclose(top["probability"][::2], probabilities.max(axis=1), rtol=1e-9)
    assert set(model.evaluate(frame)) == set(engine.models._classifier.Classifier.metrics)
    if classes == 2:
        np.testing.assert_allclose(model.predict(frame, output_type="margin").to_numpy(), margins[:, 1], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(model.predict(frame, output_type="probability").to_numpy(), probabilities[:, 1], rtol=1e-9, atol=1e-15)
    else:
        with pytest.raises(OptionError, match="is for two classes, the model has 3"):
            model.predict(frame, output_type="margin")


def test_svm_has_classes_and_margins_alone():
    frame = mixed_frame()
    model = create("svm_classifier", frame)
    margins = model.predict(frame, output_type="margin").to_numpy()
    assert model.predict(frame).to_pylist() == [model.classes[int(m >= 0)] for m in margins]
    assert model.classify(frame).column_names == ["class"]
    assert set(model.evaluate(frame)) == {"accuracy", "confusion_matrix", "f1_score", "precision", "recall"}
    assert not hasattr(model, "predict_topk")
    assert model.coefficients.column_names == ["name", "index", "class", "value"]
    with pytest.raises(OptionError, match="output_type must be one of 'class', 'margin', got 'probability'"):
        model.predict(frame, output_type="probability")
    assert model.get_coefficient_statistics().column("p_value").null_count == model.num_coefficients
    for missing in ("l1_penalty", "l2_penalty", "step_size"):
        assert missing not in model.list_fields()


def test_missing_and_unseen_values():
    frame = mixed_frame()
    model = create("linear_regression", frame)
    table = {(row["name"], row["index"]): row["value"] for row in model.coefficients.to_pylist()}
    base = {"x": 0.0, "count": 0, "word": "a", "v": [0.0, 0.0], "m": {}, "tags": []}
    intercept = model.predict(base)
    assert intercept == pytest.approx(table["(intercept)", None])
    assert model.predict({**base, "x": None}) == pytest.approx(intercept + frame["x"].mean() * table["x", None])
    assert model.predict({**base, "word": "unseen", "m": {"unseen": 9.0}, "tags": ["unseen"]}) == intercept
    assert model.predict({**base, "word": None}) == pytest.approx(intercept + table["word", None])
    assert model.predict({**base, "tags": ["new"]}) == pytest.approx(intercept + table["tags", "new"])
    with pytest.raises(DataError, match="feature 'x' has a missing value in row 0"):
        model.predict([{**base, "x": None}], missing_value_action="error")
    with pytest.raises(OptionError, match="'none' is for trees; use 'impute'"):
        model.predict(base, missing_value_action="none")


def test_fields():
    model = create("logistic_classifier", mixed_frame(classes=3), validation_set=mixed_frame(seed=8, classes=3), solver="lbfgs")
    assert model.solver == "lbfgs"
    assert model.num_coefficients == 2 * (1 + 2 + 3 + 2 + 2 + 1)
    assert model.unpacked_features == ["x", "count", "word", "v[0]", "v[1]", "m[p]", "m[q]", "tags"]
    assert model.progress.column_names == ["Iteration", "Passes", "Step size", "Elapsed Time", "Training-accuracy", "Validation-accuracy"]
    assert len(model.progress) == model.training_iterations
    assert model.training_accuracy == model.progress["Training-accuracy"][-1].as_py()
    assert model.validation_accuracy == model.progress["Validation-accuracy"][-1].as_py()
    assert model.num_validation_examples == 300
    first = model.coefficients.to_pylist()[0]
    assert (first["name"], first["index"], first["class"], first["stderr"]) == ("(intercept)", None, "low", None)
    auto = create("linear_regression", mixed_frame())
    assert (auto.solver, auto.training_iterations, auto.progress["Passes"].to_pylist()) == ("newton", 1, [2])
    assert auto.progress.column_names == ["Iteration", "Passes", "Elapsed Time", "Training-max_error", "Training-rmse"]
    assert create("linear_regression", mixed_frame(), l1_penalty=1.0).solver == "proximal_newton"


def test_summary():
    text = create("linear_regression", mixed_frame()).summary("str")
    sections = re.findall(r"^(.+)\n-+$", text, re.MULTILINE)
    assert sections[:6] == [
        "Schema",
        "Hyperparameters",
        "Training Summary",
        "Settings",
        "Highest Positive Coefficients",
        "Lowest Negative Coefficients",
    ]
    assert sections[6].startswith("Coefficients: value, stderr, t, p-value")
    assert "R^2" in text
    assert "SUCCESS: Optimal solution found." in text


def test_the_printed_table(capsys):
    engine.logistic_classifier.create(mixed_frame(), "grade", features=FEATURES, max_iterations=2, solver="lbfgs")
    lines = capsys.readouterr().out.splitlines()
    assert lines[:9] == [
        "Logistic regression:",
        "-" * 56,
        "Number of examples          : 300",
        "Number of classes           : 2",
        "Number of feature columns   : 6",
        "Number of unpacked features : 8",
        "Number of coefficients      : 11",
        "Starting L-BFGS",
        "-" * 56,
    ]
    assert lines[10] == "| Iteration | Passes   | Step size | Elapsed Time | Training-accuracy |"
    assert lines[-2:] == [
        "Completed (Iteration limit reached).",
        "This model may not be optimal. To improve it, increase max_iterations.",
    ]


def test_class_weights_are_as_repeated_rows():
    frame = mixed_frame()
    repeated = pd.concat([frame, frame[frame["grade"] == "high"]])
    weighted = create("logistic_classifier", frame, class_weights={"high": 2.0, "low": 1.0}, feature_rescaling=False, **LONG)
    other = create("logistic_classifier", repeated, feature_rescaling=False, **LONG)
    np.testing.assert_allclose(weighted.coefficients["value"].to_numpy(), other.coefficients["value"].to_numpy(), rtol=1e-7)
    assert weighted.class_weights == {"high": 2.0, "low": 1.0}


@pytest.mark.parametrize("toolkit", [*TOOLKITS, "many"])
def test_onnx_gives_the_same(tmp_path, toolkit):
    frame = mixed_frame(classes=3 if toolkit == "many" else 2)
    model = create("logistic_classifier" if toolkit == "many" else toolkit, frame)
    asked = frame.assign(x=frame["x"].mask(frame.index % 7 == 0), word=frame["word"].where(frame.index % 5 > 0, "unseen"))
    model.export_onnx(tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    columns = np.column_stack(model.encode(asked).columns)
    margins, *rest = session.run(None, {"columns": columns})
    if toolkit == "linear_regression":
        np.testing.assert_allclose(margins[:, 0], model.predict(asked).to_numpy(), rtol=1e-12)
    elif toolkit != "many":
        np.testing.assert_allclose(margins[:, 0], model.predict(asked, output_type="margin").to_numpy(), rtol=1e-12, atol=1e-13)
    if "logistic" in model.toolkit:
        np.testing.assert_allclose(rest[0], model.predict(asked, output_type="probability_vector").to_pylist(), rtol=1e-12, atol=1e-15)
    else:
        assert rest == []


def bad_frame(**columns):
    return mixed_frame(60).assign(**columns)


ERRORS = [
    ("linear_regression", {"solver": "newton", "l1_penalty": 1.0}, {}, OptionError, "solver 'newton' knows no l1_penalty, got 1.0"),
    ("logistic_classifier", {"solver": "lbfgs", "l1_penalty": 1.0}, {}, OptionError, "solver 'lbfgs' knows no l1_penalty"),
    ("svm_classifier", {"solver": "fista"}, {}, OptionError, "solver must be one of 'auto', 'newton', 'lbfgs', got 'fista'"),
    (
        "linear_regression",
        {"convergence_threshold": 1e-11},
        {},
        OptionError,
        "convergence_threshold must be a number in",
    ),
    ("linear_regression", {"l2_penalty": -1.0}, {}, OptionError, "l2_penalty must be a number in"),
    ("svm_classifier", {"penalty": 0.0}, {}, OptionError, "penalty must be a number in"),
    ("linear_regression", {"max_iterations": 0}, {}, OptionError, "max_iterations must be an integer >= 1, got 0"),
    ("linear_regression", {"l2_penality": 1.0}, {}, OptionError, "unknown option 'l2_penality'"),
    ("linear_regression", {"offset": "x"}, {}, OptionError, "offset must be neither the target, a feature nor another"),
    ("linear_regression", {"class_weights": "auto"}, {}, OptionError, "unknown option 'class_weights'"),
    ("logistic_classifier", {"class_weights": {"high": 1.0}}, {}, OptionError, "class_weights must have every class, got none for 'low'"),
    ("linear_regression", {}, {"x": np.where(np.arange(60) == 41, np.nan, 1.5 * np.arange(60))}, DataError, "'x'.*row 41"),
    ("linear_regression", {}, {"x": np.where(np.arange(60) == 41, np.inf, 1.5 * np.arange(60))}, DataError, "'x'"),
    ("linear_regression", {}, {"x": np.full(60, 1e308)}, DataError, "'x'"),
    ("logistic_classifier", {}, {"grade": "same"}, DataError, "has one class, 'same'"),
    ("svm_classifier", {}, {"grade": np.arange(60) % 3}, DataError, "target 'grade' has 3 classes, expected 2 for an SVM"),
    ("logistic_classifier", {"offset": "o"}, {"grade": np.arange(60) % 3}, OptionError, "offset is for numbers and two classes"),
    ("linear_regression", {}, {"amount": np.where(np.arange(60) == 59, np.nan, 1.0)}, DataError, "'amount' has a missing value in row 59"),
]


@pytest.mark.parametrize(("toolkit", "options", "columns", "kind", "message"), ERRORS)
def test_errors_are_every_ranks(toolkit, options, columns, kind, message):
    table = table_of(bad_frame(**columns))

    def run(comm):
        with pytest.raises(kind, match=message) as caught:
            create(toolkit, Dataset(cut_rows(table, comm.size)[comm.rank], sharded=True), comm=comm, **options)
        return re.sub(r" \(on rank.*", "", str(caught.value))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert len(set(run_ranks(3, run))) == 1


def test_newton_refuses_a_hessian_too_large():
    frame = pd.DataFrame({"word": [f"w{k}" for k in range(10_001)] * 2, "y": np.arange(20_002) % 2})
    with pytest.raises(OptionError, match="solver 'newton' is for at most 10000 coefficients, got 10001: use solver='lbfgs' or 'auto'"):
        create("logistic_classifier", frame, "y", solver="newton")
    assert create("logistic_classifier", frame, "y", max_iterations=1).solver == "lbfgs"


def test_warns_of_more_coefficients_than_rows():
    with pytest.warns(UserWarning, match="the model has 10 coefficients for 8 rows"):
        create("linear_regression", mixed_frame(8, seed=2))


@pytest.mark.filterwarnings("ignore")
def test_no_rows_is_an_error():
    with pytest.raises(EngineError):
        create("linear_regression", mixed_frame(5).iloc[:0])


def test_confidence_is_checked():
    model = create("linear_regression", mixed_frame())
    for wrong in (0, 1.0, True, "0.9", math.nan):
        with pytest.raises(OptionError, match=r"confidence must be a number in \(0, 1\)"):
            model.get_coefficient_statistics(wrong)


@given(st.floats(0, 60), st.integers(1, 10**6))
@settings(max_examples=200, deadline=None)
def test_tails_beside_scipy(value, freedom):
    expected = 2.0 * stats.t.sf(value, freedom)
    assert two_sided(value, freedom) == pytest.approx(expected, rel=1e-7, abs=1e-290)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.999])
def test_quantiles_beside_scipy(level):
    assert quantile(level, math.inf) == pytest.approx(stats.norm.ppf(0.5 + level / 2), rel=1e-12)
    for freedom in (1, 2, 10, 1000):
        assert quantile(level, freedom) == pytest.approx(stats.t.ppf(0.5 + level / 2, freedom), rel=1e-9)


def test_loading_damaged_files(tmp_path):
    model = create("linear_regression", mixed_frame())
    model._arrays["means"] = model._arrays["means"][:-1]
    model.save(tmp_path / "m")
    with pytest.raises(ModelFileError, match="is damaged: means has shape"):
        engine.load_model(pathlib.Path(tmp_path, "m"))


def test_onnx_of_strings_alone(tmp_path):
    frame = mixed_frame()[["word", "grade"]]
    model = create("logistic_classifier", frame, "grade")
    model.export_onnx(tmp_path / "m.onnx")
    columns = np.column_stack(model.encode(frame).columns)
    margins = onnxruntime.InferenceSession(tmp_path / "m.onnx").run(["margins"], {"columns": columns})[0]
    np.testing.assert_allclose(margins[:, 0], model.predict(frame, output_type="margin").to_numpy(), rtol=1e-12, atol=1e-13)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("toolkit", TOOLKITS)
def test_constant_huge_tiny_and_oddly_named_columns(toolkit):
    frame = mixed_frame(200)
    odd = {
        "ü" * 3000: frame["x"],
        "=1+1": frame["count"],
        "constant": 7.0,
        "nothing": 0.0,
        "huge": 1e100 * frame["x"],
        "tiny": 1e-150 * frame["x"],
    }
    data = pd.DataFrame({**odd, "y": frame[TARGET[toolkit]], "words": "the same"})
    model = create(toolkit, data, "y", max_iterations=50)
    assert np.isfinite(model.coefficients["value"].to_numpy()).all()
    assert not model.training_solver_status.startswith("TERMINATED")
    quality = model.evaluate(data)
    assert quality["rmse"] < 1.5 if toolkit == "linear_regression" else quality["accuracy"] > 0.7
