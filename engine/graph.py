"""What a user calls a graph: edges and vertices, loaded and shared out to the ranks."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from engine.collectives.agree import agree, agree_on_value
from engine.collectives.communicator import Communicator
from engine.collectives.default import resolve
from engine.collectives.threads import resolve_threads
from engine.data.dataset import Dataset, as_dataset, holds_dataset
from engine.data.memory import is_tabular
from engine.encode.graph_partition import GraphPartition
from engine.encode.graph_reading import Column, TableSpec, read_graph
from engine.encode.vertex_tables import fetch_ids, plain_ids
from engine.errors import OptionError
from engine.graph_io import read_graph_folder, write_graph
from engine.notebook import sections_to_html

ID, SOURCE_ID, DESTINATION_ID = "__id", "__src_id", "__dst_id"


@dataclass(frozen=True)
class GraphSource:
    """A description of a graph, which opens nothing; made by :meth:`Graph.source`."""

    edges: Dataset
    vertices: Dataset | None
    _: KW_ONLY
    src: Column
    dst: Column
    vid: Column
    edge_fields: list[str] | None
    vertex_fields: list[str] | None


class Graph:
    """A directed graph: edges, parallel ones and self-loops included, and the vertices at their ends.

    ``edges`` and ``vertices`` are what :class:`engine.Dataset` takes, or datasets; vertices are those of the table and all ends of edges.
    ``src``, ``dst`` and ``vid`` say which columns hold the ids, by name or position (from 0): int64 or string, one type in all. In
    text files ids are integers if all of them are, otherwise strings. Of rows for one vertex the last wins. ``edge_fields`` and
    ``vertex_fields`` are the other columns to keep (None: all), which toolkits may use by name. ``format``, ``delimiter``, ``header``,
    ``null_values``, ``column_types`` and ``comment`` say how files are written, as for datasets: an edge list of a graph archive is
    ``format='snap'``.

    Making one reads everything and is collective: each rank then holds the edges into its range of vertices. Vertices are numbered by
    sorted id (strings by their UTF-8 bytes). Raises on every rank ``DataError`` for columns that are not there, ids that are null or of two
    types and whatever reading finds, ``OptionError`` for options that do not fit.
    """

    def __init__(
        self,
        edges: Any,
        vertices: Any = None,
        *,
        src: Column = 0,
        dst: Column = 1,
        vid: Column = 0,
        edge_fields: Sequence[str] | None = None,
        vertex_fields: Sequence[str] | None = None,
        format: str | None = None,
        delimiter: str = ",",
        header: bool = True,
        null_values: Sequence[str] = ("", "NA", "null"),
        column_types: Mapping[str, Any] | None = None,
        comment: str | None = None,
        num_threads: int | None = None,
        comm: Communicator | Any | None = None,
    ) -> None:
        arguments = {name: value for name, value in locals().items() if name not in ("self", "num_threads", "comm")}
        group = resolve(comm)
        source: GraphSource | None = None
        with agree(group, "checking options"):
            _check_threads(num_threads)
            source = Graph.source(**arguments)
        assert source is not None
        self._read(source, group, resolve_threads(num_threads, group))

    @staticmethod
    def source(
        edges: Any,
        vertices: Any = None,
        *,
        src: Column = 0,
        dst: Column = 1,
        vid: Column = 0,
        edge_fields: Sequence[str] | None = None,
        vertex_fields: Sequence[str] | None = None,
        format: str | None = None,
        delimiter: str = ",",
        header: bool = True,
        null_values: Sequence[str] = ("", "NA", "null"),
        column_types: Mapping[str, Any] | None = None,
        comment: str | None = None,
    ) -> GraphSource:
        """What a graph would be loaded from: the same arguments, and nothing is opened. A job loads it where its ranks are.

        Raises ``OptionError`` for options that do not fit.
        """
        files = {
            "format": format,
            "delimiter": delimiter,
            "header": header,
            "null_values": null_values,
            "column_types": column_types,
            "comment": comment,
        }
        return GraphSource(
            _dataset_of(edges, files),
            None if vertices is None else _dataset_of(vertices, files),
            src=src,
            dst=dst,
            vid=vid,
            edge_fields=_check_fields("edge_fields", edge_fields),
            vertex_fields=_check_fields("vertex_fields", vertex_fields),
        )

    @classmethod
    def of(cls, partition: GraphPartition, comm: Communicator, num_threads: int = 1) -> Graph:
        """The graph that this partition is a part of."""
        graph = object.__new__(cls)
        graph._hold(partition, comm, num_threads)
        return graph

    @classmethod
    def from_source(cls, source: GraphSource, *, num_threads: int | None = None, comm: Communicator | Any | None = None) -> Graph:
        """The graph that :meth:`source` describes, loaded. Collective, and raises, as making a graph does."""
        group = resolve(comm)
        with agree(group, "checking options"):
            _check_threads(num_threads)
        graph = object.__new__(cls)
        graph._read(source, group, resolve_threads(num_threads, group))
        return graph

    def _read(self, source: GraphSource, group: Communicator, threads: int) -> None:
        edges = TableSpec(source.edges, (source.src, source.dst), source.edge_fields)
        vertices = None if source.vertices is None else TableSpec(source.vertices, (source.vid,), source.vertex_fields)
        said = {name: getattr(source, name) for name in ("src", "dst", "vid", "edge_fields", "vertex_fields")}
        agree_on_value(group, {**said, "has": vertices is not None}, "options")
        self._hold(read_graph(group, edges, vertices, num_threads=threads), group, threads)

    def _hold(self, partition: GraphPartition, comm: Communicator, num_threads: int) -> None:
        self.partition = partition
        self.comm = comm
        self.num_threads = num_threads

    def __repr__(self) -> str:
        return f"Graph({self.num_vertices} vertices, {self.num_edges} edges)"

    def _repr_html_(self) -> str:
        """What notebooks show."""
        fields = [("Vertex fields", ", ".join(self.vertex_fields) or "none"), ("Edge fields", ", ".join(self.edge_fields) or "none")]
        lines = [("Number of vertices", self.num_vertices), ("Number of edges", self.num_edges), *fields]
        return sections_to_html("Graph", [("Schema", lines)])

    @property
    def num_vertices(self) -> int:
        """Number of vertices, of all ranks."""
        return self.partition.n_vertices

    @property
    def num_edges(self) -> int:
        """Number of edges, of all ranks; parallel ones count one by one."""
        return self.partition.n_edges

    @property
    def vertex_fields(self) -> list[str]:
        """Names of the vertices' attributes."""
        return list(self.partition.vertex_attributes.schema.names)

    @property
    def edge_fields(self) -> list[str]:
        """Names of the edges' attributes."""
        return list(self.partition.edge_attributes.schema.names)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the graph to a folder, from which :func:`load_graph` loads it on any number of ranks. Collective.

        Raises ``StorageError``, on every rank, for a path at which there is anything else than a graph or an empty folder.
        """
        write_graph(path, self.partition, self.comm)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, num_threads: int | None = None, comm: Communicator | Any | None = None) -> Graph:
        """The graph that :meth:`save` wrote, on any number of ranks. Collective.

        Raises on every rank ``MissingFileError`` if there is none, ``ModelFileError`` if it is damaged or of a newer release.
        """
        group = resolve(comm)
        with agree(group, "checking options"):
            _check_threads(num_threads)
        return cls.of(read_graph_folder(path, group), group, resolve_threads(num_threads, group))

    def as_source(self) -> GraphSource:
        """Tables in memory from which the same graph is loaded, on one rank alone. Raises ``OptionError`` for a part of a graph."""
        if self.comm.size > 1:
            raise OptionError(f"expected a graph that is on one rank, got a part of one on {self.comm.size}: describe it by Graph.source")
        order, vertices = self.partition.positions, self.vertices
        in_order = vertices if order is None else vertices.take(pa.array(np.argsort(order)))
        return Graph.source(self.edges, in_order, src=SOURCE_ID, dst=DESTINATION_ID, vid=ID)

    def summary(self) -> dict[str, int]:
        """Number of vertices and edges."""
        return {"num_vertices": self.num_vertices, "num_edges": self.num_edges}

    @property
    def vertices(self) -> pa.Table:
        """This rank's vertices, ids ascending, with their attributes; the ranks' tables follow each other."""
        attributes = self.partition.vertex_attributes
        return pa.table([plain_ids(self.partition.ids), *attributes.columns], names=[ID, *attributes.schema.names])

    @property
    def edges(self) -> pa.Table:
        """The edges into this rank's vertices, with their attributes: by destination, then source, then input row. Collective."""
        part = self.partition
        destinations = part.ids.take(pa.array(np.repeat(np.arange(part.n_local), np.diff(part.edges_in.indptr))))
        columns = [plain_ids(fetch_ids(part, self.comm, part.edges_in.neighbours)), plain_ids(destinations), *part.edge_attributes.columns]
        return pa.table(columns, names=[SOURCE_ID, DESTINATION_ID, *part.edge_attributes.schema.names])


def _dataset_of(data: Any, files: Mapping[str, Any]) -> Dataset:
    """As a dataset; how files are written is said to files only."""
    is_made = isinstance(data, Dataset) or holds_dataset(data) or is_tabular(data)
    return as_dataset(data) if is_made else Dataset(data, **files)


def _check_threads(value: Any) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise OptionError(f"num_threads must be an integer of 1 or more, or None, got {value!r}")


def _check_fields(name: str, value: Any) -> list[str] | None:
    if value is None:
        return None
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(each, str) for each in value):
        raise OptionError(f"{name} must be a list of names of columns, or None for all, got {value!r}")
    return list(value)


def load_graph(path: str | os.PathLike[str], *, num_threads: int | None = None, comm: Communicator | Any | None = None) -> Graph:
    """The graph that :meth:`Graph.save` wrote; as :meth:`Graph.load`."""
    return Graph.load(path, num_threads=num_threads, comm=comm)
