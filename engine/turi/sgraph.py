"""A graph of frames: described by its edges and vertices, and loaded when something is asked of it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from engine.collectives.communicator import Communicator
from engine.collectives.serial import SerialComm
from engine.data.dataset import Dataset, as_dataset
from engine.data.schema import cast_column, join_types
from engine.errors import DataError, OptionError
from engine.graph import DESTINATION_ID, ID, SOURCE_ID, Graph, GraphSource
from engine.turi.sframe import SFrame

_ENDS = (SOURCE_ID, DESTINATION_ID)


@dataclass(frozen=True)
class Vertex:
    """One vertex: its id, an integer or a string, and its attributes by name."""

    vid: int | str
    attr: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Edge:
    """One edge: the ids of its ends, and its attributes by name."""

    src_vid: int | str
    dst_vid: int | str
    attr: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Rows:
    """Rows of vertices or edges, and which of their columns are the ids."""

    data: Dataset
    ids: tuple[str, ...]

    def table(self, names: Sequence[str]) -> pa.Table:
        """The rows in memory, the columns of ids first and called ``names``."""
        table = self.data.to_table(allow_empty=True)
        others = [name for name in table.column_names if name not in self.ids]
        return table.select([*self.ids, *others]).rename_columns([*names, *others])


class SGraph:
    """A directed graph: vertices and edges, both with attributes; parallel edges and self-loops are edges like others.

    ``vertices`` and ``edges`` are what :meth:`add_vertices` and :meth:`add_edges` take, of which it is the result. Structure never changes:
    what adds gives a new graph. Ids are integers or strings, of one kind in a graph.

    Making one opens nothing: the graph toolkits load it where their ranks are, and a job that is submitted reads files where its workers
    are. What looks at it (``summary``, ``vertices``, ``edges``) loads it on the process that asks, once. Rows that are added to others
    of the same kind are put together in memory.
    """

    def __init__(
        self, vertices: Any = None, edges: Any = None, vid_field: str = ID, src_field: str = SOURCE_ID, dst_field: str = DESTINATION_ID
    ) -> None:
        self._vertices = None if vertices is None else _Rows(_dataset_of(vertices), (vid_field,))
        self._edges = None if edges is None else _Rows(_dataset_of(edges), (src_field, dst_field))
        self._graph: Graph | None = None

    def as_source(self) -> GraphSource:
        """What it is loaded from."""
        edges = self._edges or _Rows(Dataset({SOURCE_ID: [], DESTINATION_ID: []}), _ENDS)
        source, destination = edges.ids
        if self._vertices is None:
            return Graph.source(edges.data, src=source, dst=destination)
        return Graph.source(edges.data, self._vertices.data, src=source, dst=destination, vid=self._vertices.ids[0])

    def add_vertices(self, vertices: Any, vid_field: str | None = None) -> SGraph:
        """A graph with these vertices too: a :class:`Vertex`, a list of them, or anything that is a frame, whose ``vid_field`` has the ids.

        ``vid_field`` None means ``__id``. A vertex that was there loses the attributes it had; those not given are missing.
        """
        added = _Rows(_dataset_of(vertices), (vid_field or ID,))
        return self._with(vertices=added if self._vertices is None else _joined(self._vertices, added, (ID,), replace=True))

    def add_edges(self, edges: Any, src_field: str | None = None, dst_field: str | None = None) -> SGraph:
        """A graph with these edges too, and the vertices at their ends: an :class:`Edge`, a list of them, or anything that is a frame.

        ``src_field`` and ``dst_field`` are its columns of ids; None means ``__src_id`` and ``__dst_id``.
        """
        added = _Rows(_dataset_of(edges), (src_field or SOURCE_ID, dst_field or DESTINATION_ID))
        return self._with(edges=added if self._edges is None else _joined(self._edges, added, _ENDS, replace=False))

    @property
    def vertices(self) -> SFrame:
        """All vertices, in the order in which the graph toolkits give their results: ``__id`` and attributes, which can be assigned.

        ``g.vertices['label'] = ...`` gives the graph an attribute.
        """
        source = self._loaded().as_source()
        assert source.vertices is not None
        return _Attributes(self, "_vertices", source.vertices, (ID,))

    @property
    def edges(self) -> SFrame:
        """All edges, by destination, then source: ``__src_id``, ``__dst_id`` and attributes, which can be assigned."""
        return _Attributes(self, "_edges", Dataset(self._loaded().edges), _ENDS)

    def get_vertex_fields(self) -> list[str]:
        """Names of the vertices' columns."""
        return [ID, *self._loaded().vertex_fields]

    def get_edge_fields(self) -> list[str]:
        """Names of the edges' columns."""
        return [*_ENDS, *self._loaded().edge_fields]

    def get_fields(self) -> list[str]:
        """Names of the columns of both."""
        return [*self.get_vertex_fields(), *self.get_edge_fields()]

    def summary(self) -> dict[str, int]:
        """Number of vertices and edges."""
        return self._loaded().summary()

    def save(self, filename: str | os.PathLike[str], format: str = "auto", *, comm: Communicator | Any | None = None) -> None:
        """Write the graph to a folder, at any address, from which :func:`load_sgraph` or :func:`engine.load_graph` loads it. Collective.

        ``format``: 'auto' or 'binary'. Raises ``OptionError``, ``StorageError``.
        """
        if format not in ("auto", "binary"):
            raise OptionError(f"format: expected 'auto' or 'binary', got {format!r}: for text, save its vertices and its edges")
        Graph.from_source(self.as_source(), comm=comm).save(filename)

    def __repr__(self) -> str:
        if self._graph is None:
            rows = [f"{name}={rows.data!r}" for name, rows in (("vertices", self._vertices), ("edges", self._edges)) if rows is not None]
            return f"SGraph({', '.join(rows)})"
        return f"SGraph({self.summary()})\nVertex Fields:{self.get_vertex_fields()}\nEdge Fields:{self.get_edge_fields()}"

    def _loaded(self) -> Graph:
        """The whole graph, on this process."""
        if self._graph is None:
            self._graph = Graph.from_source(self.as_source(), comm=SerialComm())
        return self._graph

    def _with(self, vertices: _Rows | None = None, edges: _Rows | None = None) -> SGraph:
        other = SGraph()
        other._vertices, other._edges = vertices or self._vertices, edges or self._edges
        return other

    def _set(self, which: str, rows: _Rows) -> None:
        setattr(self, which, rows)
        self._graph = None


