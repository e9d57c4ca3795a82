"""Prediction against XGBoost's, in one run: ``python benchmarks/prediction.py [rows]``. 28 floats, 100 trees of depth 6, in memory.

Both sides are timed from a matrix to margins: samesum's kernel alone, and XGBoost's ``inplace_predict``; best of five.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import xgboost
from engine._kernels.prediction import predict_margins

import engine
from engine.models._trees.predictor import WALKED

N_FEATURES, N_TREES, TRAINING_ROWS = 28, 100, 50_000


def best_of(function: Callable[[], Any], times: int = 5) -> float:
    """Seconds of the fastest of several calls."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main() -> None:
    """Train both, time both, print the ratios."""
    n_rows = int(sys.argv[1]) if len(sys.argv) > 1 else 300_000
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n_rows, N_FEATURES))
    y = (x[:, 0] + x[:, 1] * x[:, 2] + rng.normal(size=n_rows) > 0).astype(np.int64)
    table = pa.table({f"x{j}": x[:TRAINING_ROWS, j] for j in range(N_FEATURES)} | {"y": y[:TRAINING_ROWS]})
    model = engine.boosted_trees_classifier.create(table, "y", max_iterations=N_TREES, verbose=False)
    trees = model._ensemble
    walked = [getattr(trees, name) for name in WALKED]
    settings = {"max_depth": 6, "eta": 0.3, "min_child_weight": 0.1, "tree_method": "hist", "objective": "binary:logistic"}
    peer = xgboost.train(settings, xgboost.DMatrix(x[:TRAINING_ROWS], y[:TRAINING_ROWS]), N_TREES)
    out = np.empty((n_rows, 1))
    for num_threads in (1, 2):
        peer.set_param({"nthread": num_threads})
        ours = best_of(lambda n=num_threads: predict_margins(x, trees.base_score, *walked, trees.value, out, n))
        theirs = best_of(lambda: peer.inplace_predict(x, predict_type="margin"))
        print(f"{n_rows} rows, {num_threads} threads: samesum {ours:.3f} s, xgboost {theirs:.3f} s, ratio {theirs / ours:.2f}")


if __name__ == "__main__":
    main()
