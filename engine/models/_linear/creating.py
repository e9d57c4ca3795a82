"""From a call of ``create`` to a linear model: check and agree on options, train, describe the result."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from engine.collectives.agree import agree, agree_on_value
from engine.collectives.communicator import Communicator
from engine.collectives.default import resolve
from engine.data.placement import near_blocks
from engine.errors import OptionError
from engine.memory import Memory
from engine.models._linear.model import LinearModel
from engine.models._linear.training import Loss, Setting, TrainedLinear, train_linear
from engine.models._options import (
    Limits,
    check_choice,
    check_column_name,
    check_features,
    check_flag,
    check_option,
    check_run_options,
    kind_of,
    refuse_unknown,
)
from engine.models._predicting import RUN_OPTIONS
from engine.models._trees.weights import check_class_weights
from engine.progress import ProgressTable

Linear = TypeVar("Linear", bound=LinearModel)

SMALLEST, LARGEST = 1e-10, 1e20
LIMITS: Mapping[str, Limits] = {
    "l2_penalty": Limits(float, 0, LARGEST),
    "l1_penalty": Limits(float, 0, LARGEST),
    "penalty": Limits(float, SMALLEST, LARGEST),
    "convergence_threshold": Limits(float, SMALLEST, LARGEST),
    "step_size": Limits(float, SMALLEST, LARGEST),
    "lbfgs_memory_level": Limits(int, 1),
    "max_iterations": Limits(int, 1),
    "folds": Limits(int, 2, 1000),
}
SOLVERS = ("auto", "newton", "lbfgs", "fista", "proximal_newton")
SVM_SOLVERS = ("auto", "newton", "lbfgs")
SMOOTH_ONLY = ("newton", "lbfgs")


def create_linear(model: type[Linear], arguments: Mapping[str, Any], *, loss: Loss) -> Linear:
    """Train a model of class ``model``; collective. ``arguments``: all those of ``create``, ``kwargs`` being any it did not know."""
    began = time.perf_counter()
    group = resolve(arguments["comm"])
    with agree(group, "checking options"):
        call = check_call(arguments, loss=loss)
        memory = Memory(arguments["memory_limit"], None, group)
    target, features, options, run_options = call.target, call.features, call.options, call.run_options
    said = {"validation_set": kind_of(call.validation_set)}
    agree_on_value(group, {"target": target, "features": features, **options, **said, **run_options}, "options")
    setting = Setting(
        validation_set=call.validation_set,
        checkpoint_folder=run_options["model_checkpoint_path"],
        checkpoint_interval=run_options["model_checkpoint_interval"],
        resume=run_options["resume_from_checkpoint"],
    )
    comm = near_blocks(group, arguments["dataset"])
    table = ProgressTable([], verbose=call.verbose, comm_rank=comm.rank, total=options["max_iterations"])
    try:
        trained = train_linear(
            arguments["dataset"],
            target=target,
            features=features,
            loss=loss,
            toolkit=model.toolkit,
            options=options,
            setting=setting,
            num_threads=call.num_threads,
            comm=comm,
            table=table,
            memory=memory,
        )
    finally:
        table.close()
    run = {**describe_run(trained, training_time=time.perf_counter() - began), "options": run_options}
    return build(model, trained, target=target, options=options, run=run, comm=group)


def build(
    model: type[Linear], trained: TrainedLinear, *, target: str, options: Mapping[str, Any], run: dict[str, Any], comm: Communicator
) -> Linear:
    """The model of what was trained."""
    arrays = {"coefficients": trained.coefficients, "variances": trained.variances, **trained.design.arrays()}
    document = describe_trained(trained, toolkit=model.toolkit, target=target, options=options)
    return model(document, trained.design, arrays, run, rank=comm.rank)


@dataclass(frozen=True)
class Call:
    """A call of ``create`` whose options are right as far as one can know without the data."""

    target: str
    features: list[str] | None
    validation_set: Any
    verbose: bool
    num_threads: int | None
    options: dict[str, Any]
    run_options: dict[str, Any]


def check_call(arguments: Mapping[str, Any], *, loss: Loss) -> Call:
    """The options of a call of ``create`` as plain values; opens no data. Raises :class:`OptionError`."""
    given = {name: value for name, value in arguments.items() if name not in ("dataset", "comm", "memory_limit")}
    refuse_unknown(given.pop("kwargs"), [name for name in arguments if name not in ("dataset", "target", "kwargs")])
    target = check_column_name("target", given.pop("target"))
    features = check_features(given.pop("features"), target)
    verbose = check_flag("verbose", given.pop("verbose"))
    num_threads = check_option("num_threads", given.pop("num_threads"))
    validation_set = given.pop("validation_set")
    run_options = check_run_options({name: given.pop(name) for name in RUN_OPTIONS})
    options = check_options(given, loss=loss)
    check_columns(options, target=target, features=features)
    return Call(target, features, validation_set, verbose, num_threads, options, run_options)


def check_options(given: Mapping[str, Any], *, loss: Loss) -> dict[str, Any]:
    """The mathematical options as plain values. Raises :class:`OptionError`."""
    options: dict[str, Any] = {}
    for name, value in given.items():
        if name == "solver":
            options[name] = check_choice(name, value, SVM_SOLVERS if loss == "hinge" else SOLVERS)
        elif name == "feature_rescaling":
            options[name] = check_flag(name, value)
        elif name in ("sample_weight", "offset"):
            options[name] = None if value is None else check_column_name(name, value)
        elif name == "class_weights":
            options[name] = check_class_weights(value)
        else:
            options[name] = check_option(name, value, LIMITS)
    if options.get("l1_penalty", 0.0) > 0.0 and options["solver"] in SMOOTH_ONLY:
        raise OptionError(
            f"solver {options['solver']!r} knows no l1_penalty, got {options['l1_penalty']!r}: "
            "use solver='auto', 'proximal_newton' or 'fista'"
        )
    return options


def check_columns(options: Mapping[str, Any], *, target: str, features: list[str] | None) -> None:
    """Refuse weights and offsets that are features, the target, or each other."""
    taken = [target, *(features or [])]
    for name in ("sample_weight", "offset"):
        column = options[name]
        if column is not None and column in taken:
            raise OptionError(f"{name} must be neither the target, a feature nor another of these columns, got {column!r}")
        taken.append(column)


def describe_trained(trained: TrainedLinear, *, toolkit: str, target: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The document of a trained model: only what is the same however it was run, keys in a fixed order."""
    counts = trained.num_examples_per_class
    columns = list(trained.trace.rows[0]) if trained.trace.rows else []
    return {
        "toolkit": toolkit,
        "target": target,
        "options": {**{name: value for name, value in options.items() if name != "class_weights"}, "solver": trained.solver},
        "num_examples": trained.num_examples,
        "num_validation_examples": trained.num_validation_examples,
        "classes": trained.classes,
        "class_weights": trained.class_weights,
        "num_examples_per_class": None if counts is None or trained.classes is None else [counts[label] for label in trained.classes],
        "encoding": trained.design.to_json(),
        "training_iterations": trained.iterations,
        "training_solver_status": trained.status,
        "total_squares": trained.total_squares,
        "metrics": dict(trained.metrics),
        "progress": {"columns": columns, "rows": [list(row.values()) for row in trained.trace.rows]},
    }


def describe_run(trained: TrainedLinear, *, training_time: float) -> dict[str, Any]:
    """How a model came about: times, ranks, threads, release."""
    from engine import __version__

    return {"release": __version__, "training_time": training_time, "elapsed_time": trained.trace.seconds, **trained.run}
