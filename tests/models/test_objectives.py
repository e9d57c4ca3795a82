"""Losses with weights, counts and quantiles: against naive sums, the same on any ranks, and at the ends of what numbers can be."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from engine._kernels.gradients import fill_means
from engine._kernels.leaves import OF_GRADIENT, logistic_hessian
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.collectives.serial import SerialComm
from engine.errors import DataError, OptionError
from engine.models._metrics.tracked import METRICS, check_metrics, is_better
from engine.models._metrics.weights import reduce_weights
from engine.models._trees.ensemble import LEAF, NUMERIC
from engine.models._trees.grown import GrownTree
from engine.models._trees.lanes import Gradients
from engine.models._trees.objectives import Objective, make_objective
from tests.oracles import naive_quantile, naive_regression_metrics, naive_row
from tests.threads_comm import collect_ranks, run_ranks

LOSSES = ("logistic", "softmax", "squared_error", "poisson", "quantile")
CLASSES = {"logistic": 2, "softmax": 3}


def objective(loss: str, y: Any, weights: Any = None, *, comm: Any = None, n_rows: int | None = None, **options: Any) -> Objective:
    kind = np.int32 if loss in CLASSES else np.float64
    given = {"metrics": METRICS[loss], "n_classes": CLASSES.get(loss, 0), "num_threads": 1, **options}
    weights = None if weights is None else np.array(weights, dtype=np.float64)
    return make_objective(
        loss, np.array(y, dtype=kind), weights=weights, n_rows=len(y) if n_rows is None else n_rows, comm=comm or SerialComm(), **given
    )


def as_floats(found: Gradients) -> NDArray[np.float64]:
    """[n, 2] gradients and hessians."""
    g = found.values[:, 0] * found.g_unit
    if found.hessian == OF_GRADIENT:
        h = np.array([logistic_hessian(value) for value in found.values[:, 0].tolist()])
    else:
        h = np.ones(len(g)) if found.constant_hessian else found.values[:, 1]
    return np.stack([g, h * found.h_unit], axis=1)


def leaves(values: list[float]) -> GrownTree:
    """A tree of some leaves, one split above them if there are two."""
    n = len(values)
    inner = int(n == 2)
    column = np.array([0] * inner + [-1] * n, np.int32)
    children = np.array([1] * inner + [-1] * n, np.int32)
    value = np.array([0.0] * inner + values)
    return GrownTree(
        kind=np.array([NUMERIC] * inner + [LEAF] * n, np.uint8), column=column, code=column, threshold=np.zeros(n + inner),
        missing_yes=np.zeros(n + inner, np.uint8), yes=children, no=children + np.int32(1), value=value, gain=np.zeros(n + inner),
        cover=np.ones(n + inner), set_start=np.zeros(1, np.int64), set_bits=np.empty(0, np.uint64), leaf_node=np.arange(n) + inner,
    )  # fmt: skip


def holding(rows: NDArray[Any], *bounds: int) -> Any:
    """What tells the rows of leaves: leaf k's lie from bounds[k] to bounds[k + 1]."""
    return lambda tree: (rows.astype(np.uint32), np.array(bounds[:-1]), np.array(bounds[1:]))


def leaf_values(tree: GrownTree) -> list[float]:
    return tree.value[tree.kind == LEAF].tolist()


