"""Strict reading of a job's JSON: a key that is not known, or a value of another type, is an error with the path of the field."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

from engine.errors import OptionError


class Kind(NamedTuple):
    """What a field of the JSON may hold, and how to say so; ``read`` makes of it what the spec holds, given the field's path."""

    expected: str
    accepts: Callable[[Any], bool]
    read: Callable[[Any, str], Any] | None = None


def is_int(value: Any) -> bool:
    """Whether a value of JSON is an integer; booleans are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def _is_string(value: Any) -> bool:
    return isinstance(value, str)


def _is_strings(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(map(_is_string, value))


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float) or (isinstance(value, list) and all(map(_is_scalar, value)))


def _is_option(value: Any) -> bool:
    return _is_scalar(value) or (isinstance(value, dict) and all(map(_is_scalar, value.values())))


def _is_split(value: Any) -> bool:
    return isinstance(value, list) and [type(item) for item in value] in ([float, int, bool], [int, int, bool])


def or_null(kind: Kind) -> Kind:
    """The same kind, or null."""
    return Kind(f"{kind.expected} or null", lambda value: value is None or kind.accepts(value), kind.read)


STRING = Kind("a string", _is_string)
STRINGS = Kind("a list of strings", _is_strings)
BOOL = Kind("true or false", lambda value: isinstance(value, bool))
INT = Kind("an integer", is_int)
NUMBER = Kind("a number", lambda value: is_int(value) or isinstance(value, float))
COLUMN = Kind("the name or position of a column", lambda value: _is_string(value) or is_int(value))
STRING_MAP = Kind("an object of strings", lambda value: isinstance(value, dict) and all(map(_is_string, value.values())))
OPTIONS = Kind(
    "an object of plain values, lists or objects", lambda value: isinstance(value, dict) and all(map(_is_option, value.values()))
)
SPLITS = Kind(
    "a list of [fraction, seed, whether it is the first part]", lambda value: isinstance(value, list) and all(map(_is_split, value))
)


def nested(cls: Callable[..., Any], known: Mapping[str, Kind], needed: str | None = None) -> Kind:
    """An object of its own, read into ``cls``; ``needed``: a field without which it means nothing."""

    def read(value: Any, path: str) -> Any:
        found = read_fields(value, known, path + ".")
        if needed is not None and needed not in found:
            raise OptionError(f"expected '{path}.{needed}' in a job, got none: add it")
        return cls(**found)

    return Kind("an object", lambda value: isinstance(value, dict), read)


def read_fields(value: Mapping[str, Any], known: Mapping[str, Kind], prefix: str = "") -> dict[str, Any]:
    """The fields of a JSON object as keyword arguments, lists as tuples. Raises :class:`OptionError` with the path of the wrong field."""
    found: dict[str, Any] = {}
    for name, item in value.items():
        path = prefix + name
        if name not in known:
            raise OptionError(f"unknown key {path!r} in a job: it has {', '.join(prefix + key for key in known)}")
        kind = known[name]
        if not kind.accepts(item):
            raise OptionError(f"expected {path!r} to be {kind.expected}, got {shorten(json.dumps(item))}")
        found[name] = _frozen(item) if kind.read is None or item is None else kind.read(item, path)
    return found


def as_json(value: Any) -> Any:
    """A spec's fields as JSON values, tuples as lists."""
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: as_json(getattr(value, item.name)) for item in fields(value)}
    return [as_json(item) for item in value] if isinstance(value, tuple) else value


def shorten(text: str, limit: int = 80) -> str:
    """At most ``limit`` characters of ``text``."""
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
