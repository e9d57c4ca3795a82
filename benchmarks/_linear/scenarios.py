"""What is compared: tables, engines, penalties and targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from _linear.data import Shape
from _linear.engines import Engine, Samesum, Sklearn, linear_svc, logistic, ridge

SUBJECT = "samesum"
THRESHOLDS = (100.0, 10.0, 1.0, 0.1, 1e-2, 1e-3)
TOLERANCES = (1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10)
L1 = 100.0


@dataclass(frozen=True)
class Scenario:
    """One comparison. ``cores``: processor cores of a setting; ``ranks``: 2 measures the subject alone, on one rank and on two."""

    title: str
    shape: Shape
    engines: dict[str, Engine]
    target: float
    l1: float = 0.0
    l2: float = 0.5
    cores: tuple[int, ...] = (1,)
    ranks: tuple[int, ...] = (1,)
    same_objective: bool = True  # else as close in accuracy


def subject(toolkit: str, thresholds: tuple[float | None, ...] = THRESHOLDS, **options: Any) -> Engine:
    """The engine under test; penalties are on columns as they are, like the peers'."""
    return Engine(Samesum, toolkit, {"feature_rescaling": False, **options}, thresholds)


def peer(make: Any, tolerances: tuple[float | None, ...] = TOLERANCES, **options: Any) -> Engine:
    """One of scikit-learn's solvers."""
    return Engine(Sklearn, make, options, tolerances)


DENSE = Shape("dense", 1_000_000, 28)
LOGISTIC = {
    SUBJECT: subject("logistic_classifier", l2_penalty=0.5),
    "lbfgs": peer(logistic, solver="lbfgs"),
    "newton-cholesky": peer(logistic, solver="newton-cholesky"),
}
SPARSE_LOGISTIC = {
    SUBJECT: subject("logistic_classifier", l2_penalty=0.5),
    "lbfgs": peer(logistic, solver="lbfgs"),
    "liblinear": peer(logistic, solver="liblinear", intercept_scaling=1e3),
}
SCENARIOS = {
    "logistic": Scenario("Logistic regression, 1,000,000 x 28", DENSE, LOGISTIC, 4.0, cores=(1, 2)),
    "regression": Scenario(
        "Linear regression, 1,000,000 x 28",
        Shape("dense", 1_000_000, 28, is_regression=True),
        {
            SUBJECT: subject("linear_regression", l2_penalty=1.0),
            "Ridge (cholesky)": peer(ridge, (None,), solver="cholesky", alpha=1.0),
            "Ridge (cholesky, by column)": peer(ridge, (None,), solver="cholesky", alpha=1.0, order="F"),
        },
        2.0,
        l2=1.0,
        cores=(1, 2),
    ),
    "svm": Scenario(
        "Support vector machine, 1,000,000 x 28, default tolerances",
        DENSE,
        {
            SUBJECT: Engine(Samesum, "svm_classifier", {"max_iterations": 10}, (None,)),
            "LinearSVC": peer(linear_svc, (None,), dual=False),
        },
        4.0,
        same_objective=False,
    ),
    "sparse": Scenario(
        "Logistic regression, 500,000 x 100,000 sparse, 40 non-zeros a row",
        Shape("sparse", 500_000, 100_000, 40),
        SPARSE_LOGISTIC,
        1.5,
    ),
    "strings": Scenario(
        "Logistic regression, 2,000,000 rows, 5 columns of strings with 1,000 levels each",
        Shape("strings", 2_000_000, 5, 1000),
        {SUBJECT: subject("logistic_classifier", l2_penalty=0.5), "one-hot, lbfgs": peer(logistic, solver="lbfgs")},
        5.0,
    ),
    "l1": Scenario(
        "Logistic regression with an L1 penalty, 200,000 x 100",
        Shape("dense", 200_000, 100, informative=20),
        {
            SUBJECT: subject("logistic_classifier", l1_penalty=L1, l2_penalty=0.0),
            "saga": peer(logistic, solver="saga", penalty="l1", C=1 / L1),
            "liblinear": peer(logistic, solver="liblinear", penalty="l1", C=1 / L1, intercept_scaling=1e3),
        },
        5.0,
        l1=L1,
        l2=0.0,
    ),
    "ranks": Scenario(
        "Two ranks: logistic regression, 8,000,000 x 28, one thread a rank",
        Shape("dense", 8_000_000, 28),
        {SUBJECT: subject("logistic_classifier", (1e-2,), l2_penalty=0.5)},
        1.9,
        cores=(1,),
        ranks=(1, 2),
    ),
}
