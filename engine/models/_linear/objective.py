"""A loss added up over the rows of all ranks: the one place of the linear family where ranks talk during training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine._kernels.exact import hash_counters
from engine._kernels.linear import BAD, LIMB_BITS, SQUARED, evaluate_line, pass_rows
from engine.collectives.agree import raise_on_all
from engine.collectives.communicator import Communicator
from engine.collectives.threads import useful_threads
from engine.encode.design_matrix import DesignMatrix
from engine.encode.features import Floats
from engine.models._linear.loss import Bounds, Loss
from engine.models._linear.objective_protocol import Evaluation, LinePoint, Metrics, Order
from engine.models._linear.sums import BLOCK_BITS, PassSums, Units, block_sum

SUMS = "linear: sums over rows"
LEAST_SQUARE = 1e-12  # of columns that are 0 in nearly every row, whose curvature is that of the penalty


@dataclass(frozen=True)
class RowSet:
    """Encoded rows of this rank, and bounds over all ranks' rows; ``weight`` and ``offset`` None: all 1, all 0."""

    design: DesignMatrix
    y: Floats
    weight: Floats | None
    offset: Floats | None
    largest_y: float
    largest_weight: float
    largest_offset: float


def make_row_set(design: DesignMatrix, y: NDArray[Any], weight: Floats | None, offset: Floats | None, comm: Communicator) -> RowSet:
    """Rows with their bounds; collective."""
    largest = np.array([0.0 if values is None else max(values.max(initial=0), -values.min(initial=0)) for values in (y, weight, offset)])
    comm.allreduce_max(largest, name="linear: largest values of rows")
    contiguous = [None if values is None else np.ascontiguousarray(values, dtype=np.float64) for values in (y, weight, offset)]
    assert contiguous[0] is not None
    return RowSet(
        design,
        contiguous[0],
        contiguous[1],
        contiguous[2],
        largest_y=float(largest[0]),
        largest_weight=1.0 if weight is None else float(largest[1]),
        largest_offset=float(largest[2]),
    )


