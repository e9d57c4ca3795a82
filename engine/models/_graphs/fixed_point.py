"""Sums over vertices that do not depend on who adds them: two limbs in units that are a power of two."""

from __future__ import annotations

import math

from engine._kernels.ranks import FRACTION_BITS
from engine.collectives.exact import exponent_above

UNITS = 46  # a value of the typical size is so many powers of two above the unit that it is rounded to


def unit_exponent(typical: float) -> int:
    """The exponent of the unit for values around ``typical``, which may be up to 2**41 times as large."""
    return exponent_above(typical) - UNITS


def sum_of_limbs(high: int, low: int, unit: int) -> float:
    """What the limbs stand for, rounded once to the nearest double."""
    return math.ldexp(float((int(high) << FRACTION_BITS) + int(low)), unit)
