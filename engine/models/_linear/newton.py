"""Newton's method: the minimum of the quadratic model at each point, and a shorter step where that is no better."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from engine._kernels.dense_solve import dot, factor_ldlt, multiply_symmetric, solve_ldlt
from engine.models._linear.iterating import (
    DIFFICULTIES,
    EPSILON,
    NO_STEP,
    OVERFLOW,
    SUCCESS,
    Iteration,
    Iterations,
    Start,
    Stops,
    begin,
    find_step,
    is_no_worse,
    is_rounding,
)
from engine.models._linear.objective_protocol import Floats
from engine.models._linear.penalised import Penalised, Point, largest

LARGEST_RESIDUAL = 0.1  # of the gradient: what is left of it is no step towards the minimum


def solve_newton(problem: Penalised, start: Start, stops: Stops) -> Iterations:
    """Minimise a smooth objective.

    1. Solve ``H s = -g``; coordinates that depend on others take no step.
    2. Take ``w + s`` if the objective falls enough there, else the flattest point of the line (step 3 of most problems never happens).
    3. Until ``max |g| < convergence_threshold``, or rounding hides what could still be gained.
    """
    keeps_hessian = problem.objective.is_quadratic
    point = begin(problem, start, 2)
    if keeps_hessian and start.number:
        point = replace(begin(problem, start, 1), hessian=point.hessian)
    status = status_at(point, stops)
    if status is not None:
        yield Iteration(start.number, point, 1.0, problem.passes, status)
        return
    number = start.number
    while status is None:
        number += 1
        step, residual = solve_step(point.hessian, point.gradient)
        promised = dot(point.gradient, step)
        if not (residual <= LARGEST_RESIDUAL and promised < 0.0):
            yield Iteration(number, point, 0.0, problem.passes, DIFFICULTIES)
            return
        new, size = take_step(problem, point, step, promised, order=1 if keeps_hessian else 2)
        if new is None:
            yield Iteration(number, point, 0.0, problem.passes, SUCCESS if is_rounding(point, promised) else NO_STEP)
            return
        settled = is_rounding(point, promised) and largest(new.gradient) > 0.5 * largest(point.gradient)
        point = replace(new, hessian=point.hessian) if keeps_hessian else new
        status = status_at(point, stops) or (SUCCESS if settled else None)
        yield Iteration(number, point, size, problem.passes, status)


def status_at(point: Point, stops: Stops) -> str | None:
    """Whether solving ends at a point."""
    if not point.is_finite:
        return OVERFLOW
    return SUCCESS if largest(point.gradient) < stops.convergence_threshold else None


def take_step(problem: Penalised, point: Point, step: Floats, promised: float, *, order: int) -> tuple[Point | None, float]:
    """The next point and the share of ``step`` that leads there; None if no share is any better."""
    new = problem.at(point.w + step, order)  # type: ignore[arg-type]
    if is_no_worse(new, point, promised):
        return new, 1.0
    found = find_step(problem.along(point.w, step), point.value, promised, flatter=0.5)
    if found is None:
        return None, 0.0
    new = problem.at(point.w + found.step * step, order)  # type: ignore[arg-type]
    return (new, found.step) if is_no_worse(new, point, 0.0) else (None, 0.0)


def solve_step(hessian: Floats, gradient: Floats) -> tuple[Floats, float]:
    """``s`` of ``H s = -g``, refined once, and the largest residual relative to the largest |g|."""
    factor, pivots = factor_hessian(hessian)
    step = -gradient
    solve_ldlt(factor, pivots, step)
    left = residual_of(hessian, gradient, step)
    correction = -left
    solve_ldlt(factor, pivots, correction)
    refined = step + correction
    left_refined = residual_of(hessian, gradient, refined)
    if largest(left_refined) < largest(left):
        step, left = refined, left_refined
    size = largest(gradient)
    return step, largest(left) / size if size > 0.0 else 0.0


def residual_of(hessian: Floats, gradient: Floats, step: Floats) -> Floats:
    """``H s + g``."""
    out = np.empty_like(step)
    multiply_symmetric(hessian, step, out)
    return out + gradient


def factor_hessian(hessian: Floats) -> tuple[Floats, Floats]:
    """L and D of ``H = L D L'``; D is 0 where a coordinate depends on those before it, as far as rounding can tell."""
    factor, pivots = np.array(hessian, order="C"), np.empty(len(hessian))
    tolerance = 4.0 * EPSILON * max(16, len(hessian))
    factor_ldlt(factor, pivots, tolerance * np.maximum(np.diag(hessian), 0.0))
    return factor, pivots
