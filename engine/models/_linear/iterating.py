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
    """A solver after ``number`` iterations. ``memory``: arrays, or rows of one, that with ``w`` are all it needs to go on."""

    number: int
    point: Point
    step_size: float
    passes: int
    status: str | None = None
    memory: Mapping[str, Floats | tuple[Floats, ...]] = field(default_factory=dict)


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


def find_step(line: PenalisedLine, value: float, slope: float, *, flatter: float, tried: LinePoint | None = None) -> LinePoint | None:
    """A step at which the slope's size is at most ``flatter`` times that at 0, ``slope`` < 0; None where nothing but 0 is found.

    The objective there is no higher than at 0, ``value``. ``tried``: what is known of a step already, which was not good enough.

    The objective is convex along the line, so its slope only rises, and its root is the minimum: it is enclosed by factors of 4, then by
    the secant, or the middle (geometric, where it spans orders) when that does not come near enough. Slopes suffer less from rounding
    than values do. Where the slope jumps, at the kink of an l1 penalty, it is the step before it.
    """
    bracket = Bracket(slope)
    ladder = [1 / 64.0, 1 / 16.0, 1 / 4.0, 1.0, 4.0, 16.0]
    if tried is not None:
        bracket.take(tried)
        ladder = [bracket.middle(), *((4.0, 64.0) if bracket.low else (1 / 16.0, 1 / 64.0))]
    for _ in range(MOST_LOOKS):
        points = line.look(ladder)
        good = [point for point in points if is_flat(point, value, flatter * -slope)]
        if good:
            return min(good, key=lambda point: abs(point.slope))
        for point in points:
            bracket.take(point)
        ladder = [bracket.middle()]
    return bracket.best


def is_flat(point: LinePoint, value: float, slope: float) -> bool:
    """Whether a step may be taken: its slope's size is at most ``slope``, and its value no higher than ``value``."""
    return point.is_finite and abs(point.slope) <= slope and (point.slope <= 0.0 or point.loss <= value + FLAT * abs(value))


class Bracket:
    """Two steps with the minimum between them: at ``low`` the slope is negative, at ``high``, which may be infinite, it is not."""

    def __init__(self, slope: float) -> None:
        self.low, self.low_slope = 0.0, slope
        self.high, self.high_slope = np.inf, np.inf
        self.best: LinePoint | None = None

    def take(self, point: LinePoint) -> None:
        """Tighten by what is known of a step."""
        rises = point.slope if point.is_finite else np.inf
        if rises < 0.0 and point.step > self.low:
            self.low, self.low_slope, self.best = point.step, rises, point
        elif rises >= 0.0 and point.step < self.high:
            self.high, self.high_slope = point.step, rises

    def middle(self) -> float:
        """Where to look next for a root of the slope."""
        low, high = self.low, self.high
        if not np.isfinite(high):
            return 16.0 * low
        if np.isfinite(self.high_slope):
            step = low + (high - low) * (self.low_slope / (self.low_slope - self.high_slope))
            if low + 0.1 * (high - low) <= step <= high - 0.1 * (high - low):
                return step
        if low == 0.0:
            return high / 16.0
        return float(np.sqrt(low * high)) if high > 4.0 * low else 0.5 * (low + high)
