"""One rank solves, the others follow: a solver runs on rank 0, and what it asks of the objective every rank takes part in.

So no decision of a solver can differ between ranks, whatever their processors: the points that it asks about are broadcast as bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.collectives.agree import raise_on_all
from engine.collectives.communicator import Communicator
from engine.encode.features import Floats
from engine.models._linear.objective import SumLine, SumObjective
from engine.models._linear.objective_protocol import Evaluation, LinePoint, Metrics, Objective, Order

STOP, EVALUATE, FOLDS, VALIDATE, MULTIPLY, SEARCH, LOOK = range(7)
COMMAND = "linear: what the solver asks"

Solved = tuple[dict[str, Any], list[Floats]]


def lead(objective: SumObjective, comm: Communicator, solve: Callable[[Objective], Solved]) -> Solved:
    """Run ``solve`` on rank 0, the other ranks following; returns on every rank what it returned, JSON-able values and arrays. Collective.

    An exception of ``solve`` is every rank's error. ``solve`` may use no collective but through the objective that it gets.
    """
    if comm.size == 1:
        return solve(objective)
    solved: Solved | None = None
    failure: Exception | None = None
    if comm.rank == 0:
        leader = LeadingObjective(objective, comm)
        try:
            solved = solve(leader)
        except Exception as error:
            failure = error
        if failure is not None and leader.is_broken(failure):
            raise failure
        leader.command(STOP)
    else:
        follow(objective, comm)
    raise_on_all(comm, failure, "solving")
    return share(comm, solved)


def follow(objective: SumObjective, comm: Communicator) -> None:
    """Take part in whatever rank 0 asks, until it stops."""
    lines: list[SumLine] = []
    while True:
        operation, first, second, length = receive(comm)
        if operation == STOP:
            return
        values = np.empty(length)
        comm.broadcast(values, name=COMMAND)
        n = objective.n_coefficients
        if operation == EVALUATE:
            objective.evaluate(values, order_of(first))
        elif operation == FOLDS:
            objective.evaluate_folds(values, first, second)
        elif operation == VALIDATE:
            objective.measure_validation(values)
        elif operation == MULTIPLY:
            objective.multiply_hessian(values[:n], values[n:].reshape(-1, n))
        elif operation == SEARCH:
            lines = [objective.search_line(values[:n], values[n:])]
        else:
            objective.look(lines[0], values.tolist())


def order_of(number: int) -> Order:
    """An order of derivatives, as a number that came from rank 0."""
    return 0 if number == 0 else 1 if number == 1 else 2


def receive(comm: Communicator) -> tuple[int, int, int, int]:
    """The next command."""
    header = np.empty(4, dtype=np.int64)
    comm.broadcast(header, name=COMMAND)
    operation, first, second, length = header.tolist()
    return operation, first, second, length


def share(comm: Communicator, solved: Solved | None) -> Solved:
    """Rank 0's result on every rank, arrays as bytes."""
    text = json.dumps([solved[0], [list(array.shape) for array in solved[1]]]).encode() if solved is not None else b""
    arrays = solved[1] if solved is not None else []
    parts = [np.ascontiguousarray(array, dtype=np.float64).reshape(-1).view(np.uint8) for array in arrays]
    message = np.concatenate([np.frombuffer(text, dtype=np.uint8), *parts])
    sizes = np.array([len(text), len(message)], dtype=np.int64)
    comm.broadcast(sizes, name="linear: the solution")
    whole: NDArray[np.uint8] = message if comm.rank == 0 else np.empty(int(sizes[1]), dtype=np.uint8)
    comm.broadcast(whole, name="linear: the solution")
    values, shapes = json.loads(whole[: sizes[0]].tobytes())
    numbers = np.frombuffer(whole[sizes[0] :].tobytes(), dtype=np.float64)
    received, at = [], 0
    for shape in shapes:
        size = int(np.prod(shape))
        received.append(numbers[at : at + size].reshape(shape).copy())
        at += size
    return values, received


