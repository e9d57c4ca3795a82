"""The objective of linear models: against NumPy, on any ranks and threads, far out, and led by one rank."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from engine.collectives.serial import SerialComm
from engine.data.dataset import Dataset
from engine.errors import DataError
from engine.models._linear.leading import lead
from engine.models._linear.loss import make_loss
from tests.models.linear_rows import dense_matrix, mixed_table, objective_of, read, reference
from tests.threads_comm import run_ranks

LOSSES = {"squared": 0, "logistic": 2, "hinge": 2, "softmax": 4}
NAMES = {"softmax": "logistic"}


def point(objective, seed=1, size=0.2):
    return np.random.default_rng(seed).normal(size=objective.n_coefficients) * size


def scaled(table):
    x = dense_matrix(table)
    return np.concatenate([x / np.maximum(np.sqrt((x**2).mean(axis=0)), 1e-5), np.ones((len(x), 1))], axis=1)


@pytest.mark.parametrize("n", [1, 7, 300, 20_011])
@pytest.mark.parametrize("loss", LOSSES)
def test_loss_gradient_and_hessian_are_those_of_numpy(loss, n):
    if n < LOSSES[loss]:
        return
    table = mixed_table(n, LOSSES[loss])
    if LOSSES[loss]:
        y = np.resize(np.arange(LOSSES[loss]), n)
        table = table.set_column(table.column_names.index("y"), "y", pa.array(y))
    objective = objective_of(table, SerialComm(), NAMES.get(loss, loss), sample_weight="w", offset="o")
    w, x, y = point(objective), scaled(table), table["y"].to_numpy()
    expected, gradient, hessian = reference(loss, x, y, w, table["w"].to_numpy(), table["o"].to_numpy())
    found = objective.evaluate(w, 2)
    assert found.is_finite
    assert found.loss == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(found.gradient, gradient, rtol=0, atol=1e-11 * max(1.0, np.abs(gradient).max()))
    np.testing.assert_allclose(found.hessian, hessian, rtol=0, atol=1e-10 * max(1.0, np.abs(hessian).max()))
    np.testing.assert_array_equal(found.hessian, found.hessian.T)
    assert objective.evaluate(w, 1).gradient.tolist() == found.gradient.tolist()
    assert objective.evaluate(w, 0).loss == found.loss
    vectors = np.stack([w, w[::-1]])
    np.testing.assert_allclose(
        objective.multiply_hessian(w, vectors), vectors @ hessian, rtol=0, atol=1e-10 * max(1.0, np.abs(hessian).sum(axis=1).max())
    )


def test_metrics_of_classes_and_numbers():
    table = mixed_table(3000, 3)
    objective = objective_of(table, SerialComm(), "logistic", sample_weight="w")
    w, x = point(objective), scaled(table)
    margins = np.concatenate([np.zeros((3000, 1)), x @ w.reshape(2, -1).T], axis=1)
    metrics = objective.evaluate(w, 0).metrics
    assert (metrics.n_rows, metrics.n_right) == (3000, int((margins.argmax(axis=1) == table["y"].to_numpy()).sum()))
    assert metrics.accuracy == metrics.n_right / 3000
    table = mixed_table(3000, 0)
    objective = objective_of(table, SerialComm(), "squared", sample_weight="w")
    w = point(objective)
    residual = scaled(table) @ w - table["y"].to_numpy()
    metrics = objective.evaluate(w, 0).metrics
    assert metrics.rmse == pytest.approx(np.sqrt((residual**2).mean()), rel=1e-13)
    assert metrics.max_error == pytest.approx(np.abs(residual).max(), rel=1e-13)
    assert metrics.loss == pytest.approx((table["w"].to_numpy() * residual**2).sum(), rel=1e-13)


def everything(objective, w):
    """All that an objective says, as plain values."""
    found = objective.evaluate(w, 2)
    line = objective.search_line(w, w[::-1].copy())
    folds = objective.evaluate_folds(w, 3, 5)
    return [
        found.loss,
        found.metrics,
        found.gradient.tobytes(),
        found.hessian.tobytes(),
        objective.multiply_hessian(w, np.stack([w, -w])).tobytes(),
        line.look([0.0, 0.5, -3.0]),
        [(each.loss, each.metrics, each.gradient.tobytes(), each.hessian.tobytes()) for each in folds],
        objective.measure_validation(w),
    ]


@pytest.mark.parametrize("loss", LOSSES)
def test_the_same_bytes_on_any_ranks_and_threads(loss):
    table = mixed_table(40_000, LOSSES[loss])
    options = {"sample_weight": "w", "offset": "o", "validation_set": mixed_table(9000, LOSSES[loss], seed=4)}

    def look(comm, num_threads=1):
        objective = objective_of(table, comm, NAMES.get(loss, loss), num_threads=num_threads, **options)
        return everything(objective, point(objective))

    alone = look(SerialComm())
    for size, num_threads in ((1, 2), (2, 1), (3, 2), (7, 1)):
        for found in run_ranks(size, lambda comm, threads=num_threads: look(comm, threads)):
            assert found == alone


def test_a_rank_may_be_empty_and_rows_may_be_few():
    table = mixed_table(5, 2).set_column(9, "y", pa.array([0, 1, 0, 1, 1]))

    def look(comm):
        objective = objective_of(table, comm, "logistic")
        return everything(objective, point(objective))

    alone = look(SerialComm())
    assert all(found == alone for found in run_ranks(7, look))


def test_folds_share_out_the_rows():
    table = mixed_table(20_000, 0)
    objective = objective_of(table, SerialComm(), "squared")
    w = point(objective)
    whole, folds = objective.evaluate(w, 2), objective.evaluate_folds(w, 4, 9)
    assert sum(fold.metrics.n_rows for fold in folds) == 20_000
    assert min(fold.metrics.n_rows for fold in folds) > 4500
    np.testing.assert_allclose(sum(fold.hessian for fold in folds), whole.hessian, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(sum(fold.gradient for fold in folds), whole.gradient, rtol=1e-10, atol=1e-8)
    assert max(fold.metrics.max_error for fold in folds) == whole.metrics.max_error


@pytest.mark.parametrize("loss", LOSSES)
def test_a_line_goes_through_the_objective(loss):
    table = mixed_table(3000, LOSSES[loss])
    objective = objective_of(table, SerialComm(), NAMES.get(loss, loss), sample_weight="w", offset="o")
    w, direction = point(objective), point(objective, seed=2)
    passes = objective.passes
    points = objective.search_line(w, direction).look([0.0, 0.25, 2.0])
    assert objective.passes == passes + 1
    for each in points:
        there = objective.evaluate(w + each.step * direction, 1)
        assert each.loss == pytest.approx(there.loss, rel=1e-11)
        assert each.slope == pytest.approx(there.gradient @ direction, rel=1e-9, abs=1e-8)


def test_far_out_says_that_it_is_not_finite():
    table = mixed_table(200, 0)
    objective = objective_of(table, SerialComm(), "squared")
    for size in (1e200, 1e308, np.inf):
        found = objective.evaluate(np.full(objective.n_coefficients, size), 2)
        assert not found.is_finite
        assert found.loss == np.inf
    assert not objective.evaluate(np.full(objective.n_coefficients, np.nan), 1).is_finite
    points = objective.search_line(np.zeros(objective.n_coefficients), np.ones(objective.n_coefficients)).look([1.0, 1e300])
    assert [each.is_finite for each in points] == [True, False]


def test_huge_and_tiny_values_are_summed_to_full_precision():
    draw = np.random.default_rng(0)
    n = 5000
    x = np.stack([draw.normal(size=n) * 1e100, draw.normal(size=n) * 1e-4, draw.normal(size=n)], axis=1)
    y = draw.integers(0, 2, n)
    table = pa.table({"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "y": y})
    objective = objective_of(table, SerialComm(), "logistic")
    scaled_x = np.concatenate([x / np.sqrt((x**2).mean(axis=0)), np.ones((n, 1))], axis=1)
    w = np.array([0.3, -0.2, 0.1, 0.05])
    loss, gradient, hessian = reference("logistic", scaled_x, y, w, np.ones(n), np.zeros(n))
    found = objective.evaluate(w, 2)
    assert found.loss == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(found.gradient, gradient, rtol=1e-11)
    np.testing.assert_allclose(found.hessian, hessian, rtol=1e-11, atol=1e-9)


def test_class_weights_multiply_weights():
    table = mixed_table(500, 2)
    y = table["y"].to_numpy()
    objective = objective_of(table, SerialComm(), "logistic", sample_weight="w", class_weights=[[0, 2.0], [1, 0.5]])
    w = point(objective)
    weight = table["w"].to_numpy() * np.where(y == 0, 2.0, 0.5)
    loss, gradient, _ = reference("logistic", scaled(table), y, w, weight, np.zeros(500))
    found = objective.evaluate(w, 1)
    assert found.loss == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(found.gradient, gradient, rtol=0, atol=1e-11 * np.abs(gradient).max())


def test_validation_rows_are_imputed_and_unseen_values_count_as_nothing():
    table = pa.table({"a": [1.0, 2.0, 3.0, 6.0], "s": ["x", "y", "y", "x"], "y": [0, 1, 0, 1]})
    other = pa.table({"a": [None, 3.0], "s": ["new", None], "y": [0, 1]})
    objective = objective_of(table, SerialComm(), "logistic", feature_rescaling=False, validation_set=other)
    metrics = objective.measure_validation(np.array([1.0, 5.0, -1.0]))
    margins = np.array([3.0 - 1.0, 3.0 - 1.0])
    assert metrics.n_rows == 2
    assert metrics.loss == pytest.approx(np.logaddexp(0, margins[0]) + np.logaddexp(0, -margins[1]), rel=1e-14)
    assert objective.passes == 0


def test_the_first_rank_leads_and_the_others_follow():
    table = mixed_table(20_000, 2)

    def solve(objective):
        w = np.zeros(objective.n_coefficients)
        losses = []
        for _ in range(3):
            found = objective.evaluate(w, 2)
            losses.append(found.loss)
            step = -np.linalg.solve(found.hessian + np.eye(len(w)), found.gradient)
            points = objective.search_line(w, step).look([1.0, 0.5])
            w = w + min(points, key=lambda each: each.loss).step * step
        objective.evaluate_folds(w, 2, 0)
        objective.multiply_hessian(w, w)
        assert objective.measure_validation(w) is None
        return {"losses": losses}, [w, np.zeros((2, 0))]

    def train(comm):
        return lead(objective_of(table, comm, "logistic"), comm, solve)

    values, arrays = train(SerialComm())
    for found, others in run_ranks(3, train):
        assert found == values
        assert [each.tobytes() for each in others] == [each.tobytes() for each in arrays]
        assert others[1].shape == (2, 0)


def test_an_error_of_the_solver_is_every_ranks_error():
    def train(comm):
        def solve(objective):
            objective.evaluate(np.zeros(objective.n_coefficients), 0)
            raise DataError("no")

        with pytest.raises(DataError, match="no"):
            lead(objective_of(mixed_table(100, 2), comm, "logistic"), comm, solve)
        return True

    assert run_ranks(3, train) == [True] * 3


def test_fingerprints_tell_data_apart_and_do_not_depend_on_ranks():
    table = mixed_table(20_000, 2)

    def fingerprint(comm, table=table, **options):
        return read(Dataset(table), comm, **options).fingerprint(comm)

    alone = fingerprint(SerialComm())
    assert all(each == alone for each in run_ranks(3, fingerprint))
    a = table["a"].to_numpy().copy()
    a[17_000] += 1e-9
    changed = fingerprint(SerialComm(), table.set_column(0, "a", pa.array(a)))
    assert changed["rows"] != alone["rows"]
    assert fingerprint(SerialComm(), sample_weight="w")["rows"] != alone["rows"]


def test_bounds_hold_what_rows_can_be():
    for name, n_classes in (("squared", 0), ("logistic", 2), ("hinge", 2), ("logistic", 5)):
        loss = make_loss(name, n_classes)
        bounds = loss.bounds(3.0, 4.0, 2.0)
        m = np.linspace(-3, 3, 101)
        if name == "squared":
            assert bounds.loss >= 2 * 49.0
            assert bounds.gradient >= 4 * 7.0
            assert bounds.hessian >= 4.0
        elif name == "hinge":
            assert bounds.loss >= 2 * np.logaddexp(0, 30 * (np.abs(m) + 1)).max() / 30
            assert bounds.hessian >= 2 * 30 / 4
        else:
            assert bounds.loss >= 2 * np.logaddexp(0, np.abs(m)).max()
            assert bounds.gradient >= 2.0
