"""Exported models, loaded by the libraries they are for, predict what the models predict."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import onnxruntime
import pytest
import xgboost

from engine.errors import DataError, OptionError, StorageError
from engine.models._trees.ensemble import LEAF, NUMERIC, TreeEnsemble
from engine.models._trees.predictor import feature_numbers
from tests.models.hand_made import ENCODING, document, make_classifier, make_regression, make_rows, one_split, to_table

ROWS = [*make_rows(60), {}, {"colour": "pink"}, {"age": 1, "width": 0.5, "v": [1.0, 2.0], "m": {"k": 1.0}, "tags": ["new"]}]
MODELS = {
    "two classes": lambda: make_classifier(["no", "yes"], n_trees=12),
    "three classes": lambda: make_classifier(["a", "b", "c"], n_trees=5),
    "regression": make_regression,
}


def consistent_covers(ensemble: TreeEnsemble) -> Any:
    """Covers of which each is the sum of its children's, as training gives them; XGBoost relies on it."""
    cover = ensemble.cover.copy()
    for tree, start in enumerate(ensemble.tree_start[:-1].tolist()):
        for i in range(int(ensemble.tree_start[tree + 1]) - 1, start - 1, -1):
            if ensemble.kind[i] != LEAF:
                cover[i] = cover[start + ensemble.yes[i]] + cover[start + ensemble.no[i]]
    return cover


def group_sums(model: Any, values: Any) -> Any:
    """XGBoost's contributions of columns, added up to those of features."""
    encoding = model._encoding
    numbers = [*feature_numbers(encoding).tolist(), len(encoding.unpacked_features)]
    out = np.zeros((*values.shape[:-1], numbers[-1] + 1))
    for column, number in enumerate(numbers):
        out[..., number] += values[..., column]
    return out


