"""From a call of ``create`` to a model: check and agree on options, train, describe the result."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from engine.collectives.agree import agree, agree_on_value
from engine.collectives.default import resolve
from engine.data.placement import near_blocks
from engine.errors import OptionError, warn
from engine.memory import Memory
from engine.models._metrics.tracked import check_metrics
from engine.models._options import (
    check_column_name,
    check_features,
    check_flag,
    check_option,
    check_run_options,
    kind_of,
    refuse_unknown,
)
from engine.models._predicting import RUN_OPTIONS, TIME_COLUMN
from engine.models._trees.boosting import TrainedTrees, train_trees
from engine.models._trees.initial_model import InitialModel
from engine.models._trees.model import TreesModel
from engine.models._trees.training import Setting
from engine.models._trees.training_rows import Task
from engine.models._trees.weights import check_class_weights
from engine.progress import ProgressTable

Trees = TypeVar("Trees", bound=TreesModel)
# Arguments of `create` that are no options of the training.
_ELSEWHERE = ("dataset", "comm", "memory_limit", "cache_dir")


def create_trees(model: type[Trees], arguments: Mapping[str, Any], *, task: Task) -> Trees:
    """Train a model of class ``model``; collective. ``arguments``: all those of ``create`` by name, ``kwargs`` being any it did not know.

    What is not named here is a mathematical option, and checked as such.
    """
    began = time.perf_counter()
    group = resolve(arguments["comm"])
    with agree(group, "checking options"):
        call = check_call(model.toolkit, arguments, task=task)
        memory = Memory(arguments["memory_limit"], arguments["cache_dir"], group)
    target, features, options, run_options = call.target, call.features, call.options, call.run_options
    said = {
        "validation_set": kind_of(call.validation_set),
        "callback": call.callback is not None,
        "initial_model": call.initial and call.initial.fingerprint(),
    }
    agree_on_value(group, {"target": target, "features": features, **options, **said, **run_options}, "options")
    setting = Setting(
        validation_set=call.validation_set,
        initial=call.initial,
        callback=call.callback,
        checkpoint_folder=run_options["model_checkpoint_path"],
        checkpoint_interval=run_options["model_checkpoint_interval"],
        resume=run_options["resume_from_checkpoint"],
    )
    comm = near_blocks(group, arguments["dataset"])
    table = ProgressTable([], verbose=call.verbose, comm_rank=comm.rank, total=options["max_iterations"])
    try:
        trained = train_trees(
            arguments["dataset"],
            target=target,
            features=features,
            task=task,
            options=options,
            setting=setting,
            num_threads=call.num_threads,
            comm=comm,
            table=table,
            memory=memory,
        )
    finally:
        table.close()
    document = describe_trained(trained, toolkit=model.toolkit, target=target, options=options)
    run = {**describe_run(trained, training_time=time.perf_counter() - began), "options": run_options}
    return model(document, trained.encoding, trained.ensemble, run, rank=group.rank)


@dataclass(frozen=True)
class Call:
    """A call of ``create`` whose options are right as far as one can know without the data."""

    target: str
    features: list[str] | None
    validation_set: Any
    callback: Any
    initial: InitialModel | None
    verbose: bool
    num_threads: int | None
    options: dict[str, Any]
    run_options: dict[str, Any]


def check_call(toolkit: str, arguments: Mapping[str, Any], *, task: Task) -> Call:
    """The options of a call of ``create`` as plain values; opens no data. Raises :class:`OptionError`."""
    given = {name: value for name, value in arguments.items() if name not in _ELSEWHERE}
    refuse_unknown(given.pop("kwargs"), [name for name in arguments if name not in ("dataset", "target", "kwargs")])
    target = check_column_name("target", given.pop("target"))
    features = check_features(given.pop("features"), target)
    verbose = check_flag("verbose", given.pop("verbose"))
    num_threads = check_option("num_threads", given.pop("num_threads"))
    validation_set, callback, base = given.pop("validation_set"), given.pop("callback"), given.pop("initial_model", None)
    run_options = check_run_options({name: given.pop(name) for name in RUN_OPTIONS})
    options = check_options(given, task=task)
    check_together(options, validation_set=validation_set, callback=callback, target=target, features=features)
    initial = None if base is None else initial_model(base)
    if initial is not None:
        initial.check_options(toolkit=toolkit, target=target, loss=options.get("objective", initial.loss))
    return Call(target, features, validation_set, callback, initial, verbose, num_threads, options, run_options)


def check_options(given: Mapping[str, Any], *, task: Task) -> dict[str, Any]:
    """The mathematical options as plain values. Raises :class:`OptionError`."""
    loss = "logistic" if task == "classifier" else given.get("objective", "squared_error")
    special = {
        "metric": lambda value: check_metrics(value, "squared_error" if loss == "auto" else loss),
        "class_weights": check_class_weights,
        "sample_weight": lambda value: None if value is None else check_column_name("sample_weight", value),
        "monotone_constraints": check_monotone,
    }
    if "objective" in given:
        check_option("objective", loss)
    options = {name: special[name](value) if name in special else check_option(name, value) for name, value in given.items()}
    options.setdefault("class_weights", None)
    if options.get("objective") == "auto":
        options["objective"] = "squared_error"
    if options.get("objective") == "quantile" and options["quantile"] is None:
        options["quantile"] = 0.5
    return options


def check_monotone(value: Any) -> dict[str, int] | None:
    """Which features may only push predictions up (1) or down (-1); None for none."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise OptionError(f"monotone_constraints must be a dict of -1, 0 or 1 by feature, or None, got {value!r}")
    for name, sign in value.items():
        if isinstance(sign, bool) or sign not in (-1, 0, 1):
            raise OptionError(f"monotone_constraints must be -1, 0 or 1, got {sign!r} for feature {name!r}")
    return {str(name): int(value[name]) for name in sorted(value)}


