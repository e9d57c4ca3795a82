"""Weights of rows: what all ranks know of them, and weights as whole numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine._kernels.exact import sum_fixed_point
from engine.collectives.agree import raise_on_all
from engine.collectives.communicator import Communicator
from engine.collectives.exact import FIXED_POINT_BITS, exponent_above, limbs_to_int
from engine.errors import DataError


@dataclass(frozen=True)
class Weights:
    """This rank's weights, and the scale and sum of all ranks'."""

    values: NDArray[np.float64]  # [n_rows_local], finite, 0 or more
    exponent: int  # no weight is above 2**exponent
    total: int  # sum over all ranks in units of 2**(exponent - 50), each weight rounded once

    def whole(self, n_rows: int) -> NDArray[np.int64]:
        """Weights as whole numbers, of at most 50 bits and below 2**61 in the sum of ``n_rows``; what is positive stays so."""
        bits = min(FIXED_POINT_BITS, 60 - n_rows.bit_length())
        rounded = np.rint(np.ldexp(self.values, bits - self.exponent)).astype(np.int64)
        return np.maximum(rounded, self.values > 0)


def reduce_weights(comm: Communicator, values: NDArray[np.float64]) -> Weights:
    """What all ranks' weights have in common; collective. Raises :class:`DataError` on every rank where none is positive."""
    largest = np.array([values.max(initial=0.0)])
    comm.allreduce_max(largest, name="largest weight")
    if largest[0] == 0.0:
        raise_on_all(comm, DataError("every row has weight 0: expected a positive weight in one row or more"), "reading the weights")
    exponent = exponent_above(float(largest[0]))
    limbs = np.zeros(3, dtype=np.int64)
    sum_fixed_point(values, exponent, limbs)
    comm.allreduce_sum(limbs, name="sum weights")
    return Weights(values, exponent, limbs_to_int(int(limbs[0]), int(limbs[1])))
