"""Gradient boosting: read, encode and bin the rows, then fit one tree per output and iteration to the gradients."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from engine._kernels.exact import hash_counters
from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator
from engine.collectives.threads import resolve_threads, useful_threads
from engine.data.dataset import as_dataset
from engine.data.shard import Shard, read_shard
from engine.encode.bins import BinMatrix, encode_bins, fit_bins
from engine.encode.categories import all_missing, fit_encoding
from engine.encode.encoding import Encoding
from engine.encode.features import select_features
from engine.encode.labels import encode_classes, encode_numbers
from engine.errors import DataError, warn
from engine.models._trees.ensemble import TreeEnsemble
from engine.models._trees.grower import TreeGrower
from engine.models._trees.grown import GrownTree, GrowthOptions, assemble
from engine.models._trees.objectives import LogisticLoss, Objective, SoftmaxLoss, SquaredError
from engine.progress import ProgressTable, make_preamble

Task = Literal["classifier", "regression"]
MOST_ROWS = 2**32 - 1  # of a rank: trees keep their order in 32 bits


@dataclass(frozen=True)
class TrainedTrees:
    """What training hands to a model."""

    encoding: Encoding
    ensemble: TreeEnsemble
    classes: list[Any] | None  # sorted; None for a regression
    num_examples: int
    num_examples_per_class: dict[Any, int] | None
    progress: list[dict[str, Any]]  # a row per iteration, keyed by the table's header
    metrics: dict[str, float]  # training_<metric> of the last iteration
    run: dict[str, Any] = field(default_factory=dict)  # what may differ between equal runs


@dataclass(frozen=True)
class Rows:
    """This rank's rows, encoded, with what all ranks know of them."""

    encoding: Encoding
    bins: BinMatrix
    objective: Objective
    classes: list[Any] | None
    counts: list[int] | None
    first_row: int
    n_rows: int


def train_boosted_trees(
    data: Any,
    *,
    target: str,
    features: list[str] | None,
    task: Task,
    options: dict[str, Any],
    num_threads: int | None,
    comm: Communicator,
    table: ProgressTable,
) -> TrainedTrees:
    """Train on all ranks' rows; collective. ``options``: the mathematical ones, checked. Raises :class:`DataError` on every rank."""
    clock = Stopwatch()
    threads = resolve_threads(num_threads, comm)
    shard, names = read_columns(data, target, features, comm, table)
    clock.lap("reading")
    table.stage("Encoding")
    rows = encode_rows(shard, names, target, task=task, options=options, num_threads=threads, comm=comm)
    del shard
    clock.lap("encoding")
    table.preamble(describe(rows, len(names), task))
    trees, progress = boost(rows, options, num_threads=threads, comm=comm, table=table)
    table.finish()
    clock.lap("training")
    counts = None if rows.classes is None or rows.counts is None else dict(zip(rows.classes, rows.counts, strict=True))
    return TrainedTrees(
        encoding=rows.encoding,
        ensemble=assemble(trees, n_outputs=rows.objective.n_outputs, base_score=rows.objective.base_score),
        classes=rows.classes,
        num_examples=rows.n_rows,
        num_examples_per_class=counts,
        progress=progress,
        metrics={key.lower().replace("-", "_"): value for key, value in progress[-1].items() if key.startswith("Training-")},
        run={"seconds": clock.laps, "n_ranks": comm.size, "num_threads": threads},
    )


