"""A support vector machine, trained by a job."""

from __future__ import annotations

import os
from typing import Any

from launch.clusters import Cluster
from launch.job import Job
from launch.submitting import submit_training

__all__ = ["submit_training_job"]


def submit_training_job(
    env: Cluster | str,
    dataset: Any,
    target: str,
    *,
    features: list[str] | None = None,
    penalty: float = 1.0,
    solver: str = "auto",
    feature_rescaling: bool = True,
    convergence_threshold: float = 1e-2,
    lbfgs_memory_level: int = 11,
    max_iterations: int = 10,
    class_weights: Any = None,
    validation_set: Any = None,
    sample_weight: str | None = None,
    offset: str | None = None,
    random_seed: int | None = None,
    model_checkpoint_path: str | os.PathLike[str] | None = "auto",
    model_checkpoint_interval: int = 5,
    resume_from_checkpoint: str | os.PathLike[str] | None = None,
    working_dir: str | os.PathLike[str] | None = None,
    **kwargs: Any,
) -> Job:
    """Submit a job that trains as :func:`engine.svm_classifier.create` does, whose page has every option.

    What is the same for all toolkits is said at :func:`launch.submitting.submit_training`.
    """
    return submit_training("svm_classifier", locals())