def everything(loss: str, y: NDArray[Any], scores: NDArray[np.float64], weights: NDArray[np.float64] | None, size: int) -> Any:
    """All that an objective tells every one of ``size`` ranks, the last of which holds no rows, with rows in the order of the input."""
    n = len(y)
    bounds = [n * r // max(1, size - 1) for r in range(size)] + [n] if size > 1 else [0, n]

    def run(comm: Any) -> Any:
        rows = slice(bounds[comm.rank], bounds[comm.rank + 1])
        part = objective(loss, y[rows], None if weights is None else weights[rows], comm=comm, n_rows=n)
        own = np.ascontiguousarray(scores[:, rows])
        told: list[Any] = [part.evaluate(own), part.base_score]
        pairs = []
        for output in range(part.n_outputs):
            found = part.gradients(output)
            told += [found.g_exponent, found.h_exponent, found.sums.tolist(), found.abs_g, found.max_g, found.max_h]
            pairs.append(found.values.copy())
        tree = leaves([0.25])
        told.append(leaf_values(part.refit_leaves(tree, holding(np.arange(len(own[0])), 0, len(own[0])), own, 0.5)))
        return told, np.stack(pairs)

    results = run_ranks(size, run)
    assert all(told == results[0][0] for told, _ in results)
    return results[0][0], np.concatenate([values for _, values in results], axis=1).tolist()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_same_on_any_ranks(loss: str, weighted: bool) -> None:
    rng = np.random.default_rng(5)
    n = 5000
    y = rng.integers(0, CLASSES.get(loss, 9), n)
    weights = rng.lognormal(sigma=2.5, size=n) * (rng.random(n) < 0.9) if weighted else None
    scores = rng.normal(size=(3 if loss == "softmax" else 1, n)) * 3
    scores[:, ::7] = np.round(scores[:, ::7])
    alone = everything(loss, y, scores, weights, 1)
    for size in (2, 3):
        assert everything(loss, y, scores, weights, size) == alone


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss != "softmax"])
@given(
    rows=st.lists(
        st.tuples(
            st.floats(-20, 20).map(lambda x: round(x, 6)), st.integers(0, 1), st.sampled_from([0.0, 1e-9, 1.0, 1e9]) | st.floats(0.01, 100)
        ),
        min_size=1,
        max_size=20,
    )
)
def test_weighted_gradients_against_python(loss: str, rows: list[tuple[float, int, float]]) -> None:
    scores, y, weights = (np.array(part) for part in zip(*rows, strict=True))
    if not weights.any():
        weights[0] = 1.0
    found = objective(loss, y, weights, quantile=0.3, metrics=[])
    found.evaluate(scores[None])
    gradients = found.gradients(0)
    values = as_floats(gradients)
    for i, (score, target, weight) in enumerate(zip(scores.tolist(), y.tolist(), weights.tolist(), strict=True)):
        g, h = naive_row(loss, score, target, 0.3)
        assert values[i, 0] == pytest.approx(weight * g, rel=1e-12, abs=gradients.g_unit)
        assert values[i, 1] == pytest.approx(weight * h, rel=1e-12, abs=gradients.h_unit)
        assert (gradients.values[i, 1] > 0) == (weight > 0)
        assert weight > 0 or gradients.values[i, 0] == 0
    assert gradients.max_g <= 2**50
    assert gradients.abs_g == sum(abs(g) for g in gradients.values[:, 0].tolist())


@pytest.mark.parametrize("loss", ["logistic", "softmax"])
def test_whole_weights_count_rows_that_many_times(loss: str) -> None:
    rng = np.random.default_rng(7)
    y, counts = rng.integers(0, CLASSES[loss], 300), rng.integers(0, 4, 300)
    scores = np.round(rng.normal(size=(3 if loss == "softmax" else 1, 300)), 1)
    weighted = objective(loss, y, counts).evaluate(scores)
    repeated = objective(loss, np.repeat(y, counts)).evaluate(np.ascontiguousarray(np.repeat(scores, counts, axis=1)))
    assert weighted == pytest.approx(repeated, rel=1e-13)
    assert weighted["auc"] == repeated["auc"]
    ones = objective(loss, y, np.ones(300))
    assert ones.evaluate(scores) == pytest.approx(objective(loss, y).evaluate(scores), rel=1e-13)


@pytest.mark.parametrize("loss", LOSSES)
def test_weights_of_one_are_no_weights(loss: str) -> None:
    rng = np.random.default_rng(8)
    y, scores = rng.integers(0, CLASSES.get(loss, 5), 200), rng.normal(size=(3 if loss == "softmax" else 1, 200))
    plain, ones = objective(loss, y), objective(loss, y, np.ones(200))
    assert ones.evaluate(scores) == pytest.approx(plain.evaluate(scores), rel=1e-12)
    for output in range(plain.n_outputs):
        np.testing.assert_allclose(as_floats(ones.gradients(output)), as_floats(plain.gradients(output)), rtol=1e-12, atol=1e-14)


def test_the_gradients_of_each_class_are_weighted() -> None:
    rng = np.random.default_rng(9)
    y, scores, weights = rng.integers(0, 3, 100), rng.normal(size=(3, 100)), rng.lognormal(sigma=2.5, size=100)
    plain, weighted = objective("softmax", y), objective("softmax", y, weights)
    plain.evaluate(scores)
    weighted.evaluate(scores)
    for output in range(3):
        expected = as_floats(plain.gradients(output)) * weights[:, None]
        np.testing.assert_allclose(as_floats(weighted.gradients(output)), expected, rtol=1e-9, atol=1e-10)


