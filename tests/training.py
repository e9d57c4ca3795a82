"""Training for tests: quietly, on ranks that are threads, and what of the result must be the same however it came about."""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine.collectives.communicator import Communicator
from engine.collectives.serial import SerialComm
from engine.data.dataset import Dataset
from engine.memory import Memory
from engine.models._trees.boosting import TrainedTrees, train_trees
from engine.models._trees.ensemble import TreeEnsemble
from engine.models._trees.training import Setting
from engine.progress import ProgressTable
from tests.threads_comm import run_ranks

MUSHROOM = pathlib.Path(__file__).resolve().parents[1] / "examples" / "data" / "mushroom.csv"
OPTIONS = {
    "max_iterations": 5,
    "max_depth": 6,
    "step_size": 0.3,
    "min_loss_reduction": 0.0,
    "min_child_weight": 0.1,
    "max_bins": 256,
    "max_categories": 65535,
    "row_subsample": 1.0,
    "column_subsample": 1.0,
    "reg_lambda": 1.0,
    "reg_alpha": 0.0,
    "max_leaves": None,
    "monotone_constraints": None,
    "categorical": "onehot",
    "class_weights": None,
    "sample_weight": None,
    "early_stopping_rounds": None,
    "random_seed": 0,
}
METRICS = {"classifier": ["accuracy", "log_loss"], "regression": ["max_error", "rmse"]}


def train(
    data: Any,
    *,
    task: str,
    target: str = "y",
    features: list[str] | None = None,
    setting: Setting | None = None,
    num_threads: int = 1,
    comm: Communicator | None = None,
    memory: Memory | None = None,
    **options: Any,
) -> TrainedTrees:
    """Train on one rank, or on all of ``comm``."""
    assert set(options) <= {*OPTIONS, "metric", "objective", "quantile"}
    return train_trees(
        data,
        target=target,
        features=features,
        task=task,
        options={**OPTIONS, "metric": METRICS[task], **options},
        setting=setting or Setting(),
        num_threads=num_threads,
        comm=comm or SerialComm(),
        table=ProgressTable([], verbose=False),
        memory=memory,
    )


def train_parts(parts: Sequence[pa.Table], **arguments: Any) -> list[TrainedTrees]:
    """Every rank's result, where rank r holds the rows of ``parts[r]``."""
    return run_ranks(len(parts), lambda comm: train(Dataset(parts[comm.rank], sharded=True), comm=comm, **arguments))


def cut_rows(table: pa.Table, n_parts: int) -> list[pa.Table]:
    """Contiguous parts of nearly equal numbers of rows."""
    bounds = [table.num_rows * r // n_parts for r in range(n_parts + 1)]
    return [table.slice(begin, end - begin) for begin, end in itertools.pairwise(bounds)]


def fingerprint(trained: TrainedTrees) -> dict[str, Any]:
    """All that a model holds; equal for equal models."""
    return {
        "arrays": {name: array.tobytes() for name, array in trained.ensemble.arrays().items()},
        "ensemble": (trained.ensemble.n_outputs, trained.ensemble.base_score),
        "encoding": trained.encoding.to_json(),
        "classes": (trained.classes, trained.num_examples, trained.num_examples_per_class),
        "progress": [{name: value for name, value in row.items() if name != "Elapsed Time"} for row in trained.progress],
        "metrics": trained.metrics,
    }


def log_losses(trained: TrainedTrees) -> list[float]:
    """Training log loss after each iteration."""
    return [row["Training-log_loss"] for row in trained.progress]


def tree_arrays(ensemble: TreeEnsemble, tree: int) -> dict[str, NDArray[Any]]:
    """The arrays of one tree."""
    part = slice(*ensemble.tree_start[tree : tree + 2].tolist())
    return {name: array[part] for name, array in ensemble.arrays().items() if name not in ("tree_start", "set_start", "set_bits")}


def mixed_table(seed: int, n_rows: int, *, missing: float = 0.2) -> pa.Table:
    """Numbers with holes, counts, dates, words, vectors and tags; targets ``amount``, ``grade`` (three classes) and ``sign`` (two)."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n_rows, 4))
    holes = rng.random((n_rows, 3)) < missing
    count = rng.poisson(3, n_rows)
    words = rng.choice(["", "a", "b", "é", "zz"], n_rows)
    score = x[:, 0] + 0.3 * count + (words == "a") - np.where(holes[:, 0], 1, 0) + 0.3 * rng.normal(size=n_rows)
    return pa.table(
        {
            "x": pa.array(np.where(holes[:, 0], np.nan, x[:, 0]), from_pandas=True),
            "count": pa.array(count, mask=holes[:, 1]),
            "word": pa.array(words, mask=holes[:, 2]),
            "v": pa.array([list(row) for row in x[:, 1:3]], type=pa.list_(pa.float64())),
            "tags": pa.array([["red", "big"][: int(k)] for k in rng.integers(0, 3, n_rows)], type=pa.list_(pa.string())),
            "day": pa.array(rng.integers(0, 300, n_rows).astype(np.int32)).cast(pa.date32()),
            "amount": pa.array(score * np.where(rng.random(n_rows) < 0.01, 1e6, 1.0)),
            "grade": pa.array(np.array(["low", "middle", "high"])[np.digitize(score, [0, 1.5])]),
            "sign": pa.array(score > 0.7),
        }
    )


TARGETS = {"amount": "regression", "grade": "classifier", "sign": "classifier"}


def with_target(table: pa.Table, target: str) -> pa.Table:
    """The table with one of the targets of :func:`mixed_table`, called ``y``."""
    return table.drop_columns(list(TARGETS)).append_column("y", table.column(target))
