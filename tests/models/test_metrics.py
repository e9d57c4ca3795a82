"""Metrics against scikit-learn and plain loops, the same to the last bit on any number of ranks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.collectives.communicator import Communicator
from engine.collectives.serial import SerialComm
from engine.errors import DataError, OptionError
from engine.models._metrics.auc import compute_auc, compute_macro_auc
from engine.models._metrics.classification import CLASSIFIER_METRICS, compute_classifier_metrics
from engine.models._metrics.labels import label_array, number_labels
from engine.models._metrics.names import chosen_metrics
from engine.models._metrics.regression import REGRESSION_METRICS, compute_regression_metrics
from tests.oracles import naive_auc
from tests.threads_comm import collect_ranks, run_ranks

SIZES = [1, 2, 3, 7]


def share(comm: Communicator, n_rows: int) -> slice:
    """This rank's rows; with few rows some ranks have none."""
    return slice(n_rows * comm.rank // comm.size, n_rows * (comm.rank + 1) // comm.size)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from([-0.0, 0.0, 0.25, 0.5, 1.0, 1e-300]) | st.floats(0, 1), st.booleans(), st.sampled_from([0, 1, 3, 2**40 + 1])
        ),
        max_size=30,
    ),
    weighted=st.booleans(),
)
def test_auc_counts_every_pair(rows: list[tuple[float, bool, int]], weighted: bool) -> None:
    scores, positive = np.array([r[0] for r in rows]), np.array([r[1] for r in rows], dtype=bool)
    weights = np.array([r[2] for r in rows], dtype=np.int64)
    exact = naive_auc(scores.tolist(), positive.tolist(), weights.tolist() if weighted else [1] * len(rows))
    expected = None if exact is None else float(exact)

    def run(comm: Communicator) -> float | None:
        own = share(comm, len(rows))
        return compute_auc(comm, scores[own], positive[own], weights[own] if weighted else None)

    for size in (1, 2, 3):
        assert run_ranks(size, run) == [expected] * size


@pytest.mark.parametrize("size", SIZES)
def test_auc_of_many_rows_with_ties(size: int) -> None:
    rng = np.random.default_rng(3)
    scores = np.round(rng.random(20_000), 3)
    positive = rng.random(20_000) < scores
    area = run_ranks(size, lambda comm: compute_auc(comm, scores[share(comm, 20_000)], positive[share(comm, 20_000)]))
    assert area == [compute_auc(SerialComm(), scores, positive)] * size
    assert area[0] == pytest.approx(sklearn.metrics.roc_auc_score(positive, scores), abs=1e-12)


def test_auc_counts_do_not_overflow() -> None:
    """Counts as of billions of rows: their product is beyond 64 bits."""
    from engine.models._metrics.auc import KeyCounts, reduce_pairs

    many = 2**38
    negatives = KeyCounts(np.array([1, 5], dtype=np.uint64), np.array([many, many]))
    positives = KeyCounts(np.array([3, 5, 9], dtype=np.uint64), np.array([many, many, many]))
    assert reduce_pairs(SerialComm(), negatives, positives) == 2 * many**2 + (2 * many**2 + many**2) + 4 * many**2


def test_macro_auc() -> None:
    rng = np.random.default_rng(5)
    probabilities = rng.dirichlet([1, 1, 1], 300)
    codes = rng.integers(0, 3, 300)
    expected = sklearn.metrics.roc_auc_score(codes, probabilities, multi_class="ovr")
    for size in SIZES:
        areas = run_ranks(size, lambda comm: compute_macro_auc(comm, probabilities[share(comm, 300)], codes[share(comm, 300)]))
        assert areas == [areas[0]] * size
        assert areas[0] == pytest.approx(expected, abs=1e-12)
    only_two = codes % 2
    two_areas = [sklearn.metrics.roc_auc_score(only_two == k, probabilities[:, k]) for k in (0, 1)]
    assert compute_macro_auc(SerialComm(), probabilities, only_two) == pytest.approx(sum(two_areas) / 2)
    assert compute_macro_auc(SerialComm(), probabilities, np.zeros(300, dtype=np.int64)) is None


def classifier_metrics(
    size: int, probabilities: Any, actual: Any, classes: list[Any], unseen: list[Any], names: Any
) -> list[dict[str, Any]]:
    predicted = np.where(probabilities[:, 1] >= 0.5, 1, 0) if len(classes) == 2 else probabilities.argmax(axis=1)
    n = len(actual)
    return run_ranks(
        size,
        lambda comm: compute_classifier_metrics(
            comm, probabilities[share(comm, n)], predicted[share(comm, n)], actual[share(comm, n)], names, classes=classes, unseen=unseen
        ),
    )


def two_classes(n: int = 500) -> tuple[Any, Any]:
    rng = np.random.default_rng(8)
    p = rng.random(n)
    return np.column_stack([1 - p, p]), (rng.random(n) < p).astype(np.int64)


