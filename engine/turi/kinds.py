"""Python's types for those of columns, and back."""

from __future__ import annotations

import array
import datetime
from typing import Any

import pyarrow as pa

from engine.data.schema import named_type
from engine.errors import OptionError


def python_type(kind: pa.DataType) -> type:
    """What a value of a column is in Python: vectors of numbers are ``array.array``, a column without any value has ``NoneType``."""
    types = pa.types
    if types.is_boolean(kind):
        return bool
    if types.is_integer(kind):
        return int
    if types.is_floating(kind) or types.is_decimal(kind):
        return float
    if types.is_temporal(kind):
        return datetime.datetime
    if types.is_map(kind) or types.is_struct(kind):
        return dict
    if types.is_nested(kind):
        return array.array if types.is_floating(kind.value_type) or types.is_integer(kind.value_type) else list
    return type(None) if types.is_null(kind) else str


def arrow_type(name: str, given: Any) -> pa.DataType:
    """The type of a column that Python's ``given`` stands for. Raises ``OptionError`` for those that text cannot be read as."""
    if given is datetime.datetime:
        return pa.timestamp("us")
    if given in (list, dict, array.array):
        raise OptionError(f"expected int, float, str, bool or datetime.datetime for {name!r}, got {given.__name__}")
    return named_type(name, given)
