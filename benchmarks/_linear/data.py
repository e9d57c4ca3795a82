"""Data of the linear benchmarks, made from a seed, and the objective that every engine is judged by."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SEED = 17
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Shape:
    """How large a table is; ``kind``: dense, sparse (``per_row`` non-zeros) or strings (``per_row`` levels in each column)."""

    kind: str
    rows: int
    columns: int
    per_row: int = 0
    informative: int = 0  # columns that matter; 0 for all
    is_regression: bool = False


def make(shape: Shape, folder: pathlib.Path) -> None:
    """Write the arrays of a table, ``<name>.npy``, into ``folder``."""
    draw = np.random.default_rng(SEED)
    arrays = {"dense": make_dense, "sparse": make_sparse, "strings": make_strings}[shape.kind](shape, draw)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


def make_dense(shape: Shape, draw: np.random.Generator) -> dict[str, Any]:
    """Columns of unlike means and spreads, column by column."""
    x = draw.standard_normal((shape.columns, shape.rows))
    x *= draw.uniform(0.5, 2.0, (shape.columns, 1))
    x += draw.uniform(-1.0, 1.0, (shape.columns, 1))
    w = draw.normal(size=shape.columns) * 0.4
    w[shape.informative or shape.columns :] = 0.0
    margin = w @ x - 0.3
    y = margin + draw.standard_normal(shape.rows) if shape.is_regression else draw_classes(margin, draw)
    return {"x": x, "y": y}


def make_sparse(shape: Shape, draw: np.random.Generator) -> dict[str, Any]:
    """Non-zeros spread evenly, no column twice in a row."""
    index = draw.integers(0, shape.columns // shape.per_row, (shape.rows, shape.per_row), dtype=np.int32)
    index += np.arange(shape.per_row, dtype=np.int32) * (shape.columns // shape.per_row)
    value = draw.standard_normal((shape.rows, shape.per_row))
    w = draw.normal(size=shape.columns)
    margin = (value * w[index]).sum(axis=1) * 0.5 - 0.3
    return {"index": index.reshape(-1), "value": value.reshape(-1), "y": draw_classes(margin, draw)}


def make_strings(shape: Shape, draw: np.random.Generator) -> dict[str, Any]:
    """Levels by number, the first ones more often."""
    codes = (shape.per_row * draw.random((shape.columns, shape.rows)) ** 1.5).astype(np.int32)
    w = draw.normal(size=(shape.columns, shape.per_row))
    margin = sum(w[k][codes[k]] for k in range(shape.columns)) * 0.5
    return {"codes": codes, "y": draw_classes(margin, draw)}


def draw_classes(margin: Floats, draw: np.random.Generator) -> NDArray[np.int64]:
    """Classes 0 and 1 by logistic probabilities."""
    return (draw.random(len(margin)) < 1 / (1 + np.exp(-margin))).astype(np.int64)


def load(shape: Shape, folder: pathlib.Path) -> dict[str, Any]:
    """The arrays of a table."""
    names = {"dense": ("x", "y"), "sparse": ("index", "value", "y"), "strings": ("codes", "y")}[shape.kind]
    return {name: np.load(folder / f"{name}.npy") for name in names}


def matrix_bytes(shape: Shape) -> int:
    """The float64 matrix, or its CSR form with 32-bit columns."""
    if shape.kind == "dense":
        return 8 * shape.rows * shape.columns
    per_row = shape.per_row if shape.kind == "sparse" else shape.columns
    return (8 + 4) * shape.rows * per_row + 8 * (shape.rows + 1)


def margins(shape: Shape, data: dict[str, Any], w: Floats, intercept: float) -> Floats:
    """Of every row; ``w``: [columns], or of strings [columns, levels]."""
    if shape.kind == "dense":
        out = np.full(shape.rows, intercept)
        for column, weight in zip(data["x"], w, strict=True):
            out += weight * column
        return out
    if shape.kind == "sparse":
        return (data["value"] * w[data["index"]]).reshape(shape.rows, shape.per_row).sum(axis=1) + intercept
    return sum(w[k][data["codes"][k]] for k in range(shape.columns)) + intercept


def judge(shape: Shape, data: dict[str, Any], w: Floats, intercept: float, *, l1: float, l2: float) -> dict[str, float]:
    """The objective, a sum of losses plus ``l1 |w|_1 + l2 |w|^2``, and the accuracy (for numbers the rmse) of coefficients."""
    m, y = margins(shape, data, w, intercept), data["y"]
    penalty = l1 * float(np.abs(w).sum()) + l2 * float((w * w).sum())
    if shape.is_regression:
        squares = float(((m - y) ** 2).sum())
        return {"objective": squares + penalty, "rmse": (squares / shape.rows) ** 0.5}
    loss = float(np.logaddexp(0.0, np.where(y == 1, -m, m)).sum())
    return {"objective": loss + penalty, "accuracy": float(((m >= 0) == (y == 1)).mean())}
