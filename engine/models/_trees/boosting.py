"""Training trees: one per output and iteration is fitted to the gradients at the scores so far, or, of a forest, at the first scores."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.checkpoint import Checkpoint, checkpoint_path, find_checkpoint, remove_partial, share_checkpoint, write_checkpoint
from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator
from engine.collectives.metered import MeteredComm
from engine.collectives.threads import resolve_threads, useful_threads
from engine.encode.encoding import Encoding
from engine.errors import DataError, OptionError
from engine.memory import Memory
from engine.models._metrics.tracked import is_better
from engine.models._predicting import TIME_COLUMN
from engine.models._trees.checkpoints import check_checkpoint, fingerprint_data, saved_trees
from engine.models._trees.ensemble import TreeEnsemble
from engine.models._trees.forest import average_leaves, scores_of_means
from engine.models._trees.grower import TreeGrower
from engine.models._trees.grown import GrownTree, GrowthOptions, assemble
from engine.models._trees.initial_model import InitialModel, join_ensembles
from engine.models._trees.objectives import Objective, make_objective
from engine.models._trees.routing import Router, RowCodes, take_apart
from engine.models._trees.sampling import sample_columns, sample_rows, tree_key
from engine.models._trees.training_rows import Rows, Task, encode_rows, read_columns
from engine.models._trees.validation import AUTO_MESSAGE, AUTO_ROWS, ValidationRows, encode_validation, read_validation, set_apart
from engine.progress import ProgressTable, make_preamble

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class IterationRecord:
    """What a callback is told: the number of the iteration, from 1, and the tracked metrics, ``training_<m>`` and ``validation_<m>``."""

    iteration: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Setting:
    """What a training is given beside the data and the mathematical options."""

    validation_set: Any = None
    initial: InitialModel | None = None
    callback: Callable[[IterationRecord], Any] | None = None
    checkpoint_folder: str | None = None
    checkpoint_interval: int = 5
    resume: str | None = None


@dataclass(frozen=True)
class TrainedTrees:
    """What training hands to a model."""

    encoding: Encoding
    ensemble: TreeEnsemble
    classes: list[Any] | None  # sorted; None for a regression
    num_examples: int
    num_examples_per_class: dict[Any, int] | None
    class_weights: list[float] | None  # in class order; None where all are 1
    num_validation_examples: int
    progress: list[dict[str, Any]]  # a row per iteration, keyed by the table's header
    metrics: dict[str, float]  # training_<metric> and validation_<metric> of the model's last iteration
    run: dict[str, Any] = field(default_factory=dict)  # what may differ between equal runs


def train_trees(
    data: Any,
    *,
    target: str,
    features: list[str] | None,
    task: Task,
    options: dict[str, Any],
    setting: Setting = Setting(),
    num_threads: int | None,
    comm: Communicator,
    table: ProgressTable,
    memory: Memory | None = None,
) -> TrainedTrees:
    """Train on all ranks' rows; collective. ``options``: the mathematical ones, checked. Raises :class:`DataError` on every rank."""
    clock = Stopwatch()
    threads = resolve_threads(num_threads, comm)
    toolkit = f"{'random_forest' if 'averaging' in options else 'boosted_trees'}_{task}"
    sample_weight = options["sample_weight"]
    memory = memory or Memory(None, None, comm)
    stream, names = read_columns(data, target, features, sample_weight=sample_weight, comm=comm, table=table, memory=memory)
    validation_shard = None
    is_auto = isinstance(setting.validation_set, str) and setting.validation_set == "auto"
    if is_auto and stream.n_rows >= AUTO_ROWS:
        table.message(AUTO_MESSAGE)
        stream, validation_shard = set_apart(stream, options["random_seed"], comm)
    if setting.initial is not None:
        with agree(comm, "going on from the initial model"):
            setting.initial.check_features(names)
    clock.lap("reading")
    table.stage("Encoding")
    rows = encode_rows(
        stream, names, target, task=task, options=options, initial=setting.initial, num_threads=threads, comm=comm, memory=memory
    )
    del stream
    shared: dict[str, Any] = {"target": target, "sample_weight": sample_weight, "comm": comm}
    if setting.validation_set is not None and not is_auto:
        text_target = rows.classes is not None and isinstance(rows.classes[0], str)
        validation_shard = read_validation(setting.validation_set, rows.encoding, text_target=text_target, **shared)
    validation = None
    if validation_shard is not None:
        shared |= {"classes": rows.classes, "class_weights": rows.class_weights, "num_threads": threads}
        validation = encode_validation(validation_shard, rows.encoding, rows.bins.specs, **shared)
    clock.lap("encoding")
    with agree(comm, "checking options"):
        check_against_data(rows, validation, options)
    table.preamble(describe(toolkit, rows, len(names), task))
    metered = MeteredComm(comm)
    training = Training(rows, validation, options, setting, toolkit=toolkit, target=target, num_threads=threads, comm=metered, table=table)
    training.run()
    table.finish()
    clock.lap("training")
    communication = comm.gather_objects(metered.account, name="account of communication")
    counts = None if rows.classes is None or rows.counts is None else dict(zip(rows.classes, rows.counts, strict=True))
    return TrainedTrees(
        encoding=rows.encoding,
        ensemble=training.ensemble(),
        classes=rows.classes,
        num_examples=rows.n_rows,
        num_examples_per_class=counts,
        class_weights=rows.class_weights,
        num_validation_examples=0 if validation is None else validation.n_rows,
        progress=training.progress,
        metrics=metrics_of(training.progress[training.best_iteration() - 1]),
        run={
            "seconds": clock.laps,
            "n_ranks": comm.size,
            "num_threads": threads,
            "communication": communication,
            "memory": memory.report(),
        },
    )


