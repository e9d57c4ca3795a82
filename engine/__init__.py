"""samesum's engine: the public surface, lazy. Importing it starts no MPI and loads no kernel."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_TOOLKITS = (
    "boosted_trees_classifier",
    "boosted_trees_regression",
    "label_propagation",
    "pagerank",
    "random_forest_classifier",
    "random_forest_regression",
    "linear_regression",
    "logistic_classifier",
    "svm_classifier",
)
_MODULE_OF = {
    "Dataset": "engine.data.dataset",
    "Graph": "engine.graph",
    "load_model": "engine.models.loading",
    "load_graph": "engine.graph",
    "as_dataset": "engine.data.dataset",
    "check_training": "engine.models.checking",
    "errors": "engine.errors",
    "sklearn": "engine.sklearn",
    **{toolkit: f"engine.models.{toolkit}" for toolkit in _TOOLKITS},
}
_MODULES = {"errors", "sklearn", *_TOOLKITS}

__all__ = [
    "Dataset",
    "Graph",
    "boosted_trees_classifier",
    "boosted_trees_regression",
    "label_propagation",
    "pagerank",
    "random_forest_classifier",
    "random_forest_regression",
    "linear_regression",
    "logistic_classifier",
    "svm_classifier",
    "errors",
    "as_dataset",
    "check_training",
    "load_graph",
    "load_model",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'engine' has no attribute {name!r}; it has {', '.join(sorted(_MODULE_OF))}")
    module = importlib.import_module(_MODULE_OF[name])
    value = module if name in _MODULES else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF})