class _Attributes(SFrame):
    """The vertices or the edges of a graph, to which a column that is assigned belongs from then on."""

    def __init__(self, graph: SGraph, which: str, data: Dataset, ids: tuple[str, ...]) -> None:
        super().__init__(data)
        self._owner, self._which, self._ids = graph, which, ids

    def __setitem__(self, name: str, values: Any) -> None:
        self._check(name)
        super().__setitem__(name, values)
        self._owner._set(self._which, _Rows(self._dataset, self._ids))

    def __delitem__(self, name: str) -> None:
        self._check(name)
        super().__delitem__(name)
        self._owner._set(self._which, _Rows(self._dataset, self._ids))

    def _check(self, name: str) -> None:
        if name in self._ids:
            raise OptionError(f"expected an attribute to assign, got {name!r}, which has the ids: they never change")


def load_sgraph(filename: str | os.PathLike[str], format: str = "binary", delimiter: str = "auto") -> SGraph:
    """A graph from files.

    ``format``: 'binary', a folder that :meth:`SGraph.save` wrote, loaded at once; 'snap', an edge list of a graph archive; 'csv' or 'tsv',
    edges without a header, sources in the first column and destinations in the second. ``delimiter`` 'auto' is that of the format.
    Raises ``OptionError``, ``MissingFileError``, ``ModelFileError``.
    """
    if format == "binary":
        source = Graph.load(filename, comm=SerialComm()).as_source()
        return SGraph(source.vertices, source.edges)
    if format not in ("snap", "csv", "tsv"):
        raise OptionError(f"format: expected 'binary', 'snap', 'csv' or 'tsv', got {format!r}")
    if format == "snap" and delimiter == "auto":
        edges = Dataset(filename, format="snap")
    else:
        between = {"snap": "\t", "csv": ",", "tsv": "\t"}[format] if delimiter == "auto" else delimiter
        edges = Dataset(filename, format="csv", header=False, delimiter=between, comment="#" if format == "snap" else None)
    return SGraph(edges=edges, src_field="X1", dst_field="X2")


def _dataset_of(rows: Any) -> Dataset:
    """Rows of a frame, or of vertices or edges one by one."""
    listed = [rows] if isinstance(rows, (Vertex, Edge)) else rows
    if not isinstance(listed, list) or not listed or not isinstance(listed[0], (Vertex, Edge)):
        return as_dataset(rows)
    kind = type(listed[0])
    if not all(isinstance(each, kind) for each in listed):
        raise DataError(f"expected a list of {kind.__name__}, got others among them")
    columns = {ID: [each.vid for each in listed]} if kind is Vertex else _ends_of(listed)
    names = dict.fromkeys(name for each in listed for name in each.attr)
    return Dataset({**columns, **{name: [each.attr.get(name) for each in listed] for name in names}})


def _ends_of(edges: list[Edge]) -> dict[str, list[int | str]]:
    return {SOURCE_ID: [each.src_vid for each in edges], DESTINATION_ID: [each.dst_vid for each in edges]}


def _joined(old: _Rows, new: _Rows, names: tuple[str, ...], *, replace: bool) -> _Rows:
    """The rows of both, with the columns of both; with ``replace``, not those of ``old`` whose id ``new`` has too."""
    tables = [old.table(names), new.table(names)]
    if replace and tables[0].column(0).type == tables[1].column(0).type:
        tables[0] = tables[0].filter(pc.invert(pc.is_in(tables[0].column(0), value_set=tables[1].column(0))))
    columns = dict.fromkeys(name for table in tables for name in table.column_names)
    fields = [pa.field(name, _common_type(name, tables, is_id=name in names)) for name in columns]
    return _Rows(Dataset(pa.concat_tables([_filled_up(table, pa.schema(fields)) for table in tables])), names)


def _filled_up(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """``table`` with all columns of ``schema``, missing where it has none."""
    own = set(table.column_names)
    columns = [cast_column(table.column(each.name), each) if each.name in own else pa.nulls(len(table), each.type) for each in schema]
    return pa.table(columns, schema=schema)


def _common_type(name: str, tables: list[pa.Table], *, is_id: bool) -> pa.DataType:
    kinds = [table.schema.field(name).type for table in tables if name in table.column_names]
    found = kinds[0] if len(kinds) == 1 else join_types(*kinds)
    if is_id and len(set(kinds)) > 1 and not any(map(pa.types.is_null, kinds)):
        raise DataError(f"expected ids of one kind, got {str(kinds[0])!r} and {str(kinds[1])!r}; cast one of them")
    return found