@pytest.mark.parametrize("size", SIZES)
def test_two_classes_against_sklearn(size: int) -> None:
    probabilities, actual = two_classes()
    every = classifier_metrics(size, probabilities, actual, ["no", "yes"], [], CLASSIFIER_METRICS)
    assert every == classifier_metrics(1, probabilities, actual, ["no", "yes"], [], CLASSIFIER_METRICS) * size
    metrics, predicted = every[0], probabilities[:, 1] >= 0.5
    assert list(metrics) == list(CLASSIFIER_METRICS)
    assert metrics["accuracy"] == sklearn.metrics.accuracy_score(actual, predicted)
    assert metrics["precision"] == pytest.approx(sklearn.metrics.precision_score(actual, predicted))
    assert metrics["recall"] == pytest.approx(sklearn.metrics.recall_score(actual, predicted))
    assert metrics["f1_score"] == pytest.approx(sklearn.metrics.f1_score(actual, predicted))
    assert metrics["log_loss"] == pytest.approx(sklearn.metrics.log_loss(actual, probabilities), rel=1e-12)
    assert metrics["auc"] == pytest.approx(sklearn.metrics.roc_auc_score(actual, probabilities[:, 1]), abs=1e-12)
    table = sklearn.metrics.confusion_matrix(actual, predicted)
    assert metrics["confusion_matrix"].to_pylist() == [
        {"target_label": a, "predicted_label": b, "count": int(table[i, j])}
        for i, a in enumerate(["no", "yes"])
        for j, b in enumerate(["no", "yes"])
    ]


def test_roc_curve_is_the_share_at_or_above_each_threshold() -> None:
    probabilities, actual = two_classes(200)
    probabilities[:4, 1] = [0.0, 1.0, 0.001, 0.999]
    curve = classifier_metrics(3, probabilities, actual, [0, 1], [], ["roc_curve"])[0]["roc_curve"]
    assert curve.column_names == ["threshold", "fpr", "tpr", "p", "n"]
    assert curve.num_rows == 1001
    positive, negative = probabilities[actual == 1, 1], probabilities[actual == 0, 1]
    for row in curve.to_pylist():
        assert row["tpr"] == sum(positive >= row["threshold"]) / len(positive)
        assert row["fpr"] == sum(negative >= row["threshold"]) / len(negative)
        assert (row["p"], row["n"]) == (len(positive), len(negative))


@pytest.mark.parametrize("size", SIZES)
def test_three_classes_against_sklearn(size: int) -> None:
    rng = np.random.default_rng(2)
    probabilities = rng.dirichlet([1, 1, 1], 400)
    actual = rng.integers(0, 3, 400)
    metrics = classifier_metrics(size, probabilities, actual, ["a", "b", "ü"], [], CLASSIFIER_METRICS)[0]
    predicted = probabilities.argmax(axis=1)
    for name, function in [
        ("precision", sklearn.metrics.precision_score),
        ("recall", sklearn.metrics.recall_score),
        ("f1_score", sklearn.metrics.f1_score),
    ]:
        assert metrics[name] == pytest.approx(function(actual, predicted, average="macro"))
    assert metrics["log_loss"] == pytest.approx(sklearn.metrics.log_loss(actual, probabilities), rel=1e-12)
    assert metrics["roc_curve"].num_rows == 3003
    assert metrics["roc_curve"]["class"].unique().to_pylist() == ["a", "b", "ü"]


def test_one_class_in_the_data() -> None:
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2]])
    metrics = classifier_metrics(3, probabilities, np.array([0, 0]), [0, 1], [], CLASSIFIER_METRICS)[0]
    assert metrics["accuracy"] == 1.0
    assert metrics["auc"] is None
    assert metrics["precision"] is None
    assert metrics["recall"] is None
    assert metrics["f1_score"] is None
    assert metrics["roc_curve"]["tpr"].null_count == 1001
    assert metrics["roc_curve"]["fpr"][0].as_py() == 1.0


def test_unseen_classes_are_wrong_and_listed() -> None:
    probabilities = np.array([[0.25, 0.75], [0.5, 0.5], [1.0, 0.0]])
    metrics = classifier_metrics(2, probabilities, np.array([1, 2, 3]), ["a", "b"], ["x", "y"], CLASSIFIER_METRICS)[0]
    assert metrics["accuracy"] == 1 / 3
    assert metrics["precision"] == 1 / 2
    assert metrics["recall"] == 1.0
    assert metrics["log_loss"] == pytest.approx((-math.log(0.75) - 2 * math.log(1e-9)) / 3, rel=1e-12)
    assert metrics["auc"] == 1.0
    assert metrics["confusion_matrix"].to_pylist() == [
        {"target_label": "b", "predicted_label": "b", "count": 1},
        {"target_label": "x", "predicted_label": "b", "count": 1},
        {"target_label": "y", "predicted_label": "a", "count": 1},
    ]


