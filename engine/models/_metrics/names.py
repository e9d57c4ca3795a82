"""Which metrics an ``evaluate`` call asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.encode.features import near
from engine.errors import OptionError


def chosen_metrics(metric: Any, available: Sequence[str]) -> list[str]:
    """The metrics that ``metric`` names: 'auto' for all of them, one name, or a list of names; in the order of ``available``."""
    if isinstance(metric, str) and metric == "auto":
        return list(available)
    names = [metric] if isinstance(metric, str) else metric
    if not isinstance(names, (list, tuple)) or not names:
        raise OptionError(f"metric must be 'auto', a name or a list of names, got {metric!r}; the names are {', '.join(available)}")
    for name in names:
        if name not in available:
            raise OptionError(f"unknown metric {name!r}{near(str(name), available)}; the metrics are {', '.join(available)}")
    return [name for name in available if name in names]