class SumObjective:
    """The sum of a loss over training rows, as :class:`~engine.models._linear.objective_protocol.Objective` says; every call is collective.

    All ranks must call the same with the same arguments; :func:`engine.models._linear.leading.lead` sees to that.
    """

    def __init__(
        self, loss: Loss, rows: RowSet, scales: Floats, *, comm: Communicator, num_threads: int, validation: RowSet | None = None
    ) -> None:
        self.loss, self.rows, self.validation = loss, rows, validation
        self._comm = comm
        layout = rows.design.layout
        self._order = layout.order
        self._scales = np.append(scales, 1.0)[layout.order]
        self._num_threads = useful_threads(num_threads, rows.design.n_rows_local * (layout.n_dense + 8))
        self.passes = 0

    @property
    def n_outputs(self) -> int:
        """See the protocol."""
        return self.loss.n_outputs

    @property
    def n_coefficients(self) -> int:
        """See the protocol."""
        return self.n_outputs * len(self._order)

    @property
    def is_intercept(self) -> NDArray[np.bool_]:
        """See the protocol."""
        return np.arange(1, self.n_coefficients + 1) % len(self._order) == 0

    @property
    def n_rows(self) -> int:
        """See the protocol."""
        return self.rows.design.n_rows

    @property
    def is_quadratic(self) -> bool:
        """See the protocol."""
        return self.loss.is_quadratic

    @property
    def curvatures(self) -> Floats:
        """See the protocol."""
        squares = np.append(self.rows.design.squares, 1.0)[self._order] / (self._scales * self._scales)
        out = np.empty_like(squares)
        out[self._order] = np.maximum(squares, LEAST_SQUARE) * (self.loss.curvature * max(1, self.n_rows))
        return np.tile(out, self.n_outputs)

    def evaluate(self, w: Floats, order: Order) -> Evaluation:
        """See the protocol."""
        return self._reduce_pass(self.rows, w, order)[0]

    def evaluate_folds(self, w: Floats, n_folds: int, seed: int) -> Sequence[Evaluation]:
        """See the protocol."""
        design = self.rows.design
        hashes = np.empty(design.n_rows_local, dtype=np.uint64)
        hash_counters(seed, design.first_row, hashes)
        return self._reduce_pass(self.rows, w, 2, fold=(hashes % np.uint64(n_folds)).astype(np.int32), n_folds=n_folds)

    def measure_validation(self, w: Floats) -> Metrics | None:
        """See the protocol."""
        if self.validation is None:
            return None
        passes = self.passes
        metrics = self._reduce_pass(self.validation, w, 0)[0].metrics
        self.passes = passes  # of training rows
        return metrics

    def multiply_hessian(self, w: Floats, vectors: Floats) -> Floats:
        """See the protocol."""
        vectors = np.ascontiguousarray(vectors, dtype=np.float64).reshape(-1, self.n_coefficients)
        design = self.rows.design
        stored, directions = self._stored(design, w), np.stack([self._stored(design, v) for v in vectors])
        bounds = self._bounds(self.rows, stored)
        along = [self.n_outputs * bounds.hessian * self._margin_bound(design, each) for each in directions]
        units = Units.of(bounds, [each for each in along for _ in range(self.n_outputs)], self.n_rows)
        if units is None:
            return np.full_like(vectors, np.nan)
        sums = PassSums(design, self.n_outputs, 1, n_gradients=len(vectors) * self.n_outputs)
        self._reduce(self.rows, sums, stored, directions, units=units)
        if sums.scalars[0, BAD]:
            return np.full_like(vectors, np.nan)
        return sums.gradients(0, units, self._factors(design)).reshape(vectors.shape)

    def search_line(self, w: Floats, direction: Floats) -> SumLine:
        """See the protocol."""
        design = self.rows.design
        both = np.concatenate([self._stored(design, w), self._stored(design, direction)])
        stored, along = both[: self.n_outputs], both[self.n_outputs :]
        offset = self.rows.offset
        margins = design.matvec(both, None, num_threads=self._num_threads)
        if offset is not None:
            margins[: self.n_outputs] += offset
        self.passes += 1
        reach = (self._margin_bound(design, stored) + self.rows.largest_offset, self._margin_bound(design, along))
        return SumLine(self, margins[: self.n_outputs], margins[self.n_outputs :], reach, stored)

    def look(self, line: SumLine, steps: Sequence[float]) -> list[LinePoint]:
        """The objective at steps along a line."""
        rows = self.rows
        known = [self._line_units(line, step) for step in steps]
        usable = [k for k, units in enumerate(known) if units is not None]
        loss, slope = (max((units[j] for units in known if units is not None), default=0) for j in (0, 1))
        sums = PassSums(rows.design, self.n_outputs, 0, n_gradients=0)
        ask = sums.ask(self.loss.kernel, line.stored, np.empty((0, *line.stored.shape)), Units(loss, 0, (slope,) * self.n_outputs, 0, 0))
        part = np.zeros((len(usable), 5), dtype=np.int64)
        chosen = np.array([float(steps[k]) for k in usable])
        factor = 2.0 ** (LIMB_BITS - BLOCK_BITS - slope)
        evaluate_line(rows.design.features, ask, rows.y, rows.weight, line.margins, line.direction, chosen, factor, part, self._num_threads)
        self._comm.allreduce_sum(part, name="linear: sums along a line")
        points = {k: (block_sum(one[:2], loss), block_sum(one[2:4], slope), bool(one[4] == 0)) for k, one in zip(usable, part, strict=True)}
        return [LinePoint(float(step), *points.get(k, (math.inf, math.nan, False))) for k, step in enumerate(steps)]

    def _line_units(self, line: SumLine, step: float) -> tuple[int, int] | None:
        """Powers of two above a row's loss and slope at a step; None where these may overflow."""
        reach = line.reach[0] + abs(step) * line.reach[1]
        bounds = self.loss.bounds(reach, self.rows.largest_y, self.rows.largest_weight)
        units = Units.of(bounds, [self.n_outputs * bounds.gradient * line.reach[1]], self.n_rows)
        return None if units is None else (units.loss, units.gradient[0])

    def _reduce_pass(
        self, rows: RowSet, w: Floats, order: Order, *, fold: NDArray[np.int32] | None = None, n_folds: int = 1
    ) -> list[Evaluation]:
        """Sums over the rows of all ranks, of each fold."""
        design = rows.design
        stored = self._stored(design, w)
        bounds = self._bounds(rows, stored)
        units = Units.of(bounds, [bounds.gradient] * self.n_outputs, design.n_rows)
        if units is None:
            self.passes += 1
            return [self._overflow(order) for _ in range(n_folds)]
        sums = PassSums(design, self.n_outputs, order, n_gradients=self.n_outputs, n_folds=n_folds)
        self._reduce(rows, sums, stored, np.empty((0, *stored.shape)), units=units, fold=fold)
        return [sums.evaluation(number, units, self._factors(design)) for number in range(n_folds)]

    def _reduce(
        self, rows: RowSet, sums: PassSums, stored: Floats, vectors: Floats, *, units: Units, fold: NDArray[np.int32] | None = None
    ) -> None:
        """Go through this rank's rows, and add up what all ranks found."""
        failure: Exception | None = None
        try:
            pass_rows(
                rows.design.features,
                sums.ask(self.loss.kernel, stored, vectors, units),
                rows.y,
                rows.weight,
                rows.offset,
                fold,
                sums.scalars,
                sums.dense_gradient,
                sums.sparse_gradient,
                sums.dense_hessian,
                sums.mixed_hessian,
                sums.sparse_hessian,
                sums.max_error,
                self._num_threads,
            )
        except MemoryError as error:
            failure = error
            sums.buffer[-1] = 1
        self.passes += 1
        self._comm.allreduce_sum(sums.buffer, name=SUMS)
        if sums.buffer[-1]:
            raise_on_all(self._comm, failure, "a pass over the rows")
        if self.loss.kernel == SQUARED:
            self._comm.allreduce_max(sums.max_error, name="linear: largest residual")

    def _stored(self, design: DesignMatrix, w: Floats) -> Floats:
        """Coefficients [n_outputs, n_columns + 1] of columns as they are stored, in kernel order."""
        ordered = np.asarray(w, dtype=np.float64).reshape(self.n_outputs, -1)[:, self._order]
        with np.errstate(over="ignore"):  # a bound that is infinite is noticed
            return np.ascontiguousarray(np.ldexp(ordered / self._scales, design.powers))

    def _factors(self, design: DesignMatrix) -> Floats:
        """What takes sums of stored columns to those of scaled ones."""
        return np.ldexp(1.0 / self._scales, design.powers)

    def _bounds(self, rows: RowSet, stored: Floats) -> Bounds:
        margin = self._margin_bound(rows.design, stored) + rows.largest_offset
        return self.loss.bounds(margin, rows.largest_y, rows.largest_weight)

    def _margin_bound(self, design: DesignMatrix, stored: Floats) -> float:
        """The most that a margin can be, offsets left out: exact additions, so that it is the same on every machine."""
        nd = design.layout.n_dense + 1
        largest = np.abs(stored)
        with np.errstate(over="ignore"):
            dense = np.ldexp(largest[:, :nd], design.exponents[:nd])
        most = 0.0
        for k in range(len(stored)):
            parts = dense[k].tolist()
            sparse = largest[k, nd:]
            groups = zip(design.onehot_starts, design.onehot_ends, strict=True)
            parts += [float(sparse[begin:end].max(initial=0.0)) for begin, end in groups]
            if design.most_entries:
                parts.append(design.most_entries * float(sparse.max(initial=0.0)))
            try:
                most = max(most, math.fsum(parts))
            except (OverflowError, ValueError):
                return math.inf
            if not math.isfinite(most):
                return math.inf
        return most

    def _overflow(self, order: Order) -> Evaluation:
        """What is said of a point so far out that sums would overflow."""
        n = self.n_coefficients
        gradient = np.full(n if order > 0 else 0, np.nan)
        hessian = np.full((n, n) if order == 2 else (0, 0), np.nan)
        return Evaluation(math.inf, gradient, hessian, Metrics(self.n_rows, 0, math.inf, math.inf, math.inf), False)


@dataclass(frozen=True)
class SumLine:
    """A line whose margins this rank keeps; ``reach``: bounds of the margins at its beginning, and of what a step of 1 adds."""

    objective: SumObjective
    margins: Floats  # [n_outputs, n_rows_local]
    direction: Floats
    reach: tuple[float, float]
    stored: Floats

    def look(self, steps: Sequence[float]) -> list[LinePoint]:
        """See the protocol."""
        return self.objective.look(self, steps)