@settings(deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.floats(-5, 5), st.integers(0, 40), st.sampled_from([0.0, 0.5, 1.0, 1000.0])), min_size=1, max_size=30
    ).filter(lambda rows: any(w for *_, w in rows)),
    quantile=st.sampled_from([0.1, 0.5, 0.9]),
)
def test_regression_metrics_against_python(rows: list[tuple[float, int, float]], quantile: float) -> None:
    scores, y, weights = ([row[i] for row in rows] for i in range(3))
    for loss in ("squared_error", "poisson", "quantile"):
        predictions = [math.exp(s) for s in scores] if loss == "poisson" else scores
        expected = naive_regression_metrics(predictions, y, weights, quantile)
        found = objective(loss, y, weights, quantile=quantile).evaluate(np.array([scores]))
        assert list(found) == list(METRICS[loss])
        for name, value in found.items():
            assert value == pytest.approx(expected[name], rel=1e-9, abs=1e-12 * expected["max_error"]), name


def test_metrics_come_in_the_order_asked() -> None:
    y, scores = np.array([0, 1, 1]), np.array([[0.5, -1.0, 2.0]])
    names = ["auc", "log_loss", "accuracy"]
    assert list(objective("logistic", y, metrics=names).evaluate(scores)) == names
    assert list(objective("logistic", y, np.ones(3), metrics=names[:1]).evaluate(scores)) == ["auc"]
    for loss, weights in itertools.product(LOSSES, (None, np.ones(3))):
        silent = objective(loss, y, weights, metrics=[])
        assert silent.evaluate(np.zeros((3 if loss == "softmax" else 1, 3))) == {}
        assert silent.gradients(0).values.shape[0] == 3


def test_auc_without_one_of_two_classes_is_an_error_on_every_rank() -> None:
    def run(comm: Any) -> Any:
        return objective("logistic", [1] * comm.rank, comm=comm, n_rows=1).evaluate(np.zeros((1, comm.rank)))

    _, errors = collect_ranks(2, run)
    assert all(isinstance(error, DataError) and "metric 'auc' has no value" in str(error) for error in errors)
    found = objective("logistic", [1, 1], metrics=["accuracy", "log_loss"]).evaluate(np.zeros((1, 2)))
    assert found == {"accuracy": 1.0, "log_loss": pytest.approx(math.log(2))}
    assert objective("softmax", [0, 1, 1]).evaluate(np.eye(3))["auc"] == 0.875


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("score", [1e300, -1e300])
def test_scores_without_end(loss: str, weighted: bool, score: float) -> None:
    y = np.array([0, 1, 1, 0])
    found = objective(loss, y, [1e-30, 1e6, 1.0, 0.0] if weighted else None)
    scores = np.full((3 if loss == "softmax" else 1, 4), 0.0)
    scores[0] = score
    metrics = found.evaluate(scores)
    assert all(math.isfinite(value) for value in metrics.values())
    for output in range(found.n_outputs):
        gradients = found.gradients(output)
        assert np.isfinite(as_floats(gradients)).all()
        assert 0 <= gradients.max_g <= 2**52
        assert 0 < gradients.max_h <= 2**52


@pytest.mark.parametrize("loss", ["squared_error", "quantile", "poisson"])
def test_a_perfect_fit_has_no_error_and_no_gradient(loss: str) -> None:
    y = np.array([1.0, 1.0, 1.0])
    for weights in (None, [1.0, 0.0, 1e20]):
        found = objective(loss, y, weights)
        scores = np.zeros((1, 3)) if loss == "poisson" else y[None]
        assert set(found.evaluate(scores).values()) == {0.0}
        gradients = found.gradients(0)
        assert gradients.max_g == (0 if loss != "quantile" else abs(gradients.values[2, 0]))
        assert gradients.max_h >= 1


