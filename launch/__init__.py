"""Submitting: clusters, jobs and their handles, and the command line. Lazy: what is asked for is imported then."""

from __future__ import annotations

import importlib
from typing import Any

from engine.spec import GRAPH_TOOLKITS, TOOLKITS

_MODULE_OF = {
    "Cluster": "launch.clusters",
    "Job": "launch.job",
    "Sweep": "launch.sweep",
    "environments": "launch.clusters",
    "hadoop_cluster": "launch.hadoop_cluster",
    "list_jobs": "launch.job",
    "load_job": "launch.job",
    "load_sweep": "launch.sweep",
    "local_cluster": "launch.local_cluster",
    "pbs_cluster": "launch.pbs_cluster",
    "run_script": "launch.submitting",
    "slurm_cluster": "launch.slurm_cluster",
    "submit_prediction_job": "launch.submitting",
    "submit_sweep": "launch.sweep",
    "toolkits": "launch.toolkits",
    **{toolkit: f"launch.toolkits.{toolkit}" for toolkit in (*TOOLKITS, *GRAPH_TOOLKITS)},
}

__all__ = [
    "Cluster",
    "Job",
    "Sweep",
    "environments",
    "hadoop_cluster",
    "list_jobs",
    "load_job",
    "load_sweep",
    "local_cluster",
    "pbs_cluster",
    "run_script",
    "slurm_cluster",
    "submit_prediction_job",
    "submit_sweep",
    "toolkits",
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
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'launch' has no attribute {name!r}; it has {', '.join(sorted(_MODULE_OF))}")
    module = importlib.import_module(_MODULE_OF[name])
    value = module if _MODULE_OF[name].endswith(f".{name}") else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF})
