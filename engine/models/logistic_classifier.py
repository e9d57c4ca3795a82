"""Logistic regression of two classes, and softmax regression of more."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, ClassVar

from engine.collectives.communicator import Communicator
from engine.models._linear.classifiers import LogisticModel
from engine.models._linear.creating import create_linear
from engine.models._linear.paths import RegularizationPath, create_path

__all__ = ["LogisticClassifier", "create", "regularization_path"]


class LogisticClassifier(LogisticModel):
    """A trained model; made by :func:`create` or :func:`engine.load_model`."""

    toolkit: ClassVar[str] = "logistic_classifier"


def create(
    dataset: Any,
    target: str,
    *,
    features: list[str] | None = None,
    l2_penalty: float = 1e-2,
    l1_penalty: float = 0.0,
    solver: str = "auto",
    feature_rescaling: bool = True,
    convergence_threshold: float = 1e-2,
    step_size: float = 1.0,
    lbfgs_memory_level: int = 11,
    max_iterations: int = 10,
    class_weights: Any = None,
    validation_set: Any = None,
    sample_weight: str | None = None,
    offset: str | None = None,
    random_seed: int | None = None,
    model_checkpoint_path: str | os.PathLike[str] | None = None,
    model_checkpoint_interval: int = 5,
    resume_from_checkpoint: str | os.PathLike[str] | None = None,
    verbose: bool = True,
    num_threads: int | None = None,
    memory_limit: int | str | None = None,
    comm: Communicator | None = None,
    **kwargs: Any,
) -> LogisticClassifier:
    """Fit the negative log-likelihood of the classes plus ``l2 |b|^2 + l1 |b|_1``. Collective.

    Every rank calls it. The same data, options and seed give the same model, byte for byte, on any number of ranks and threads.

    Args:
        dataset: Path, glob, folder or list of them (CSV, Parquet, Arrow), ``engine.Dataset``, Arrow table or anything with the Arrow
            PyCapsule interface (pandas, polars), or a dict of arrays.
        target: Column to predict; its values are the classes, at least two: strings, integers, booleans or floats. None may be missing.
        features: Columns to predict from; None means all but the target, the weights and the offset. Numbers, dates, booleans, strings
            (an indicator for each category but the first, None being one), vectors, maps and lists of strings. None may be missing.
        l2_penalty: Weight of the sum of squared coefficients, at least 0.
        l1_penalty: Weight of the sum of absolute coefficients, at least 0; above 0 many coefficients are exactly 0.
        solver: 'newton'; 'lbfgs'; 'fista' or 'proximal_newton', which know l1_penalty; or 'auto': with l1_penalty 'proximal_newton' up to
            2000 coefficients, else 'fista'; without it 'newton' up to 500 coefficients, else 'lbfgs'.
        feature_rescaling: Whether columns are divided by sqrt(mean^2 + variance) while solving. Penalties apply to the coefficients of the
            rescaled columns; those of the model are of columns as they are.
        convergence_threshold: Solving ends when no element of the gradient (of FISTA: of the last step) is larger; 1e-10 to 1e20.
        step_size: FISTA's first step size, 1e-10 to 1e20, which it divides until it is small enough.
        lbfgs_memory_level: Steps that L-BFGS remembers, at least 1.
        max_iterations: Most iterations, at least 1.
        class_weights: None; 'auto', inverse to each class's number of rows; or a dict of a positive weight for every class.
        validation_set: Rows whose metrics are tracked beside those of training: None, a dataset, or 'auto', which sets 5 percent of the
            rows apart where there are 100 or more.
        sample_weight: A column of weights of rows, at least 0; it is no feature.
        offset: A column that is added to every margin with coefficient 1; it is no feature, and predictions need it too.
        random_seed: Of the rows that validation_set='auto' sets apart, at least 0; None means 0.
        model_checkpoint_path: Folder for checkpoints ``model_checkpoint_<N>``, of which the last two are kept; None for none.
        model_checkpoint_interval: Iterations from checkpoint to checkpoint; 0 for none.
        resume_from_checkpoint: The path of a checkpoint of the same data and options (but max_iterations), or 'auto' for the newest whole
            one in model_checkpoint_path, if there is one. The model is that of a training that was never interrupted.
        verbose: Whether rank 0 prints the progress table.
        num_threads: Threads of each rank; None takes SAMESUM_NUM_THREADS, OMP_NUM_THREADS, or its share of the node's cores.
        memory_limit: Bytes that each rank may use, or text like '2GB'; None takes SAMESUM_MEMORY_LIMIT, or its share of 0.8 of the machine.
        comm: The ranks: a Communicator or an mpi4py communicator; None takes those that were started together.
        **kwargs: Refused, with the name that may have been meant.

    Returns:
        The model, whole on every rank.

    Raises:
        OptionError: An option is unknown or outside its range, or the solver cannot do what is asked.
        DataError: The data cannot be used, such as a missing value, or is not that of the checkpoint.
        StorageError: A file cannot be read or written.
        ModelFileError: The checkpoint is damaged.
        CommunicationError: The ranks were called with different options.
    """
    return create_linear(LogisticClassifier, locals(), loss="logistic")


def regularization_path(
    dataset: Any,
    target: str,
    *,
    l1_penalties: Sequence[float] = (0.0,),
    l2_penalties: Sequence[float] = (100.0, 10.0, 1.0, 0.1, 0.01),
    features: list[str] | None = None,
    solver: str = "auto",
    feature_rescaling: bool = True,
    convergence_threshold: float = 1e-2,
    step_size: float = 1.0,
    lbfgs_memory_level: int = 11,
    max_iterations: int = 10,
    class_weights: Any = None,
    validation_set: Any = None,
    sample_weight: str | None = None,
    offset: str | None = None,
    random_seed: int | None = None,
    num_threads: int | None = None,
    memory_limit: int | str | None = None,
    comm: Communicator | None = None,
) -> RegularizationPath:
    """Train a model for every pair of an l1 and an l2 penalty. Collective.

    Each is solved from where the one before ended, from the largest penalties to the smallest: later ones need few iterations.
    The other options are those of :func:`create`. The same models on any number of ranks and threads.

    Args:
        dataset: As :func:`create` takes it.
        target: Column to predict.
        l1_penalties: Weights of the sum of absolute coefficients, at least 0; each is combined with each of l2_penalties.
        l2_penalties: Weights of the sum of squared coefficients, at least 0.
        features: As of :func:`create`, like the options that follow.
        solver: As of :func:`create`.
        feature_rescaling: As of :func:`create`.
        convergence_threshold: As of :func:`create`.
        step_size: As of :func:`create`.
        lbfgs_memory_level: As of :func:`create`.
        max_iterations: As of :func:`create`, for each model.
        class_weights: As of :func:`create`.
        validation_set: As of :func:`create`.
        sample_weight: As of :func:`create`.
        offset: As of :func:`create`.
        random_seed: As of :func:`create`.
        num_threads: As of :func:`create`.
        memory_limit: As of :func:`create`.
        comm: As of :func:`create`.

    Returns:
        ``table``, a row for each pair, and ``models``, in the order of the pairs: the first l1 penalty with all l2 penalties comes first.

    Raises:
        OptionError: An option is outside its range.
        DataError: The data cannot be used.
    """
    return create_path(LogisticClassifier, locals(), loss="logistic")
