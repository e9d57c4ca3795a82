"""PageRank, trained by a job."""

from __future__ import annotations

import os
from typing import Any

from launch.clusters import Cluster
from launch.job import Job
from launch.submitting import submit_training

__all__ = ["submit_training_job"]


def submit_training_job(
    env: Cluster | str,
    graph: Any,
    *,
    reset_probability: float = 0.15,
    threshold: float = 1e-2,
    max_iterations: int = 20,
    _single_precision: bool = False,
    dangling: str = "drop",
    normalize: bool = False,
    weight_field: str | None = None,
    personalization: str | None = None,
    initial: str | None = None,
    precision: str = "float64",
    model_checkpoint_path: str | os.PathLike[str] | None = "auto",
    model_checkpoint_interval: int = 5,
    resume_from_checkpoint: str | os.PathLike[str] | None = None,
    working_dir: str | os.PathLike[str] | None = None,
    **kwargs: Any,
) -> Job:
    """Submit a job that trains as :func:`engine.pagerank.create` does, whose page has every option.

    What is the same for all toolkits is said at :func:`launch.submitting.submit_training`.
    ``_single_precision`` is taken for compatibility and changes nothing.
    """
    return submit_training("pagerank", locals())