def test_targets_of_any_size() -> None:
    big = objective("squared_error", [1e100, -1e100], [1e30, 1.0])
    assert big.evaluate(np.zeros((1, 2))) == {"max_error": 1e100, "rmse": pytest.approx(1e100)}
    np.testing.assert_allclose(as_floats(big.gradients(0))[0], [-1e130, 1e30], rtol=1e-12)
    assert objective("quantile", [1e300, -1e300, 0.0]).base_score == 0.0
    many = objective("poisson", [1e12, 2e12, 3e12])
    assert many.base_score == pytest.approx(math.log(2e12), rel=1e-15)
    found = many.evaluate(np.full((1, 3), many.base_score))
    assert found["poisson_deviance"] == pytest.approx(
        naive_regression_metrics([2e12] * 3, [1e12, 2e12, 3e12], [1] * 3, 0.5)["poisson_deviance"]
    )
    close = objective("poisson", [1e12 + 1e6]).evaluate(np.array([[math.log(1e12)]]))
    assert close["poisson_deviance"] == pytest.approx(1.0, rel=1e-3)  # (y - mean)^2 / mean


def test_the_smallest_weights_beside_the_largest_keep_their_hessians() -> None:
    for loss in LOSSES:
        found = objective(loss, [0, 1, 1], [1e-30, 1e30, 0.0])
        found.evaluate(np.zeros((3 if loss == "softmax" else 1, 3)))
        gradients = found.gradients(0)
        assert gradients.values[0, 1] == 1
        assert gradients.values[2].tolist() == [0, 0]


def test_base_scores() -> None:
    assert objective("poisson", [1, 2, 6], [1.0, 0.0, 3.0]).base_score == pytest.approx(math.log(19 / 4), rel=1e-15)
    assert objective("poisson", [0, 0]).base_score == pytest.approx(math.log(1e-9), rel=1e-15)
    assert [objective("quantile", range(1, 11), quantile=q).base_score for q in (0.1, 0.25, 0.5, 0.95)] == [1.0, 3.0, 5.0, 10.0]
    assert objective("quantile", [1.0, 2.0, 3.0], [1.0, 1.0, 3.0]).base_score == 3.0
    assert objective("quantile", [7.0, 3.0], [0.0, 1e-30], quantile=0.99).base_score == 3.0
    assert [objective(loss, [0, 1]).base_score for loss in ("squared_error", "logistic", "softmax")] == [0.5, 0.0, 0.0]
    assert [objective(loss, [0, 1]).link for loss in LOSSES] == ["margin", "margin", "margin", "log", "margin"]


def test_leaves_of_the_quantile_loss_are_quantiles_of_residuals() -> None:
    rng = np.random.default_rng(11)
    y, scores = rng.normal(size=100), np.round(rng.normal(size=(1, 100)), 1)
    rows = rng.permutation(100).astype(np.uint32)[:90]
    tree = leaves([9.0, 9.0])
    held = holding(rows, 0, 31, 90)
    refitted = objective("quantile", y, quantile=0.2).refit_leaves(tree, held, scores, 0.5)
    expected = [0.5 * naive_quantile((y - scores[0])[rows[a:b]].tolist(), [1] * (b - a), "0.2") for a, b in ((0, 31), (31, 90))]
    assert leaf_values(refitted) == expected
    assert refitted.value.tolist() == [0.0, *expected]
    assert leaf_values(tree) == [9.0, 9.0]
    weights = np.where(np.isin(np.arange(100), rows[:31]), 0.0, 1.0)
    weighted = objective("quantile", y, weights, quantile=0.2)
    assert leaf_values(weighted.refit_leaves(tree, held, scores, 0.5)) == [0.0, expected[1]]


def test_leaves_of_the_poisson_loss_never_overshoot() -> None:
    y = np.array([1e12, 3e12, 0.0, 0.0])
    loss = objective("poisson", y, metrics=["poisson_deviance"])
    scores = np.zeros((1, 4))
    loss.evaluate(scores)
    values = as_floats(loss.gradients(0))
    newton = [-values[part, 0].sum() / (values[part, 1].sum() + 1.0) for part in (slice(0, 2), slice(2, 4))]
    held = holding(np.arange(4), 0, 2, 4)
    refitted = loss.refit_leaves(leaves(newton), held, scores, 1.0)
    # a gamma prior of weight 1 and mean 1: (4e12 + 1) / (2 + 1) and (0 + 1) / (2 + 1)
    assert leaf_values(refitted) == pytest.approx([math.log((4e12 + 1) / 3), math.log(1 / 3)], rel=1e-12)
    bare = loss.refit_leaves(leaves([-0.1, -0.5]), held, scores, 0.5)
    assert leaf_values(bare) == pytest.approx([0.5 * math.log(0.8), 0.5 * math.log(1e-3)])
    still = leaves([0.0])
    assert loss.refit_leaves(still, held, scores, 0.0) is still


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(-3, 3)), min_size=1, max_size=20), st.sampled_from([0.1, 0.5, 1.0]))
def test_poisson_steps_always_lower_the_deviance(rows: list[tuple[int, float]], step_size: float) -> None:
    y, scores = np.array([float(r[0]) for r in rows]), np.array([[r[1] for r in rows]])
    loss = objective("poisson", y, metrics=["poisson_deviance"])
    before = loss.evaluate(scores)["poisson_deviance"]
    values = as_floats(loss.gradients(0)).sum(axis=0)
    tree = leaves([-values[0] / (values[1] + 1.0) * step_size])
    step = leaf_values(loss.refit_leaves(tree, holding(np.arange(len(y)), 0, len(y)), scores, step_size))[0]
    assert loss.evaluate(scores + step)["poisson_deviance"] <= before * (1 + 1e-9)


