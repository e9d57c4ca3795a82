"""Trained models beside double-precision references: the same optimum, the same standard errors, on easy and on awkward data."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from sklearn.datasets import load_diabetes

from tests.models.linear_helpers import (
    EXACT,
    TARGET,
    TOOLKITS,
    create,
    design_of,
    mixed_frame,
    optimum,
    randhie,
    scaled_coefficients,
    scales_of,
)
from tests.models.plain_objectives import PlainObjective
from tests.training import MUSHROOM

LOSS = {"linear_regression": "squared", "logistic_classifier": "softmax", "svm_classifier": "hinge"}
WELL_CONDITIONED = 1e6


def numbered(toolkit, model, frame, target):
    """The target as numbers, or as class numbers."""
    return frame[target].to_numpy(float) if toolkit == "linear_regression" else frame[target].map(model.classes.index).to_numpy(float)


def check_optimum(toolkit, frame, target, *, l2=1e-2, features=None, **options):
    """Train, compare with the reference, and return the model: coefficients where they are well determined, else the objective."""
    penalty = {"penalty": 0.5 / l2} if toolkit == "svm_classifier" else {"l2_penalty": l2}
    more = {} if features is None else {"features": features}
    model = create(toolkit, frame, target, **{**EXACT, **penalty, **more, **options})
    x = design_of(model, frame)
    scales = scales_of(x) if options.get("feature_rescaling", True) else np.ones(x.shape[1])
    weights = None if "sample_weight" not in options else frame[options["sample_weight"]].to_numpy()
    offset = None if "offset" not in options else frame[options["offset"]].to_numpy()
    plain = PlainObjective(x / scales, numbered(toolkit, model, frame, target), LOSS[toolkit], weights=weights, offset=offset)
    best, value = optimum(plain, l2=l2, scales=scales)
    got = scaled_coefficients(model, scales)
    ridge = np.where(plain.is_intercept, 0.0, l2)
    assert model.training_solver_status == "SUCCESS: Optimal solution found."
    found = plain.evaluate(got, 0).loss + ridge @ (got * got)
    assert found <= value + 1e-12 * max(1.0, abs(value))
    condition = np.linalg.cond(plain.evaluate(best, 2).hessian + 2.0 * np.diag(ridge))
    if condition < WELL_CONDITIONED:
        assert np.abs(got - best).max() <= 1e-8 * np.abs(best).max()
    assert model.training_loss == pytest.approx(plain.evaluate(got, 0).loss, rel=1e-10, abs=1e-10)
    return model


@pytest.mark.parametrize("solver", ["newton", "lbfgs", "fista", "proximal_newton"])
@pytest.mark.parametrize("toolkit", TOOLKITS)
def test_every_kind_of_column(toolkit, solver):
    if toolkit == "svm_classifier" and solver not in ("newton", "lbfgs"):
        solver = "auto"
    frame = mixed_frame()
    features = ["x", "count", "word", "v", "m", "tags"]
    check_optimum(toolkit, frame, TARGET[toolkit], l2=0.5, features=features, solver=solver)


@pytest.mark.parametrize("toolkit", TOOLKITS)
def test_weights_and_offsets(toolkit):
    frame = mixed_frame(seed=2)
    check_optimum(toolkit, frame, TARGET[toolkit], l2=0.5, features=["x", "count", "word", "v"], sample_weight="w", offset="o")


@pytest.mark.parametrize("classes", [3, 4])
@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
def test_many_classes(classes, solver):
    check_optimum("logistic_classifier", mixed_frame(seed=3, classes=classes), "grade", features=["x", "count", "word", "v"], solver=solver)


@pytest.mark.parametrize("toolkit", TOOLKITS)
def test_without_rescaling(toolkit):
    check_optimum(toolkit, mixed_frame(seed=4), TARGET[toolkit], features=["x", "count", "word"], feature_rescaling=False)


def test_mushroom():
    frame = pd.read_csv(MUSHROOM, keep_default_na=False)
    model = check_optimum("logistic_classifier", frame, "label", l2=1.0)
    assert model.num_coefficients == 96
    check_optimum("svm_classifier", frame, "label", l2=1.0)


@pytest.mark.parametrize("l2", [0.0, 1e-2, 1.0])
def test_diabetes_beside_statsmodels(l2):
    frame = load_diabetes(as_frame=True, scaled=False).frame
    model = check_optimum("linear_regression", frame, "target", l2=l2)
    if l2 == 0.0:
        check_statistics(model, sm.OLS(frame["target"], sm.add_constant(frame.drop(columns="target"))).fit(), rtol=1e-7)
        assert model.r_squared == pytest.approx(sm.OLS(frame["target"], sm.add_constant(frame.drop(columns="target"))).fit().rsquared)


def check_statistics(model, fitted, rtol):
    """Values, standard errors, statistics, p-values and intervals beside statsmodels', whose constant is first too."""
    table = model.get_coefficient_statistics(0.9).to_pandas()
    np.testing.assert_allclose(table["value"], fitted.params, rtol=rtol)
    np.testing.assert_allclose(table["stderr"], fitted.bse, rtol=rtol)
    np.testing.assert_allclose(table["statistic"], fitted.tvalues, rtol=rtol)
    np.testing.assert_allclose(table["p_value"], fitted.pvalues, rtol=1e-5, atol=1e-300)
    np.testing.assert_allclose(table[["lower", "upper"]], fitted.conf_int(0.1), rtol=rtol)


