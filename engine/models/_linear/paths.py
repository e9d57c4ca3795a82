"""Many penalties at once: a path of models with warm starts, and cross-validation of least squares from sums of folds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from engine.collectives.agree import agree, agree_on_value
from engine.collectives.communicator import Communicator
from engine.collectives.default import resolve
from engine.collectives.threads import resolve_threads
from engine.data.placement import near_blocks
from engine.errors import OptionError
from engine.memory import Memory
from engine.models._linear.creating import LIMITS, build, check_columns, check_options
from engine.models._linear.iterating import SUCCESS, Start
from engine.models._linear.leading import lead
from engine.models._linear.model import LinearModel
from engine.models._linear.objective_protocol import Floats, Objective
from engine.models._linear.quadratic import Quadratic
from engine.models._linear.rows import LinearRows
from engine.models._linear.solving import MOST_FOR_NEWTON, Trace, choose_solver, solve, variances_at
from engine.models._linear.training import Loss, TrainedLinear, make_task, metrics_of, pack, prepare, sum_squares_about_mean, unscale
from engine.models._options import check_column_name, check_features, check_flag, check_option, kind_of
from engine.progress import ProgressTable

Linear = TypeVar("Linear", bound=LinearModel)
Pair = tuple[float, float]  # l1 and l2


@dataclass(frozen=True)
class RegularizationPath:
    """Models for a grid of penalties, in the order in which they were asked for.

    ``table`` has a row for each: l1_penalty, l2_penalty, num_nonzero (coefficients that are not 0, intercepts not counted), training_loss
    (without penalty), the metrics of training and validation rows, solver_status, iterations and passes so far.
    """

    table: pa.Table
    models: list[Any]


@dataclass(frozen=True)
class Asked:
    """The arguments of a path, checked."""

    target: str
    features: list[str] | None
    options: dict[str, Any]
    pairs: list[Pair]
    validation_set: Any
    verbose: bool
    num_threads: int
    comm: Communicator
    memory: Memory

    def prepare(self, dataset: Any, loss: Loss) -> tuple[LinearRows, Any, Communicator]:
        """Rows, their objective and the communicator that counts; collective."""
        table = ProgressTable([], verbose=False, comm_rank=self.comm.rank)
        return prepare(
            dataset,
            target=self.target,
            features=self.features,
            loss=loss,
            options=self.options,
            validation_set=self.validation_set,
            num_threads=self.num_threads,
            comm=self.comm,
            table=table,
            memory=self.memory,
        )


def check_path_arguments(arguments: Mapping[str, Any], *, loss: Loss) -> Asked:
    """Check the arguments and agree on them; collective. Raises :class:`OptionError`."""
    given = dict(arguments)
    comm = resolve(given.pop("comm"))
    dataset = given.pop("dataset")
    threads = 1
    with agree(comm, "checking options"):
        target = check_column_name("target", given.pop("target"))
        features = check_features(given.pop("features"), target)
        num_threads = check_option("num_threads", given.pop("num_threads"))
        pairs = check_pairs(given.pop("l1_penalties"), given.pop("l2_penalties"))
        verbose = check_flag("verbose", given.pop("verbose", False))
        validation_set = given.pop("validation_set", None)
        memory = Memory(given.pop("memory_limit"), None, comm)
        options = check_options(given, loss=loss)
        check_columns(options, target=target, features=features)
    threads = resolve_threads(num_threads, comm)
    said = {"target": target, "features": features, **options, "penalties": pairs, "validation_set": kind_of(validation_set)}
    agree_on_value(comm, said, "options")
    return Asked(target, features, options, pairs, validation_set, verbose, threads, near_blocks(comm, dataset), memory)


def check_pairs(l1: Any, l2: Any) -> list[Pair]:
    """Every l1 penalty with every l2 penalty, in the order given."""
    lists = []
    for name, values in (("l1_penalties", l1), ("l2_penalties", l2)):
        if isinstance(values, (str, bytes)) or not hasattr(values, "__len__") or not len(values):
            raise OptionError(f"{name} must be a list of one number or more, got {values!r}")
        lists.append([check_option(name.replace("ies", "y"), value, LIMITS) for value in values])
    return list(itertools.product(*lists))


def by_size(pairs: Sequence[Pair]) -> list[int]:
    """The places of pairs from the largest penalties to the smallest, so that each solution is near the one before."""
    return sorted(range(len(pairs)), key=lambda place: (-pairs[place][0], -pairs[place][1], place))


def create_path(model: type[Linear], arguments: Mapping[str, Any], *, loss: Loss) -> RegularizationPath:
    """Models for every pair of penalties; collective."""
    asked = check_path_arguments(arguments, loss=loss)
    rows, objective, metered = asked.prepare(arguments["dataset"], loss)
    solve_all = solve_from_sums if loss == "squared" and objective.n_coefficients <= MOST_FOR_NEWTON else solve_each
    values, arrays = lead(objective, metered, lambda leading: solve_all(leading, asked, is_classifier=loss != "squared"))
    total = sum_squares_about_mean(rows, asked.comm) if loss == "squared" else None
    counts = None if rows.classes is None or rows.counts is None else dict(zip(rows.classes, rows.counts, strict=True))
    models, table = [], []
    for place, (l1, l2) in enumerate(asked.pairs):
        found = values["solutions"][place]
        coefficients, variances = unscale(arrays[2 * place], arrays[2 * place + 1], rows.design.scales, objective.n_outputs)
        trained = TrainedLinear(
            design=rows.design,
            coefficients=coefficients,
            variances=variances,
            classes=rows.classes,
            num_examples=rows.n_rows,
            num_examples_per_class=counts,
            class_weights=rows.class_weights,
            num_validation_examples=rows.n_validation_rows,
            total_squares=total,
            solver=found["solver"],
            status=found["status"],
            iterations=found["iterations"],
            metrics=found["metrics"],
            trace=Trace(found["rows"], found["seconds"]),
            run={"n_ranks": asked.comm.size, "num_threads": asked.num_threads},
        )
        options = {**asked.options, "l1_penalty": l1, "l2_penalty": l2}
        models.append(build(model, trained, target=asked.target, options=options, run={"options": None, **trained.run}, comm=asked.comm))
        n_nonzero = int(np.count_nonzero(coefficients[:, :-1]))
        table.append({"l1_penalty": l1, "l2_penalty": l2, "num_nonzero": n_nonzero, **shown(found["metrics"], loss), **ending(found)})
    return RegularizationPath(pa.Table.from_pylist(table), models)


def shown(metrics: Mapping[str, float], loss: Loss) -> dict[str, float]:
    """The metrics that a path's table has."""
    names = ("loss", "rmse") if loss == "squared" else ("loss", "accuracy")
    return {name: value for name, value in metrics.items() if name.partition("_")[2] in names}


