"""Graphs on disk: a folder in which each rank that saved has written its part, and of which any number of ranks read theirs.

``graph.json``, written last, says which vertices and edges are in which part, and the sizes and checksums of all files. A part is
``part-<rank>.safetensors`` with the arrays of its vertices and edges, ``edges-<rank>.arrow`` and ``vertices-<rank>.arrow`` with attributes.
"""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine import storage
from engine.array_file import ArrayFile, Facts, check_size, write_arrays
from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator
from engine.data.common_folder import INCOMPLETE, CommonFolder
from engine.data.shard_plan import first_row_and_total, gather_json, share_from_root
from engine.encode.edge_rows import number_type
from engine.encode.graph_partition import Adjacency, GraphPartition
from engine.encode.id_lists import INT, int_ids, ints_of, text_ids, texts_of
from engine.encode.ownership import cuts_between, share_by_ends
from engine.errors import MissingFileError, ModelFileError, StorageError
from engine.model_io import address_of, canonical, parse_json
from engine.storage.replacing import check_replaceable_folder

FORMAT, FORMAT_VERSION = "samesum graph", 1
GRAPH_FILE = "graph.json"
REMEDY = "save or copy the graph again"
_PART = re.compile(rf"part-\d+\.safetensors|(edges|vertices)-\d+\.arrow|{INCOMPLETE}")
_STAGE = "saving the graph"


class _Range(NamedTuple):
    """The vertices ``begin`` to ``end`` of a part, counted from its first."""

    part: dict[str, Any]
    begin: int
    end: int


def write_graph(path: str | os.PathLike[str], partition: GraphPartition, comm: Communicator) -> None:
    """Write a graph to a folder, at any address, every rank its part. Collective.

    It appears whole or not at all, in place of a graph or an empty folder; anything else that is there is refused. Raises ``StorageError``
    on every rank.
    """
    address = address_of(path)
    folder = CommonFolder(comm, address, manifest=GRAPH_FILE, stage=_STAGE, check=lambda: check_graph_replaceable(address))
    first_edge, _ = first_row_and_total(comm, partition.n_edges_local, name=f"{_STAGE}: edges")
    part: dict[str, Any] = {}
    with folder.agree():
        part = {
            "first_vertex": partition.first,
            "n_vertices": partition.n_local,
            "first_edge": first_edge,
            "n_edges": partition.n_edges_local,
            "files": _write_files(folder, partition, f"{comm.rank:05d}"),
        }
    parts = gather_json(comm, part, name=f"{_STAGE}: parts")
    folder.publish(lambda: _describe(partition, parts))


def read_graph_folder(path: str | os.PathLike[str], comm: Communicator) -> GraphPartition:
    """This rank's part of the graph that :func:`write_graph` wrote, on any number of ranks. Collective.

    Raises on every rank ``MissingFileError`` if there is no such folder, ``ModelFileError`` if a file in it is missing, damaged or of a
    newer release.
    """
    folder = address_of(path)
    facts = share_from_root(comm, lambda: _read_facts(folder), stage="loading the graph")
    bounds = _share_vertices(folder, facts, comm)
    partition: GraphPartition | None = None
    with agree(comm, "loading the graph"):
        partition = _checked(folder, lambda: _read_part(folder, facts, bounds, comm.rank))
    assert partition is not None
    return partition


def check_graph_replaceable(address: str) -> None:
    """Refuse to write over anything but a graph, the rest of one, or an empty folder. Raises ``StorageError``."""
    check_replaceable_folder(address, what="graph", manifest=GRAPH_FILE, is_ours=lambda name: _PART.fullmatch(name) is not None)


def _write_files(folder: CommonFolder, partition: GraphPartition, number: str) -> dict[str, Facts]:
    """Write this rank's files; the facts of each, by name."""
    arrays = _arrays(partition)
    writers: dict[str, Callable[[str], Facts]] = {
        f"part-{number}.safetensors": lambda path: write_arrays(path, arrays),
        f"edges-{number}.arrow": lambda path: _write_table(path, partition.edge_attributes),
        f"vertices-{number}.arrow": lambda path: _write_table(path, partition.vertex_attributes),
    }
    return {name: folder.put(name, write) for name, write in writers.items()}


