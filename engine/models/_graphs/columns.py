"""Columns of the vertex table as toolkits use them: weights and starts as numbers, labels as numbers of classes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator
from engine.data.shard_plan import gather_json
from engine.encode.features import is_text, near
from engine.encode.graph_partition import GraphPartition
from engine.encode.labels import class_order
from engine.errors import DataError

MOST_CLASSES = 1000
SMALLEST, LARGEST = 1e-30, 1e30  # of weights that are not 0


def read_column(partition: GraphPartition, name: str, role: str) -> pa.Array:
    """A column of the vertex table, a value for each of this rank's vertices. Raises :class:`DataError` if there is none."""
    table = partition.vertex_attributes
    if name not in table.column_names:
        has = f"the vertices have {', '.join(table.column_names)}" if table.column_names else "pass a table of vertices with such a column"
        raise DataError(f"{role} {name!r} is no column of the vertices{near(name, table.column_names)}; {has}")
    column = table.column(name)
    chunks = column.chunks
    return chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks) if chunks else pa.array([], column.type)


def read_numbers(partition: GraphPartition, name: str, role: str, *, missing: float) -> NDArray[np.float64]:
    """A column of numbers, each 0 or in [1e-30, 1e30]; ``missing`` stands for those that are not there.

    Raises :class:`DataError`, with the id of the first vertex that has something else.
    """
    values = read_column(partition, name, role)
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type) or pa.types.is_null(values.type)):
        raise DataError(f"{role} {name!r}: expected numbers, got {values.type}")
    absent = values.is_null().to_numpy(zero_copy_only=False)
    number = np.where(absent, missing, pc.fill_null(values.cast(pa.float64(), safe=False), 0.0).to_numpy(zero_copy_only=False))
    wrong = np.flatnonzero(~(((number >= SMALLEST) & (number <= LARGEST)) | (number == 0.0) | absent))
    if len(wrong):
        at = int(wrong[0])
        expected = f"0 or a number in [{SMALLEST}, {LARGEST}]"
        raise DataError(f"{role} {name!r} has {float(number[at])!r} for vertex {partition.ids[at].as_py()!r}: expected {expected}")
    return number


def check_weights(weights: NDArray[np.float64] | None, name: str | None) -> None:
    """Refuse weights of edges whose sums could overflow, or whose inverses could."""
    if weights is not None and len(weights):
        wrong = weights[~(((weights >= SMALLEST) & (weights <= LARGEST)) | (weights == 0.0))]
        if len(wrong):
            raise DataError(f"weight_field {name!r} has {float(wrong[0])!r}: expected 0 or a number in [{SMALLEST}, {LARGEST}]")


def read_labels(partition: GraphPartition, name: str, comm: Communicator) -> tuple[NDArray[np.int32], list[Any]]:
    """The class of each of this rank's vertices, -1 for none; and the classes of all ranks' vertices, sorted. Collective.

    Raises :class:`DataError` on every rank for a column that is not there or has no classes, no labels at all, or too many classes.
    """
    codes, found = np.full(partition.n_local, -1, dtype=np.int32), []
    with agree(comm, "reading the labels"):
        values = read_column(partition, name, "label_field")
        check_label_type(values.type, name)
        if pa.types.is_floating(values.type):
            values = pc.add(pc.if_else(pc.is_nan(values), None, values), pa.scalar(0.0, values.type))  # -0.0 is no class beside 0.0
        coded = pc.dictionary_encode(values.cast(pa.int64()) if pa.types.is_null(values.type) else values)
        found = coded.dictionary.to_pylist()
        codes = pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int32)
        if len(found) > MOST_CLASSES:
            raise DataError(too_many(name, f"at least {len(found)}"))
        for value in found:
            if isinstance(value, float) and math.isinf(value):
                raise DataError(f"label_field {name!r} has {value!r}: expected finite numbers, strings, booleans, or nothing")
    classes = sorted({item for part in gather_json(comm, found, name="gather classes") for item in part}, key=class_order)
    with agree(comm, "reading the labels"):
        if not classes:
            raise DataError(f"label_field {name!r} has no label at all: expected a class for one vertex or more")
        if len(classes) > MOST_CLASSES:
            raise DataError(too_many(name, str(len(classes))))
    numbers = {item: number for number, item in enumerate(classes)}
    own = np.array([*(numbers[item] for item in found), -1], dtype=np.int32)
    return own[codes], classes


def check_label_type(kind: pa.DataType, name: str) -> None:
    """Refuse columns that hold no classes."""
    known = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, is_text, pa.types.is_null)
    if not any(test(kind) for test in known):
        raise DataError(f"label_field {name!r}: expected strings, integers, booleans or floats, got {kind}")


def too_many(name: str, number: str) -> str:
    """What to say of more classes than fit."""
    return f"label_field {name!r} has {number} classes, expected at most {MOST_CLASSES}"
