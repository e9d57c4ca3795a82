"""Rows for tests of linear models: a table of every kind of column, its dense matrix, and the objective by NumPy."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np
import pyarrow as pa

from engine.data.dataset import Dataset
from engine.models._linear.rows import LinearRows, make_objective, read_linear_rows
from engine.progress import ProgressTable

LETTERS = ["a", "b", "c", None]
FEATURES = ["a", "i", "t", "s", "m", "v", "l"]
KEYS = ["w", "x", "yy", "z"]


@functools.cache
def mixed_table(n: int, n_classes: int = 2, seed: int = 0) -> pa.Table:
    """Numbers, booleans, strings with missing ones, maps, vectors and lists, with weights ``w``, offsets ``o`` and a target ``y``."""
    draw = np.random.default_rng(seed)
    maps = [
        [(k, float(v)) for k, v in zip(draw.choice(KEYS, draw.integers(0, 5), replace=False), draw.normal(size=4) * 50, strict=False)]
        for _ in range(n)
    ]
    columns = {
        "a": draw.normal(size=n) * 3 + 1,
        "i": draw.integers(0, 5, n),
        "t": draw.random(n) < 0.3,
        "s": [LETTERS[i] for i in draw.integers(0, 4, n)],
        "m": pa.array(maps, type=pa.map_(pa.string(), pa.float64())),
        "v": pa.FixedSizeListArray.from_arrays(pa.array(draw.normal(size=3 * n)), 3),
        "l": pa.array([list(draw.choice(["p", "q"], draw.integers(0, 3))) for _ in range(n)], type=pa.list_(pa.string())),
        "w": draw.random(n),
        "o": draw.normal(size=n),
        "y": draw.integers(0, n_classes, n) if n_classes else draw.normal(size=n) * 4,
    }
    return pa.table(columns)


def dense_matrix(table: pa.Table) -> np.ndarray:
    """What :func:`mixed_table` stands for, column by column."""
    columns = [table["a"].to_numpy(), table["i"].to_numpy().astype(float), table["t"].to_numpy().astype(float)]
    strings, maps, lists = (table[name].to_pylist() for name in "sml")
    present = [letter for letter in LETTERS if letter in strings]
    columns += [np.array([each == letter for each in strings], dtype=float) for letter in present[1:]]
    known = sorted({key for row in maps for key, _ in row})
    columns += [np.array([dict(row).get(key, 0.0) for row in maps]) for key in known]
    columns += list(np.array(table["v"].to_pylist()).reshape(len(table), 3).T)
    columns += [np.array([item in row for row in lists], dtype=float) for item in sorted({item for row in lists for item in row})]
    return np.stack(columns, axis=1)


def read(data: Any, comm: Any, *, task: str = "classifier", num_threads: int = 1, **options: Any) -> LinearRows:
    """Encoded rows, without a progress table."""
    chosen: dict[str, Any] = {
        "target": "y",
        "features": FEATURES if "m" in data.columns else None,
        "task": task,
        "sample_weight": None,
        "offset": None,
        "class_weights": None,
        "feature_rescaling": True,
        "validation_set": None,
        "random_seed": 0,
        **options,
    }
    table = ProgressTable([], verbose=False, comm_rank=comm.rank, total=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return read_linear_rows(data, **chosen, num_threads=num_threads, comm=comm, table=table)


def objective_of(data: Any, comm: Any, loss: str, *, num_threads: int = 1, **options: Any) -> Any:
    """The objective of some rows."""
    task = "regression" if loss == "squared" else "classifier"
    rows = read(data if isinstance(data, Dataset) else Dataset(data), comm, task=task, num_threads=num_threads, **options)
    return make_objective(rows, loss=loss, comm=comm, num_threads=num_threads)


def reference(loss: str, x: np.ndarray, y: np.ndarray, w: np.ndarray, weight: np.ndarray, offset: np.ndarray) -> tuple[float, Any, Any]:
    """Loss, gradient and Hessian at ``w`` by the formulas; ``x`` has the intercept as its last column."""
    if loss == "softmax":
        return reference_softmax(x, y, w, weight, offset)
    m = x @ w + offset
    if loss == "squared":
        return float((weight * (m - y) ** 2).sum()), 2 * x.T @ (weight * (m - y)), 2 * x.T @ (weight[:, None] * x)
    sign, sharp = 2.0 * y - 1.0, 1.0 if loss == "logistic" else 30.0
    t = sharp * (sign * m - (loss == "hinge"))
    wrong = np.exp(-np.logaddexp(0.0, t))
    curve = sharp * weight * wrong * (1 - wrong)
    return float((weight * np.logaddexp(0.0, -t)).sum()) / sharp, -x.T @ (weight * sign * wrong), x.T @ (curve[:, None] * x)


def reference_softmax(x: np.ndarray, y: np.ndarray, w: np.ndarray, weight: np.ndarray, offset: np.ndarray) -> tuple[float, Any, Any]:
    """The same for several classes, the first being the reference."""
    c = len(w) // x.shape[1]
    m = np.concatenate([np.zeros((len(x), 1)), x @ w.reshape(c, -1).T + offset[:, None]], axis=1)
    total = np.logaddexp.reduce(m, axis=1)
    p = np.exp(m - total[:, None])
    loss = float((weight * (total - m[np.arange(len(x)), y])).sum())
    gradient = np.concatenate([x.T @ (weight * (p[:, k] - (y == k))) for k in range(1, c + 1)])
    parts = [[x.T @ ((weight * p[:, k] * ((k == j) - p[:, j]))[:, None] * x) for j in range(1, c + 1)] for k in range(1, c + 1)]
    return loss, gradient, np.block(parts)
