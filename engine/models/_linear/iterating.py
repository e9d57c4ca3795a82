"""What solvers have in common: what an iteration hands out, how solving ends, and how far to go along a direction.

A solver is a generator of iterations. Rows of the progress table, checkpoints and validation are made of what it yields; it knows none
of them, nor rows, nor ranks. The last iteration that it yields has a ``status``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from engine.models._linear.objective_protocol import Floats, LinePoint
from engine.models._linear.penalised import Penalised, PenalisedLine, Point

SUCCESS = "SUCCESS: Optimal solution found."
LIMIT = "Completed (Iteration limit reached)."
DIFFICULTIES = "TERMINATED: Terminated due to numerical difficulties."
OVERFLOW = "TERMINATED: Terminated due to numerical overflow error. "
NO_STEP = "TERMINATED: Terminated due to numerical difficulties in line search."

ARMIJO = 1e-4  # of the decrease that the slope promises
EPSILON = float(np.finfo(np.float64).eps)
FLAT = 16.0 * EPSILON  # relative differences of sums that rounding may make
MOST_LOOKS = 20


@dataclass(frozen=True)
class Iteration:
    """A solver after ``number`` iterations. ``memory``: arrays that, with ``w``, are all it needs to go on."""

    number: int
    point: Point
    step_size: float
    passes: int
    status: str | None = None
    memory: Mapping[str, Floats] = field(default_factory=dict)


@dataclass(frozen=True)
class Start:
    """Where solving begins, or goes on after ``number`` iterations."""

    w: Floats
    number: int = 0
    passes: int = 0
    memory: Mapping[str, Floats] = field(default_factory=dict)


@dataclass(frozen=True)
class Stops:
    """What ends solving, and what solvers may be told."""

    convergence_threshold: float = 1e-2
    step_size: float = 1.0
    lbfgs_memory_level: int = 11


Iterations = Iterator[Iteration]


def begin(problem: Penalised, start: Start, evaluate_order: int) -> Point:
    """The objective where solving begins. What an interruption makes necessary to look at again is not counted as a pass."""
    point = problem.at(start.w, evaluate_order)  # type: ignore[arg-type]
    if start.number:
        problem.passes = start.passes
    return point


def is_no_worse(new: Point, old: Point, promised: float) -> bool:
    """Whether the value fell as far as ``promised``, a negative number, makes one expect; or where rounding hides that, did not rise."""
    if not new.is_finite:
        return False
    if new.value <= old.value + ARMIJO * promised:
        return True
    return -promised <= FLAT * abs(old.value) and new.value <= old.value + FLAT * abs(old.value)


def is_rounding(point: Point, promised: float) -> bool:
    """Whether a step promises less than the rounding of the value itself."""
    return -promised <= FLAT * abs(point.value)


def find_step(line: PenalisedLine, value: float, slope: float, *, flatter: float, first: float = 1.0) -> LinePoint | None:
    """A step at which the slope's size is at most ``flatter`` times that at 0, ``slope`` < 0; None where nothing but 0 is found.

    The objective there is no higher than at 0, ``value``.

    The objective is convex along the line, so its slope only rises, and its root is the minimum: it is enclosed by factors of 4, then by
    the secant, or the middle (geometric, where it spans orders) when that does not come near enough. Slopes suffer less from rounding
    than values do. Where the slope jumps, at the kink of an l1 penalty, it is the step before it.
    """
    low, low_slope, high, high_slope = 0.0, slope, np.inf, np.inf
    best = None
    step = first
    for look in range(MOST_LOOKS):
        ladder = [step] if look else [first / 64.0, first / 16.0, first / 4.0, first, first * 4.0, first * 16.0]
        for point in line.look(ladder):
            rises = point.slope if point.is_finite else np.inf
            if abs(rises) <= flatter * -slope and (rises <= 0.0 or point.loss <= value + FLAT * abs(value)):
                return point
            if rises < 0.0 and point.step > low:
                low, low_slope, best = point.step, rises, point
            elif rises >= 0.0 and point.step < high:
                high, high_slope = point.step, rises
        step = next_step(low, low_slope, high, high_slope)
    return best


def next_step(low: float, low_slope: float, high: float, high_slope: float) -> float:
    """Where to look next for a root of the slope between ``low`` and ``high``, which may be infinite."""
    if not np.isfinite(high):
        return 64.0 * low
    if np.isfinite(high_slope):
        step = low + (high - low) * (low_slope / (low_slope - high_slope))
        if low + 0.1 * (high - low) <= step <= high - 0.1 * (high - low):
            return step
    if low == 0.0:
        return high / 16.0
    return float(np.sqrt(low * high)) if high > 4.0 * low else 0.5 * (low + high)
