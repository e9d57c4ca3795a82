"""Class labels as Arrow arrays, and target values as class numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator
from engine.encode.features import single_chunk
from engine.encode.labels import check_present, class_order
from engine.errors import DataError

MAX_UNSEEN = 1000


def label_array(labels: list[Any]) -> pa.Array:
    """Labels of one kind as an Arrow array; numbers of several kinds become the widest of them."""
    if any(isinstance(label, str) for label in labels):
        return pa.array(labels, type=pa.string())
    kinds: list[tuple[type, Callable[[Any], Any], pa.DataType]] = [
        (bool, bool, pa.bool_()),
        (int, int, pa.int64()),
        (float, float, pa.float64()),
    ]
    for kind, convert, arrow in kinds:
        if all(isinstance(label, (bool, kind)) or (kind is float and isinstance(label, int)) for label in labels):
            return pa.array([convert(label) for label in labels], type=arrow)
    raise TypeError(f"expected labels that are strings, numbers or booleans, got {labels!r}")


def number_labels(
    comm: Communicator, column: pa.ChunkedArray, classes: list[Any], *, target: str, first_row: int
) -> tuple[NDArray[np.int64], list[Any]]:
    """Class numbers of a target column and the values in it that are no class; collective.

    Numbers after the classes' stand for the unseen values, which are the same sorted list on every rank. Values compare as in Python, so
    1, 1.0 and True are one class. Raises :class:`DataError` for missing values and where strings meet numbers.
    """
    with agree(comm, "reading the target"):
        values = single_chunk(column)
        check_present(values, target, first_row)
        if pa.types.is_floating(values.type):
            check_present(pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values), target, first_row)
        check_kind(values, classes, target)
        encoded = values.dictionary_encode()
        distinct = encoded.dictionary.to_pylist()
        known = {label: code for code, label in enumerate(classes)}
        new = [label + 0.0 if isinstance(label, float) else label for label in distinct if label not in known]  # -0.0 becomes 0.0
        check_unseen(new, target)
    unseen = sorted({label for part in comm.gather_objects(new, name="gather unseen classes") for label in part}, key=class_order)
    with agree(comm, "reading the target"):
        check_unseen(unseen, target)
    known.update({label: len(classes) + place for place, label in enumerate(unseen)})
    codes = np.array([known[label] for label in distinct], dtype=np.int64)
    return codes[np.asarray(encoded.indices)] if len(values) else np.empty(0, dtype=np.int64), unseen


def check_kind(values: pa.Array, classes: list[Any], target: str) -> None:
    """Refuse strings where the classes are numbers, and the other way round."""
    are_text = isinstance(classes[0], str)
    is_text = pa.types.is_string(values.type) or pa.types.is_large_string(values.type)
    if len(values) and are_text != is_text:
        expected = "strings" if are_text else "numbers"
        raise DataError(
            f"target {target!r}: the model's classes are {expected}, such as {classes[0]!r}; expected {expected}, got {values.type}"
        )


def check_unseen(unseen: list[Any], target: str) -> None:
    """Refuse a target that hardly is the model's: most of its values are no class."""
    if len(unseen) > MAX_UNSEEN:
        raise DataError(
            f"target {target!r} has {len(unseen)} values that are no class of the model, expected at most {MAX_UNSEEN}; "
            "is it the right column?"
        )
