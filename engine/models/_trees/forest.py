"""Forests that average class frequencies: the leaves' values, and what their mean is as margins.

Gradients at the first scores, where every class is equally likely, hold the counts: with K classes a leaf of weight n has G = n / K - n_k
and H = n h, h being 1/4 for two classes, 2 / K (1 - 1 / K) for more, so n_k / n = 1 / K - h G / H. For a regression G = sum(base - y).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from engine._kernels.exact import log_array
from engine.models._trees.ensemble import LEAF
from engine.models._trees.grown import GrownTree

LEAST_PROBABILITY = 1e-15


def average_leaves(tree: GrownTree, reg_lambda: float, n_classes: int) -> GrownTree:
    """The tree with the share of its class in every leaf's rows (``n_classes`` 0: with the mean less the base score).

    Growth left -G / (H + lambda) in the leaves, and H in ``cover``.
    """
    ratio = np.divide(-tree.value * (tree.cover + reg_lambda), tree.cover, out=np.zeros(len(tree.value)), where=tree.cover > 0)
    if n_classes == 0:
        return replace(tree, value=-ratio)
    share = 1 / n_classes
    hessian = 0.25 if n_classes == 2 else 2 * share * (1 - share)
    return replace(tree, value=np.where(tree.kind == LEAF, (share - hessian * ratio).clip(0.0, 1.0), 0.0))


def scores_of_means(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Margins of mean class frequencies [n_outputs, n]: the log-odds of the second of two classes, or a logarithm for each of more."""
    p = means.clip(LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    odds = p / (1 - p) if len(means) == 1 else p
    out = np.empty(odds.shape)
    log_array(np.ascontiguousarray(odds).reshape(-1), out.reshape(-1))
    return out
