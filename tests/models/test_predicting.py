"""Predictions of hand-made models: every output, every kind of input, any number of ranks."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from engine.collectives.serial import SerialComm
from engine.errors import CommunicationError, DataError, OptionError
from engine.models._trees.ensemble import TreeEnsemble
from engine.models.loading import load_model
from tests.models.hand_made import ENCODING, NUMBER_SPLIT, make_classifier, make_regression, make_rows, to_table
from tests.oracles import naive_margins, walk_tree
from tests.threads_comm import collect_ranks, run_ranks

ROWS = make_rows(40)
TABLE = to_table(ROWS)
SIZES = [1, 2, 3, 7]
CLASS_LISTS: list[list[Any]] = [["no", "yes"], [False, True], [3, 5], [0.5, 2.5], ["a", "b", "ü"], [1, 2, 3, 4]]


def expected_margins(model: Any) -> Any:
    return naive_margins(model._ensemble, ENCODING.matrix(TABLE))


@pytest.mark.parametrize("classes", CLASS_LISTS, ids=repr)
def test_every_output_type(classes: list[Any]) -> None:
    model = make_classifier(classes)
    margins = expected_margins(model)
    vectors = model.predict(TABLE, output_type="probability_vector")
    if len(classes) == 2:
        assert model.predict(TABLE, output_type="margin").to_pylist() == margins[:, 0].tolist()
        probability = model.predict(TABLE, output_type="probability").to_numpy()
        np.testing.assert_allclose(probability, 1 / (1 + np.exp(-margins[:, 0])), rtol=1e-14)
        assert vectors.to_pylist() == [[1 - p, p] for p in probability]
        chosen = (margins[:, 0] >= 0).astype(int)
    else:
        exponentials = np.exp(margins)
        np.testing.assert_allclose(vectors.to_pylist(), exponentials / exponentials.sum(axis=1, keepdims=True), rtol=1e-13)
        chosen = margins.argmax(axis=1)
    predicted = model.predict(TABLE)
    assert isinstance(predicted, pa.ChunkedArray)
    assert predicted.to_pylist() == [classes[k] for k in chosen]
    assert type(predicted[0].as_py()) is type(classes[0])
    table = model.classify(TABLE)
    assert table.column_names == ["class", "probability"]
    assert table["class"].to_pylist() == predicted.to_pylist()
    assert table["probability"].to_pylist() == [vector[k] for vector, k in zip(vectors.to_pylist(), chosen, strict=True)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("n_rows", [0, 1, 5, 40])
def test_ranks_give_the_whole_result_in_input_order(size: int, n_rows: int) -> None:
    table = TABLE.slice(0, n_rows)
    two, three, regression = make_classifier(["no", "yes"]), make_classifier(["a", "b", "c"]), make_regression()

    def ask(comm: Any) -> list[Any]:
        return [
            two.predict(table, comm=comm),
            two.predict(table, "margin", comm=comm, num_threads=2),
            three.predict(table, "probability_vector", comm=comm),
            three.predict_topk(table, k=2, comm=comm),
            two.classify(table, comm=comm),
            regression.predict(table, comm=comm),
            regression.extract_features(table, comm=comm),
        ]

    alone = ask(SerialComm())
    assert [len(answer) for answer in alone] == [n_rows, n_rows, n_rows, 2 * n_rows, n_rows, n_rows, n_rows]
    for answers in run_ranks(size, ask):
        assert all(a.equals(b) for a, b in zip(answers, alone, strict=True))


def probability_forest(n_outputs: int) -> Any:
    """A forest of stumps on ``width`` whose sums are probabilities: 0, 0.75, 1 for two classes."""
    classes = ["a", "b"] if n_outputs == 1 else ["a", "b", "c"]
    model = make_classifier(classes, n_trees=2)
    stump = NUMBER_SPLIT.arrays()
    names = [name for name in stump if name not in ("tree_start", "set_start", "set_bits")]
    joined = {name: np.tile(stump[name], 2 * n_outputs) for name in names}
    joined["threshold"] = np.concatenate([[cut, 0.0, 0.0] for cut in np.repeat([0.0, 1.0], n_outputs)])
    joined["value"] = np.concatenate([[0.0, 0.0, share / (1 + k)] for share in (0.75, 0.25) for k in range(n_outputs)])
    arrays = {**stump, **joined, "tree_start": 3 * np.arange(2 * n_outputs + 1)}
    ensemble = TreeEnsemble(n_outputs, 0.0, **arrays, link="probability")
    return type(model)(model._document, ENCODING, ensemble, None, rank=0)


def test_averaged_probabilities_of_two_classes(tmp_path: Any) -> None:
    model = probability_forest(1)
    model.save(tmp_path / "model")
    rows = [{"width": width} for width in (-1.0, 0.5, 2.0)]
    expected = [1e-9, 0.75, 1 - 1e-9]
    for forest in (model, load_model(tmp_path / "model")):
        np.testing.assert_allclose(forest.predict(rows, "probability").to_numpy(), expected, rtol=1e-12)
        np.testing.assert_allclose(forest.predict(rows, "margin").to_numpy(), [math.log(p / (1 - p)) for p in expected], rtol=1e-7)
        assert forest.predict(rows).to_pylist() == ["a", "b", "b"]
        assert forest.classify(rows)["class"].to_pylist() == ["a", "b", "b"]
        assert forest.predict_topk(rows, k=1)["class"].to_pylist() == ["a", "b", "b"]
        losses = forest.evaluate([{**row, "y": "b"} for row in rows], metric=["log_loss", "accuracy"])
        assert losses == {"accuracy": pytest.approx(2 / 3), "log_loss": pytest.approx(-np.log(expected).mean(), rel=1e-12)}


def test_averaged_probabilities_of_more_classes() -> None:
    model = probability_forest(3)
    rows = [{"width": width} for width in (-1.0, 0.5, 2.0)]
    shares = np.array([1, 1 / 2, 1 / 3])
    expected = [[1 / 3] * 3, *[(shares / shares.sum()).tolist()] * 2]
    np.testing.assert_allclose(model.predict(rows, "probability_vector").to_pylist(), expected, rtol=1e-15)
    assert model.predict(rows).to_pylist() == ["a"] * 3
    assert (
        model.predict_topk(rows, "margin", k=3)["margin"].to_pylist()
        == np.ravel(model.predict(rows, "probability_vector").to_pylist()).tolist()
    )


@pytest.mark.parametrize("classes", [["a", "b"], ["a", "b", "c"]])
def test_contributions_sum_to_the_margins(classes: list[str]) -> None:
    model, regression = make_classifier(classes), make_regression()
    found = np.array(model.predict(TABLE, "contributions").to_pylist()).reshape(len(TABLE), -1, len(model.unpacked_features) + 1)
    np.testing.assert_allclose(found.sum(axis=2), expected_margins(model), rtol=1e-9)
    assert len({tuple(values) for values in found[:, 0, -1:]}) == 1
    assert model.predict(ROWS[0], "contributions") == model.predict(TABLE, "contributions")[0].as_py()
    values = np.array(regression.predict(TABLE, output_type="contributions").to_pylist())
    np.testing.assert_allclose(values.sum(axis=1), regression.predict(TABLE).to_numpy(), rtol=1e-9)
    ask = lambda comm: model.predict(TABLE, "contributions", num_threads=2, comm=comm)  # noqa: E731
    assert all(part.equals(ask(SerialComm())) for part in run_ranks(3, ask))


def test_contributions_are_those_of_the_features_asked() -> None:
    model = make_regression()
    model._ensemble = NUMBER_SPLIT
    values = dict(zip(model.unpacked_features, model.predict({"width": 1.0}, output_type="contributions"), strict=False))
    mean = 0.6 * 1.5 - 0.4 * 0.25
    assert values == {name: pytest.approx(-0.25 - mean) if name == "width" else 0.0 for name in model.unpacked_features}
    assert model.predict({"width": 1.0}, output_type="contributions")[-1] == pytest.approx(mean)
    with pytest.raises(OptionError, match="output_type must be one of 'value', 'contributions', got 'contribution'"):
        model.predict({}, output_type="contribution")


def test_many_rows_on_many_threads_are_the_same() -> None:
    """Rows enough for several pieces, which threads take in turn."""
    model, table = make_regression(), to_table(make_rows(50))
    many = pa.concat_tables([table] * 1500)
    alone = model.predict(table).to_pylist() * 1500
    assert model.predict(many, num_threads=1).to_pylist() == alone
    assert model.predict(many, num_threads=3).to_pylist() == alone
    assert copy.deepcopy(model).predict(table).to_pylist() == alone[:50]
    broken = many.set_column(0, "age", pa.array(["old"] * len(many)))
    with pytest.raises(DataError, match="age"):
        model.predict(broken, num_threads=3)


def test_sharded_results_are_each_ranks_own() -> None:
    model, regression = make_classifier(["a", "b", "c"]), make_regression()
    parts = run_ranks(3, lambda comm: regression.predict(TABLE, sharded=True, comm=comm))
    assert [len(part) for part in parts] != [40] * 3
    assert [v for part in parts for v in part.to_pylist()] == regression.predict(TABLE).to_pylist()
    tables = run_ranks(3, lambda comm: model.predict_topk(TABLE, sharded=True, comm=comm))
    assert pa.concat_tables(tables).equals(model.predict_topk(TABLE).combine_chunks())


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(ROWS, id="list of dicts"),
        pytest.param(pl.from_arrow(TABLE.drop_columns(["m", "tags", "ignored", "v"])), id="polars"),
        pytest.param(TABLE.drop_columns(["m", "tags", "v"]).to_pandas(), id="pandas"),
        pytest.param(TABLE.select(list(reversed(TABLE.column_names))), id="other order"),
        pytest.param({name: TABLE[name].to_numpy() for name in ("age", "width", "colour")}, id="dict of arrays"),
    ],
)
def test_other_kinds_of_data(data: Any) -> None:
    model = make_regression()
    expected = TABLE
    if not isinstance(data, (list, pa.Table)):  # frames without the nested columns: their values are missing
        absent = {name: pa.nulls(40, TABLE[name].type) for name in ("v", "m", "tags")}
        for name, values in absent.items():
            expected = expected.set_column(expected.column_names.index(name), name, values)
        data = pa.table(
            data if isinstance(data, dict) else pa.Table.from_pandas(data) if isinstance(data, pd.DataFrame) else data.to_arrow()
        )
        for name, values in absent.items():
            data = data.append_column(name, values)
    assert model.predict(data).to_pylist() == model.predict(expected).to_pylist()


def test_one_dict_gives_one_value() -> None:
    two, three, regression = make_classifier(["no", "yes"]), make_classifier(["a", "b", "c"]), make_regression()
    for number, row in enumerate(ROWS):
        assert two.predict(row) == two.predict(TABLE)[number].as_py()
        assert two.predict(row, "probability") == two.predict(TABLE, "probability")[number].as_py()
        assert three.predict(row, "probability_vector") == three.predict(TABLE, "probability_vector")[number].as_py()
        assert regression.predict(row) == regression.predict(TABLE)[number].as_py()
        assert two.classify(row) == two.classify(TABLE).to_pylist()[number]
        assert regression.extract_features(row) == regression.extract_features(TABLE)[number].as_py()
    assert three.predict_topk(ROWS[0], k=2).equals(three.predict_topk(TABLE.slice(0, 1), k=2))


def test_dicts_without_keys_and_with_numpy_values() -> None:
    model = make_regression()
    empty = dict.fromkeys(["age", "width", "colour", "v", "m", "tags"])
    assert model.predict({}) == model.predict(empty)
    plain = {"age": 2, "width": 0.5, "colour": "red", "v": [1.0, 2.0], "m": {"k": 3.0}, "tags": ["new"]}
    numpy_made = {
        "age": np.int32(2),
        "width": np.float32(0.5),
        "colour": np.str_("red"),
        "v": np.array([1, 2]),
        "m": {"k": np.int64(3)},
        "tags": np.array(["new"]),
    }
    assert model.predict(numpy_made) == model.predict(plain)
    assert model.predict([numpy_made, plain]).to_pylist() == [model.predict(plain)] * 2
    assert model.predict([]).to_pylist() == []


def test_dicts_are_answered_without_the_other_ranks() -> None:
    model = make_regression()
    answers = run_ranks(2, lambda comm: [model.predict(ROWS[0], comm=comm)] * 3 if comm.rank == 0 else [])
    assert answers == [[model.predict(ROWS[0])] * 3, []]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("age", "old", "a number, got 'old'"),
        ("colour", ["red"], r"a string, got \['red'\]"),
        ("v", 3, "a list of numbers, got 3"),
        ("v", ["x", "y"], "a list of numbers"),
        ("m", {"k": "x"}, "a dict of numbers"),
        ("tags", "new", "a list of strings, got 'new'"),
    ],
)
def test_values_that_do_not_fit_are_named(name: str, value: Any, expected: str) -> None:
    with pytest.raises(DataError, match=f"feature '{name}' in row 1: expected {expected}"):
        make_regression().predict([{}, {name: value}])


def test_ties_go_to_the_lower_class_and_zero_margins_to_the_greater() -> None:
    flat = make_classifier(["a", "b", "c"], n_trees=0)
    assert flat.predict({}) == "a"
    assert flat.predict_topk({}).to_pylist() == [{"id": 0, "class": c, "probability": pytest.approx(1 / 3)} for c in "abc"]
    two = make_classifier(["a", "b"], n_trees=0)
    two._ensemble.__dict__["base_score"] = 0.0
    assert two.predict({}) == "b"
    assert two.classify({}) == {"class": "b", "probability": 0.5}
    assert two.predict_topk({}, k=2)["class"].to_pylist() == ["b", "a"]


@pytest.mark.parametrize("classes", CLASS_LISTS, ids=repr)
def test_topk_is_sorted(classes: list[Any]) -> None:
    model = make_classifier(classes)
    n = len(classes)
    vectors = model.predict(TABLE, "probability_vector").to_pylist()
    table = model.predict_topk(TABLE, k=n)
    assert table.column_names == ["id", "class", "probability"]
    assert table["id"].to_pylist() == [i for i in range(40) for _ in range(n)]
    for i, vector in enumerate(vectors):
        part = table.slice(i * n, n).to_pylist()
        assert [row["probability"] for row in part] == sorted(vector, reverse=True)
        assert {row["class"]: row["probability"] for row in part} == dict(zip(classes, vector, strict=True))
    ranks = model.predict_topk(TABLE, "rank", k=2)
    assert ranks["rank"].to_pylist() == [0, 1] * 40
    assert ranks["class"].to_pylist() == [row["class"] for i in range(40) for row in table.slice(i * n, 2).to_pylist()]
    margins = model.predict_topk(TABLE, "margin", k=n)
    own = expected_margins(model)
    own = np.concatenate([-own, own], axis=1) if n == 2 else own
    assert margins["margin"].to_pylist() == (-np.sort(-own, axis=1)).reshape(-1).tolist()


def test_leaves_are_node_numbers() -> None:
    model = make_classifier(["a", "b", "c"])
    leaves = model.extract_features(TABLE)
    assert leaves.type == pa.list_(pa.int32(), 12)
    matrix = ENCODING.matrix(TABLE)
    assert leaves.to_pylist() == [[walk_tree(model._ensemble, t, row) for t in range(12)] for row in matrix]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.predict(TABLE, "classes"), r"output_type must be one of .*, got 'classes' \(did you mean 'class'\?\)"),
        (lambda m: m.predict(TABLE, "probability"), "output_type 'probability' is for two classes, the model has 3"),
        (lambda m: m.predict(TABLE, "margin"), "output_type 'margin' is for two classes"),
        (lambda m: m.predict_topk(TABLE, k=4), r"k must be an integer in \[1, 3\], the number of classes, got 4"),
        (lambda m: m.predict_topk(TABLE, k=0), "k must be an integer >= 1, got 0"),
        (lambda m: m.predict_topk(TABLE, "class"), "output_type must be one of 'probability', 'rank', 'margin', got 'class'"),
        (lambda m: m.predict(TABLE, missing_value_action="impute"), "'impute' is not for trees"),
        (lambda m: m.predict(TABLE, missing_value_action="drop"), "missing_value_action must be one of"),
        (lambda m: m.predict(TABLE, num_threads=0), "num_threads must be an integer >= 1 or None, got 0"),
        (lambda m: m.predict(TABLE, sharded=1), "sharded must be True or False, got 1"),
        (lambda m: m.evaluate(TABLE, metric="rmse"), "unknown metric 'rmse'"),
    ],
)
def test_options_out_of_range(call: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        call(make_classifier(["a", "b", "c"]))


def test_missing_columns_are_named_on_every_rank() -> None:
    model = make_regression()
    table = TABLE.drop_columns(["colour"]).rename_columns([n if n != "width" else "widht" for n in TABLE.column_names if n != "colour"])
    _, errors = collect_ranks(2, lambda comm: model.predict(table, comm=comm))
    assert all(isinstance(error, DataError) and "width" in str(error) and "widht" in str(error) for error in errors)
    with pytest.raises(DataError, match="'y'"):
        model.evaluate(TABLE)


def test_missing_values_can_be_refused() -> None:
    model = make_regression()
    complete = {"age": 2, "width": 0.5, "colour": "red", "v": [1.0, 2.0], "m": {}, "tags": []}
    assert math.isfinite(model.predict(complete, "error"))
    for name in complete:
        with pytest.raises(DataError, match=f"feature '{name}' has a missing value in row 1, and missing_value_action is 'error'"):
            model.predict([complete, {**complete, name: None}], missing_value_action="error")
    for change in ({"width": float("nan")}, {"v": [1.0, None]}, {"v": [float("nan"), 1.0]}):
        with pytest.raises(DataError, match="missing value in row 2"):
            model.predict(to_table([complete, complete, {**complete, **change}]), missing_value_action="error")
    rows = [complete] * 9 + [{**complete, "colour": None}]
    _, errors = collect_ranks(3, lambda comm: model.predict(to_table(rows), "error", comm=comm))
    assert all("feature 'colour' has a missing value in row 9" in str(error) for error in errors)


def test_different_questions_on_ranks_are_refused() -> None:
    model = make_classifier(["a", "b"])
    _, errors = collect_ranks(2, lambda comm: model.predict(TABLE, ["class", "margin"][comm.rank], comm=comm))
    assert all(isinstance(error, CommunicationError) and "output_type" in str(error) for error in errors)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_evaluate_agrees_with_predict(size: int) -> None:
    rng = np.random.default_rng(0)
    model = make_classifier(["no", "yes"])
    labels = rng.choice(["no", "yes"], 40).tolist()
    metrics = run_ranks(size, lambda comm: model.evaluate(to_table(ROWS, y=pa.array(labels)), comm=comm))
    assert metrics == [model.evaluate([{**row, "y": label} for row, label in zip(ROWS, labels, strict=True)])] * size
    predicted = model.predict(TABLE).to_pylist()
    assert metrics[0]["accuracy"] == sum(a == b for a, b in zip(predicted, labels, strict=True)) / 40
    regression, numbers = make_regression(), rng.normal(size=40)
    errors = regression.predict(TABLE).to_numpy() - numbers
    found = run_ranks(size, lambda comm: regression.evaluate(to_table(ROWS, y=numbers), comm=comm))
    assert found == [found[0]] * size
    assert found[0]["max_error"] == np.abs(errors).max()
    assert found[0]["rmse"] == pytest.approx(math.sqrt((errors**2).mean()), rel=1e-12)
    assert regression.evaluate(to_table(ROWS, y=numbers), metric="rmse") == {"rmse": found[0]["rmse"]}


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ([1.0] * 39 + [None], "target 'y' has a missing value in row 39"),
        ([1.0] * 38 + [float("inf"), 1.0], "target 'y' has inf in row 38: expected a finite number"),
        (["1"] * 40, "target 'y': expected numbers, got string"),
    ],
)
def test_targets_that_are_no_numbers(target: list[Any], message: str) -> None:
    table = to_table(ROWS, y=pa.array(target))
    _, errors = collect_ranks(2, lambda comm: make_regression().evaluate(table, comm=comm))
    assert all(isinstance(error, DataError) and message in str(error) for error in errors)


def test_nothing_to_evaluate() -> None:
    for model in (make_regression(), make_classifier(["a", "b"])):
        with pytest.raises(DataError, match="expected at least one row to evaluate, got none"):
            model.evaluate(to_table([], y=pa.array([], pa.float64())))
