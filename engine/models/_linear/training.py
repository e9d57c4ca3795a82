"""Training a linear model: encode the rows, solve on rank 0 with every rank's sums, hand out the coefficients in the columns' own units."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from engine.checkpoint import find_checkpoint, share_checkpoint
from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator
from engine.collectives.exact import sum_exact, sum_parts
from engine.collectives.metered import MeteredComm
from engine.collectives.threads import resolve_threads
from engine.data.blocks import BLOCK_ROWS
from engine.data.bytes_read import describe_bytes_read
from engine.encode.design_encoding import DesignEncoding
from engine.errors import DataError, OptionError, warn
from engine.memory import Memory
from engine.models._linear.checkpoints import Place, check_checkpoint, save_iteration, start_of, trace_of
from engine.models._linear.iterating import Stops
from engine.models._linear.leading import lead
from engine.models._linear.objective_protocol import Floats, Metrics, Objective
from engine.models._linear.rows import LinearRows, make_objective, read_linear_rows
from engine.models._linear.solving import (
    MOST_FOR_NEWTON,
    TITLES,
    WITH_HESSIAN,
    Solution,
    Task,
    Trace,
    choose_solver,
    progress_columns,
    solve,
)
from engine.progress import RULE_WIDTH, ProgressTable, make_preamble

Loss = Literal["squared", "logistic", "hinge"]
NAMES: Mapping[str, str] = {"squared": "Linear regression", "logistic": "Logistic regression", "hinge": "SVM"}


@dataclass(frozen=True)
class Setting:
    """What a training is given beside the data and the mathematical options."""

    validation_set: Any = None
    checkpoint_folder: str | None = None
    checkpoint_interval: int = 5
    resume: str | None = None


@dataclass(frozen=True)
class TrainedLinear:
    """What training hands to a model; the same on every rank but for ``run``."""

    design: DesignEncoding
    coefficients: Floats  # [n_outputs, n_columns + 1], the intercept last, of columns as they are in the data
    variances: Floats  # of the same shape: the diagonal of the inverse Hessian of the loss; or [0, 0]
    classes: list[Any] | None
    num_examples: int
    num_examples_per_class: dict[Any, int] | None
    class_weights: list[float] | None
    num_validation_examples: int
    total_squares: float | None  # of a regression: weighted squares of the target about its mean
    solver: str
    status: str
    iterations: int
    metrics: dict[str, float]
    trace: Trace
    run: dict[str, Any] = field(default_factory=dict)


def train_linear(
    data: Any,
    *,
    target: str,
    features: list[str] | None,
    loss: Loss,
    toolkit: str,
    options: dict[str, Any],
    setting: Setting,
    num_threads: int | None,
    comm: Communicator,
    table: ProgressTable,
    memory: Memory,
) -> TrainedLinear:
    """Train on all ranks' rows; collective. ``options``: the mathematical ones, checked. Raises :class:`DataError` on every rank."""
    threads = resolve_threads(num_threads, comm)
    rows, objective, metered = prepare(
        data,
        target=target,
        features=features,
        loss=loss,
        options=options,
        validation_set=setting.validation_set,
        num_threads=threads,
        comm=comm,
        table=table,
        memory=memory,
    )
    with agree(comm, "choosing a solver"):
        solver = check_solver(options, objective, loss)
    place = Place(
        setting.checkpoint_folder,
        setting.checkpoint_interval,
        setting.resume,
        toolkit,
        {**options, "solver": solver, "class_weights": rows.class_weights},
        rows.fingerprint(comm) if setting.resume or setting.checkpoint_folder else {},
    )
    task = make_task(solver, options, is_classifier=loss != "squared")
    checkpoint = None
    if setting.resume is not None:
        most = options["max_iterations"]
        check = functools.partial(check_checkpoint, place=place, max_iterations=most, n_coefficients=objective.n_coefficients)
        checkpoint = share_checkpoint(comm, lambda: find_checkpoint(setting.resume or "", setting.checkpoint_folder, check))
    table.preamble(describe(rows, loss, objective.n_coefficients, solver))
    if checkpoint is not None:
        table.resumed(checkpoint.iteration)
        status = checkpoint.content["state"]["status"]
        task = make_task(
            solver, options, is_classifier=task.is_classifier, start=start_of(checkpoint), status=status, trace=trace_of(checkpoint)
        )
    columns = progress_columns(solver, is_classifier=task.is_classifier, has_validation=rows.n_validation_rows > 0)
    table.head(columns, len(task.trace.rows))

    def solve_here(objective: Objective) -> tuple[dict[str, Any], list[Floats]]:
        def on_iteration(iteration: Any, trace: Trace) -> None:
            table.row({**trace.rows[-1], columns[columns.index("Elapsed Time")]: trace.seconds[-1]})
            save_iteration(place, iteration, trace, table)

        return pack(solve(objective, task, on_iteration))

    values, arrays = lead(objective, metered, solve_here)
    table.finish()
    for line in closing(values["status"]):
        table.message(line)
    coefficients, variances = unscale(arrays[0], arrays[1], rows.design.scales, objective.n_outputs)
    counts = None if rows.classes is None or rows.counts is None else dict(zip(rows.classes, rows.counts, strict=True))
    return TrainedLinear(
        design=rows.design,
        coefficients=coefficients,
        variances=variances,
        classes=rows.classes,
        num_examples=rows.n_rows,
        num_examples_per_class=counts,
        class_weights=rows.class_weights,
        num_validation_examples=rows.n_validation_rows,
        total_squares=sum_squares_about_mean(rows, comm) if loss == "squared" else None,
        solver=solver,
        status=values["status"],
        iterations=values["iterations"],
        metrics=values["metrics"],
        trace=Trace(values["rows"], values["seconds"]),
        run={
            "n_ranks": comm.size,
            "num_threads": threads,
            "communication": comm.gather_objects(metered.account, name="account of communication"),
            "bytes_read": describe_bytes_read(comm),
        },
    )


