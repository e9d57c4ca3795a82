"""The target column: class numbers for classifiers, float64 for regressions, checked on every rank."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.collectives.agree import agree, raise_on_all
from engine.collectives.communicator import Communicator
from engine.data.blocks import BLOCK_ROWS
from engine.data.stream import Stream
from engine.encode.features import is_text, numbers
from engine.errors import DataError, warn

MAX_CLASSES = 65_535
MOST_COUNTED = 1 << 20  # classes that a rank keeps, just to say how many there are
MOST_NEAR = 256  # integers between which all are listed
LARGEST_TARGET = 1e100  # sums of squares of larger ones overflow


@dataclass(frozen=True)
class ClassLabels:
    """Class numbers of this rank's rows; classes are numbered by sorted value."""

    codes: NDArray[Any]  # [n_rows_local] int32, or of the type that was asked for
    classes: list[Any]
    counts: list[int]  # rows of each class, over all ranks


def encode_classes(rows: Stream, *, target: str, comm: Communicator, dtype: type = np.int32) -> ClassLabels:
    """Number the classes of all ranks' rows; collective. Raises :class:`DataError` for missing values, one class, or too many.

    ``dtype``: of the numbers, the one that is used in the end: fresh memory costs more than what is done here.
    """
    numbering: dict[Any, int] = {}
    found: list[int] = []  # rows of each class so far
    codes: NDArray[Any] = np.empty(rows.n_rows_local, dtype=dtype)
    with agree(comm, "reading the target"):
        begin = 0
        for batch in rows.batches([target]):
            values = batch.column(0)
            check_classes(values, target, rows.first_row + begin)
            if pa.types.is_floating(values.type):
                values = pa.array(numbers(values, target) + 0.0)  # -0.0 is no class beside 0.0
            distinct, indices = tell_apart(values)
            counts = np.bincount(indices, minlength=len(distinct)).tolist()
            places = [numbering.setdefault(value, len(numbering)) if n else 0 for value, n in zip(distinct, counts, strict=True)]
            part = codes[begin : begin + len(values)]
            np.take(np.array(places, dtype=dtype), indices, out=part, mode="clip")  # 'raise' would take them elsewhere first
            begin += len(values)
            found += [0] * (len(numbering) - len(found))
            for place, n in zip(places, counts, strict=True):
                found[place] += n
            if len(numbering) > MOST_COUNTED:
                raise DataError(
                    f"target {target!r} has more than {MOST_COUNTED} classes, expected at most {MAX_CLASSES}; is this a regression?"
                )
    gathered = comm.gather_objects(list(numbering), name="gather classes")
    classes = sorted({item for part in gathered for item in part}, key=class_order)
    with agree(comm, "reading the target"):
        check_class_count(classes, target)
    order = {item: number for number, item in enumerate(classes)}
    numbers_of = np.array([order[item] for item in numbering], dtype=np.int64)
    if (numbers_of != np.arange(len(numbers_of))).any():
        for begin in range(0, len(codes), BLOCK_ROWS):
            part = codes[begin : begin + BLOCK_ROWS]
            part[:] = numbers_of[part.astype(np.int64)]
    rows_of = np.zeros(len(classes), dtype=np.int64)
    rows_of[numbers_of] = found
    comm.allreduce_sum(rows_of, name="count classes")
    return ClassLabels(codes=codes, classes=classes, counts=rows_of.tolist())


def tell_apart(values: pa.Array) -> tuple[list[Any], NDArray[Any]]:
    """The different values, others perhaps that do not occur among them, and for every row which of them it has."""
    if pa.types.is_integer(values.type) and not pa.types.is_uint64(values.type) and len(values):
        number = values.to_numpy().astype(np.int64, copy=False)
        low, high = int(number.min()), int(number.max())
        if high - low < MOST_NEAR:
            return list(range(low, high + 1)), number - low
    coded = pc.dictionary_encode(values)
    return coded.dictionary.to_pylist(), np.asarray(coded.indices)


def check_classes(values: pa.Array, target: str, first_row: int) -> None:
    """Refuse targets that have no classes: missing values, or types other than integers, strings, booleans and whole floats."""
    check_present(values, target, first_row)
    arrow = values.type
    if pa.types.is_floating(arrow):
        number = numbers(values, target)
        check_finite(number, target, first_row, most=math.inf)
    elif not (pa.types.is_integer(arrow) or pa.types.is_boolean(arrow) or is_text(arrow) or len(values) == 0):
        raise DataError(f"target {target!r}: expected classes that are strings, integers, booleans or floats, got {arrow}")


