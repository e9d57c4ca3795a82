"""FISTA: proximal gradient steps with momentum (Beck and Teboulle 2009), restarted where it leads astray (O'Donoghue and Candes 2015)."""

from __future__ import annotations

import math

import numpy as np

from engine._kernels.dense_solve import dot
from engine.models._linear.iterating import FLAT, NO_STEP, OVERFLOW, SUCCESS, Iteration, Iterations, Start, Stops, begin
from engine.models._linear.objective_protocol import Floats
from engine.models._linear.penalised import Penalised, Point, largest

SHRINK = 1.5
LEAST_STEP = 1e-300


def solve_fista(problem: Penalised, start: Start, stops: Stops) -> Iterations:
    """Minimise a smooth objective plus ``l1 |w|_1``.

    1. ``w' = prox(y - t g(y))``, t being divided by powers of 1.5 until the quadratic model at y bounds the objective at w'.
    2. ``y = w' + (a - 1) / a' (w' - w)`` with ``a' = (1 + sqrt(1 + 4 a^2)) / 2``; a = 1 again where the momentum points uphill.
    3. Until ``max |w' - w|`` and ``max |w' - y| / min(t, 1)``, the gradient's counterpart, are below ``convergence_threshold``.
    """
    number, w = start.number, start.w
    ahead = start.memory.get("ahead", w)
    size, momentum = (float(v) for v in start.memory.get("scalars", (stops.step_size, 1.0)))
    point = begin(problem, Start(ahead, number, start.passes), 1)
    if number:
        problem.passes += 1  # an interruption comes before the point ahead is looked at
    if not point.is_finite:
        yield Iteration(number, point, size, problem.passes, OVERFLOW)
        return
    status = None
    while status is None:
        number += 1
        if point.w is not ahead:
            point = problem.at(ahead, 1)
        new, size = take_step(problem, point, size)
        if new is None:
            at_rest = is_at_rest(problem, point)
            yield Iteration(number, problem.at(w, 0), size, problem.passes, SUCCESS if at_rest else NO_STEP)
            return
        moved = new.w - w
        if max(largest(moved), largest(new.w - ahead) / min(size, 1.0)) < stops.convergence_threshold:
            status = SUCCESS
        if dot(ahead - new.w, moved) > 0.0:
            momentum = 1.0
        following = 0.5 * (1.0 + math.sqrt(1.0 + 4.0 * momentum * momentum))
        ahead = new.w + ((momentum - 1.0) / following) * moved
        w, momentum = new.w, following
        memory = {"ahead": ahead, "scalars": np.array([size, momentum])}
        yield Iteration(number, new, size, problem.passes, status, memory)


def take_step(problem: Penalised, point: Point, size: float) -> tuple[Point | None, float]:
    """The proximal step from ``point`` and its size, at most ``size``; None where rounding leaves none that is any better."""
    while size > LEAST_STEP:
        w = shrink(point.w - size * point.gradient, size * problem.l1)
        move = w - point.w
        square = dot(move, move)
        if square == 0.0:
            return problem.at(w, 0), size
        new = problem.at(w, 0)
        excess = new.smooth - point.smooth - dot(point.gradient, move)
        if new.is_finite and excess <= square / (2.0 * size) + FLAT * abs(point.smooth):
            return new, size
        # along this step the objective bends by 2 excess / |move|^2: all sizes above its inverse would fail as well
        largest_size = square / (2.0 * excess) if new.is_finite else 0.0
        size /= SHRINK
        while size > largest_size > 0.0:
            size /= SHRINK
    return None, size


def shrink(w: Floats, by: Floats) -> Floats:
    """Every element nearer to 0 by ``by``, and no farther than 0."""
    return np.sign(w) * np.maximum(np.abs(w) - by, 0.0)


def is_at_rest(problem: Penalised, point: Point) -> bool:
    """Whether the subgradient is no more than rounding."""
    return largest(problem.subgradient(point)) <= FLAT * abs(point.value)
