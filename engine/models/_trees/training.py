"""The iterations of a training: grow a tree per output, add it to the scores, evaluate, and write or read checkpoints on the way."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.checkpoint import Checkpoint, checkpoint_path, find_checkpoint, share_checkpoint, write_checkpoint
from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator
from engine.collectives.threads import useful_threads
from engine.encode.encoding import Encoding
from engine.models._metrics.tracked import is_better
from engine.models._predicting import TIME_COLUMN
from engine.models._trees.checkpoints import check_checkpoint, fingerprint_data, saved_trees
from engine.models._trees.ensemble import TreeEnsemble
from engine.models._trees.forest import average_leaves, scores_of_means
from engine.models._trees.grower import TreeGrower
from engine.models._trees.grown import GrownTree, GrowthOptions, LeafValues, assemble
from engine.models._trees.initial_model import InitialModel, join_ensembles
from engine.models._trees.objectives import Objective, make_objective
from engine.models._trees.routing import Router, RowCodes, take_apart
from engine.models._trees.sampling import sample_columns, sample_rows, tree_key
from engine.models._trees.training_rows import Rows
from engine.models._trees.validation import ValidationRows
from engine.progress import ProgressTable

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
        self._added: LeafValues | None = None  # what the last tree adds to the scores of its output
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
        leaves = self.grower.leaf_values(tree)
        if self.is_forest or self.tracked.n_outputs > 1:
            leaves.add_to(self.scores[output], self.grower.num_threads)
        else:
            self._added = leaves  # while the scores are evaluated, which reads them anyway
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
        training = self.tracked.evaluate(self._shown(self.scores, iteration), self._added)
        self._added = None
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
        self.table.checkpoint(checkpoint_path(folder, iteration))
        with agree(self.comm, "writing a checkpoint"):
            if self.comm.rank == 0:
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
        self.table.resumed(checkpoint.iteration, late)
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


def metrics_of(row: Mapping[str, Any]) -> dict[str, float]:
    """The metrics in a row of the progress table, as the model's fields are called."""
    return {key.lower().replace("-", "_", 1): value for key, value in row.items() if key.startswith(("Training-", "Validation-"))}
