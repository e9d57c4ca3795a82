"""Training trees: one per output and iteration is fitted to the gradients at the scores so far, or, of a forest, at the first scores."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator
from engine.collectives.metered import MeteredComm
from engine.collectives.threads import resolve_threads
from engine.data.bytes_read import describe_bytes_read
from engine.encode.encoding import Encoding
from engine.errors import DataError, OptionError
from engine.memory import Memory
from engine.models._trees.ensemble import TreeEnsemble
from engine.models._trees.training import Setting, Training, metrics_of
from engine.models._trees.training_rows import Rows, Task, encode_rows, read_columns
from engine.models._trees.validation import AUTO_MESSAGE, AUTO_ROWS, ValidationRows, encode_validation, read_validation, set_apart
from engine.progress import ProgressTable, make_preamble


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
    setting: Setting | None = None,
    num_threads: int | None,
    comm: Communicator,
    table: ProgressTable,
    memory: Memory | None = None,
) -> TrainedTrees:
    """Train on all ranks' rows; collective. ``options``: the mathematical ones, checked. Raises :class:`DataError` on every rank."""
    clock, setting = Stopwatch(), setting or Setting()
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
            "bytes_read": describe_bytes_read(comm),
        },
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
