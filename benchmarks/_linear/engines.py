"""Every engine in the same calls: ``load`` (not timed), ``fit`` with one of its ladder of tolerances, and its coefficients."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from _linear.data import Floats, Shape


@dataclass(frozen=True)
class Fitted:
    """What came of training."""

    seconds: float
    w: Floats
    intercept: float
    passes: int | None  # over the data, where the engine says


class Samesum:
    """The engine under test."""

    def __init__(self, shape: Shape, toolkit: str, threads: int, ranks: int, **options: Any) -> None:
        import samesum
        from engine.collectives.default import resolve

        self.shape, self.comm = shape, resolve(None)
        self.create = getattr(samesum, toolkit).create
        self.dataset = samesum.Dataset
        self.options = {"verbose": False, "num_threads": threads, "comm": self.comm, "max_iterations": 500, **options}

    def load(self, data: dict[str, Any]) -> None:
        begin, end = (self.shape.rows * (self.comm.rank + k) // self.comm.size for k in (0, 1))
        columns: dict[str, Any]
        if self.shape.kind == "dense":
            columns = {f"f{j:03}": column[begin:end] for j, column in enumerate(data["x"])}
        elif self.shape.kind == "sparse":
            part = slice(begin * self.shape.per_row, end * self.shape.per_row)
            offsets = np.arange(end - begin + 1, dtype=np.int32) * self.shape.per_row
            columns = {"m": pa.MapArray.from_arrays(pa.array(offsets), pa.array(data["index"][part]), pa.array(data["value"][part]))}
        else:
            levels = pa.array(level_names(self.shape))
            columns = {f"f{k}": levels.take(pa.array(codes[begin:end])) for k, codes in enumerate(data["codes"])}
        self.data = self.dataset({**columns, "y": data["y"][begin:end]}, sharded=self.comm.size > 1)

    def fit(self, tolerance: float | None) -> Fitted:
        options = self.options if tolerance is None else {**self.options, "convergence_threshold": tolerance}
        self.comm.barrier(name="begin")
        began = time.perf_counter()
        model = self.create(self.data, target="y", **options)
        seconds = time.perf_counter() - began
        table = model.coefficients
        value, index, name = (table.column(each).to_pylist() for each in ("value", "index", "name"))
        passes = model.progress["Passes"][-1].as_py() if "Passes" in model.progress.column_names else None
        return Fitted(seconds, self._coefficients(name[1:], index[1:], value[1:]), value[0], None if passes is None else int(passes))

    def _coefficients(self, names: list[str], index: list[str | None], value: list[float]) -> Floats:
        if self.shape.kind == "dense":
            return np.array(value)
        if self.shape.kind == "sparse":
            w = np.zeros(self.shape.columns)
            w[np.array(index, dtype=np.int64)] = value
            return w
        w = np.zeros((self.shape.columns, self.shape.per_row))
        place = {level: number for number, level in enumerate(level_names(self.shape))}
        for name, level, each in zip(names, index, value, strict=True):
            w[int(name[1:]), place[level]] = each
        return w


class Sklearn:
    """An estimator of scikit-learn on its own favourite layout; strings are one-hot encoded first, on the clock."""

    def __init__(self, shape: Shape, make: Callable[..., Any], threads: int, ranks: int, **options: Any) -> None:
        self.shape, self.make, self.options = shape, make, options

    def load(self, data: dict[str, Any]) -> None:
        self.y = data["y"]
        if self.shape.kind == "dense":
            order = self.options.pop("order", "C")
            self.x = np.array(data["x"].T, order=order)
        elif self.shape.kind == "sparse":
            from scipy.sparse import csr_matrix

            starts = np.arange(self.shape.rows + 1, dtype=np.int32) * self.shape.per_row
            self.x = csr_matrix((data["value"], data["index"], starts), shape=(self.shape.rows, self.shape.columns))
        else:
            self.x = np.array(level_names(self.shape), dtype=object)[data["codes"].T]

    def fit(self, tolerance: float | None) -> Fitted:
        estimator = self.make(**self.options, **({} if tolerance is None else {"tol": tolerance}))
        began = time.perf_counter()
        x = self.x
        if self.shape.kind == "strings":
            from sklearn.preprocessing import OneHotEncoder

            x = OneHotEncoder(drop="first").fit_transform(x)
        estimator.fit(x, self.y)
        seconds = time.perf_counter() - began
        w = np.asarray(estimator.coef_).reshape(-1)
        if self.shape.kind == "strings":
            w = np.concatenate([np.zeros((self.shape.columns, 1)), w.reshape(self.shape.columns, -1)], axis=1)
        iterations = getattr(estimator, "n_iter_", None)
        passes = None if iterations is None else int(np.max(iterations))
        return Fitted(seconds, w, float(np.ravel(estimator.intercept_)[0]), passes)


def level_names(shape: Shape) -> list[str]:
    """Names of levels, in the order of their numbers."""
    return [f"level {number:05}" for number in range(shape.per_row)]


def logistic(**options: Any) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=5000, **options)


def ridge(**options: Any) -> Any:
    from sklearn.linear_model import Ridge

    return Ridge(**options)


def linear_svc(**options: Any) -> Any:
    from sklearn.svm import LinearSVC

    return LinearSVC(**options)


@dataclass(frozen=True)
class Engine:
    """How an engine is made for a scenario, and its tolerances, loosest first; None: its default."""

    make: Callable[..., Any]
    what: Any
    options: dict[str, Any]
    tolerances: Sequence[float | None]

    def open(self, shape: Shape, threads: int, ranks: int) -> Any:
        """The engine in this process."""
        return self.make(shape, self.what, threads, ranks, **self.options)
