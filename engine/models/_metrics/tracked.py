"""The metrics that training may track: which a loss has, what is asked for, and which of two values is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.encode.features import near
from engine.errors import OptionError

# Metrics of each loss, those of 'auto' first; early stopping watches the last one that is tracked.
METRICS: Mapping[str, Sequence[str]] = {
    "logistic": ("accuracy", "log_loss", "auc"),
    "softmax": ("accuracy", "log_loss", "auc"),
    "squared_error": ("max_error", "rmse"),
    "poisson": ("max_error", "rmse", "poisson_deviance"),
    "quantile": ("max_error", "rmse", "quantile_loss"),
}
ON_REQUEST = ("auc",)  # what 'auto' leaves out, because it takes a sort
GREATER_IS_BETTER = ("accuracy", "auc")


def check_metrics(metric: Any, loss: str) -> list[str]:
    """The metrics to track: 'auto', one name, a list of different names in any order, or None or [] for none.

    Raises :class:`OptionError` for names that ``loss`` does not have.
    """
    available = METRICS[loss]
    if isinstance(metric, str) and metric == "auto":
        return [name for name in available if name not in ON_REQUEST]
    names = [] if metric is None else [metric] if isinstance(metric, str) else metric
    if not isinstance(names, (list, tuple)):
        raise OptionError(f"metric must be 'auto', a name, a list of names or None, got {metric!r}; the names are {', '.join(available)}")
    for number, name in enumerate(names):
        if name not in available:
            raise OptionError(f"unknown metric {name!r}{near(str(name), available)}; the metrics are {', '.join(available)}")
        if name in names[:number]:
            raise OptionError(f"metric must be different names, got {name!r} twice")
    return list(names)


def is_better(metric: str, value: float, best: float) -> bool:
    """Whether ``value`` is better than ``best``; equal values are not."""
    return value > best if metric in GREATER_IS_BETTER else value < best