def check_class_count(classes: list[Any], target: str) -> None:
    """Refuse fewer than two classes, or more than fit."""
    if not classes:
        raise DataError(f"target {target!r} has no rows: expected two classes or more")
    if len(classes) == 1:
        raise DataError(f"target {target!r} has one class, {classes[0]!r}: one-class classification is not supported; expected two or more")
    if len(classes) > MAX_CLASSES:
        raise DataError(f"target {target!r} has {len(classes)} classes, expected at most {MAX_CLASSES}; is this a regression?")


def class_order(value: Any) -> Any:
    """Numbers and booleans in their order, strings by their UTF-8 bytes."""
    return value.encode("utf-8") if isinstance(value, str) else value


def encode_numbers(rows: Stream, *, target: str, comm: Communicator) -> NDArray[np.float64]:
    """The target as float64; collective. Raises :class:`DataError` for no rows and for missing or huge values; warns if it is constant."""
    number = np.empty(0)
    with agree(comm, "reading the target"):
        number = read_numbers(
            rows,
            target,
            "target",
            most=LARGEST_TARGET,
            expected="numbers for a regression",
            advice="; use a classifier for classes",
        )
    extremes = np.array([number.max(), -number.min()]) if len(number) else np.array([-np.inf, -np.inf])
    comm.allreduce_max(extremes, name="range of the target")
    if extremes[0] == -np.inf:
        raise_on_all(comm, DataError(f"target {target!r} has no rows: expected one or more"), "reading the target")
    if extremes[0] == -extremes[1] and comm.rank == 0:
        warn(f"target {target!r} is constant ({float(extremes[0])!r}): the model will predict little else")
    return number


def read_numbers(rows: Stream, column: str, role: str, *, most: float, expected: str = "numbers", advice: str = "") -> NDArray[np.float64]:
    """A column of this rank's rows as float64, in one pass; where it is, and read-only, if it lies in one array.

    Raises :class:`DataError` for missing values, what is no number and numbers beyond ``most``; ``role``, ``expected`` and
    ``advice`` are words of the message.
    """
    in_place: pa.Array | None = None  # what has been read, if it lies in one array
    number = np.empty(0)
    n_read = 0
    for batch in rows.batches([column]):
        values, at = batch.column(0), rows.first_row + n_read
        check_present(values, column, at, role)
        arrow = values.type
        if not (pa.types.is_integer(arrow) or pa.types.is_floating(arrow) or pa.types.is_boolean(arrow) or len(values) == 0):
            raise DataError(f"{role} {column!r}: expected {expected}, got {arrow}{advice}")
        part = numbers(values, column)
        check_finite(part, column, at, most=most, role=role)
        if n_read == 0 and pa.types.is_float64(arrow):
            in_place = values
        elif in_place is not None and _follows(in_place, values):
            in_place = pa.Array.from_buffers(arrow, n_read + len(values), [None, values.buffers()[1]], 0, in_place.offset)
        else:
            if not len(number):
                number = np.empty(rows.n_rows_local)
            if in_place is not None:
                number[:n_read], in_place = np.asarray(in_place), None
            number[n_read : n_read + len(values)] = part
        n_read += len(values)
    return number if in_place is None else np.asarray(in_place)


def _follows(before: pa.Array, values: pa.Array) -> bool:
    """Whether values without nulls go on where those of ``before`` end, in the same memory."""
    ours, theirs = before.buffers()[1], values.buffers()[1]
    is_same = values.type == before.type and ours is not None and theirs is not None and ours.address == theirs.address
    return bool(is_same and values.offset == before.offset + len(before))


def check_present(values: pa.Array, target: str, first_row: int, role: str = "target") -> None:
    """Refuse missing values, naming the first row that has one."""
    if values.null_count:
        row = first_row + int(np.flatnonzero(np.asarray(values.is_null().to_numpy(zero_copy_only=False)))[0])
        raise DataError(f"{role} {target!r} has a missing value in row {row}: expected a value in every row; drop such rows")


def check_finite(number: NDArray[np.float64], target: str, first_row: int, *, most: float, role: str = "target") -> None:
    """Refuse NaN, infinity and numbers beyond ``most``, naming the first row that has one."""
    wrong = np.flatnonzero(~(np.isfinite(number) & (np.abs(number) <= most)))
    if len(wrong):
        expected = "a finite number" if most == math.inf else f"a number in [{-most}, {most}]"
        raise DataError(
            f"{role} {target!r} has {float(number[wrong[0]])!r} in row {first_row + int(wrong[0])}: expected {expected}; drop such rows"
        )