def _arrays(partition: GraphPartition) -> dict[str, NDArray[Any]]:
    """The arrays of a part: ``indptr`` and ``id_ends`` begin with 0."""
    edges = partition.edges_in
    arrays = {"indptr": edges.indptr, "neighbours": edges.neighbours, "out_degrees": partition.out_degrees}
    if partition.positions is not None:
        arrays["positions"] = partition.positions
    if partition.ids.type == INT:
        return {**arrays, "ids": ints_of(partition.ids)}
    offsets, data = texts_of(partition.ids)
    return {**arrays, "id_ends": offsets - offsets[0], "id_bytes": data[offsets[0] : offsets[-1]]}


def _write_table(path: str, table: pa.Table) -> Facts:
    with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    with pa.memory_map(path) as source:
        return {"bytes": source.size(), "crc32": zlib.crc32(source.read_buffer())}


def _describe(partition: GraphPartition, parts: list[dict[str, Any]]) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "n_vertices": partition.n_vertices,
        "n_edges": partition.n_edges,
        "ids": "int64" if partition.ids.type == INT else "string",
        "ordered": partition.positions is not None,
        "parts": parts,
    }
    return {"format": FORMAT, "format_version": FORMAT_VERSION, "graph_sha256": _hash(facts), "graph": facts}


def _hash(facts: Any) -> str:
    return hashlib.sha256(canonical(facts)).hexdigest()


def _read_facts(folder: str) -> Any:
    file = storage.join(folder, GRAPH_FILE)
    try:
        content = storage.read_bytes(file)
    except MissingFileError:
        if not storage.exists(folder):
            raise MissingFileError(f"no graph folder {folder!r}; expected the path that a graph was saved to") from None
        raise ModelFileError(f"{file!r} is missing: {folder!r} is no graph, or not all of it was copied or saved") from None
    said = parse_json(file, content, REMEDY)
    if not isinstance(said, dict) or said.get("format") != FORMAT or not isinstance(said.get("format_version"), int):
        raise ModelFileError(f"{file!r} does not describe a samesum graph; {REMEDY}")
    if said["format_version"] > FORMAT_VERSION:
        raise ModelFileError(
            f"{folder!r} was written by a newer samesum: it has format {said['format_version']}, this release reads up to "
            f"{FORMAT_VERSION}; install a newer samesum"
        )
    if said.get("graph_sha256") != _hash(said.get("graph")):
        raise ModelFileError(f"{file!r} is damaged: its content does not match its checksum; {REMEDY}")
    return said["graph"]


def _checked(folder: str, read: Callable[[], Any]) -> Any:
    """What ``read`` returns; whatever it stumbles over is damage."""
    try:
        return read()
    except ModelFileError:
        raise
    except StorageError as error:
        if not isinstance(error, MissingFileError):
            raise
        raise ModelFileError(f"{folder!r} was not copied whole: {error}; {REMEDY}") from error
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise ModelFileError(f"{folder!r} is damaged or was not copied whole: {error}; {REMEDY}") from error


def _share_vertices(folder: str, facts: dict[str, Any], comm: Communicator) -> NDArray[np.int64]:
    """Where the ranks' vertices begin and end: as in a graph that is loaded from its edges. Collective."""
    ends = np.zeros(0, dtype=np.int64)
    if comm.size == 1:
        return np.array([0, facts["n_vertices"]], dtype=np.int64)
    with agree(comm, "loading the graph"):
        ends = _checked(folder, lambda: _edges_before_cuts(folder, facts, comm.rank, comm.size))
    comm.allreduce_max(ends, name="loading the graph: cuts")
    return share_by_ends(ends, comm.size, facts["n_vertices"]).bounds


def _edges_before_cuts(folder: str, facts: dict[str, Any], rank: int, size: int) -> NDArray[np.int64]:
    """Edges into vertices before each cut that lies in this rank's share of the parts; 0 for the others."""
    cuts = cuts_between(facts["n_vertices"])
    ends = np.zeros(len(cuts), dtype=np.int64)
    ends[-1:] = facts["n_edges"]
    for part in facts["parts"][rank::size]:
        inside = slice(*np.searchsorted(cuts[:-1], [part["first_vertex"], part["first_vertex"] + part["n_vertices"]]).tolist())
        if inside.start < inside.stop:
            with _open_arrays(folder, part) as file:
                ends[inside] = part["first_edge"] + file.read("indptr")[cuts[inside] - part["first_vertex"]]
    return ends