def test_randhie_beside_statsmodels():
    data = randhie()
    frame = data.drop(columns="mdvis").assign(any=(data["mdvis"] > 0).astype(int))
    model = check_optimum("logistic_classifier", frame, "any", l2=0.0)
    x = sm.add_constant(frame.drop(columns="any"))
    check_statistics(model, sm.Logit(frame["any"], x).fit(disp=0, tol=1e-12, maxiter=100), rtol=1e-6)
    numbers = data.astype(float)
    model = check_optimum("linear_regression", numbers, "mdvis", l2=0.0)
    check_statistics(model, sm.OLS(numbers["mdvis"], sm.add_constant(numbers.drop(columns="mdvis"))).fit(), rtol=1e-6)


def test_many_classes_beside_statsmodels():
    frame = mixed_frame(600, seed=5, classes=3)[["x", "count", "grade"]]
    model = create("logistic_classifier", frame, "grade", **EXACT, l2_penalty=0.0)
    codes = frame["grade"].map(model.classes.index)
    fitted = sm.MNLogit(codes, sm.add_constant(frame[["x", "count"]])).fit(disp=0, tol=1e-12, maxiter=100)
    table = model.coefficients.to_pandas()
    assert table["class"].tolist() == [model.classes[1]] * 3 + [model.classes[2]] * 3
    np.testing.assert_allclose(table["value"].to_numpy().reshape(2, 3).T, fitted.params, rtol=1e-6)
    np.testing.assert_allclose(table["stderr"].to_numpy().reshape(2, 3).T, fitted.bse, rtol=1e-6)


@pytest.mark.parametrize("toolkit", TOOLKITS)
def test_random_dense(toolkit):
    draw = np.random.default_rng(6)
    x = draw.normal(size=(800, 30)) + 3.0
    score = x @ draw.normal(size=30) + 4.0 * draw.normal(size=800)
    y = score if toolkit == "linear_regression" else (score > np.median(score)).astype(int)
    check_optimum(toolkit, pd.DataFrame(x, columns=[f"x{j}" for j in range(30)]).assign(y=y), "y")


@pytest.mark.parametrize("toolkit", TOOLKITS)
def test_random_sparse(toolkit):
    draw = np.random.default_rng(7)
    maps = [{str(k): float(draw.normal()) for k in draw.choice(40, 4, replace=False)} for _ in range(600)]
    truth = draw.normal(size=40)
    score = np.array([sum(truth[int(k)] * v for k, v in m.items()) for m in maps]) + draw.normal(size=600)
    y = score if toolkit == "linear_regression" else (score > 0).astype(int)
    check_optimum(toolkit, pd.DataFrame({"m": maps, "y": y}), "y")


@pytest.mark.parametrize("toolkit", ["linear_regression", "logistic_classifier"])
@pytest.mark.parametrize("spread", [1e-2, 1e-5])
def test_ill_conditioned(toolkit, spread):
    """Columns that are nearly the same: conditions of about 1e5 and 1e11."""
    draw = np.random.default_rng(8)
    base = draw.normal(size=2000)
    x = np.column_stack([base + spread * draw.normal(size=2000) for _ in range(4)])
    score = x.sum(axis=1) / 4 + draw.normal(size=2000)
    y = score if toolkit == "linear_regression" else (score > 0).astype(int)
    check_optimum(toolkit, pd.DataFrame(x, columns=list("abcd")).assign(y=y), "y", l2=0.0)