def ending(found: Mapping[str, Any]) -> dict[str, Any]:
    """How a solution came about."""
    return {"solver_status": found["status"], "iterations": found["iterations"], "passes": found["passes"]}


def solve_from_sums(objective: Objective, asked: Asked, *, is_classifier: bool) -> tuple[dict[str, Any], list[Floats]]:
    """Least squares for all penalties from one pass over the data; on rank 0."""
    del is_classifier
    n = objective.n_coefficients
    sums = Quadratic.of([objective.evaluate(np.zeros(n), 2)])
    weighted = np.where(objective.is_intercept, 0.0, 1.0)
    wants = objective.n_rows > n
    solutions: dict[int, dict[str, Any]] = {}
    arrays: dict[int, list[Floats]] = {}
    w = np.zeros(n)
    for place in by_size(asked.pairs):
        l1, l2 = asked.pairs[place]
        w = sums.minimize(l1 * weighted, l2 * weighted, w)
        metrics = {"training_loss": sums.value(w), "training_rmse": sums.rmse(w)}
        metrics |= metrics_of("validation", objective.measure_validation(w))
        solver = choose_solver(asked.options["solver"], l1=l1, n_coefficients=1)
        ended = {"status": SUCCESS, "iterations": 1, "passes": 1}
        solutions[place] = {"solver": solver, **ended, "metrics": metrics, "rows": [], "seconds": []}
        arrays[place] = [w, variances_at(sums.hessian) if wants and l1 == 0.0 else np.empty(0)]
    places = range(len(asked.pairs))
    return {"solutions": [solutions[place] for place in places]}, [array for place in places for array in arrays[place]]