def as_float32(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows whose numbers XGBoost can hold."""
    short = lambda x: None if x is None else float(np.float32(x))  # noqa: E731
    return [
        {
            **row,
            "width": short(row.get("width")),
            "v": [short(x) for x in row["v"]] if row.get("v") else None,
            "m": {key: short(x) for key, x in row["m"].items()} if row.get("m") else None,
        }
        for row in rows
    ]


def margins(model: Any, rows: list[dict[str, Any]]) -> Any:
    """The model's sums, [n, n_outputs]."""
    made = model.predict(rows) if model._document["classes"] is None else None
    if made is None and len(model.classes) == 2:
        made = model.predict(rows, "margin")
    if made is not None:
        return made.to_numpy()[:, None]
    table = model.predict_topk(rows, "margin", k=len(model.classes))
    out = np.empty((len(rows), len(model.classes)))
    out[table["id"].to_numpy(), [model.classes.index(c) for c in table["class"].to_pylist()]] = table["margin"].to_numpy()
    return out


def close(found: Any, expected: Any) -> None:
    assert found.shape == expected.shape
    assert (np.abs(found - expected) <= 1e-6 * np.maximum(1, np.abs(expected))).all()


def load(model: Any, path: pathlib.Path) -> tuple[xgboost.Booster, Any]:
    """The exported booster, and what makes its matrix of rows."""
    model.export_xgboost(path)
    booster = xgboost.Booster(model_file=path)
    return booster, lambda rows: xgboost.DMatrix(
        model.encode(rows).to_pandas(), feature_types=booster.feature_types, enable_categorical=True
    )


@pytest.mark.parametrize("name", MODELS)
def test_xgboost_predicts_the_same(name: str, tmp_path: pathlib.Path) -> None:
    model, rows = MODELS[name](), as_float32(ROWS)
    booster, matrix = load(model, tmp_path / "model.json")
    close(booster.predict(matrix(rows), output_margin=True).reshape(len(rows), -1), margins(model, rows))
    predicted = booster.predict(matrix(rows))
    if name == "two classes":
        np.testing.assert_allclose(predicted, model.predict(rows, "probability").to_numpy(), atol=1e-6)
    elif name == "three classes":
        np.testing.assert_allclose(predicted, np.array(model.predict(rows, "probability_vector").to_pylist()), atol=1e-6)
    saved = json.loads(booster.attr("samesum_categories"))
    assert saved == {"colour": ["blau", "grün", "red", None]}


def run_onnx(model: Any, rows: list[dict[str, Any]], path: pathlib.Path) -> list[Any]:
    """The outputs of the exported graph."""
    model.export_onnx(path)
    session = onnxruntime.InferenceSession(path)
    matrix = np.column_stack(model.encode(rows).columns)
    return list(session.run(None, {"columns": matrix}))


@pytest.mark.parametrize("name", MODELS)
def test_onnx_predicts_the_same(name: str, tmp_path: pathlib.Path) -> None:
    model = MODELS[name]()
    found = run_onnx(model, ROWS, tmp_path / "model.onnx")
    close(found[0], margins(model, ROWS))
    if name != "regression":
        np.testing.assert_allclose(found[1], np.array(model.predict(ROWS, "probability_vector").to_pylist()), atol=1e-9)


@pytest.mark.parametrize("classes", [["a", "b"], ["a", "b", "c"]])
def test_onnx_of_averaged_probabilities(classes: list[str], tmp_path: pathlib.Path) -> None:
    n_outputs = 1 if len(classes) == 2 else 3
    forest = with_trees(stump(0.5, link="probability", n_outputs=n_outputs), classes)
    rows = [{"width": -1.0}, {"width": 2.0}, {}]
    for values in ([0.5, -0.125], [0.75, -0.25], [-0.25, -0.5]):
        forest._ensemble.value[:] = np.tile([0.0, *values], n_outputs) / np.repeat(np.arange(1, n_outputs + 1), 3)
        forest.__dict__.pop("_predictor", None)
        found = run_onnx(forest, rows, tmp_path / "model.onnx")
        close(found[0], margins(forest, rows))
        np.testing.assert_allclose(found[1], np.array(forest.predict(rows, "probability_vector").to_pylist()), atol=1e-9)


def test_onnx_says_what_its_columns_are(tmp_path: pathlib.Path) -> None:
    model = make_regression()
    model.export_onnx(tmp_path / "model.onnx")
    notes = onnxruntime.InferenceSession(tmp_path / "model.onnx").get_modelmeta().custom_metadata_map
    assert json.loads(notes["columns"]) == model.encode(ROWS).column_names
    assert json.loads(notes["categories"]) == {"colour": ["blau", "grün", "red", None]}


@pytest.mark.parametrize("name", MODELS)
def test_xgboost_explains_the_same(name: str, tmp_path: pathlib.Path) -> None:
    """For unseen categories: of known ones, XGBoost's own contributions do not sum to its margin."""
    model, rows = MODELS[name](), [{**row, "colour": "pink"} for row in as_float32(ROWS)]
    model._ensemble.cover[:] = consistent_covers(model._ensemble)
    booster, matrix = load(model, tmp_path / "model.json")
    explained = model.predict(rows, output_type="contributions").to_pylist()
    np.testing.assert_allclose(group_sums(model, booster.predict(matrix(rows), pred_contribs=True)), explained, rtol=1e-4, atol=1e-5)


def stump(threshold: float, *, link: Any = "margin", n_outputs: int = 1) -> TreeEnsemble:
    """A stump on ``width`` for each output."""
    arrays = one_split(NUMERIC, 1, threshold, missing_yes=True).arrays()
    names = [name for name in arrays if name not in ("tree_start", "set_start", "set_bits")]
    joined = {name: np.tile(arrays[name], n_outputs) for name in names}
    return TreeEnsemble(n_outputs, 0.25, **{**arrays, **joined, "tree_start": 3 * np.arange(n_outputs + 1)}, link=link)


def with_trees(ensemble: TreeEnsemble, classes: list[Any]) -> Any:
    content = document("boosted_trees_classifier", ensemble, classes, ("accuracy", "log_loss"))
    return type(make_classifier(classes))(content, ENCODING, ensemble, None, rank=0)


@pytest.mark.parametrize("threshold", [0.1, -0.1, 1 / 3, 1e-40, 0.0, 1e300, -1e300, np.inf, 16777217.5])
def test_float32_numbers_go_the_same_way(threshold: float, tmp_path: pathlib.Path) -> None:
    model = with_trees(stump(threshold), ["a", "b"])
    booster, matrix = load(model, tmp_path / "model.json")
    near = np.float32(np.clip(threshold, -1e38, 1e38))
    values = [np.nextafter(near, np.float32(side)) for side in (-np.inf, np.inf)] + [
        near,
        np.float32(0),
        np.float32(-3e38),
        np.float32(3e38),
    ]
    rows = [{"width": float(value)} for value in values] + [{}]
    close(booster.predict(matrix(rows), output_margin=True)[:, None], margins(model, rows))


def test_a_base_score_and_averaged_probabilities(tmp_path: pathlib.Path) -> None:
    rows = [{"width": -1.0}, {"width": 2.0}, {}]
    forest = with_trees(stump(0.5, link="probability"), ["a", "b"])
    forest._ensemble.value[1:3] = [0.5, -0.125]
    booster, matrix = load(forest, tmp_path / "model.json")
    np.testing.assert_allclose(booster.predict(matrix(rows)), forest.predict(rows, "probability").to_numpy(), atol=1e-6)
    more = with_trees(stump(0.5, link="probability", n_outputs=3), ["a", "b", "c"])
    with pytest.raises(OptionError, match="averaged probabilities of more than two classes"):
        more.export_xgboost(tmp_path / "more.json")
    assert not (tmp_path / "more.json").exists()


def test_thresholds_that_float32_cannot_tell_apart(tmp_path: pathlib.Path) -> None:
    ensemble = stump(1e9 + 0.5, n_outputs=3)
    ensemble.threshold[3] = 1e9 + 1.5
    with pytest.raises(
        DataError,
        match="column 'width': XGBoost's float32 cannot tell 1 of 2 thresholds from the next one, such as 1000000000.5 from 1000000001.5",
    ):
        with_trees(ensemble, ["a", "b", "c"]).export_xgboost(tmp_path / "model.json")
    with pytest.raises(StorageError, match="could not write"):
        make_regression().export_xgboost(tmp_path)
    make_regression().export_xgboost(tmp_path / "new" / "folder" / "model.json")
    assert (tmp_path / "new" / "folder" / "model.json").is_file()


def test_encoded_columns() -> None:
    rows = [{"age": 3, "width": 0.5, "colour": "grün", "v": [1.0, 2.0], "m": {"k": 4.0}, "tags": ["new"]}, {"colour": "pink"}, {}]
    nan = None
    assert [{k: None if v != v else v for k, v in row.items()} for row in make_regression().encode(rows).to_pylist()] == [
        {"age": 3.0, "width": 0.5, "colour": 1.0, "v(0)": 1.0, "v(1)": 2.0, 'm("k")': 4.0, "tags=new": 1.0},
        {"age": nan, "width": nan, "colour": nan, "v(0)": nan, "v(1)": nan, 'm("k")': nan, "tags=new": nan},
        {"age": nan, "width": nan, "colour": 3.0, "v(0)": nan, "v(1)": nan, 'm("k")': nan, "tags=new": nan},
    ]
    table = to_table(make_rows(20))
    assert make_regression().encode(table).num_rows == 20