def prepare(
    data: Any,
    *,
    target: str,
    features: list[str] | None,
    loss: Loss,
    options: Mapping[str, Any],
    validation_set: Any,
    num_threads: int,
    comm: Communicator,
    table: ProgressTable,
    memory: Memory,
) -> tuple[LinearRows, Any, MeteredComm]:
    """Rows, the objective over them, and the communicator that counts what it sends; collective."""
    rows = read_linear_rows(
        data,
        target=target,
        features=features,
        task="regression" if loss == "squared" else "classifier",
        sample_weight=options["sample_weight"],
        offset=options["offset"],
        class_weights=options.get("class_weights"),
        feature_rescaling=options["feature_rescaling"],
        validation_set=validation_set,
        random_seed=options["random_seed"],
        num_threads=num_threads,
        comm=comm,
        table=table,
        memory=memory,
    )
    n_classes = len(rows.classes or [])
    with agree(comm, "reading the target"):
        if loss == "hinge" and n_classes > 2:
            raise DataError(f"target {target!r} has {n_classes} classes, expected 2 for an SVM; use logistic_classifier for more")
        if options["offset"] is not None and n_classes > 2:
            raise OptionError(f"offset is for numbers and two classes, got {options['offset']!r} for {n_classes} classes: leave it out")
    metered = MeteredComm(comm)
    objective = make_objective(rows, loss=loss, comm=metered, num_threads=num_threads)
    if objective.n_coefficients >= rows.n_rows and comm.rank == 0:
        warn(
            f"the model has {objective.n_coefficients} coefficients for {rows.n_rows} rows: it can fit them by chance; "
            "use more rows, fewer features or a larger penalty"
        )
    return rows, objective, metered


def check_solver(options: Mapping[str, Any], objective: Objective, loss: Loss) -> str:
    """The solver to use; 'auto' takes L-BFGS for a hinge, which has next to no curvature where training begins.

    Raises :class:`OptionError` for one whose Hessian would be too large.
    """
    n = objective.n_coefficients
    wanted = "lbfgs" if loss == "hinge" and options["solver"] == "auto" else options["solver"]
    solver = choose_solver(wanted, l1=options.get("l1_penalty", 0.0), n_coefficients=n)
    if solver in WITH_HESSIAN and n > MOST_FOR_NEWTON:
        other = "fista" if solver == "proximal_newton" else "lbfgs"
        raise OptionError(f"solver {solver!r} is for at most {MOST_FOR_NEWTON} coefficients, got {n}: use solver={other!r} or 'auto'")
    return solver


