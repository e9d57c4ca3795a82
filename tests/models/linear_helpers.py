"""Data and references for the linear family: small tables of every kind of column, and optima by SciPy in plain NumPy."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pandas as pd
from scipy import optimize

import engine
from engine.models._linear.objective_protocol import Floats
from tests.models.plain_objectives import PlainObjective

EXACT: dict[str, Any] = {"convergence_threshold": 1e-10, "max_iterations": 2000, "verbose": False}
TOOLKITS = ("linear_regression", "logistic_classifier", "svm_classifier")


def mixed_frame(n: int = 300, seed: int = 1, classes: int = 2) -> pd.DataFrame:
    """Numbers, a word, a vector, a map, tags, weights and an offset, with targets that depend on them."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(n, 4))
    words = draw.choice(["a", "b", "ü", None], n)
    score = 2.0 * x[:, 0] - x[:, 1] + (words == "b") + 0.5 * x[:, 3] + 0.7 * draw.normal(size=n)
    cuts = np.quantile(score, np.arange(1, classes) / classes)
    names = np.array(["high", "low", "middle", "other"])[:classes]
    return pd.DataFrame(
        {
            "x": x[:, 0],
            "count": draw.poisson(3, n),
            "word": words,
            "v": list(x[:, 1:3]),
            "m": [{"p": float(a), "q": 1.0} if a > 0 else {} for a in x[:, 3]],
            "tags": [["new"] if a > 0.5 else [] for a in x[:, 3]],
            "w": draw.lognormal(0.0, 1.0, n),
            "o": 0.3 * draw.normal(size=n),
            "amount": score,
            "grade": names[np.digitize(score, cuts)],
        }
    )


FEATURES = ["x", "count", "word", "v", "m", "tags"]
TARGET = {"linear_regression": "amount", "logistic_classifier": "grade", "svm_classifier": "grade"}


def create(toolkit: str, data: Any, target: str | None = None, **options: Any) -> Any:
    named = {"features": FEATURES} if target is None else {}
    return getattr(engine, toolkit).create(data, target or TARGET[toolkit], **{"verbose": False, **named, **options})


def design_of(model: Any, frame: pd.DataFrame) -> Floats:
    """The design matrix of rows, column by column, from the names in the model's ``coefficients``."""
    table = model.coefficients.to_pylist()
    n_columns = len(table) // max(1, len(model.get("classes")) - 1 if "classes" in model.list_fields() else 1)
    columns = []
    for row in table[1:n_columns]:
        values, index = frame[row["name"]], row["index"]
        first = values.dropna().iloc[0] if values.notna().any() else None
        if index is None and not isinstance(first, str):
            columns.append(values.astype(float))
        elif isinstance(first, dict):
            columns.append(values.map(lambda m, k=index: m.get(k, 0.0)))
        elif isinstance(first, list):
            columns.append(values.map(lambda tags, k=index: float(k in tags)))
        elif isinstance(first, np.ndarray):
            columns.append(values.map(lambda v, k=int(index): v[k]))
        else:
            columns.append((values.isna() if index is None else values == index).astype(float))
    return np.column_stack(columns).astype(float) if columns else np.empty((len(frame), 0))


def optimum(objective: PlainObjective, *, l2: float, scales: Floats) -> tuple[Floats, float]:
    """Coefficients in scaled space and value of the penalised optimum: SciPy's trust region, then Newton steps to the last digits."""
    penalty = np.where(objective.is_intercept, 0.0, l2)

    def value(w: Floats) -> float:
        return float(objective.evaluate(w, 0).loss + penalty @ (w * w))

    def slope(w: Floats) -> Floats:
        return objective.evaluate(w, 1).gradient + 2.0 * penalty * w

    def bend(w: Floats) -> Floats:
        return objective.evaluate(w, 2).hessian + 2.0 * np.diag(penalty)

    w = optimize.minimize(
        value, np.zeros(objective.n_coefficients), jac=slope, hess=bend, method="trust-exact", options={"gtol": 1e-12, "maxiter": 2000}
    ).x
    for _ in range(5):
        step = np.linalg.lstsq(bend(w), -slope(w), rcond=1e-15)[0]
        if not np.abs(slope(w + step)).max() < np.abs(slope(w)).max():  # values no longer tell: rounding hides what is left to gain
            break
        w = w + step
    return w, value(w)


def scales_of(x: Floats) -> Floats:
    """What columns are divided by: sqrt(mean^2 + variance), at least 1e-5."""
    return np.sqrt(np.maximum(np.mean(x * x, axis=0), 1e-10))


def scaled_coefficients(model: Any, scales: Floats) -> Floats:
    """The model's coefficients in scaled space, the intercept last in each part."""
    values = model.coefficients.column("value").to_numpy().reshape(-1, len(scales) + 1)
    return (np.roll(values, -1, axis=1) * np.append(scales, 1.0)).reshape(-1)


@functools.cache
def randhie() -> pd.DataFrame:
    """statsmodels' RAND health insurance experiment: numbers of visits, and nine columns."""
    import statsmodels.api as sm

    return sm.datasets.randhie.load_pandas().data