def test_means_are_finite_and_those_of_the_link() -> None:
    scores = np.array([-1e300, -500.0, 0.0, 1.0, 500.0, 1e300])
    fill_means(scores, scores, 1)
    assert scores.tolist() == pytest.approx([math.exp(-500), math.exp(-500), 1.0, math.e, math.exp(500), math.exp(500)], rel=1e-12)


@pytest.mark.parametrize(
    ("loss", "y", "weights", "message"),
    [
        ("squared_error", [1, 2], [0, 0], "every row has weight 0: expected a positive weight in one row or more"),
        ("squared_error", [1, 2], [1, -1], r"weight -1.0 of row 11: expected 0 or a number in \[1e-30, 1e\+30\]"),
        ("logistic", [1, 0], [np.nan, 1], "weight nan of row 10"),
        ("softmax", [1, 0], [np.inf, 1], "weight inf of row 10"),
        ("quantile", [1, 0], [1e-31, 1], "weight 1e-31 of row 10"),
        ("poisson", [1, -0.5], None, "target -0.5 of row 11: expected a number >= 0 for objective 'poisson'"),
    ],
)
def test_rows_that_cannot_be_used_are_errors_on_every_rank(loss: str, y: list[float], weights: list[float] | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        objective(loss, y, weights, first_row=10)

    def run(comm: Any) -> None:
        rows = slice(0, 2 if comm.rank == 1 else 0)
        objective(loss, y[rows], None if weights is None else weights[rows], comm=comm, n_rows=2, first_row=10 * comm.rank)

    _, errors = collect_ranks(3, run)
    assert {type(error) for error in errors} == {DataError}
    assert len({str(error) for error in errors}) == 1


def test_choosing_what_to_track() -> None:
    assert check_metrics("auto", "logistic") == check_metrics("auto", "softmax") == ["accuracy", "log_loss"]
    assert check_metrics("auto", "poisson") == ["max_error", "rmse", "poisson_deviance"]
    assert check_metrics(("auc", "accuracy"), "logistic") == ["auc", "accuracy"]
    assert check_metrics("rmse", "squared_error") == ["rmse"]
    assert check_metrics(None, "quantile") == check_metrics([], "quantile") == []
    with pytest.raises(OptionError, match="metric must be 'auto', a name, a list of names or None, got 3; the names are max_error, rmse"):
        check_metrics(3, "squared_error")
    with pytest.raises(
        OptionError, match=r"unknown metric 'log_los' \(did you mean 'log_loss'\?\); the metrics are accuracy, log_loss, auc"
    ):
        check_metrics(["log_los"], "logistic")
    with pytest.raises(OptionError, match="metric must be different names, got 'auc' twice"):
        check_metrics(["auc", "auc"], "logistic")
    assert is_better("auc", 0.9, 0.8)
    assert is_better("rmse", 0.8, 0.9)
    assert not is_better("rmse", 0.8, 0.8)
    assert not is_better("accuracy", 0.8, 0.8)


def test_whole_weights_stay_positive_and_add_up() -> None:
    weights = reduce_weights(SerialComm(), np.array([0.0, 1e-30, 3.0, 1e30]))
    for n_rows in (4, 10**6, 2**38):
        whole = weights.whole(n_rows)
        assert (whole[0], whole[1]) == (0, 1)
        assert int(whole[3]) * n_rows < 2**61
    assert reduce_weights(SerialComm(), np.array([1.0, 2.0, 4.0])).whole(10).tolist() == [2**48, 2**49, 2**50]
