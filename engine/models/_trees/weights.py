"""Weights of rows: what the user's column says, times the weight of the row's class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.collectives.agree import agree, raise_on_all
from engine.collectives.communicator import Communicator
from engine.data.stream import Stream
from engine.encode.features import shorten
from engine.encode.labels import read_numbers
from engine.errors import DataError, OptionError
from engine.models._trees.objectives import LARGEST_WEIGHT

Floats = NDArray[np.float64]
LEAST_CLASS_WEIGHT = 1e-20


def check_class_weights(value: Any) -> Any:
    """None, 'auto', or a dict of positive weights, as pairs; whether it has every class is known once the data is read."""
    if value is None or (isinstance(value, str) and value == "auto"):
        return value
    if not isinstance(value, Mapping):
        raise OptionError(f"class_weights must be None, 'auto' or a dict of a weight for every class, got {value!r}")
    for label, weight in value.items():
        if isinstance(weight, bool) or not isinstance(weight, (int, float, np.number)) or not LEAST_CLASS_WEIGHT < weight < LARGEST_WEIGHT:
            raise OptionError(f"class_weights must be positive numbers, got {weight!r} for class {label!r}")
    return [[label.item() if isinstance(label, np.generic) else label, float(weight)] for label, weight in value.items()]


def resolve_class_weights(checked: Any, classes: Sequence[Any], counts: Sequence[int]) -> list[float] | None:
    """A weight for each class, in class order; None where all are 1. 'auto': 1 / rows of the class, scaled so that they add up to 1."""
    if checked is None:
        return None
    if checked == "auto":
        total = math.fsum(1 / count for count in counts)
        return [1 / count / total for count in counts]
    given = dict(map(tuple, checked))
    known = [label if label in given else str(label) for label in classes]  # in JSON every label is a string
    for name, label in zip(known, classes, strict=True):
        if name not in given:
            raise OptionError(f"class_weights must have every class, got none for {label!r}; the classes are {shorten(list(classes))}")
    for name in given:
        if name not in known:
            raise OptionError(f"class_weights has a weight for {name!r}, which is no class; the classes are {shorten(list(classes))}")
    return [given[name] for name in known]


def read_weights(rows: Stream, *, name: str, comm: Communicator) -> Floats:
    """The weights of this rank's rows, [n_rows_local]; collective.

    Raises :class:`DataError` for what is no finite number of 0 or more, and where no row of any rank has a positive one.
    """
    weights = np.empty(0)
    with agree(comm, "reading weights"):
        weights = read_numbers(rows, name, "sample_weight", most=LARGEST_WEIGHT)
        wrong = np.flatnonzero(weights < 0)
        if len(wrong):
            got, row = float(weights[wrong[0]]), rows.first_row + int(wrong[0])
            raise DataError(f"sample_weight {name!r}: expected numbers in [0, {LARGEST_WEIGHT}], got {got} in row {row}; drop such rows")
    largest = np.array([weights.max() if len(weights) else 0.0])
    comm.allreduce_max(largest, name="largest weight")
    if largest[0] == 0:
        raise_on_all(
            comm, DataError(f"sample_weight {name!r} is 0 in every row: expected a positive weight in some row"), "reading weights"
        )
    return weights


def join_weights(rows: Floats | None, classes: list[float] | None, codes: NDArray[Any]) -> Floats | None:
    """The weight of every row, of class ``codes``; None where all are 1."""
    if classes is None:
        return rows
    by_class = np.array(classes)[codes.astype(np.int64, copy=False)]
    return by_class if rows is None else by_class * rows
