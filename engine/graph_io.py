"""Graphs on disk: a folder of arrays of the whole graph, of which any number of ranks read their parts.

The arrays are the same bytes whoever wrote them; attributes are in one Arrow file for each rank that saved.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator
from engine.data.shard_plan import first_row_and_total, share_from_root
from engine.encode.edge_rows import number_type
from engine.encode.graph_partition import Adjacency, GraphPartition
from engine.encode.id_lists import INT, int_ids, ints_of, text_ids, texts_of
from engine.encode.ownership import share_by_ends
from engine.errors import MissingFileError, ModelFileError, StorageError
from engine.model_io import load_json, local_folder, swap_in, sync

FORMAT, FORMAT_VERSION = "samesum graph", 1
GRAPH_FILE = "graph.json"


class _Slice(NamedTuple):
    """A rank's part of an array of the whole graph."""

    total: int
    first: int
    values: NDArray[Any]


def write_graph(path: str | os.PathLike[str], partition: GraphPartition, comm: Communicator) -> None:
    """Write a graph to a folder, every rank its part. Collective.

    It appears whole or not at all, in place of a graph or an empty folder; anything else that is there is refused. Raises ``StorageError``
    on every rank.
    """
    target = pathlib.Path(os.path.abspath(local_folder(path)))
    fresh = target.with_name(f".{target.name}.new")
    slices = _slices(partition, comm)
    with agree(comm, "saving the graph"), _explained(target):
        if comm.rank == 0:
            _make_folder(fresh, target, slices)
    with agree(comm, "saving the graph"), _explained(target):
        for name, part in slices.items():
            _write_slice(_array_file(fresh, name), part)
        for name, table in (("edges", partition.edge_attributes), ("vertices", partition.vertex_attributes)):
            _write_table(fresh / f"{name}-{comm.rank}.arrow", table)
    parts = comm.gather_objects([slices["neighbours"].first, partition.first], name="saving the graph: parts")
    with agree(comm, "saving the graph"), _explained(target):
        if comm.rank == 0:
            _describe(fresh, partition, parts)
            swap_in(fresh, target)


def read_graph_folder(path: str | os.PathLike[str], comm: Communicator) -> GraphPartition:
    """This rank's part of the graph that :func:`write_graph` wrote, on any number of ranks. Collective.

    Raises on every rank ``MissingFileError`` if there is no such folder, ``ModelFileError`` if a file in it is missing, damaged or of a
    newer release.
    """
    folder = pathlib.Path(local_folder(path))
    facts = share_from_root(comm, lambda: _read_facts(folder), stage="loading the graph")
    partition: GraphPartition | None = None
    with agree(comm, "loading the graph"):
        try:
            partition = _read_part(folder, facts, comm)
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            raise ModelFileError(f"{str(folder)!r} is damaged or was not copied whole: {error}; save or copy the graph again") from error
    assert partition is not None
    return partition


def _slices(partition: GraphPartition, comm: Communicator) -> dict[str, _Slice]:
    """This rank's part of every array. Collective."""
    n, first = partition.n_vertices, partition.first
    edges = partition.edges_in
    first_edge, n_edges = first_row_and_total(comm, partition.n_edges_local, name="saving the graph: edges")
    slices = {
        "indptr": _Slice(n + 1, first + 1, edges.indptr[1:] + first_edge),
        "neighbours": _Slice(n_edges, first_edge, edges.neighbours),
        "out_degrees": _Slice(n, first, partition.out_degrees),
    }
    if partition.positions is not None:
        slices["positions"] = _Slice(n, first, partition.positions)
    if partition.ids.type == INT:
        return {**slices, "ids": _Slice(n, first, ints_of(partition.ids))}
    offsets, data = texts_of(partition.ids)
    first_byte, n_bytes = first_row_and_total(comm, int(offsets[-1] - offsets[0]), name="saving the graph: ids")
    slices["id_ends"] = _Slice(n + 1, first + 1, offsets[1:] - offsets[0] + first_byte)
    slices["id_bytes"] = _Slice(n_bytes, first_byte, data[offsets[0] : offsets[-1]])
    return slices


def _make_folder(fresh: pathlib.Path, target: pathlib.Path, slices: dict[str, _Slice]) -> None:
    """A new folder with the arrays in their full lengths, all zero."""
    if target.exists() and not target.is_dir():
        raise StorageError(f"cannot save the graph to {str(target)!r}: a file is there; choose another path")
    if target.exists() and any(target.iterdir()) and not (target / GRAPH_FILE).is_file():
        raise StorageError(f"cannot save the graph to {str(target)!r}: a directory that holds no graph is there; choose another path")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for name, part in slices.items():
        with _array_file(fresh, name).open("wb") as file:
            header = {"descr": np.lib.format.dtype_to_descr(part.values.dtype), "fortran_order": False, "shape": (part.total,)}
            np.lib.format.write_array_header_1_0(file, header)
            file.truncate(file.tell() + part.total * part.values.itemsize)


def _array_file(folder: pathlib.Path, name: str) -> pathlib.Path:
    return folder / f"{name}.npy"