def read_columns(data: Any, target: str, features: list[str] | None, comm: Communicator, table: ProgressTable) -> tuple[Shard, list[str]]:
    """This rank's rows of the target and the feature columns, and the features' names; collective."""
    with agree(comm, "opening the data"):
        dataset = as_dataset(data)
        names = select_features(dataset.columns, target, features)
        # ranks read about equally much, and the bar shows rank 0's part
        table.stage("Reading", dataset.input_bytes // comm.size, in_bytes=True)
    return read_shard(dataset, comm, [*names, target], on_bytes=table.advance), names


def encode_rows(
    shard: Shard, features: list[str], target: str, *, task: Task, options: dict[str, Any], num_threads: int, comm: Communicator
) -> Rows:
    """Number the classes, fit the encoding and the bins on all ranks' rows, and encode this rank's; collective."""
    classes: list[Any] | None = None
    counts: list[int] | None = None
    objective: Objective
    with agree(comm, "encoding"):
        if shard.table.num_rows > MOST_ROWS:
            raise DataError(f"expected at most {MOST_ROWS} rows on each rank, got {shard.table.num_rows}; use more ranks")
    num_threads = useful_threads(num_threads, shard.table.num_rows * len(features))
    column = shard.table.column(target)
    if task == "classifier":
        labels = encode_classes(column, target=target, first_row=shard.first_row, comm=comm)
        classes, counts = labels.classes, labels.counts
        if len(classes) > 2:
            objective = SoftmaxLoss(labels.codes, n_classes=len(classes), n_rows=shard.n_rows, num_threads=num_threads, comm=comm)
        else:
            objective = LogisticLoss(labels.codes, n_rows=shard.n_rows, num_threads=num_threads, comm=comm)
    else:
        y = encode_numbers(column, target=target, first_row=shard.first_row, comm=comm)
        objective = SquaredError(y, n_rows=shard.n_rows, num_threads=num_threads, comm=comm)
    table = shard.table.select(features)
    warn_all_missing(table, features, comm)
    encoding = fit_encoding(table, features, comm)
    seed = options["random_seed"]
    specs = fit_bins(table, encoding, max_bins=options["max_bins"], seed=seed, first_row=shard.first_row, n_rows=shard.n_rows, comm=comm)
    bins = encode_bins(table, encoding, specs, num_threads=num_threads)
    return Rows(encoding, bins, objective, classes, counts, shard.first_row, shard.n_rows)


def warn_all_missing(table: pa.Table, features: list[str], comm: Communicator) -> None:
    """Warn, once, of features that hold nothing; collective."""
    empty = all_missing(table, features, comm)
    if empty and comm.rank == 0:
        warn(f"every value is missing in column {', '.join(map(repr, empty))}: the model cannot use it")


def boost(
    rows: Rows, options: dict[str, Any], *, num_threads: int, comm: Communicator, table: ProgressTable
) -> tuple[list[GrownTree], list[dict[str, Any]]]:
    """The boosting loop: trees, and the progress table's rows; collective."""
    objective = rows.objective
    growth = GrowthOptions(
        max_depth=options["max_depth"],
        min_child_weight=options["min_child_weight"],
        min_loss_reduction=options["min_loss_reduction"],
        step_size=options["step_size"],
    )
    threads = useful_threads(num_threads, rows.bins.n_rows_local * len(rows.bins.specs))
    grower = TreeGrower(rows.bins, growth, first_row=rows.first_row, n_rows=rows.n_rows, num_threads=threads, comm=comm)
    scores = np.full((objective.n_outputs, rows.bins.n_rows_local), objective.base_score)
    trees: list[GrownTree] = []
    progress: list[dict[str, Any]] = []
    start = time.perf_counter()
    objective.evaluate(scores)
    for iteration in range(1, options["max_iterations"] + 1):
        for output in range(objective.n_outputs):
            tree = grower.grow(objective.gradients(output), key=tree_key(options["random_seed"], len(trees)))
            grower.add_leaf_values(tree, scores[output])
            trees.append(tree)
        metrics = {f"Training-{name}": value for name, value in objective.evaluate(scores).items()}
        progress.append({"Iteration": iteration, "Elapsed Time": time.perf_counter() - start, **metrics})
        table.row(progress[-1])
    return trees, progress


def tree_key(seed: int, tree: int) -> int:
    """A counter-based random number of 64 bits for one tree."""
    key = np.empty(1, dtype=np.uint64)
    hash_counters(seed, tree, key)
    return int(key[0])


def describe(rows: Rows, n_features: int, task: Task) -> list[str]:
    """The lines above the progress table."""
    counts = {"Number of examples": rows.n_rows}
    if rows.classes is not None:
        counts["Number of classes"] = len(rows.classes)
    counts["Number of feature columns" if task == "classifier" else "Number of features"] = n_features
    counts["Number of unpacked features"] = len(rows.encoding.unpacked_features)
    return make_preamble(f"Boosted trees {task}", counts)


class Stopwatch:
    """Seconds of named stages, one after the other."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """End a stage."""
        now = time.perf_counter()
        self.laps[name] = now - self._last
        self._last = now