class Training:
    """Trees, scores and progress of one training on all ranks' rows.

    A forest's ``scores`` are the sums of its trees, without the base score; they become means where they are looked at.
    """

    def __init__(
        self,
        rows: Rows,
        validation: ValidationRows | None,
        options: dict[str, Any],
        setting: Setting,
        *,
        toolkit: str,
        target: str,
        num_threads: int,
        comm: Communicator,
        table: ProgressTable,
    ) -> None:
        self.rows, self.validation, self.options, self.setting = rows, validation, options, setting
        self.toolkit, self.target, self.num_threads, self.comm, self.table = toolkit, target, num_threads, comm, table
        self.is_forest = "averaging" in options
        threads = useful_threads(num_threads, rows.bins.n_rows_local * len(rows.bins.specs))
        loss = options.get("objective", "squared_error") if rows.classes is None else "softmax" if len(rows.classes) > 2 else "logistic"
        parameters = {"quantile": options["quantile"]} if loss == "quantile" else {}
        n_classes = len(rows.classes or [])
        make: Callable[..., Objective] = functools.partial(
            make_objective, loss, metrics=options["metric"], n_classes=n_classes, num_threads=threads, comm=comm, **parameters
        )
        own: dict[str, Any] = {"weights": rows.weights, "n_rows": rows.n_rows, "first_row": rows.first_row}
        self.tracked = make(rows.y, **own)
        self.fitted = make(rows.y, **own | {"metrics": []}) if self.is_forest else self.tracked
        self.averages_classes = options.get("averaging") == "probability" and rows.classes is not None
        base = 0.0 if self.averages_classes else self.tracked.base_score
        if setting.initial is not None:
            base = setting.initial.ensemble.base_score
        self.base_score = base
        self.first_tree = 0 if setting.initial is None else setting.initial.ensemble.n_trees
        self.grower = TreeGrower(
            rows.bins, growth_options(options, rows.encoding), first_row=rows.first_row, n_rows=rows.n_rows, num_threads=threads, comm=comm
        )
        self.router = Router(RowCodes.of_bins(rows.bins), num_threads=threads)
        n_outputs = self.tracked.n_outputs
        first = 0.0 if self.is_forest else base
        self.scores = np.full((n_outputs, rows.bins.n_rows_local), first) if rows.initial_scores is None else rows.initial_scores
        if validation is not None:
            self.validator = make(validation.y, weights=validation.weights, n_rows=validation.n_rows, first_row=validation.first_row)
            self.validation_router = Router(validation.codes, num_threads=threads)
            self.validation_scores = np.full((n_outputs, len(validation.y)), first)
            if setting.initial is not None:
                self.validation_scores = setting.initial.scores(validation.table, num_threads=threads)
        self.trees: list[GrownTree] = []
        self.progress: list[dict[str, Any]] = []
        self.began = time.perf_counter()

    def run(self) -> None:
        """Iterate until the last iteration, an early stop, or a callback's word; collective."""
        self._head(0)
        checkpoints = self.setting.checkpoint_folder is not None and self.setting.checkpoint_interval > 0
        if checkpoints or self.setting.resume is not None:
            initial = None if self.setting.initial is None else self.setting.initial.fingerprint()
            self._fingerprint = fingerprint_data(
                self.rows, self.validation, target=self.target, initial=initial, num_threads=self.num_threads, comm=self.comm
            )
        if self.setting.resume is not None:
            self._resume(self.setting.resume)
        self.fitted.evaluate(np.full_like(self.scores, self.fitted.base_score) if self.is_forest else self.scores)
        for iteration in range(len(self.progress) + 1, self.options["max_iterations"] + 1):
            for output in range(self.tracked.n_outputs):
                self._grow(output)
            self.progress.append({"Iteration": iteration, TIME_COLUMN: time.perf_counter() - self.began, **self._evaluate(iteration)})
            self.table.row(self.progress[-1])
            if self._should_stop():
                self.table.message(f"Early stop triggered. Returning the best model at iteration: {self.best_iteration()}")
                break
            if checkpoints and iteration % self.setting.checkpoint_interval == 0:
                self._write_checkpoint(iteration)
            if self._called_off():
                break

    def best_iteration(self) -> int:
        """The iteration up to which the model keeps trees: the last, or with early stopping the best on validation, the first of equals."""
        if self.options.get("early_stopping_rounds") is None:
            return len(self.progress)
        metric = self.options["metric"][-1]
        values = [row[f"Validation-{metric}"] for row in self.progress]
        best = 0
        for number, value in enumerate(values):
            if is_better(metric, value, values[best]):
                best = number
        return best + 1

    def ensemble(self) -> TreeEnsemble:
        """The model's trees, with those that training went on from."""
        iterations = self.best_iteration()
        trees = self.trees[: iterations * self.tracked.n_outputs]
        if self.is_forest:
            trees = [replace(tree, value=tree.value / iterations) for tree in trees]
        ensemble = assemble(trees, n_outputs=self.tracked.n_outputs, base_score=self.base_score)
        ensemble = replace(ensemble, link="probability" if self.averages_classes else self.tracked.link)
        initial = self.setting.initial
        return ensemble if initial is None else join_ensembles(initial.moved(self.rows.encoding), ensemble)

    def _grow(self, output: int) -> None:
        """Grow one tree and add it to the scores; collective."""
        options, rows = self.options, self.rows
        key = tree_key(options["random_seed"], self.first_tree + len(self.trees))
        sample = sample_rows(key, options["row_subsample"], first_row=rows.first_row, n_rows=rows.bins.n_rows_local)
        columns = sample_columns(key, options["column_subsample"], len(rows.bins.specs))
        tree = self.grower.grow(self.fitted.gradients(output), key=key, rows=sample, columns=columns)
        if options.get("averaging") == "probability":
            tree = average_leaves(tree, options["reg_lambda"], len(rows.classes or []))
        elif not self.is_forest:
            tree = self.fitted.refit_leaves(tree, self.grower.leaf_rows, self.scores, options["step_size"])
        self.trees.append(tree)
        self.grower.add_leaf_values(tree, self.scores[output])
        if sample is not None:
            left_out = np.ones(rows.bins.n_rows_local, dtype=bool)
            left_out[sample] = False
            self.router.add(tree, self.scores[output], np.flatnonzero(left_out).astype(np.uint32))
        if self.validation is not None:
            self.validation_router.add(tree, self.validation_scores[output])

    def _add(self, tree: GrownTree, output: int) -> None:
        """Add a tree to the scores of all rows."""
        self.router.add(tree, self.scores[output])
        if self.validation is not None:
            self.validation_router.add(tree, self.validation_scores[output])

    def _shown(self, scores: Scores, iteration: int) -> Scores:
        """The scores by which the model so far is judged: a forest's are those of the trees that there are."""
        if not self.is_forest:
            return scores
        means = self.base_score + scores / iteration
        return scores_of_means(means) if self.averages_classes else means

    def _evaluate(self, iteration: int) -> dict[str, float]:
        """The tracked metrics of the scores, in the order of the table; collective."""
        training = self.tracked.evaluate(self._shown(self.scores, iteration))
        validation = {}
        if self.validation is not None and self.options["metric"]:
            validation = self.validator.evaluate(self._shown(self.validation_scores, iteration))
        found: dict[str, float] = {}
        for metric in self.options["metric"]:
            found[f"Training-{metric}"] = training[metric]
            if self.validation is not None:
                found[f"Validation-{metric}"] = validation[metric]
        return found

    def _should_stop(self) -> bool:
        rounds = self.options.get("early_stopping_rounds")
        return rounds is not None and len(self.progress) - self.best_iteration() >= rounds

    def _called_off(self) -> bool:
        """Whether rank 0's callback says to stop; an exception of one rank's callback is every rank's error. Collective."""
        if self.setting.callback is None:
            return False
        word = np.zeros(1, dtype=np.int64)
        with agree(self.comm, "callback"):
            row = self.progress[-1]
            word[0] = bool(self.setting.callback(IterationRecord(row["Iteration"], MappingProxyType(metrics_of(row)))))
        self.comm.broadcast(word, name="callback")
        return bool(word[0])

    def _head(self, n_rows: int) -> None:
        sides = ("Training", "Validation") if self.validation is not None else ("Training",)
        self.table.head(["Iteration", TIME_COLUMN, *(f"{side}-{metric}" for metric in self.options["metric"] for side in sides)], n_rows)

    def _mathematics(self) -> dict[str, Any]:
        """The options by which a checkpoint's training is the same one."""
        return {**self.options, "class_weights": self.rows.class_weights}

    def _write_checkpoint(self, iteration: int) -> None:
        """Rank 0 writes, and its error is every rank's; collective."""
        folder = self.setting.checkpoint_folder or ""
        self.table.message(f"Checkpointing to {checkpoint_path(folder, iteration)}")
        with agree(self.comm, "writing a checkpoint"):
            if self.comm.rank == 0:
                remove_partial(folder)
                columns = [name for name in self.progress[0] if name != TIME_COLUMN]
                content = {
                    "options": self._mathematics(),
                    "fingerprint": self._fingerprint,
                    "n_outputs": self.tracked.n_outputs,
                    "progress": {"columns": columns, "rows": [[row[name] for name in columns] for row in self.progress]},
                }
                ensemble = assemble(self.trees, n_outputs=self.tracked.n_outputs, base_score=self.base_score)
                run = {"elapsed_time": [row[TIME_COLUMN] for row in self.progress]}
                checkpoint = Checkpoint("", iteration, content, ensemble.arrays(), run)
                write_checkpoint(folder, checkpoint, toolkit=self.toolkit, named=self.setting.resume)

    def _resume(self, resume: str) -> None:
        """Go on from a checkpoint: its trees, its progress, and scores from sending all rows down the trees; collective."""
        expected: dict[str, Any] = {"toolkit": self.toolkit, "options": self._mathematics(), "fingerprint": self._fingerprint}
        check = functools.partial(check_checkpoint, **expected, encoding=self.rows.encoding)
        checkpoint = share_checkpoint(self.comm, lambda: find_checkpoint(resume, self.setting.checkpoint_folder, check))
        if checkpoint is None:
            return
        most = self.options["max_iterations"]
        done = min(checkpoint.iteration, most)
        late = f" which is greater than or equal to max_iterations {most}" if checkpoint.iteration >= most else ""
        self.table.message(f"Resumed training from checkpoint at iteration {checkpoint.iteration}{late}")
        n_outputs = self.tracked.n_outputs
        self.trees = take_apart(saved_trees(checkpoint), self.rows.bins.specs)[: done * n_outputs]
        for number, tree in enumerate(self.trees):
            self._add(tree, number % n_outputs)
        progress = checkpoint.content["progress"]
        times = checkpoint.run.get("elapsed_time") or [0.0] * checkpoint.iteration
        for row, seconds in zip(progress["rows"][:done], times, strict=False):
            values = dict(zip(progress["columns"], row, strict=True))
            self.progress.append({"Iteration": values.pop("Iteration"), TIME_COLUMN: seconds, **values})
        self.began -= self.progress[-1][TIME_COLUMN]
        self._head(done)