@pytest.mark.parametrize("toolkit", ["logistic_classifier", "svm_classifier"])
def test_separable(toolkit):
    x = np.concatenate([np.linspace(-2, -1, 30), np.linspace(1, 2, 30)])
    frame = pd.DataFrame({"x": x, "y": np.where(x > 0, "yes", "no")})
    model = check_optimum(toolkit, frame, "y")
    assert model.evaluate(frame)["accuracy"] == 1.0


def test_separable_without_penalty_says_what_it_did():
    frame = pd.DataFrame({"x": [-2.0, -1.0, 1.0, 2.0], "y": [0, 0, 1, 1]})
    model = create("logistic_classifier", frame, "y", l2_penalty=0.0, convergence_threshold=1e-6, max_iterations=100)
    assert model.training_solver_status == "SUCCESS: Optimal solution found."
    assert model.training_loss < 1e-5
    short = create("logistic_classifier", frame, "y", l2_penalty=0.0, convergence_threshold=1e-6, max_iterations=3)
    assert short.training_solver_status == "Completed (Iteration limit reached)."


@pytest.mark.parametrize("toolkit", ["linear_regression", "logistic_classifier"])
@pytest.mark.parametrize("l2", [0.0, 1e-2])
def test_collinear(toolkit, l2):
    frame = mixed_frame(seed=9).assign(twice=lambda f: 2.0 * f["x"], sum=lambda f: f["x"] + f["count"])
    check_optimum(toolkit, frame, TARGET[toolkit], l2=l2, features=["x", "count", "twice", "sum"])


def test_a_collinear_column_has_no_standard_error():
    frame = mixed_frame(seed=9).assign(twice=lambda f: 2.0 * f["x"])
    model = create("linear_regression", frame, "amount", features=["x", "count", "twice"], l2_penalty=0.0)
    stderr = model.coefficients.column("stderr").to_pylist()
    assert [np.isnan(value) for value in stderr].count(True) >= 1


@pytest.mark.parametrize("toolkit", TOOLKITS)
def test_one_column(toolkit):
    check_optimum(toolkit, mixed_frame(seed=10), TARGET[toolkit], features=["x"])


@pytest.mark.filterwarnings("ignore:the model has")
@pytest.mark.parametrize("toolkit", ["linear_regression", "logistic_classifier"])
@pytest.mark.parametrize("l2", [1e-2, 0.0])
def test_more_columns_than_rows(toolkit, l2):
    draw = np.random.default_rng(11)
    x = draw.normal(size=(20, 40))
    y = draw.normal(size=20) if toolkit == "linear_regression" else draw.integers(0, 2, 20)
    frame = pd.DataFrame(x, columns=[f"x{j}" for j in range(40)]).assign(y=y)
    if l2:
        check_optimum(toolkit, frame, "y", l2=l2)
        return
    model = create(toolkit, frame, "y", l2_penalty=0.0, convergence_threshold=1e-6, max_iterations=100)
    assert model.training_solver_status == "SUCCESS: Optimal solution found."
    assert model.training_loss < 1e-5


def test_l1_penalty_beside_the_optimality_conditions():
    frame = mixed_frame(500, seed=12)
    for solver in ("proximal_newton", "fista"):
        model = create("logistic_classifier", frame, **EXACT, l1_penalty=15.0, l2_penalty=0.1, solver=solver)
        x = design_of(model, frame)
        scales = scales_of(x)
        plain = PlainObjective(x / scales, numbered("logistic_classifier", model, frame, "grade"), "softmax")
        w = scaled_coefficients(model, scales)
        gradient = plain.evaluate(w, 1).gradient + np.where(plain.is_intercept, 0.0, 0.2 * w)
        inner = plain.is_intercept
        zero = (w == 0.0) & ~inner
        assert zero.any()
        assert np.abs(gradient[zero]).max() <= 15.0
        assert np.abs((gradient + 15.0 * np.sign(w) * ~inner)[~zero]).max() < 1e-6
