"""A module for each toolkit: its ``submit_training_job`` trains on a cluster as its ``create`` does here. Imported when asked for."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = [
    "boosted_trees_classifier",
    "boosted_trees_regression",
    "label_propagation",
    "linear_regression",
    "logistic_classifier",
    "pagerank",
    "random_forest_classifier",
    "random_forest_regression",
    "svm_classifier",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'launch.toolkits' has no attribute {name!r}; it has {', '.join(sorted(__all__))}")
    return importlib.import_module(f"launch.toolkits.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
