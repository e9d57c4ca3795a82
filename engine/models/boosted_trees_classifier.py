"""Boosted trees that predict classes: each tree corrects the sum of those before it."""

from __future__ import annotations

from typing import Any, ClassVar

from engine.collectives.communicator import Communicator
from engine.models._trees.classifier import TreesClassifier
from engine.models._trees.creating import create_boosted_trees

__all__ = ["BoostedTreesClassifier", "create"]


class BoostedTreesClassifier(TreesClassifier):
    """A trained model; made by :func:`create` or :func:`engine.load_model`."""

    toolkit: ClassVar[str] = "boosted_trees_classifier"


def create(
    dataset: Any,
    target: str,
    *,
    features: list[str] | None = None,
    max_iterations: int = 10,
    max_depth: int = 6,
    step_size: float = 0.3,
    min_loss_reduction: float = 0.0,
    min_child_weight: float = 0.1,
    max_bins: int = 256,
    random_seed: int | None = None,
    verbose: bool = True,
    num_threads: int | None = None,
    comm: Communicator | None = None,
    **kwargs: Any,
) -> BoostedTreesClassifier:
    """Train boosted trees on the logistic loss of two classes, or the softmax loss of more, with a tree for each. Collective.

    Every rank calls it. The same data, options and seed give the same model, byte for byte, on any number of ranks and threads.

    Args:
        dataset: Path, glob, folder or list of them (CSV, Parquet, Arrow), ``engine.Dataset``, Arrow table or anything with the Arrow
            PyCapsule interface (pandas, polars), or a dict of arrays.
        target: Column to predict; its values are the classes, at least two: strings, integers, booleans or floats. None may be missing.
        features: Columns to predict from; None means all but the target. Numbers, dates, booleans, strings (categories, None being one),
            vectors, maps and lists of strings.
        max_iterations: Rounds of boosting, at least 1.
        max_depth: Largest depth of a tree, 1 to 64.
        step_size: Factor of each tree's contribution, 0 to 1.
        min_loss_reduction: Splits that reduce the loss by less are pruned; at least 0.
        min_child_weight: Smallest sum of hessians in a child; at least 0.
        max_bins: Most bins a numeric feature is cut into, 2 to 65535.
        random_seed: At least 0; None means 0.
        verbose: Whether rank 0 prints the progress table.
        num_threads: Threads of each rank; None takes SAMESUM_NUM_THREADS, OMP_NUM_THREADS, or its share of the node's cores.
        comm: The ranks: a Communicator or an mpi4py communicator; None takes those that were started together.
        **kwargs: Refused, with the name that may have been meant.

    Returns:
        The model, whole on every rank.

    Raises:
        OptionError: An option is unknown or outside its range.
        DataError: The data cannot be used, such as a target of one class.
        StorageError: A file cannot be read.
        CommunicationError: The ranks were called with different options.
    """
    options = {
        "max_iterations": max_iterations,
        "max_depth": max_depth,
        "step_size": step_size,
        "min_loss_reduction": min_loss_reduction,
        "min_child_weight": min_child_weight,
        "max_bins": max_bins,
        "random_seed": random_seed,
    }
    return create_boosted_trees(
        BoostedTreesClassifier,
        dataset,
        target,
        task="classifier",
        options=options,
        unknown=kwargs,
        features=features,
        verbose=verbose,
        num_threads=num_threads,
        comm=comm,
    )
