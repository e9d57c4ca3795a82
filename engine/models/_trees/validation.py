"""Validation rows: a part of the training rows or a dataset of their own, shared out to the ranks like those."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator
from engine.data.dataset import as_dataset
from engine.data.shard import Shard, read_shard
from engine.data.shard_plan import first_row_and_total
from engine.data.splits import Split
from engine.data.stream import Stream, split_stream, table_stream
from engine.encode.bins import BinSpec
from engine.encode.encoding import Encoding
from engine.encode.features import shorten
from engine.encode.labels import LARGEST_TARGET, read_numbers
from engine.errors import DataError, warn
from engine.models._metrics.labels import number_labels
from engine.models._trees.routing import RowCodes, encode_codes
from engine.models._trees.weights import join_weights, read_weights

AUTO_ROWS = 100  # from so many rows on 'auto' sets some apart
AUTO_FRACTION = 0.95  # of the rows stay for training
AUTO_MESSAGE = (
    "PROGRESS: Creating a validation set from 5 percent of training data. This may take a while.\n"
    "          You can set ``validation_set=None`` to disable validation tracking.\n"
)


@dataclass(frozen=True)
class ValidationRows:
    """This rank's validation rows; ``n_rows``: of all ranks."""

    codes: RowCodes
    table: pa.Table  # the features, as they were read
    y: NDArray[Any]
    weights: NDArray[np.float64] | None
    first_row: int
    n_rows: int


def set_apart(stream: Stream, seed: int, comm: Communicator) -> tuple[Stream, Shard]:
    """The rows for training and those for validation, as ``Dataset.random_split`` would deal them; collective."""
    kept, apart = (split_stream(stream, Split(seed, AUTO_FRACTION, first), comm) for first in (True, False))
    table = pa.Table.from_batches(apart.batches()) if apart.n_rows_local else apart.schema.empty_table()
    return kept, Shard(table, apart.first_row, apart.n_rows)


def read_validation(
    data: Any, encoding: Encoding, *, target: str, text_target: bool, sample_weight: str | None, comm: Communicator
) -> Shard:
    """This rank's rows of a validation dataset: the features, the target and the weights; collective. Raises :class:`DataError`."""
    columns = [*encoding.sources, target, *([sample_weight] if sample_weight else [])]
    text = [name for name, kind in encoding.sources.items() if kind == "str"] + ([target] if text_target else [])
    with agree(comm, "opening the validation set"):
        dataset = as_dataset(data).with_default_types({name: pa.string() for name in text})
    return read_shard(dataset, comm, columns)


def encode_validation(
    shard: Shard,
    encoding: Encoding,
    specs: Sequence[BinSpec],
    *,
    target: str,
    classes: list[Any] | None,
    class_weights: list[float] | None,
    sample_weight: str | None,
    num_threads: int,
    comm: Communicator,
) -> ValidationRows:
    """Encode validation rows by the bins of training; collective.

    Rows of classes that training does not have are left out with a warning. Raises :class:`DataError` where no row is left.
    """
    y: NDArray[Any]
    if classes is not None:
        shard, y = encode_known_classes(shard, target, classes, comm)
    else:
        with agree(comm, "reading the validation set"):
            y = read_numbers(table_stream(shard.table, shard.first_row, shard.n_rows), target, "validation target", most=LARGEST_TARGET)
    with agree(comm, "reading the validation set"):
        if shard.n_rows == 0:
            raise DataError("expected rows in the validation set, got none; leave validation_set out to train without")
    weights = None
    if sample_weight is not None:
        weights = read_weights(table_stream(shard.table, shard.first_row, shard.n_rows), name=sample_weight, comm=comm)
    with agree(comm, "encoding the validation set"):
        codes = encode_codes(shard.table, encoding, specs, num_threads=num_threads)
    features = shard.table.select(list(encoding.sources))
    return ValidationRows(codes, features, y, join_weights(weights, class_weights, y), shard.first_row, shard.n_rows)


def encode_known_classes(shard: Shard, target: str, classes: list[Any], comm: Communicator) -> tuple[Shard, NDArray[np.int32]]:
    """The rows whose class training knows, and their class numbers; collective."""
    codes, unseen = number_labels(comm, shard.table.column(target), classes, target=target, first_row=shard.first_row)
    known = codes < len(classes)
    if not unseen:
        return shard, codes.astype(np.int32)
    table = shard.table.filter(pa.array(known))
    first_row, n_rows = first_row_and_total(comm, table.num_rows, name="rows of known classes")
    if comm.rank == 0:
        left_out = shard.n_rows - n_rows
        warn(f"{left_out} rows of the validation set are left out: training has no row of class {shorten(unseen)}")
    return Shard(table, first_row, n_rows), codes[known].astype(np.int32)
