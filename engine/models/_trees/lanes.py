"""How gradients travel through histograms: in narrow lanes packed into one 64-bit word where that is exact enough, else in two words.

Decided once per tree from global integers, so every rank decides the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine._kernels.leaves import CONSTANT, STORED
from engine.collectives.exact import FIXED_POINT_BITS

# A packed histogram takes 2**15 rows: gradients of 15 bits and a sign in the upper half, hessians of 16 bits in the lower one.
GRADIENT_BITS, HESSIAN_BITS, HESSIAN_LANE = 15, 16, 32
# Where every hessian is 1, 17 bits count the rows of a chunk and gradients have 30.
CONSTANT_GRADIENT_BITS, CONSTANT_HESSIAN_LANE = 30, 17
# Fewer rows than this take two words: the time does not matter, and the splits are those of double precision.
FEW_ROWS = 65_536
# The mean of |gradient| in a packed lane is at least this many units; smaller ones drown in rounding: log-normal weights
# of sigma 2.5, whose mean is some 100 units, cost 13 to 33 % of held-out squared error in packed lanes.
MEAN_UNITS = 512


@dataclass(frozen=True)
class Gradients:
    """Gradients and hessians of this rank's rows as integers, with what all ranks' rows sum up to."""

    values: NDArray[np.int64]  # [n_rows_local, 2] gradients and hessians, or [n_rows_local, 1] gradients alone
    g_exponent: int  # a gradient is worth 2**(g_exponent - 50)
    h_exponent: int  # a hessian is worth 2**(h_exponent - 50), or 1 where it is constant
    sums: NDArray[np.int64]  # [4] limbs of g and h over all ranks
    abs_g: int  # sum of |g| over all ranks
    max_g: int  # largest |g| of all ranks
    max_h: int
    hessian: int = STORED  # where hessians are: STORED, CONSTANT, or OF_GRADIENT, which the kernels compute from the gradients

    @property
    def constant_hessian(self) -> bool:
        """Whether every hessian is 1."""
        return self.hessian == CONSTANT

    @property
    def g_unit(self) -> float:
        """What one unit of gradient is worth."""
        return math.ldexp(1.0, self.g_exponent - FIXED_POINT_BITS)

    @property
    def h_unit(self) -> float:
        """What one unit of hessian is worth."""
        return 1.0 if self.constant_hessian else math.ldexp(1.0, self.h_exponent - FIXED_POINT_BITS)


@dataclass(frozen=True)
class Lanes:
    """Shifts from full integers to lanes; ``h_bits`` 0 means two words. ``g_unit``, ``h_unit``: what a lane's unit is worth."""

    g_shift: int
    h_shift: int
    h_bits: int
    g_unit: float
    h_unit: float


def choose_lanes(gradients: Gradients, n_rows: int) -> Lanes:
    """Pick the narrowest lanes that keep the splits as good as double precision does; ``n_rows``: over all ranks."""
    if gradients.constant_hessian:
        # sums of n_rows integers stay below 2**63
        g_bits, h_shift, h_bits = min(CONSTANT_GRADIENT_BITS, 63 - n_rows.bit_length()), 0, CONSTANT_HESSIAN_LANE
    else:
        g_bits, h_shift, h_bits = GRADIENT_BITS, max(0, gradients.max_h.bit_length() - HESSIAN_BITS), HESSIAN_LANE
    g_shift = max(0, gradients.max_g.bit_length() - g_bits)
    sum_h = (int(gradients.sums[2]) << 26) + int(gradients.sums[3])
    least = MEAN_UNITS * n_rows
    coarse_g = g_shift > 0 and gradients.abs_g >> g_shift < least
    coarse_h = h_shift > 0 and sum_h >> h_shift < least
    if n_rows < FEW_ROWS or coarse_g or coarse_h:
        # sums of n_rows integers stay below 2**62
        spare = 62 - n_rows.bit_length()
        g_shift, h_shift, h_bits = max(0, gradients.max_g.bit_length() - spare), max(0, gradients.max_h.bit_length() - spare), 0
    return Lanes(g_shift, h_shift, h_bits, math.ldexp(gradients.g_unit, g_shift), math.ldexp(gradients.h_unit, h_shift))


@dataclass(frozen=True)
class Fit:
    """What one tree is fitted to: gradients, the lanes they travel in, and a number that makes the rounding of each tree its own."""

    gradients: Gradients
    lanes: Lanes
    key: int
