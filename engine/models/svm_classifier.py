"""Support vector machine of two classes: a smooth hinge loss."""

from __future__ import annotations

import os
from typing import Any, ClassVar

from engine.collectives.communicator import Communicator
from engine.models._linear.classifiers import SvmModel
from engine.models._linear.creating import create_linear

__all__ = ["SvmClassifier", "create"]


class SvmClassifier(SvmModel):
    """A trained model; made by :func:`create` or :func:`engine.load_model`."""

    toolkit: ClassVar[str] = "svm_classifier"


def create(
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
    model_checkpoint_path: str | os.PathLike[str] | None = None,
    model_checkpoint_interval: int = 5,
    resume_from_checkpoint: str | os.PathLike[str] | None = None,
    verbose: bool = True,
    num_threads: int | None = None,
    memory_limit: int | str | None = None,
    comm: Communicator | None = None,
    **kwargs: Any,
) -> SvmClassifier:
    """Fit ``sum w log(1 + exp(-30 (y m - 1))) / 30 + |b|^2 / (2 penalty)``, m being margins and y -1 or 1. Collective.

    Every rank calls it. The same data, options and seed give the same model, byte for byte, on any number of ranks and threads.

    Args:
        dataset: Path, glob, folder or list of them (CSV, Parquet, Arrow), ``engine.Dataset``, Arrow table or anything with the Arrow
            PyCapsule interface (pandas, polars), or a dict of arrays.
        target: Column to predict; its values are the two classes: strings, integers, booleans or floats. None may be missing.
        features: Columns to predict from; None means all but the target, the weights and the offset. Numbers, dates, booleans, strings
            (an indicator for each category but the first, None being one), vectors, maps and lists of strings. None may be missing.
        penalty: C, at least 1e-10: the larger, the more each row's loss counts beside the size of the coefficients.
        solver: 'lbfgs', which 'auto' is, or 'newton'.
        feature_rescaling: Whether columns are divided by sqrt(mean^2 + variance) while solving. Penalties apply to the coefficients of the
            rescaled columns; those of the model are of columns as they are.
        convergence_threshold: Solving ends when no element of the gradient (of FISTA: of the last step) is larger; 1e-10 to 1e20.
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
    return create_linear(SvmClassifier, locals(), loss="hinge")
