"""Solving on rank 0: which solver, what every iteration leaves behind, and what the solution comes with."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from engine._kernels.dense_solve import fill_inverse_diagonal
from engine.models._linear.fista import solve_fista
from engine.models._linear.iterating import LIMIT, Iteration, Iterations, Start, Stops
from engine.models._linear.lbfgs import solve_lbfgs
from engine.models._linear.newton import factor_hessian, solve_newton
from engine.models._linear.objective_protocol import Floats, Metrics, Objective
from engine.models._linear.penalised import Penalised, Point
from engine.models._linear.proximal_newton import solve_proximal_newton
from engine.models._predicting import TIME_COLUMN

SOLVERS: Mapping[str, Callable[[Penalised, Start, Stops], Iterations]] = {
    "newton": solve_newton,
    "lbfgs": solve_lbfgs,
    "fista": solve_fista,
    "proximal_newton": solve_proximal_newton,
}
TITLES = {
    "newton": "Newton Method",
    "lbfgs": "L-BFGS",
    "fista": "Accelerated Gradient (FISTA)",
    "proximal_newton": "Proximal Newton Method",
}
WITH_HESSIAN = ("newton", "proximal_newton")
MOST_FOR_NEWTON = 10_000  # coefficients: the Hessian takes 8 bytes for each pair
AUTO_NEWTON = 500
AUTO_PROXIMAL = 2_000


def choose_solver(solver: str, *, l1: float, n_coefficients: int) -> str:
    """The solver that 'auto' stands for; others as they are."""
    if solver != "auto":
        return solver
    if l1 > 0.0:
        return "proximal_newton" if n_coefficients <= AUTO_PROXIMAL else "fista"
    return "newton" if n_coefficients <= AUTO_NEWTON else "lbfgs"


@dataclass
class Trace:
    """What iterations have left behind so far: rows of the progress table, and the seconds that each had taken."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Task:
    """What to solve: penalties, solver and stops, whether classes are predicted, and where to begin."""

    solver: str
    l1: float
    l2: float
    stops: Stops
    max_iterations: int
    is_classifier: bool
    start: Start | None = None
    status: str | None = None  # of a training that had come to its end when it was interrupted
    trace: Trace = field(default_factory=Trace)


@dataclass(frozen=True)
class Solution:
    """Coefficients in scaled space, and what is known about them."""

    w: Floats
    variances: Floats  # the diagonal of the inverse Hessian of the loss alone, NaN where a coefficient has none; empty if not asked
    status: str
    metrics: Metrics
    validation: Metrics | None
    trace: Trace
    iterations: int
    passes: int


def solve(objective: Objective, task: Task, on_iteration: Callable[[Iteration, Trace], None] | None = None) -> Solution:
    """Run the solver to its end or to ``max_iterations``. ``on_iteration`` is told of every one, once its row is in the trace."""
    problem = Penalised(objective, l1=task.l1, l2=task.l2)
    start = task.start or Start(np.zeros(objective.n_coefficients))
    began = time.perf_counter() - (task.trace.seconds[-1] if task.trace.seconds else 0.0)
    last: Iteration | None = None
    validation: Metrics | None = None
    if task.status is not None or start.number >= task.max_iterations:
        last = Iteration(start.number, look_again(problem, task.solver, start), 0.0, start.passes, task.status)
        validation = objective.measure_validation(last.point.w)
    else:
        for last in SOLVERS[task.solver](problem, start, task.stops):
            validation = objective.measure_validation(last.point.w)
            if last.number > len(task.trace.rows):
                seconds = time.perf_counter() - began
                task.trace.rows.append(progress_row(last, task, validation))
                task.trace.seconds.append(seconds)
                if on_iteration is not None:
                    on_iteration(last, task.trace)
            if last.number >= task.max_iterations:
                break
    assert last is not None
    wants_variances = task.solver == "newton" and objective.n_rows > objective.n_coefficients
    variances = variances_of(last, problem) if wants_variances else np.empty(0)
    return Solution(last.point.w, variances, last.status or LIMIT, last.point.metrics, validation, task.trace, last.number, problem.passes)


def look_again(problem: Penalised, solver: str, start: Start) -> Point:
    """The point at which an earlier run ended, as its solver had evaluated it."""
    if solver not in WITH_HESSIAN:
        return problem.at(start.w, 1 if solver == "lbfgs" else 0)
    point = problem.at(start.w, 2)
    return replace(problem.at(start.w, 1), hessian=point.hessian) if start.number and problem.objective.is_quadratic else point


def progress_row(iteration: Iteration, task: Task, validation: Metrics | None) -> dict[str, Any]:
    """A row of the progress table, without the time."""
    row: dict[str, Any] = {"Iteration": iteration.number, "Passes": iteration.passes}
    if task.solver not in WITH_HESSIAN:
        row["Step size"] = iteration.step_size
    for name in tracked(is_classifier=task.is_classifier):
        row[f"Training-{name}"] = getattr(iteration.point.metrics, name)
        if validation is not None:
            row[f"Validation-{name}"] = getattr(validation, name)
    return row


def progress_columns(solver: str, *, is_classifier: bool, has_validation: bool) -> list[str]:
    """The header of the progress table."""
    sides = ("Training", "Validation") if has_validation else ("Training",)
    metrics = [f"{side}-{name}" for name in tracked(is_classifier=is_classifier) for side in sides]
    return ["Iteration", "Passes", *([] if solver in WITH_HESSIAN else ["Step size"]), TIME_COLUMN, *metrics]


def tracked(*, is_classifier: bool) -> tuple[str, ...]:
    """The metrics that are followed during training."""
    return ("accuracy",) if is_classifier else ("max_error", "rmse")


def variances_of(last: Iteration, problem: Penalised) -> Floats:
    """The diagonal of the inverse Hessian without the penalty."""
    hessian = np.array(last.point.hessian)
    hessian[np.diag_indices(problem.n)] -= 2.0 * problem.l2
    return variances_at(hessian)


def variances_at(hessian: Floats) -> Floats:
    """The diagonal of the inverse; NaN where a coefficient depends on others, or where the Hessian is not finite."""
    if not np.isfinite(hessian).all():
        return np.full(len(hessian), math.nan)
    factor, pivots = factor_hessian(hessian)
    out = np.empty(len(hessian))
    fill_inverse_diagonal(factor, pivots, out)
    return np.where(pivots > 0.0, out, math.nan)