def solve_each(objective: Objective, asked: Asked, *, is_classifier: bool) -> tuple[dict[str, Any], list[Floats]]:
    """One solver after the other, each from where the last one ended; on rank 0."""
    solutions: dict[int, dict[str, Any]] = {}
    arrays: dict[int, list[Floats]] = {}
    w, passes = np.zeros(objective.n_coefficients), 0
    for place in by_size(asked.pairs):
        l1, l2 = asked.pairs[place]
        solver = choose_solver(asked.options["solver"], l1=l1, n_coefficients=objective.n_coefficients)
        task = make_task(solver, {**asked.options, "l1_penalty": l1, "l2_penalty": l2}, is_classifier=is_classifier)
        solution = solve(objective, replace(task, start=Start(w)))
        values, found = pack(solution)
        passes += solution.passes
        solutions[place] = {"solver": solver, "passes": passes, **values}
        arrays[place], w = found, solution.w
    places = range(len(asked.pairs))
    return {"solutions": [solutions[place] for place in places]}, [array for place in places for array in arrays[place]]


def cross_validate_squares(arguments: Mapping[str, Any]) -> pa.Table:
    """Errors of least squares on rows that were left out, for every pair of penalties; collective."""
    given = dict(arguments)
    comm = resolve(given["comm"])
    folds = 0
    with agree(comm, "checking options"):
        folds = check_option("folds", given.pop("folds"), LIMITS)
    agree_on_value(comm, {"folds": folds}, "options")
    fixed = {"solver": "auto", "convergence_threshold": 1e-2, "lbfgs_memory_level": 11, "max_iterations": 10}
    asked = check_path_arguments({**given, **fixed}, loss="squared")
    _, objective, metered = asked.prepare(arguments["dataset"], "squared")
    with agree(comm, "choosing a solver"):
        if objective.n_coefficients > MOST_FOR_NEWTON:
            raise OptionError(f"cross_validate is for at most {MOST_FOR_NEWTON} coefficients, got {objective.n_coefficients}")
    values, _ = lead(objective, metered, lambda leading: (validate_folds(leading, asked, folds), []))
    return pa.Table.from_pylist([summarize(pair, errors) for pair, errors in zip(asked.pairs, values["errors"], strict=True)])


def validate_folds(objective: Objective, asked: Asked, folds: int) -> dict[str, Any]:
    """The root-mean-square error on each fold of the model of the others, for every pair of penalties; on rank 0."""
    n = objective.n_coefficients
    parts = objective.evaluate_folds(np.zeros(n), folds, asked.options["random_seed"])
    weighted = np.where(objective.is_intercept, 0.0, 1.0)
    errors: list[list[float]] = [[] for _ in asked.pairs]
    for fold, left_out in enumerate(parts):
        others = Quadratic.of(part for number, part in enumerate(parts) if number != fold)
        own = Quadratic.of([left_out])
        w = np.zeros(n)
        for place in by_size(asked.pairs):
            l1, l2 = asked.pairs[place]
            w = others.minimize(l1 * weighted, l2 * weighted, w)
            errors[place].append(own.rmse(w))
    return {"errors": errors}


def summarize(pair: Pair, errors: Sequence[float]) -> dict[str, Any]:
    """A row of the table of :func:`cross_validate_squares`."""
    known = [error for error in errors if not math.isnan(error)]  # a fold may have no row
    mean = math.fsum(known) / len(known) if known else math.nan
    spread = math.sqrt(math.fsum((e - mean) ** 2 for e in known) / (len(known) - 1) / len(known)) if len(known) > 1 else math.nan
    return {"l1_penalty": pair[0], "l2_penalty": pair[1], "rmse": mean, "rmse_stderr": spread, "rmse_of_folds": list(errors)}
