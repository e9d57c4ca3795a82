"""L-BFGS: a direction from the last few steps and changes of the gradient (Nocedal and Wright 2006, algorithms 7.4 and 7.5)."""

from __future__ import annotations

from engine._kernels.dense_solve import dot
from engine.models._linear.iterating import (
    EPSILON,
    NO_STEP,
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
from engine.models._linear.newton import status_at
from engine.models._linear.objective_protocol import Floats, LinePoint
from engine.models._linear.penalised import Penalised, Point, largest

FLATTER = 0.9  # of the slope at the beginning of a line: the strong Wolfe condition
SEARCHED = 0.3  # where a line is searched, which costs more than to step on


def solve_lbfgs(problem: Penalised, start: Start, stops: Stops) -> Iterations:
    """Minimise a smooth objective.

    1. ``d = -B g`` by the two-loop recursion over at most ``lbfgs_memory_level`` pairs, from a diagonal D^-1: about that of the Hessian
       at 0, so that columns of unlike size are no hindrance; ``-D^-1 g`` scaled to 1 without any.
    2. ``w + d`` if it meets the strong Wolfe conditions, else the step that the line search finds.
    3. Until ``max |g| < convergence_threshold``, or rounding hides what could still be gained.
    """
    point = begin(problem, start, 1)
    diagonal = problem.objective.curvatures + 2.0 * problem.l2
    steps, changes = (list(start.memory.get(name, ())) for name in ("steps", "changes"))
    status = status_at(point, stops)
    if status is not None:
        yield Iteration(start.number, point, 1.0, problem.passes, status)
        return
    number = start.number
    while status is None:
        number += 1
        direction = apply_inverse(point.gradient, steps, changes, diagonal)
        new, size = search(problem, point, direction, has_scale=bool(steps))
        if new is None and steps:  # what is remembered may mislead near the optimum
            steps, changes = [], []
            direction = apply_inverse(point.gradient, steps, changes, diagonal)
            new, size = search(problem, point, direction, has_scale=False)
        if new is None:
            settled = is_rounding(point, dot(point.gradient, direction))
            yield Iteration(number, point, 0.0, problem.passes, SUCCESS if settled else NO_STEP)
            return
        remember(steps, changes, new, point, stops.lbfgs_memory_level)
        point = new
        status = status_at(point, stops)
        yield Iteration(number, point, size, problem.passes, status, {"steps": tuple(steps), "changes": tuple(changes)})


def search(problem: Penalised, point: Point, direction: Floats, *, has_scale: bool) -> tuple[Point | None, float]:
    """The next point and its step along ``direction``; None if none is better. A direction that ``has_scale`` is tried as it is first."""
    slope = dot(point.gradient, direction)
    if not slope < 0.0:
        return None, 0.0
    tried: LinePoint | None = None
    if has_scale:
        new = problem.at(point.w + direction, 1)
        tried = LinePoint(1.0, new.value, dot(new.gradient, direction), new.is_finite)
        if is_no_worse(new, point, slope) and abs(tried.slope) <= FLATTER * -slope:
            return new, 1.0
        del new  # its memory: the search has vectors and margins of its own
    found = find_step(problem.along(point.w, direction), point.value, slope, flatter=SEARCHED, tried=tried)
    if found is None:
        return None, 0.0
    new = problem.at(point.w + found.step * direction, 1)
    return (new, found.step) if is_no_worse(new, point, 0.0) else (None, 0.0)


def apply_inverse(gradient: Floats, steps: list[Floats], changes: list[Floats], diagonal: Floats) -> Floats:
    """``-B g``, B being the approximate inverse Hessian of the pairs ``s``, ``y``, the latest last, that begins as a multiple of D^-1."""
    if not steps:
        direction = -gradient / diagonal
        return direction / max(largest(direction), EPSILON)
    q = gradient.copy()
    shares = []
    for s, y in zip(reversed(steps), reversed(changes), strict=True):
        share = dot(s, q) / dot(s, y)
        shares.append(share)
        q -= share * y
    s, y = steps[-1], changes[-1]
    q /= diagonal
    q *= dot(s, y) / dot(y, y / diagonal)
    for s, y, share in zip(steps, changes, reversed(shares), strict=True):
        q += (share - dot(y, q) / dot(s, y)) * s
    return -q


def remember(steps: list[Floats], changes: list[Floats], new: Point, old: Point, memory_level: int) -> None:
    """Take in a pair whose curvature is positive, and forget what is too long ago."""
    s, y = new.w - old.w, new.gradient - old.gradient
    if dot(s, y) > EPSILON * dot(y, y):
        steps.append(s)
        changes.append(y)
        del steps[:-memory_level], changes[:-memory_level]