def growth_options(options: Mapping[str, Any], encoding: Encoding) -> GrowthOptions:
    """What limits a tree, of the options."""
    monotone = None
    if options["monotone_constraints"]:
        signs = options["monotone_constraints"]
        monotone = np.array([signs.get(column.source, 0) for column in encoding.columns], dtype=np.int8)
    return GrowthOptions(
        max_depth=options["max_depth"],
        min_child_weight=options["min_child_weight"],
        min_loss_reduction=options["min_loss_reduction"],
        step_size=options.get("step_size", 1.0),
        reg_lambda=options["reg_lambda"],
        reg_alpha=options["reg_alpha"],
        max_leaves=options["max_leaves"],
        monotone=monotone,
        partition=options["categorical"] == "partition",
    )


def check_against_data(rows: Rows, validation: ValidationRows | None, options: Mapping[str, Any]) -> None:
    """Refuse options that the data, as it turns out, does not allow."""
    if options.get("early_stopping_rounds") is not None and validation is None:
        raise DataError(
            f"early_stopping_rounds needs a validation set, and 'auto' makes none of fewer than {AUTO_ROWS} rows; pass a dataset"
        )
    for name in options["monotone_constraints"] or {}:
        kind = rows.encoding.sources.get(name)
        if kind is None:
            raise OptionError(
                f"monotone_constraints: {name!r} is no feature; the features are {', '.join(map(repr, rows.encoding.sources))}"
            )
        if kind not in ("int", "float"):
            raise OptionError(f"monotone_constraints: feature {name!r} is of kind {kind!r}, expected a number, which has an order")


def metrics_of(row: Mapping[str, Any]) -> dict[str, float]:
    """The metrics in a row of the progress table, as the model's fields are called."""
    return {key.lower().replace("-", "_", 1): value for key, value in row.items() if key.startswith(("Training-", "Validation-"))}


def describe(toolkit: str, rows: Rows, n_features: int, task: Task) -> list[str]:
    """The lines above the progress table."""
    counts = {"Number of examples": rows.n_rows}
    if rows.classes is not None:
        counts["Number of classes"] = len(rows.classes)
    counts["Number of feature columns" if task == "classifier" else "Number of features"] = n_features
    counts["Number of unpacked features"] = len(rows.encoding.unpacked_features)
    return make_preamble(toolkit.replace("_", " ").capitalize(), counts)


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
