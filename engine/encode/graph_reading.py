"""Reads edges and vertices: ids through one collector, attributes as Arrow, this rank's rows of both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa

from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator
from engine.data.dataset import Dataset
from engine.data.id_columns import IdColumns, NotIntegersError, open_id_columns
from engine.data.schema import check_columns
from engine.data.shard import read_shard
from engine.data.shard_plan import first_row_and_total
from engine.encode.edge_rows import EdgeBlock
from engine.encode.graph_building import EdgeRows, VertexRows, build_partition
from engine.encode.graph_partition import GraphPartition
from engine.encode.vertex_ids import Collector, IntCollector, Local, TextCollector
from engine.errors import DataError, OptionError

EDGES, VERTICES = "the edges", "the vertex table"
Column = str | int  # by name or position


class TableSpec(NamedTuple):
    """A table of edges or vertices: which columns hold ids, and which ones to keep beside them (None: all others)."""

    dataset: Dataset
    ids: Sequence[Column]
    fields: Sequence[str] | None


class _Columns(NamedTuple):
    ids: list[str]
    fields: list[str]


def read_graph(comm: Communicator, edges: TableSpec, vertices: TableSpec | None, *, num_threads: int) -> GraphPartition:
    """Read a graph into parts. Collective.

    Raises ``DataError`` on every rank for columns that are not there, ids that are null or of two types, and whatever reading finds.
    """
    edge_columns = _columns_of(comm, edges, EDGES)
    vertex_columns = _columns_of(comm, vertices, VERTICES) if vertices is not None else None
    sources = [open_id_columns(edges.dataset, comm, edge_columns.ids, EDGES)]
    if vertices is not None and vertex_columns is not None:
        sources.append(open_id_columns(vertices.dataset, comm, vertex_columns.ids, VERTICES))
    collector, numbers = _read_ids(comm, sources, num_threads)
    blocks = [EdgeBlock(*block) for block in numbers[0]]
    numbers[0].clear()
    edge_rows = EdgeRows(blocks, _read_fields(comm, edges, edge_columns, sum(len(block.sources) for block in blocks), EDGES))
    vertex_rows = None
    if vertices is not None and vertex_columns is not None:
        own = [block[0] for block in numbers[1]]
        n_own = sum(map(len, own))
        table = _read_fields(comm, vertices, vertex_columns, n_own, VERTICES)
        vertex_rows = VertexRows(own, table, first_row_and_total(comm, n_own, name="reading: vertices")[0])
    return build_partition(comm, edge_rows, vertex_rows, collector, num_threads=num_threads)


def _columns_of(comm: Communicator, table: TableSpec, what: str) -> _Columns:
    """Names of the columns to read. Collective."""
    names = table.dataset.names_of(comm)
    with agree(comm, "reading"):
        ids = [_name_of(column, names, what) for column in table.ids]
        if len(set(ids)) < len(ids):
            raise OptionError(f"expected two columns of {what} for sources and destinations, got {ids[0]!r} twice; pass src= and dst=")
        if table.fields is None:
            return _Columns(ids, [name for name in names if name not in ids])
        check_columns(table.fields, names, what)
        return _Columns(ids, list(table.fields))
    raise AssertionError


def _name_of(column: Column, names: Sequence[str], what: str) -> str:
    if isinstance(column, str):
        check_columns([column], names, what)
        return column
    if isinstance(column, bool) or not isinstance(column, int):
        raise OptionError(f"expected the name or position of a column of {what}, got {column!r}")
    if not 0 <= column < len(names):
        raise DataError(f"expected the position of a column of {what}, 0 to {len(names) - 1}, got {column}; its columns: {names[:10]!r}")
    return names[column]


def _read_ids(comm: Communicator, sources: Sequence[IdColumns], num_threads: int) -> tuple[Collector, list[list[list[Local]]]]:
    """All ids, as integers if all text holds integers, else as text: for each source the numbers, block by block. Collective."""
    given = {str(source.given): source for source in sources if source.given is not None}
    with agree(comm, "reading"):
        if len(given) > 1:
            said = " and ".join(f"{kind!r} in {source.names!r}" for kind, source in given.items())
            raise DataError(f"expected ids of one type, got {said}; cast one of them")
    collector: Collector = IntCollector()
    if "string" not in given:
        numbers, misfit = _try_read(comm, sources, collector, num_threads)
        if misfit is None:
            return collector, numbers
        with agree(comm, "reading"):
            if given:
                names = next(iter(given.values())).names
                raise DataError(f"expected ids of one type, got int64 in {names!r}, but {misfit}; cast one of them")
    collector = TextCollector()
    return collector, _try_read(comm, sources, collector, num_threads)[0]


def _try_read(
    comm: Communicator, sources: Sequence[IdColumns], collector: Collector, num_threads: int
) -> tuple[list[list[list[Local]]], str | None]:
    """The numbers, and what text was no integer, if ids are read as such and one rank found one. Collective."""
    numbers: list[list[list[Local]]] = []
    found = ""
    with agree(comm, "reading"):
        try:
            for source in sources:
                numbers.append(list(source.read(collector.is_text, collector.add, num_threads)))
        except NotIntegersError as misfit:
            found = str(misfit)
    misfits = [text for text in comm.gather_objects(found, name="reading: ids that are no integers") if text]
    return numbers, (misfits[0] if misfits else None)


def _read_fields(comm: Communicator, table: TableSpec, columns: _Columns, n_rows: int, what: str) -> pa.Table:
    """The attributes of the same rows. Collective."""
    if not columns.fields:
        return pa.table({})
    fields = read_shard(table.dataset, comm, columns.fields, allow_empty=True).table
    with agree(comm, "reading"):
        if fields.num_rows != n_rows:
            raise DataError(f"{what}: expected {n_rows} rows as before, got {fields.num_rows}: was the data changed while it was read?")
    return fields
