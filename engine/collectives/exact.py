"""Sums over ranks that do not depend on who adds them: fixed point in two integer limbs."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from engine._kernels.exact import sum_fixed_point
from engine.collectives.communicator import Communicator

LIMB_BITS = 26
FIXED_POINT_BITS = 50


def sum_exact(comm: Communicator, values: NDArray[np.float64], *, name: str, bound: float | None = None) -> float:
    """Sum ``values`` (1-d, this rank's) over all ranks; collective; NaN if any value is not finite.

    Every value is rounded once, to a multiple of ``2**-50`` of the power of two above ``bound``; nothing else is rounded before the
    result. ``bound`` is at least every finite ``|value|`` and the same on all ranks; None takes the global maximum, one reduction more.
    """
    values = np.ascontiguousarray(values, dtype=np.float64)
    return sum_parts(comm, [values], name=name, bound=global_max(comm, values, name=name) if bound is None else bound)


def sum_parts(comm: Communicator, parts: Iterable[NDArray[np.float64]], *, name: str, bound: float) -> float:
    """:func:`sum_exact` of contiguous values that are made part by part."""
    exponent = exponent_above(bound)
    limbs = np.zeros(3, dtype=np.int64)
    for values in parts:
        sum_fixed_point(values, exponent, limbs)
    comm.allreduce_sum(limbs, name=name)
    return limbs_to_float(int(limbs[0]), int(limbs[1]), exponent) if limbs[2] == 0 else math.nan


def global_max(comm: Communicator, values: NDArray[np.float64], *, name: str) -> float:
    """The largest finite ``|value|`` over all ranks, 0 if there is none; collective."""
    finite = values[np.isfinite(values)]
    largest = np.array([np.abs(finite).max() if len(finite) else 0.0])
    comm.allreduce_max(largest, name=name)
    return float(largest[0])


def exponent_above(bound: float) -> int:
    """The smallest e with ``bound <= 2**e``; 0 for a bound of 0."""
    if bound == 0.0:
        return 0
    mantissa, exponent = math.frexp(bound)
    return exponent - 1 if mantissa == 0.5 else exponent


def exponents_above(bounds: NDArray[np.float64]) -> NDArray[np.int64]:
    """:func:`exponent_above` of each bound."""
    mantissas, exponents = np.frexp(bounds)
    return exponents - (mantissas == 0.5).astype(np.int64)


def limbs_to_int(high: int, low: int) -> int:
    """The integer that two limbs stand for."""
    return (high << LIMB_BITS) + low


def limbs_to_float(high: int, low: int, exponent: int) -> float:
    """The limbs' value in units of ``2**(exponent - 50)``, rounded once to the nearest double."""
    try:
        return math.ldexp(float(limbs_to_int(high, low)), exponent - FIXED_POINT_BITS)
    except OverflowError:
        return math.copysign(math.inf, high)


def normalize_limbs(limbs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Carry, in place, so that every low limb lies in [0, 2**26) and equal sums have equal limbs; [n, 2 k] pairs of high and low."""
    carry = limbs[:, 1::2] >> LIMB_BITS
    limbs[:, 0::2] += carry
    limbs[:, 1::2] -= carry << LIMB_BITS
    return limbs


def limbs_to_floats(limbs: NDArray[np.int64]) -> NDArray[np.float64]:
    """[n, 2] limbs as doubles: ``high * 2**26 + low``."""
    return limbs[:, 0].astype(np.float64) * float(1 << LIMB_BITS) + limbs[:, 1].astype(np.float64)
