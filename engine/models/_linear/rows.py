"""Rows of a linear model: read this rank's part, put it into whole blocks, encode features, target, weights and offsets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator
from engine.data.blocks import BLOCK_ROWS, align_stream, align_to_blocks
from engine.data.dataset import as_dataset
from engine.data.shard import Shard, read_shard
from engine.data.stream import Stream, open_stream, table_stream
from engine.encode.categories import fit_encoding
from engine.encode.design_encoding import DesignEncoding
from engine.encode.design_fitting import fit_design
from engine.encode.design_matrix import apply_design
from engine.encode.features import Floats, select_features
from engine.encode.labels import LARGEST_TARGET, encode_classes, encode_numbers, read_numbers
from engine.errors import DataError
from engine.memory import Memory
from engine.models._linear.loss import LossName, make_loss
from engine.models._linear.objective import RowSet, SumObjective, make_row_set
from engine.models._metrics.labels import number_labels
from engine.models._trees.validation import AUTO_MESSAGE, AUTO_ROWS, encode_known_classes, set_apart
from engine.models._trees.weights import join_weights, read_weights, resolve_class_weights
from engine.progress import ProgressTable

Task = Literal["classifier", "regression"]
MOST_CATEGORIES = (1 << 31) - 2  # columns are numbered in 32 bits
LARGEST_OFFSET = 1e100


@dataclass(frozen=True)
class LinearRows:
    """This rank's rows, encoded, with what all ranks know of them."""

    target: str
    design: DesignEncoding
    training: RowSet
    validation: RowSet | None
    classes: list[Any] | None
    counts: list[int] | None  # rows of each class
    class_weights: list[float] | None

    @property
    def n_rows(self) -> int:
        """Training rows of all ranks."""
        return self.training.design.n_rows

    @property
    def y(self) -> Floats:
        """The target of this rank's training rows."""
        return self.training.y

    @property
    def weights(self) -> Floats | None:
        """The weights of this rank's training rows, those of classes included; None where all are 1."""
        return self.training.weight

    @property
    def n_validation_rows(self) -> int:
        """Validation rows of all ranks."""
        return 0 if self.validation is None else self.validation.design.n_rows

    @property
    def n_features(self) -> int:
        """Feature columns of the data."""
        return len(self.design.encoding.sources)

    def fingerprint(self, comm: Communicator) -> dict[str, Any]:
        """What tells this training's data from another's, the same on any number of ranks; collective."""
        schema = json.dumps([self.target, self.classes, self.design.to_json()])
        moments = hashlib.sha256(self.design.means.tobytes() + self.design.scales.tobytes())
        return {
            "columns": hashlib.sha256(schema.encode()).hexdigest(),
            "num_examples": self.n_rows,
            "moments": moments.hexdigest(),
            "rows": hash_rows(self.training, comm),
            "num_validation_examples": self.n_validation_rows,
            "validation rows": None if self.validation is None else hash_rows(self.validation, comm),
        }


@dataclass(frozen=True)
class Columns:
    """The columns beside the features."""

    target: str
    sample_weight: str | None
    offset: str | None

    @property
    def extra(self) -> list[str]:
        """Those that are neither target nor feature."""
        return [name for name in (self.sample_weight, self.offset) if name is not None]


