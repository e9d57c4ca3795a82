"""Groups of options that several commands share, and what they mean to a job."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import engine
from engine.errors import OptionError
from engine.spec import DataSpec, GraphSpec
from launch.cli import words

if TYPE_CHECKING:
    from engine import Dataset
    from engine.graph import GraphSource

# What a job says of how data is read.
_HOW_TO_READ = ("format", "delimiter", "header", "null_values", "column_types", "comment")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How rows are read."""

    format: words.Format = None
    delimiter: words.Delimiter = ","
    header: words.Header = True
    null_values: words.NullValues = None
    column_types: words.ColumnTypes = None
    comment: words.Comment = None

    def dataset(self, paths: list[str]) -> Dataset:
        """The rows at ``paths``, not read yet."""
        return engine.Dataset(paths, **{name: value for name, value in vars(self.data(paths)).items() if name in _HOW_TO_READ})

    def data(self, paths: list[str]) -> DataSpec:
        """The data at ``paths``, read so."""
        usual = DataSpec(paths=tuple(paths))
        return replace(
            usual,
            format=self.format,
            delimiter=self.delimiter,
            header=self.header,
            column_types=dict(map(_split_type, self.column_types)) if self.column_types else None,
            comment=self.comment,
            null_values=usual.null_values if self.null_values is None else tuple(self.null_values),
        )


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which columns make a graph of edges, and of vertices where there is a file of them."""

    src: words.Source = "0"
    dst: words.Destination = "1"
    vertices: words.Vertices = None
    vid: words.VertexId = "0"

    def graph(self) -> GraphSpec:
        """What they mean to a job."""
        src, dst, vid = map(_name_or_position, (self.src, self.dst, self.vid))
        return GraphSpec(src=src, dst=dst, vid=vid, vertices=None if self.vertices is None else tuple(self.vertices))

    def source(self, edges: list[str], reading: Reading) -> GraphSource:
        """The graph of the edges at these paths, not loaded yet."""
        named = vars(self.graph())
        columns = {name: named[name] for name in ("src", "dst", "vid")}
        vertices = None if self.vertices is None else reading.dataset(self.vertices)
        return engine.Graph.source(reading.dataset(edges), vertices, **columns)


@dataclass(frozen=True, kw_only=True)
class Running:
    """How this machine does the work."""

    ranks: words.Ranks = None
    num_threads: words.NumThreads = None
    debug: words.Debug = False


def split_names(texts: list[str] | None) -> tuple[str, ...] | None:
    """Names between commas; a name that holds a comma is written in double quotes, as in CSV."""
    return None if texts is None else tuple(name for names in csv.reader(texts) for name in names)


def parse_option(name: str, value: Any) -> Any:
    """An option of training as the toolkit takes it."""
    if name in ("class_weights", "monotone_constraints") and value != ["auto"]:
        kind = float if name == "class_weights" else int
        return {label: _to_number(name, text, kind) for label, text in (_split_pair(name, each) for each in value)}
    return value[0] if name in ("class_weights", "validation_set", "metric") and len(value) == 1 else value


def _name_or_position(text: str) -> str | int:
    return int(text) if text.isdecimal() else text


def _split_type(text: str) -> tuple[str, str]:
    name, equals, kind = text.rpartition("=")
    if not (name and equals and kind):
        raise OptionError(f"expected --column-type NAME=TYPE, as zip=string, got {text!r}")
    return name, kind


def _split_pair(name: str, text: str) -> tuple[str, str]:
    label, equals, number = text.rpartition("=")
    if not (label and equals and number):
        raise OptionError(f"expected --{name.replace('_', '-')} NAME=NUMBER, got {text!r}")
    return label, number


def _to_number(name: str, text: str, kind: type[int | float]) -> int | float:
    try:
        return kind(text)
    except ValueError:
        raise OptionError(f"expected a number in --{name.replace('_', '-')} NAME=NUMBER, got {text!r}") from None
