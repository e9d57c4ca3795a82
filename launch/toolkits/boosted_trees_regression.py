"""Boosted trees that predict numbers, trained by a job."""

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
    max_iterations: int = 10,
    validation_set: Any = None,
    max_depth: int = 6,
    step_size: float = 0.3,
    min_loss_reduction: float = 0.0,
    min_child_weight: float = 0.1,
    row_subsample: float = 1.0,
    column_subsample: float = 1.0,
    random_seed: int | None = None,
    metric: str | list[str] | None = "auto",
    model_checkpoint_path: str | os.PathLike[str] | None = "auto",
    model_checkpoint_interval: int = 5,
    resume_from_checkpoint: str | os.PathLike[str] | None = None,
    sample_weight: str | None = None,
    objective: str = "auto",
    quantile: float | None = None,
    reg_lambda: float = 1.0,
    reg_alpha: float = 0.0,
    max_leaves: int | None = None,
    monotone_constraints: dict[str, int] | None = None,
    categorical: str = "onehot",
    max_bins: int = 256,
    max_categories: int = 65535,
    early_stopping_rounds: int | None = None,
    initial_model: Any = None,
    working_dir: str | os.PathLike[str] | None = None,
    **kwargs: Any,
) -> Job:
    """Submit a job that trains as :func:`engine.boosted_trees_regression.create` does, whose page has every option.

    What is the same for all toolkits is said at :func:`launch.submitting.submit_training`.
    """
    return submit_training("boosted_trees_regression", locals())
