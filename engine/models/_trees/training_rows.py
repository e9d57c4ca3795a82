"""Training rows: read this rank's part of the data, encode and bin it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator
from engine.collectives.threads import useful_threads
from engine.data.dataset import as_dataset
from engine.data.shard import Shard, read_shard
from engine.encode.bins import BinMatrix, encode_bins, fit_bins
from engine.encode.categories import all_missing, fit_encoding
from engine.encode.encoding import Encoding
from engine.encode.features import select_features
from engine.encode.labels import encode_classes, encode_numbers
from engine.errors import DataError, warn
from engine.models._trees.initial_model import InitialModel, join_encodings
from engine.models._trees.weights import join_weights, read_weights, resolve_class_weights
from engine.progress import ProgressTable

Task = Literal["classifier", "regression"]
MOST_ROWS = 2**32 - 1  # of a rank: trees keep their order in 32 bits


@dataclass(frozen=True)
class Rows:
    """This rank's rows, encoded, with what all ranks know of them."""

    encoding: Encoding
    bins: BinMatrix
    y: NDArray[Any]  # class numbers, or float64
    weights: NDArray[np.float64] | None
    classes: list[Any] | None
    counts: list[int] | None
    class_weights: list[float] | None
    first_row: int
    n_rows: int
    initial_scores: NDArray[np.float64] | None  # [n_outputs, n_rows_local] of the model that training goes on from


def read_columns(
    data: Any, target: str, features: list[str] | None, *, sample_weight: str | None, comm: Communicator, table: ProgressTable
) -> tuple[Shard, list[str]]:
    """This rank's rows of the target, the weights and the feature columns, and the features' names; collective."""
    extra = [] if sample_weight is None else [sample_weight]
    with agree(comm, "opening the data"):
        dataset = as_dataset(data)
        names = select_features([name for name in dataset.columns if name not in extra], target, features)
        # ranks read about equally much, and the bar shows rank 0's part
        table.stage("Reading", dataset.input_bytes // comm.size, in_bytes=True)
    return read_shard(dataset, comm, [*names, target, *extra], on_bytes=table.advance), names


def encode_rows(
    shard: Shard,
    features: list[str],
    target: str,
    *,
    task: Task,
    options: dict[str, Any],
    initial: InitialModel | None = None,
    num_threads: int,
    comm: Communicator,
) -> Rows:
    """Number the classes, fit the encoding and the bins on all ranks' rows, and encode this rank's; collective."""
    classes: list[Any] | None = None
    counts: list[int] | None = None
    class_weights: list[float] | None = None
    y: NDArray[Any]
    with agree(comm, "encoding"):
        if shard.table.num_rows > MOST_ROWS:
            raise DataError(f"expected at most {MOST_ROWS} rows on each rank, got {shard.table.num_rows}; use more ranks")
    num_threads = useful_threads(num_threads, shard.table.num_rows * len(features))
    column = shard.table.column(target)
    if task == "classifier":
        labels = encode_classes(column, target=target, first_row=shard.first_row, comm=comm)
        classes, counts, y = labels.classes, labels.counts, labels.codes
        with agree(comm, "weighting classes"):
            class_weights = resolve_class_weights(options["class_weights"], classes, counts)
    else:
        y = encode_numbers(column, target=target, first_row=shard.first_row, comm=comm)
    weights, sample_weight = None, options["sample_weight"]
    if sample_weight is not None:
        weights = read_weights(shard.table.column(sample_weight), name=sample_weight, first_row=shard.first_row, comm=comm)
    table = shard.table.select(features)
    warn_all_missing(table, features, comm)
    encoding = fit_encoding(table, features, comm)
    if initial is not None:
        with agree(comm, "going on from the initial model"):
            initial.check_classes(classes)
            encoding = join_encodings(encoding, initial.encoding)
    seed = options["random_seed"]
    specs = fit_bins(table, encoding, max_bins=options["max_bins"], seed=seed, first_row=shard.first_row, n_rows=shard.n_rows, comm=comm)
    bins = encode_bins(table, encoding, specs, num_threads=num_threads)
    scores = None if initial is None else initial.scores(table, num_threads=num_threads)
    weights = join_weights(weights, class_weights, y)
    return Rows(encoding, bins, y, weights, classes, counts, class_weights, shard.first_row, shard.n_rows, scores)


def warn_all_missing(table: pa.Table, features: list[str], comm: Communicator) -> None:
    """Warn, once, of features that hold nothing; collective."""
    empty = all_missing(table, features, comm)
    if empty and comm.rank == 0:
        warn(f"every value is missing in column {', '.join(map(repr, empty))}: the model cannot use it")
