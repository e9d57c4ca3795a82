"""samesum: the names of ``engine`` and ``launch`` in one place, lazy; no logic lives here.

Under the old names too: ``SFrame`` and ``SGraph``, ``deploy`` with the clusters and ``distributed`` with the toolkits that submit jobs.
"""

from __future__ import annotations

import importlib
from typing import Any

import engine

__version__ = engine.__version__

# Names of launch, and those that are called otherwise there.
_OF_LAUNCH = (
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
)
_OF_TURI = ("Edge", "SArray", "SFrame", "SGraph", "Vertex", "load_sframe", "load_sgraph")
_OTHERWISE = {**{name: ("engine.turi", name) for name in _OF_TURI}, "deploy": ("launch", ""), "distributed": ("launch.toolkits", "")}


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(f"module 'samesum' has no attribute {name!r}")
    module, inner = _OTHERWISE.get(name, ("launch" if name in _OF_LAUNCH else "engine", name))
    found = importlib.import_module(module)
    return getattr(found, inner) if inner else found


def __dir__() -> list[str]:
    return sorted({*globals(), *dir(engine), *_OF_LAUNCH, *_OTHERWISE})