def read_linear_rows(
    data: Any,
    *,
    target: str,
    features: list[str] | None,
    task: Task,
    sample_weight: str | None,
    offset: str | None,
    class_weights: Any,
    feature_rescaling: bool,
    validation_set: Any,
    random_seed: int,
    num_threads: int,
    comm: Communicator,
    table: ProgressTable,
    memory: Memory | None = None,
) -> LinearRows:
    """Read and encode the training rows of ``data``, and those of ``validation_set`` (None, 'auto' or a dataset); collective.

    ``class_weights`` as :func:`engine.models._trees.weights.check_class_weights` gives them. Raises :class:`DataError` on every rank.
    """
    memory = memory or Memory(None, None, comm)
    columns = Columns(target, sample_weight, offset)
    names: list[str] = []
    borrow = False
    with agree(comm, "opening the data"):
        dataset = as_dataset(data)
        names = select_features([name for name in dataset.columns if name not in columns.extra], target, features)
        borrow = dataset.is_borrowed
        table.stage("Reading", dataset.input_bytes // comm.size, in_bytes=True)
    wanted = [*names, target, *columns.extra]
    stream = open_stream(dataset, comm, wanted, keep_bytes=memory.spare // 4, on_bytes=table.advance)
    apart: Shard | None = None
    is_auto = isinstance(validation_set, str) and validation_set == "auto"
    if is_auto and stream.n_rows >= AUTO_ROWS:
        table.message(AUTO_MESSAGE)
        stream, apart = set_apart(stream, random_seed, comm)
        borrow = False
    table.stage("Encoding")
    stream = align_stream(stream, comm)
    classes, counts, weights_of_classes, y = read_target(stream, target, task, class_weights, comm)
    weight, offsets = read_extra(stream, columns, weights_of_classes, y, comm)
    encoding = fit_encoding(stream, names, comm, max_categories=MOST_CATEGORIES)
    matrix, design = fit_design(stream, encoding, comm, rescale=feature_rescaling, borrow=borrow, num_threads=num_threads)
    training = make_row_set(matrix, y, weight, offsets, comm)
    if validation_set is not None and not is_auto:
        apart = read_apart(validation_set, design, columns, classes, comm)
    validation = None
    if apart is not None:
        validation = encode_apart(
            apart, design, columns, classes=classes, class_weights=weights_of_classes, num_threads=num_threads, comm=comm
        )
    return LinearRows(target, design, training, validation, classes, counts, weights_of_classes)


def make_objective(rows: LinearRows, *, loss: LossName, comm: Communicator, num_threads: int) -> SumObjective:
    """The sum of a loss over the rows; logistic loss of more than two classes is softmax."""
    n_classes = 0 if rows.classes is None else len(rows.classes)
    return SumObjective(
        make_loss(loss, n_classes), rows.training, rows.design.scales, comm=comm, num_threads=num_threads, validation=rows.validation
    )


def read_target(
    stream: Stream, target: str, task: Task, class_weights: Any, comm: Communicator
) -> tuple[list[Any] | None, list[int] | None, list[float] | None, NDArray[Any]]:
    """Classes, rows of each, their weights, and the target of every row as a number; collective."""
    if task == "regression":
        return None, None, None, encode_numbers(stream, target=target, comm=comm)
    labels = encode_classes(stream, target=target, comm=comm, dtype=np.float64)
    weights: list[float] | None = None
    with agree(comm, "weighting classes"):
        weights = resolve_class_weights(class_weights, labels.classes, labels.counts)
    return labels.classes, labels.counts, weights, labels.codes


def read_extra(
    stream: Stream, columns: Columns, class_weights: list[float] | None, y: NDArray[Any], comm: Communicator
) -> tuple[Floats | None, Floats | None]:
    """The weight of every row, its class's included, and its offset; None where all are 1, or 0; collective."""
    own = None if columns.sample_weight is None else read_weights(stream, name=columns.sample_weight, comm=comm)
    offset: Floats | None = None
    if columns.offset is not None:
        with agree(comm, "reading offsets"):
            offset = read_numbers(stream, columns.offset, "offset", most=LARGEST_OFFSET)
    return join_weights(own, class_weights, y), offset


def read_apart(data: Any, design: DesignEncoding, columns: Columns, classes: Sequence[Any] | None, comm: Communicator) -> Shard:
    """This rank's rows of a validation dataset; collective."""
    encoding = design.encoding
    text = [name for name, kind in encoding.sources.items() if kind == "str"]
    if classes is not None and isinstance(classes[0], str):
        text.append(columns.target)
    with agree(comm, "opening the validation set"):
        dataset = as_dataset(data).with_default_types({name: pa.string() for name in text})
    return read_shard(dataset, comm, [*encoding.sources, columns.target, *columns.extra])


def encode_apart(
    shard: Shard,
    design: DesignEncoding,
    columns: Columns,
    *,
    classes: list[Any] | None,
    class_weights: list[float] | None,
    num_threads: int,
    comm: Communicator,
) -> RowSet:
    """Encode validation rows as training rows were; collective. Rows of classes that training does not have are left out with a warning."""
    if classes is not None:
        shard, _ = encode_known_classes(shard, columns.target, classes, comm)
    with agree(comm, "reading the validation set"):
        if shard.n_rows == 0:
            raise DataError("expected rows in the validation set, got none; leave validation_set out to train without")
    shard = align_to_blocks(shard, comm)
    y: NDArray[Any] = np.empty(0)
    if classes is not None:
        y, _ = number_labels(comm, shard.table.column(columns.target), classes, target=columns.target, first_row=shard.first_row)
    stream = table_stream(shard.table, shard.first_row, shard.n_rows)
    if classes is None:
        with agree(comm, "reading the validation set"):
            y = read_numbers(stream, columns.target, "validation target", most=LARGEST_TARGET)
    weight, offset = read_extra(stream, columns, class_weights, y, comm)
    return make_row_set(apply_design(stream, design, comm, borrow=True, num_threads=num_threads), y, weight, offset, comm)


def hash_rows(rows: RowSet, comm: Communicator) -> str:
    """A hash of all ranks' rows by blocks, which lie whole on one rank each; collective."""
    design = rows.design
    total = 0
    for block in range(-(-design.n_rows_local // BLOCK_ROWS)):
        part = slice(block * BLOCK_ROWS, (block + 1) * BLOCK_ROWS)
        own = hashlib.blake2b(str(design.first_row + block * BLOCK_ROWS).encode(), digest_size=8)
        for values in (*design.block_parts(block), *(a[part] for a in (rows.y, rows.weight, rows.offset) if a is not None)):
            own.update(np.ascontiguousarray(values).tobytes())
        total += int.from_bytes(own.digest(), "little")
    summed = np.array([total % (1 << 64)], dtype=np.uint64)
    comm.allreduce_sum(summed, name="hash the data")
    return f"{int(summed[0]):016x}"