def make_task(solver: str, options: Mapping[str, Any], *, is_classifier: bool, **more: Any) -> Task:
    """What to solve, of the options. The penalty of an SVM is C: it stands for ``|w|^2 / (2 C)``."""
    stops = Stops(
        convergence_threshold=options["convergence_threshold"],
        step_size=options.get("step_size", 1.0),
        lbfgs_memory_level=options["lbfgs_memory_level"],
    )
    l2 = 0.5 / options["penalty"] if "penalty" in options else options["l2_penalty"]
    return Task(solver, options.get("l1_penalty", 0.0), l2, stops, options["max_iterations"], is_classifier, **more)


def pack(solution: Solution) -> tuple[dict[str, Any], list[Floats]]:
    """A solution as rank 0 tells it to the others."""
    values = {
        "status": solution.status,
        "iterations": solution.iterations,
        "metrics": {**metrics_of("training", solution.metrics), **metrics_of("validation", solution.validation)},
        "rows": solution.trace.rows,
        "seconds": solution.trace.seconds,
    }
    return values, [solution.w, solution.variances]


def metrics_of(side: str, metrics: Metrics | None) -> dict[str, float]:
    """The metrics of training or validation rows by name."""
    if metrics is None:
        return {}
    return {f"{side}_{name}": getattr(metrics, name) for name in ("accuracy", "loss", "max_error", "rmse")}


def unscale(w: Floats, variances: Floats, scales: Floats, n_outputs: int) -> tuple[Floats, Floats]:
    """Coefficients and variances of columns as they are in the data, [n_outputs, n_columns + 1]."""
    divisors = np.append(scales, 1.0)
    coefficients = w.reshape(n_outputs, -1) / divisors
    if not len(variances):
        return coefficients, np.empty((0, 0))
    return coefficients, variances.reshape(n_outputs, -1) / (divisors * divisors)


def sum_squares_about_mean(rows: LinearRows, comm: Communicator) -> float:
    """The weighted sum of squares of the target about its weighted mean, exact over ranks; collective."""
    y, weights, heaviest = rows.y, rows.weights, rows.training.largest_weight
    total = float(rows.n_rows) if weights is None else sum_exact(comm, weights, bound=heaviest, name="mean of the target")
    weighted = sum_exact(comm, y if weights is None else y * weights, bound=heaviest * rows.training.largest_y, name="mean of the target")
    mean = weighted / total if total > 0.0 else 0.0
    farthest = np.array([max(y.max() - mean, mean - y.min()) if len(y) else 0.0])
    comm.allreduce_max(farthest, name="squares of the target")

    def squares() -> Iterator[Floats]:
        for begin in range(0, len(y), BLOCK_ROWS):
            part = y[begin : begin + BLOCK_ROWS] - mean
            part *= part
            yield part if weights is None else part * weights[begin : begin + BLOCK_ROWS]

    return sum_parts(comm, squares(), bound=heaviest * float(farthest[0]) ** 2, name="squares of the target")


def describe(rows: LinearRows, loss: Loss, n_coefficients: int, solver: str) -> list[str]:
    """The lines above the progress table."""
    counts = {"Number of examples": rows.n_rows}
    if rows.classes is not None:
        counts["Number of classes"] = len(rows.classes)
    counts["Number of feature columns" if rows.classes is not None else "Number of features"] = len(rows.design.encoding.sources)
    counts["Number of unpacked features"] = len(rows.design.encoding.unpacked_features)
    counts["Number of coefficients"] = n_coefficients
    tuning = ["Tuning step size. First iteration could take longer than subsequent iterations."] if solver == "fista" else []
    return [*make_preamble(NAMES[loss], counts), f"Starting {TITLES[solver]}", "-" * RULE_WIDTH, *tuning]


def closing(status: str) -> list[str]:
    """The lines below the table."""
    if status.startswith("SUCCESS"):
        return [status]
    if status.startswith("Completed"):
        return [status, "This model may not be optimal. To improve it, increase max_iterations."]
    return [
        status,
        "This model may not be optimal. To improve it, use feature_rescaling or a larger penalty, or remove features that repeat others.",
    ]
