"""Gradient boosting: fit one tree per output and iteration to the gradients."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine._kernels.exact import hash_counters
from engine.collectives.communicator import Communicator
from engine.collectives.threads import resolve_threads, useful_threads
from engine.encode.encoding import Encoding
from engine.memory import Memory
from engine.models._trees.ensemble import TreeEnsemble
from engine.models._trees.grower import TreeGrower
from engine.models._trees.grown import GrownTree, GrowthOptions, assemble
from engine.models._trees.training_rows import Rows, Task, encode_rows, read_columns
from engine.progress import ProgressTable, make_preamble


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
    memory: Memory | None = None,
) -> TrainedTrees:
    """Train on all ranks' rows; collective. ``options``: the mathematical ones, checked. Raises :class:`DataError` on every rank."""
    clock = Stopwatch()
    threads = resolve_threads(num_threads, comm)
    memory = memory or Memory(None, None, comm)
    stream, names = read_columns(data, target, features, comm=comm, table=table, memory=memory)
    clock.lap("reading")
    table.stage("Encoding")
    rows = encode_rows(stream, names, target, task=task, options=options, num_threads=threads, comm=comm, memory=memory)
    del stream
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
        run={"seconds": clock.laps, "n_ranks": comm.size, "num_threads": threads, "memory": memory.report()},
    )


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