def check_together(options: Mapping[str, Any], *, validation_set: Any, callback: Any, target: str, features: list[str] | None) -> None:
    """Refuse options that do not go together."""
    if callback is not None and not callable(callback):
        raise OptionError(f"callback must be a function of a record of the iteration, or None, got {callback!r}")
    if options.get("early_stopping_rounds") is not None:
        if validation_set is None:
            raise OptionError("early_stopping_rounds watches a validation set, got validation_set=None: pass one, or 'auto'")
        if not options["metric"]:
            raise OptionError("early_stopping_rounds watches the last metric, got none: pass one, or 'auto'")
    if options.get("quantile") is not None and options.get("objective") != "quantile":
        raise OptionError(f"quantile is for objective='quantile', got quantile={options['quantile']!r}: leave it out")
    if options.get("objective") == "quantile" and options["monotone_constraints"]:
        raise OptionError("objective='quantile' puts quantiles into the leaves, whatever their order: leave out monotone_constraints")
    if options.get("averaging") == "probability" and (options["reg_alpha"] > 0 or options["monotone_constraints"]):
        raise OptionError("averaging='probability' takes classes as they are in the leaves: leave out reg_alpha and monotone_constraints")
    weight = options["sample_weight"]
    if weight is not None and weight in (target, *(features or [])):
        raise OptionError(f"sample_weight must be neither the target nor a feature, got {weight!r}")


def initial_model(value: Any) -> InitialModel:
    """What training goes on from, of a model or the path of a saved one."""
    from engine.models.loading import load_model

    model = load_model(value) if isinstance(value, (str, os.PathLike)) else value
    if not isinstance(model, TreesModel):
        raise OptionError(f"initial_model must be a trained model of trees or the path of one, got {value!r}")
    return model.as_initial()


def rename_num_trees(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a forest's ``create``, where ``num_trees`` is an old name of ``max_iterations``."""
    given = {**arguments, "kwargs": dict(arguments["kwargs"])}
    if "num_trees" in given["kwargs"]:
        warn("num_trees is deprecated; use max_iterations")
        given["max_iterations"] = given["kwargs"].pop("num_trees")
    return given


def describe_trained(trained: TrainedTrees, *, toolkit: str, target: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The document of a trained model: only what is the same however it was run, keys in a fixed order."""
    columns = [name for name in trained.progress[0] if name != TIME_COLUMN]
    counts = trained.num_examples_per_class
    ensemble = trained.ensemble
    return {
        "toolkit": toolkit,
        "target": target,
        "options": {name: value for name, value in options.items() if name != "class_weights"},
        "num_examples": trained.num_examples,
        "num_validation_examples": trained.num_validation_examples,
        "classes": trained.classes,
        "class_weights": trained.class_weights,
        "num_examples_per_class": None if counts is None or trained.classes is None else [counts[label] for label in trained.classes],
        "encoding": trained.encoding.to_json(),
        "ensemble": ensemble.document(),
        "metrics": dict(trained.metrics),
        "progress": {"columns": columns, "rows": [[row[name] for name in columns] for row in trained.progress]},
    }


def describe_run(trained: TrainedTrees, *, training_time: float) -> dict[str, Any]:
    """How a model came about: times, ranks, threads, release."""
    from engine import __version__

    times = [row[TIME_COLUMN] for row in trained.progress]
    return {"release": __version__, "training_time": training_time, "elapsed_time": times, **trained.run}