def test_certain_and_wrong_is_clipped() -> None:
    metrics = classifier_metrics(1, np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([1, 0]), [0, 1], [], ["log_loss"])[0]
    assert metrics["log_loss"] == pytest.approx((-math.log(1e-9) - math.log(1 - 1e-9)) / 2, rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.floats(-1e150, 1e150), st.floats(-1e150, 1e150)), min_size=1, max_size=20),
    scale=st.sampled_from([1.0, 1e-160, 1e150]),
)
def test_regression_metrics(rows: list[tuple[float, float]], scale: float) -> None:
    predictions, actual = np.array(rows).T * scale
    errors = np.abs(predictions - actual)
    expected = [
        run_ranks(
            size,
            lambda comm: compute_regression_metrics(
                comm, predictions[share(comm, len(rows))], actual[share(comm, len(rows))], REGRESSION_METRICS, len(rows)
            ),
        )
        for size in (1, 2, 3)
    ]
    assert expected[0] * 2 == expected[1]
    assert expected[0] * 3 == expected[2]
    assert expected[0][0]["max_error"] == errors.max()
    top = errors.max() or 1.0
    naive = top * math.sqrt(sum((e / top) ** 2 for e in errors.tolist()) / len(rows))
    assert expected[0][0]["rmse"] == pytest.approx(naive, rel=1e-10)


def test_choosing_metrics() -> None:
    assert chosen_metrics("auto", REGRESSION_METRICS) == ["max_error", "rmse"]
    assert chosen_metrics(["rmse", "max_error"], REGRESSION_METRICS) == ["max_error", "rmse"]
    assert chosen_metrics("rmse", REGRESSION_METRICS) == ["rmse"]
    for wrong in ([], None, 3, {"rmse": 1}):
        with pytest.raises(OptionError, match="metric must be 'auto', a name or a list of names"):
            chosen_metrics(wrong, REGRESSION_METRICS)
    with pytest.raises(OptionError, match=r"unknown metric 'rmsd' \(did you mean 'rmse'\?\); the metrics are max_error, rmse"):
        chosen_metrics("rmsd", REGRESSION_METRICS)


@pytest.mark.parametrize(
    ("values", "classes", "codes", "unseen"),
    [
        (pa.array(["b", "a", "ü"]), ["a", "b"], [1, 0, 2], ["ü"]),
        (pa.array([1.0, 0.0]), [0, 1], [1, 0], []),
        (pa.array([1, 0]), [False, True], [1, 0], []),
        (pa.array([2.5, 0.5, -1.0]), [0.5, 2.5], [1, 0, 2], [-1.0]),
        (pa.array([], type=pa.string()), ["a", "b"], [], []),
    ],
)
def test_target_values_become_class_numbers(values: Any, classes: list[Any], codes: list[int], unseen: list[Any]) -> None:
    column = pa.chunked_array([values])
    numbered, new = number_labels(SerialComm(), column, classes, target="y", first_row=0)
    assert numbered.tolist() == codes
    assert new == unseen


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.chunked_array([["a", None]]), "target 'y' has a missing value in row 11"),
        (pa.chunked_array([[1, 2]]), "the model's classes are strings, such as 'a'; expected strings, got int64"),
        (pa.chunked_array([[str(i) for i in range(1001)]]), "has 1001 values that are no class of the model"),
    ],
)
def test_targets_that_cannot_be_evaluated(column: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        number_labels(SerialComm(), column, ["a", "b"], target="y", first_row=10)
    with pytest.raises(DataError, match="target 'y' has a missing value in row 1"):
        number_labels(SerialComm(), pa.chunked_array([[0.0, float("nan")]]), [0, 1], target="y", first_row=0)


def test_unseen_values_have_the_same_numbers_on_every_rank() -> None:
    parts = [["z", "a"], ["c", "z"], []]
    results = run_ranks(
        3,
        lambda comm: number_labels(comm, pa.chunked_array([pa.array(parts[comm.rank], pa.string())]), ["a", "b"], target="y", first_row=0),
    )
    assert [codes.tolist() for codes, _ in results] == [[3, 0], [2, 3], []]
    assert [unseen for _, unseen in results] == [["c", "z"]] * 3


def test_unseen_zeros_are_one_value_whoever_meets_which() -> None:
    parts = [[-0.0], [0.0]]
    results = run_ranks(2, lambda comm: number_labels(comm, pa.chunked_array([parts[comm.rank]]), [1, 2], target="y", first_row=0))
    assert [(codes.tolist(), repr(unseen)) for codes, unseen in results] == [([2], "[0.0]")] * 2


def test_too_many_unseen_values_in_all_ranks_together() -> None:
    _, errors = collect_ranks(
        2,
        lambda comm: number_labels(comm, pa.chunked_array([[f"{comm.rank}-{i}" for i in range(600)]]), ["a", "b"], target="y", first_row=0),
    )
    assert all(isinstance(error, DataError) and "1200 values" in str(error) for error in errors)


def test_label_arrays() -> None:
    assert label_array([False, True]).type == pa.bool_()
    assert label_array([0, 1, True]).to_pylist() == [0, 1, 1]
    assert label_array([1, 2.5]).type == pa.float64()
    assert label_array(["a"]).type == pa.string()
    with pytest.raises(TypeError, match="expected labels"):
        label_array([b"x"])
