"""Tails of the normal distribution and of Student's t, for p-values and confidence intervals, when asked."""

from __future__ import annotations

import math

MOST_TERMS = 10_000
PRECISION = 1e-15
HALVINGS = 200


def two_sided(value: float, freedom: float) -> float:
    """The probability of a value at least as far from 0, of Student's t with ``freedom`` degrees, or at infinity the normal's."""
    if math.isnan(value) or freedom <= 0:
        return math.nan
    if math.isinf(freedom):
        return math.erfc(abs(value) / math.sqrt(2.0))
    if math.isinf(value):
        return 0.0
    square = value * value
    return incomplete_beta(0.5 * freedom, 0.5, freedom / (freedom + square), square / (freedom + square))


def quantile(level: float, freedom: float) -> float:
    """How far from 0 a value may be to lie in the middle ``level``, between 0 and 1, of the distribution."""
    low, high = 0.0, 1.0
    while two_sided(high, freedom) > 1.0 - level:
        low, high = high, 2.0 * high
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        low, high = (middle, high) if two_sided(middle, freedom) > 1.0 - level else (low, middle)
    return high


def incomplete_beta(a: float, b: float, x: float, rest: float) -> float:
    """The regularised incomplete beta function I_x(a, b), ``rest`` being 1 - x, by its continued fraction (DLMF 8.17.22)."""
    if x <= 0.0 or rest <= 0.0:
        return 0.0 if x <= 0.0 else 1.0
    if x > (a + 1.0) / (a + b + 2.0):
        return 1.0 - incomplete_beta(b, a, rest, x)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(rest))
    return front / a / continued_fraction(a, b, x)


def continued_fraction(a: float, b: float, x: float) -> float:
    """1 + d1 / (1 + d2 / (1 + ...)) of the incomplete beta function, by Lentz's method."""
    tiny = 1e-300
    value = c = 1.0
    d = 0.0
    for term in range(1, MOST_TERMS):
        m = term // 2
        if term % 2:
            step = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            step = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1.0 / (1.0 + step * d or tiny)
        c = 1.0 + step / c or tiny
        value *= c * d
        if abs(c * d - 1.0) < PRECISION:
            break
    return value
