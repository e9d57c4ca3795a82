"""Boosted trees that predict numbers: each tree corrects the sum of those before it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, ClassVar

from engine.collectives.communicator import Communicator
from engine.models._trees.creating import create_trees
from engine.models._trees.regression import TreesRegression
from engine.models._trees.training import IterationRecord

__all__ = ["BoostedTreesRegression", "create"]


class BoostedTreesRegression(TreesRegression):
    """A trained model; made by :func:`create` or :func:`engine.load_model`."""

    toolkit: ClassVar[str] = "boosted_trees_regression"


def create(
    dataset: Any,
    target: str,
    *,
    features: list[str] | None = None,
    max_iterations: int = 10,
    validation_set: Any = None,
    objective: str = "auto",
    quantile: float | None = None,
    sample_weight: str | None = None,
    max_depth: int = 6,
    step_size: float = 0.3,
    min_loss_reduction: float = 0.0,
    min_child_weight: float = 0.1,
    row_subsample: float = 1.0,
    column_subsample: float = 1.0,
    reg_lambda: float = 1.0,
    reg_alpha: float = 0.0,
    max_leaves: int | None = None,
    monotone_constraints: dict[str, int] | None = None,
    categorical: str = "onehot",
    max_bins: int = 256,
    max_categories: int = 65535,
    metric: str | list[str] | None = "auto",
    early_stopping_rounds: int | None = None,
    initial_model: Any = None,
    callback: Callable[[IterationRecord], Any] | None = None,
    random_seed: int | None = None,
    model_checkpoint_path: str | os.PathLike[str] | None = None,
    model_checkpoint_interval: int = 5,
    resume_from_checkpoint: str | os.PathLike[str] | None = None,
    verbose: bool = True,
    num_threads: int | None = None,
    memory_limit: int | str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    comm: Communicator | None = None,
    **kwargs: Any,
) -> BoostedTreesRegression:
    """Train boosted trees on the squared error, or another loss. Collective.

    Every rank calls it. The same data, options and seed give the same model, byte for byte, on any number of ranks and threads.

    Args:
        dataset: Path, glob, folder or list of them (CSV, Parquet, Arrow), ``engine.Dataset``, Arrow table or anything with the Arrow
            PyCapsule interface (pandas, polars), or a dict of arrays.
        target: Column to predict; numbers; a constant target only warns. No value may be missing.
        features: Columns to predict from; None means all but the target. Numbers, dates, booleans, strings (categories, None being one),
            vectors, maps and lists of strings.
        max_iterations: Rounds of boosting, at least 1.
        validation_set: Rows whose metrics are tracked beside those of training: None, a dataset, or 'auto', which sets 5 percent of the
            rows apart where there are 100 or more.
        objective: 'squared_error', which 'auto' is; 'poisson', of counts, where predictions are means; or 'quantile'.
        quantile: Which one 'quantile' predicts, between 0 and 1; None means 0.5, the median.
        sample_weight: A column of weights of rows, at least 0; it is no feature. Weights count in the metrics too.
        max_depth: Largest depth of a tree, 1 to 64.
        step_size: Factor of each tree's contribution, 0 to 1.
        min_loss_reduction: Splits that reduce the loss by less are pruned; at least 0.
        min_child_weight: Smallest sum of hessians in a child; at least 0.
        row_subsample: Share of the rows that each tree is grown on, drawn for each, 0.000001 to 1.
        column_subsample: Share of the encoded columns that each tree may ask, 0 to 1; at least one column. A string feature is one
            column, with all its categories.
        reg_lambda: L2 regularisation of the leaves' values; at least 0.
        reg_alpha: L1 regularisation of the leaves' values; at least 0.
        max_leaves: Most leaves of a tree, 2 or more, the best splits first; None for no limit but the depth.
        monotone_constraints: A dict of 1 or -1 by numeric feature: predictions never fall, or never rise, with it.
        categorical: 'onehot': a split asks for one category; 'partition': for a set of them.
        max_bins: Most bins a numeric feature is cut into, 2 to 65535.
        max_categories: Most categories that a column of strings may have, 1 to 65535.
        metric: Metrics to track: one, several, none (None), or 'auto' for max_error and rmse, and
            poisson_deviance or quantile_loss where that is the objective.
        early_stopping_rounds: Stop when the last metric has not become better on the validation set for so many iterations, and keep the
            trees up to the best one; None for never.
        initial_model: A model of the same toolkit, features and classes, or the path of one: training goes on from its predictions, and
            its trees come first.
        callback: Called after each iteration on every rank with a record, ``iteration`` and ``metrics``; training ends when rank 0's
            returns True.
        random_seed: At least 0; None means 0.
        model_checkpoint_path: Folder for checkpoints ``model_checkpoint_<N>``, of which the last two are kept; None for none.
        model_checkpoint_interval: Iterations from checkpoint to checkpoint; 0 for none.
        resume_from_checkpoint: The path of a checkpoint of the same data and options (but max_iterations), or 'auto' for the newest whole
            one in model_checkpoint_path, if there is one. The model is that of a training that was never interrupted.
        verbose: Whether rank 0 prints the progress table.
        num_threads: Threads of each rank; None takes SAMESUM_NUM_THREADS, OMP_NUM_THREADS, or its share of the node's cores.
        memory_limit: Bytes that each rank may use, or text like '2GB'; None takes SAMESUM_MEMORY_LIMIT, or its share of 0.8 of the machine.
            Bins that do not fit are kept in files of ``cache_dir``; what would not do is refused before training.
        cache_dir: Folder of these files, which are gone when training ends; None takes samesum's cache.
        comm: The ranks: a Communicator or an mpi4py communicator; None takes those that were started together.
        **kwargs: Refused, with the name that may have been meant.

    Returns:
        The model, whole on every rank.

    Raises:
        OptionError: An option is unknown or outside its range.
        DataError: The data cannot be used, such as a target that is not a finite number, or is not that of the checkpoint.
        StorageError: A file cannot be read or written.
        ModelFileError: The checkpoint or the initial model is damaged.
        CommunicationError: The ranks were called with different options.
    """
    return create_trees(BoostedTreesRegression, locals(), task="regression")