def _read_part(folder: str, facts: dict[str, Any], bounds: NDArray[np.int64], rank: int) -> GraphPartition:
    n = facts["n_vertices"]
    first, stop = bounds[rank : rank + 2].tolist()
    ranges = [
        _Range(part, max(first - part["first_vertex"], 0), min(stop - part["first_vertex"], part["n_vertices"]))
        for part in facts["parts"]
        if part["first_vertex"] < stop and part["first_vertex"] + part["n_vertices"] > first
    ] or [_Range(facts["parts"][0], 0, 0)]
    read = [_read_arrays(folder, each, facts) for each in ranges]
    edges = [slice(*each["indptr"][[0, -1]].tolist()) for each in read]
    return GraphPartition(
        n_vertices=n,
        n_edges=facts["n_edges"],
        rank=rank,
        bounds=bounds,
        edges_in=Adjacency(_chain([each["indptr"] for each in read]), _typed(read, "neighbours", number_type(n)), None),
        out_degrees=_typed(read, "out_degrees", np.int64),
        ids=_ids(read, facts["ids"]),
        positions=_typed(read, "positions", np.int64) if facts["ordered"] else None,
        edge_attributes=_read_rows(folder, "edges", ranges, edges),
        vertex_attributes=_read_rows(folder, "vertices", ranges, [slice(each.begin, each.end) for each in ranges]),
    )


def _open_arrays(folder: str, part: dict[str, Any]) -> ArrayFile:
    name = _file_of(part, "part")
    return ArrayFile(storage.join(folder, name), part["files"][name])


def _file_of(part: dict[str, Any], kind: str) -> str:
    return next(name for name in part["files"] if name.startswith(f"{kind}-"))


def _read_arrays(folder: str, wanted: _Range, facts: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """The arrays of some vertices of a part."""
    with _open_arrays(folder, wanted.part) as file:
        ends = file.read("indptr", wanted.begin, wanted.end + 1)
        read = {"indptr": ends, "neighbours": file.read("neighbours", int(ends[0]), int(ends[-1]))}
        for name in ["out_degrees", *(["positions"] if facts["ordered"] else []), *(["ids"] if facts["ids"] == "int64" else [])]:
            read[name] = file.read(name, wanted.begin, wanted.end)
        if facts["ids"] == "string":
            read["id_ends"] = file.read("id_ends", wanted.begin, wanted.end + 1)
            read["id_bytes"] = file.read("id_bytes", *read["id_ends"][[0, -1]].tolist())
    return read


def _typed(read: Sequence[dict[str, NDArray[Any]]], name: str, kind: Any) -> NDArray[Any]:
    """The parts of an array as one, of the type that it must have."""
    for each in read:
        if each[name].dtype != kind:
            raise ValueError(f"{name}: expected {np.dtype(kind)}, got {each[name].dtype}")
    return read[0][name] if len(read) == 1 else np.concatenate([each[name] for each in read])


def _chain(ends: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Ends of consecutive pieces, each beginning anywhere, as one list that begins with 0."""
    made = np.zeros(sum(len(each) - 1 for each in ends) + 1, dtype=np.int64)
    at = 0
    for each in ends:
        made[at + 1 : at + len(each)] = each[1:] + (made[at] - each[0])
        at += len(each) - 1
    return made


def _ids(read: Sequence[dict[str, NDArray[Any]]], kind: str) -> pa.Array:
    if kind == "int64":
        return int_ids(_typed(read, "ids", np.int64))
    ids = text_ids(_chain([each["id_ends"] for each in read]), _typed(read, "id_bytes", np.uint8))
    ids.validate(full=True)
    return ids


def _read_rows(folder: str, kind: str, ranges: Sequence[_Range], rows: Sequence[slice]) -> pa.Table:
    """These rows of the attributes of each part."""
    tables = []
    for each, wanted in zip(ranges, rows, strict=True):
        name = _file_of(each.part, kind)
        table = _read_table(storage.join(folder, name), each.part["files"][name])
        tables.append(table.slice(wanted.start, wanted.stop - wanted.start))
    return pa.concat_tables(tables).combine_chunks()


def _read_table(address: str, facts: Facts) -> pa.Table:
    check_size(address, facts["bytes"])
    if storage.is_local(address):
        with pa.memory_map(str(storage.local_path(address))) as source:
            content = source.read_buffer()
    else:
        content = pa.py_buffer(storage.read_bytes(address))
    if zlib.crc32(content) != facts["crc32"]:
        raise ModelFileError(f"{address!r} is damaged: it is not what was written; {REMEDY}")
    return pa.ipc.open_file(content).read_all()