def _write_slice(path: pathlib.Path, part: _Slice) -> None:
    with path.open("r+b") as file:
        file.seek(-(part.total - part.first) * part.values.itemsize, os.SEEK_END)
        file.write(np.ascontiguousarray(part.values).data)
        file.flush()
        os.fsync(file.fileno())


def _write_table(path: pathlib.Path, table: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    sync(path)


def _describe(folder: pathlib.Path, partition: GraphPartition, parts: list[list[int]]) -> None:
    facts = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "n_vertices": partition.n_vertices,
        "n_edges": partition.n_edges,
        "ids": "int64" if partition.ids.type == INT else "string",
        "ordered": partition.positions is not None,
        "first_edges": [first_edge for first_edge, _ in parts],
        "first_vertices": [first for _, first in parts],
    }
    (folder / GRAPH_FILE).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    sync(folder / GRAPH_FILE)
    sync(folder)


def _read_facts(folder: pathlib.Path) -> Any:
    remedy = "save or copy the graph again"
    if not folder.is_dir():
        raise MissingFileError(f"no graph folder {str(folder)!r}; expected the path that a graph was saved to")
    if not (folder / GRAPH_FILE).exists():
        raise ModelFileError(f"{str(folder / GRAPH_FILE)!r} is missing: {str(folder)!r} is no graph, or not all of it was copied")
    facts = load_json(folder / GRAPH_FILE, remedy)
    if not isinstance(facts, dict) or facts.get("format") != FORMAT or not isinstance(facts.get("format_version"), int):
        raise ModelFileError(f"{str(folder / GRAPH_FILE)!r} does not describe a samesum graph; {remedy}")
    if facts["format_version"] > FORMAT_VERSION:
        raise ModelFileError(
            f"{str(folder)!r} was written by a newer samesum: it has format {facts['format_version']}, this release reads up to "
            f"{FORMAT_VERSION}; install a newer samesum"
        )
    return facts


def _read_part(folder: pathlib.Path, facts: dict[str, Any], comm: Communicator) -> GraphPartition:
    n, n_edges = facts["n_vertices"], facts["n_edges"]
    ends = _mapped(folder, "indptr", n + 1, np.int64)
    owned = share_by_ends(ends, comm.size)
    first, stop = owned.bounds[comm.rank : comm.rank + 2].tolist()
    first_edge, last_edge = int(ends[first]), int(ends[stop])
    neighbours = np.array(_mapped(folder, "neighbours", n_edges, number_type(n))[first_edge:last_edge])
    edges_in = Adjacency(np.array(ends[first : stop + 1]) - first_edge, neighbours, None)
    return GraphPartition(
        n_vertices=n,
        n_edges=n_edges,
        rank=comm.rank,
        bounds=owned.bounds,
        edges_in=edges_in,
        out_degrees=np.array(_mapped(folder, "out_degrees", n, np.int64)[first:stop]),
        ids=_read_ids(folder, facts["ids"], n, first, stop),
        positions=np.array(_mapped(folder, "positions", n, np.int64)[first:stop]) if facts["ordered"] else None,
        edge_attributes=_read_rows(folder, "edges", facts["first_edges"], first_edge, last_edge),
        vertex_attributes=_read_rows(folder, "vertices", facts["first_vertices"], first, stop),
    )


def _mapped(folder: pathlib.Path, name: str, length: int, kind: Any) -> NDArray[Any]:
    """An array of a graph, mapped into memory: what is taken of it is read then."""
    array = np.load(_array_file(folder, name), mmap_mode="r" if length else None)
    if array.dtype != kind or array.shape != (length,):
        raise ValueError(f"{name}.npy: expected {length} of {np.dtype(kind)}, got shape {array.shape} of {array.dtype}")
    return np.asarray(array)


def _read_ids(folder: pathlib.Path, kind: str, n: int, first: int, stop: int) -> pa.Array:
    if kind == "int64":
        return int_ids(np.array(_mapped(folder, "ids", n, np.int64)[first:stop]))
    ends = _mapped(folder, "id_ends", n + 1, np.int64)
    data = _mapped(folder, "id_bytes", int(ends[-1]), np.uint8)[int(ends[first]) : int(ends[stop])]
    ids = text_ids(np.array(ends[first : stop + 1]) - ends[first], np.array(data))
    ids.validate(full=True)
    return ids


def _read_rows(folder: pathlib.Path, name: str, firsts: list[int], begin: int, end: int) -> pa.Table:
    """Rows ``begin`` to ``end`` of a table whose part files begin at rows ``firsts``."""
    tables = []
    for part, first in enumerate(firsts):
        last = firsts[part + 1] if part + 1 < len(firsts) else end
        if part and (last <= begin or first >= end):
            continue
        with pa.memory_map(str(folder / f"{name}-{part}.arrow")) as source:
            table = pa.ipc.open_file(source).read_all()
        at = max(begin - first, 0)
        tables.append(table.slice(at, max(end - first - at, 0)))
    return pa.concat_tables(tables).combine_chunks()


@contextmanager
def _explained(target: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"cannot save the graph to {str(target)!r}: {error.strerror or error}") from error
