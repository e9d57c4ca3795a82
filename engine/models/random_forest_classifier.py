"""Random forests that predict classes: the mean of trees that are each grown on a sample of rows and columns."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, ClassVar

from engine.collectives.communicator import Communicator
from engine.models._trees.classifier import TreesClassifier
from engine.models._trees.creating import create_trees, rename_num_trees
from engine.models._trees.training import IterationRecord

__all__ = ["RandomForestClassifier", "create"]


class RandomForestClassifier(TreesClassifier):
    """A trained model; made by :func:`create` or :func:`engine.load_model`."""

    toolkit: ClassVar[str] = "random_forest_classifier"


def create(
    dataset: Any,
    target: str,
    *,
    features: list[str] | None = None,
    max_iterations: int = 10,
    validation_set: Any = None,
    class_weights: Any = None,
    sample_weight: str | None = None,
    averaging: str = "margin",
    max_depth: int = 6,
    min_loss_reduction: float = 0.0,
    min_child_weight: float = 0.1,
    row_subsample: float = 0.8,
    column_subsample: float = 0.8,
    reg_lambda: float = 1.0,
    reg_alpha: float = 0.0,
    max_leaves: int | None = None,
    monotone_constraints: dict[str, int] | None = None,
    categorical: str = "onehot",
    max_bins: int = 256,
    max_categories: int = 65535,
    metric: str | list[str] | None = "auto",
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
) -> RandomForestClassifier:
    """Train a random forest on the logistic loss of two classes, or the softmax loss of more, with a tree for each. Collective.

    Every rank calls it. The same data, options and seed give the same model, byte for byte, on any number of ranks and threads.
    Every tree is fitted to the gradients at the same first scores, so the order of trees does not matter.

    Args:
        dataset: Path, glob, folder or list of them (CSV, Parquet, Arrow), ``engine.Dataset``, Arrow table or anything with the Arrow
            PyCapsule interface (pandas, polars), or a dict of arrays.
        target: Column to predict; its values are the classes, at least two: strings, integers, booleans or floats. None may be missing.
        features: Columns to predict from; None means all but the target. Numbers, dates, booleans, strings (categories, None being one),
            vectors, maps and lists of strings.
        max_iterations: Number of trees, for each class if there are more than two, at least 1; ``num_trees`` is an old name of it.
        validation_set: Rows whose metrics are tracked beside those of training: None, a dataset, or 'auto', which sets 5 percent of the
            rows apart where there are 100 or more.
        class_weights: None; 'auto', inverse to each class's number of rows; or a dict of a positive weight for every class.
        sample_weight: A column of weights of rows, at least 0; it is no feature. Weights count in the metrics too.
        averaging: 'margin': the mean of the trees' margins; 'probability': the mean of the class frequencies in their leaves.
        max_depth: Largest depth of a tree, 1 to 64.
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
        metric: Metrics to track: one, several, none (None), or 'auto' for accuracy and log_loss; auc is the third.
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
        **kwargs: ``num_trees``; others are refused, with the name that may have been meant.

    Returns:
        The model, whole on every rank.

    Raises:
        OptionError: An option is unknown or outside its range.
        DataError: The data cannot be used, such as a target of one class, or is not that of the checkpoint.
        StorageError: A file cannot be read or written.
        ModelFileError: The checkpoint or the initial model is damaged.
        CommunicationError: The ranks were called with different options.
    """
    return create_trees(RandomForestClassifier, rename_num_trees(locals()), task="classifier")
