"""Proximal Newton: the l1 penalty with a quadratic model of the rest, solved by coordinate descent (Friedman, Hastie, Tibshirani 2010)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from engine._kernels.dense_solve import dot, multiply_symmetric, sweep_coordinates
from engine.models._linear.iterating import (
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
from engine.models._linear.newton import solve_step
from engine.models._linear.objective_protocol import Floats
from engine.models._linear.penalised import Penalised, Point, largest

ROUNDS = 100  # of sweeps over all coordinates
SWEEPS = 10  # over those that are not 0, in a round
SETTLED = 1e-30  # of the value: coordinates whose steps bring less have settled


def solve_proximal_newton(problem: Penalised, start: Start, stops: Stops) -> Iterations:
    """Minimise a smooth objective plus ``l1 |w|_1``.

    1. Minimise ``g's + s'Hs / 2 + l1 |w + s|_1``.
    2. Take ``w + s`` if the objective falls enough there, else the flattest point on the way
    3. Until the largest element of the shortest subgradient is below ``convergence_threshold``, or rounding hides what could be gained.
    """
    keeps_hessian = problem.objective.is_quadratic
    point = begin(problem, start, 2)
    if keeps_hessian and start.number:
        point = replace(begin(problem, start, 1), hessian=point.hessian)
    status = status_at(problem, point, stops)
    if status is not None:
        yield Iteration(start.number, point, 1.0, problem.passes, status)
        return
    number = start.number
    while status is None:
        number += 1
        target = minimize_model(point.hessian, point.gradient, point.w, problem.l1)
        promised = dot(point.gradient, target - point.w) + (problem.l1_of(target) - problem.l1_of(point.w))
        new, size = (None, 0.0) if promised >= 0.0 else take_step(problem, point, target, promised, order=1 if keeps_hessian else 2)
        if new is None:
            yield Iteration(number, point, 0.0, problem.passes, SUCCESS if is_rounding(point, promised) else NO_STEP)
            return
        before, after = (largest(problem.subgradient(each)) for each in (point, new))
        settled = is_rounding(point, promised) and after > 0.5 * before
        point = replace(new, hessian=point.hessian) if keeps_hessian else new
        status = status_at(problem, point, stops) or (SUCCESS if settled else None)
        yield Iteration(number, point, size, problem.passes, status)


def status_at(problem: Penalised, point: Point, stops: Stops) -> str | None:
    """Whether solving ends at a point."""
    if not point.is_finite:
        return OVERFLOW
    return SUCCESS if largest(problem.subgradient(point)) < stops.convergence_threshold else None


def take_step(problem: Penalised, point: Point, target: Floats, promised: float, *, order: int) -> tuple[Point | None, float]:
    """The next point and the share of the way to ``target``; None if no share is any better."""
    new = problem.at(target, order)  # type: ignore[arg-type]
    if is_no_worse(new, point, promised):
        return new, 1.0
    found = find_step(problem.along(point.w, target - point.w), point.value, promised, flatter=0.5)
    if found is None:
        return None, 0.0
    new = problem.at(point.w + found.step * (target - point.w), order)  # type: ignore[arg-type]
    return (new, found.step) if is_no_worse(new, point, 0.0) else (None, 0.0)


def minimize_model(hessian: Floats, gradient: Floats, w: Floats, penalty: Floats) -> Floats:
    """The x that minimises ``g'(x - w) + (x - w)'H(x - w) / 2 + sum penalty |x|``.

    Coordinate descent finds which coordinates are 0 and the signs of the others; these given, the rest is a system of equations, which
    is solved directly and kept if signs and optimality hold.
    """
    x, slope = w.copy(), gradient.copy()
    every = np.arange(len(w), dtype=np.int64)
    scale = 0.0
    for _ in range(ROUNDS):
        gained = sweep_coordinates(hessian, every, penalty, slope, x)
        scale = max(scale, gained)
        active = np.flatnonzero((x != 0.0) | (penalty == 0.0)).astype(np.int64)
        for _ in range(SWEEPS):
            if sweep_coordinates(hessian, active, penalty, slope, x) <= SETTLED * scale:
                break
        exact = solve_active(hessian, gradient, w=w, penalty=penalty, x=x, slope=slope)
        if exact is not None:
            return exact
        if gained <= SETTLED * scale:
            break
    return x


def solve_active(hessian: Floats, gradient: Floats, *, w: Floats, penalty: Floats, x: Floats, slope: Floats) -> Floats | None:
    """The minimum among the coordinates that are not 0 or have no penalty, if it is that among all; else None."""
    active = np.flatnonzero((x != 0.0) | (penalty == 0.0))
    if not len(active):
        return None if np.any(np.abs(slope) > penalty) else x
    signs = np.sign(x)
    step, residual = solve_step(np.ascontiguousarray(hessian[np.ix_(active, active)]), (slope + penalty * signs)[active])
    if residual > 1e-3:
        return None
    found = x.copy()
    found[active] += step
    if np.any((np.sign(found) != signs) & (penalty > 0.0)):
        return None
    now = np.empty_like(x)
    multiply_symmetric(hessian, found - w, now)
    idle = (found == 0.0) & (penalty > 0.0)
    return found if np.all(np.abs(gradient + now)[idle] <= penalty[idle] * (1.0 + 1e-12)) else None