class LeadingObjective:
    """The objective as rank 0's solver sees it: every question is told to the other ranks first."""

    def __init__(self, objective: SumObjective, comm: Communicator) -> None:
        self._objective, self._comm = objective, comm
        self._line: SumLine | None = None
        self._collective_error: Exception | None = None

    @property
    def n_outputs(self) -> int:
        """See the protocol."""
        return self._objective.n_outputs

    @property
    def n_coefficients(self) -> int:
        """See the protocol."""
        return self._objective.n_coefficients

    @property
    def is_intercept(self) -> NDArray[np.bool_]:
        """See the protocol."""
        return self._objective.is_intercept

    @property
    def n_rows(self) -> int:
        """See the protocol."""
        return self._objective.n_rows

    @property
    def is_quadratic(self) -> bool:
        """See the protocol."""
        return self._objective.is_quadratic

    @property
    def curvatures(self) -> Floats:
        """See the protocol."""
        return self._objective.curvatures

    @property
    def passes(self) -> int:
        """See the protocol."""
        return self._objective.passes

    def evaluate(self, w: Floats, order: Order) -> Evaluation:
        """See the protocol."""
        point = self.command(EVALUATE, order, 0, w)
        return self._together(lambda: self._objective.evaluate(point, order))

    def evaluate_folds(self, w: Floats, n_folds: int, seed: int) -> Sequence[Evaluation]:
        """See the protocol."""
        point = self.command(FOLDS, n_folds, seed, w)
        return self._together(lambda: self._objective.evaluate_folds(point, n_folds, seed))

    def measure_validation(self, w: Floats) -> Metrics | None:
        """See the protocol."""
        if self._objective.validation is None:
            return None
        point = self.command(VALIDATE, 0, 0, w)
        return self._together(lambda: self._objective.measure_validation(point))

    def multiply_hessian(self, w: Floats, vectors: Floats) -> Floats:
        """See the protocol."""
        n = self.n_coefficients
        values = self.command(MULTIPLY, 0, 0, np.concatenate([w, np.asarray(vectors, dtype=np.float64).reshape(-1)]))
        return self._together(lambda: self._objective.multiply_hessian(values[:n], values[n:].reshape(-1, n)))

    def search_line(self, w: Floats, direction: Floats) -> LeadingLine:
        """See the protocol."""
        n = self.n_coefficients
        values = self.command(SEARCH, 0, 0, np.concatenate([w, direction]))
        self._line = self._together(lambda: self._objective.search_line(values[:n], values[n:]))
        return LeadingLine(self, self._line)

    def look(self, line: SumLine, steps: Sequence[float]) -> list[LinePoint]:
        """The objective at steps along the last line; the others keep no older one."""
        if line is not self._line:
            raise ValueError("expected to look along the line that was prepared last, got an older one")
        values = self.command(LOOK, 0, 0, np.array(steps, dtype=np.float64)).tolist()
        return self._together(lambda: self._objective.look(line, values))

    def command(self, operation: int, first: int = 0, second: int = 0, values: Floats | None = None) -> Floats:
        """Tell the other ranks what comes; returns the values that they got."""
        sent = np.empty(0) if values is None else np.array(values, dtype=np.float64)
        self._comm.broadcast(np.array([operation, first, second, len(sent)], dtype=np.int64), name=COMMAND)
        if operation != STOP:
            self._comm.broadcast(sent, name=COMMAND)
        return sent

    def is_broken(self, failure: Exception) -> bool:
        """Whether ``failure`` came from a collective call, which the other ranks saw too and left."""
        return failure is self._collective_error

    def _together(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except Exception as error:
            self._collective_error = error
            raise


class LeadingLine:
    """A line as rank 0's solver sees it."""

    def __init__(self, objective: LeadingObjective, line: SumLine) -> None:
        self._objective, self._line = objective, line

    def look(self, steps: Sequence[float]) -> list[LinePoint]:
        """See the protocol."""
        return self._objective.look(self._line, steps)
