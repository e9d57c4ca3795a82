"""Graphs under MPI: the ranks' parts end to end are the graph that one rank loads, and one rank's error is every rank's error."""

from __future__ import annotations

import contextlib
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import engine
from engine.collectives.serial import SerialComm
from engine.encode.adjacency import load_edges_both, load_edges_in, load_edges_out
from engine.encode.vertex_tables import gather_vertices
from engine.errors import DataError

pytestmark = pytest.mark.mpi
N, M = 3000, 40_000


@pytest.fixture
def folder(comm, tmp_path):
    """A folder that all ranks see: rank 0's."""
    return pathlib.Path(comm.gather_objects(str(tmp_path), name="folder")[0])


def edge_table(kind: str) -> pa.Table:
    rng = np.random.default_rng(5)
    names = [f"ö{n}" for n in range(N)] if kind == "text" else (rng.permutation(N) * 10**14 - 10**16).tolist()
    source, destination = rng.integers(0, N, M), (rng.random(M) ** 4 * N).astype(np.int64)
    ends = {name: pa.array([names[number] for number in numbers]) for name, numbers in (("a", source), ("b", destination))}
    return pa.table({**ends, "w": rng.integers(0, 3, M) / 4})


def same(comm, part, whole) -> bool:
    """Whether this rank's part is its place in the whole."""
    first, stop = part.first, part.first + part.n_local
    begin, end = whole.edges_in.indptr[first], whole.edges_in.indptr[stop]
    checks = [
        np.array_equal(part.edges_in.indptr, whole.edges_in.indptr[first : stop + 1] - begin),
        np.array_equal(part.edges_in.neighbours, whole.edges_in.neighbours[begin:end]),
        np.array_equal(part.out_degrees, whole.out_degrees[first:stop]),
        part.ids.equals(whole.ids.slice(first, stop - first)),
        part.edge_attributes.equals(whole.edge_attributes.slice(begin, end - begin)),
        part.vertex_attributes.equals(whole.vertex_attributes.slice(first, stop - first)),
    ]
    for load in (load_edges_in, load_edges_out, load_edges_both):
        own, every = load(part, comm, "w"), load(whole, SerialComm(), "w")
        begin, end = every.indptr[first], every.indptr[stop]
        checks += [np.array_equal(own.neighbours, every.neighbours[begin:end]), np.array_equal(own.weights, every.weights[begin:end])]
    return all(checks)


@pytest.mark.parametrize("kind", ["int64", "text"])
@pytest.mark.parametrize("source", ["memory", "csv", "parquet"])
def test_parts_are_of_the_whole(comm, collective_assert, folder, kind, source):
    edges = edge_table(kind)
    ids = edges["a"].to_pylist()
    vertices = pa.table({"v": ids[:500] + ids[:100], "x": np.arange(600)})
    path = folder / f"edges.{source}"
    if comm.rank == 0 and source != "memory":
        (pa.csv.write_csv if source == "csv" else pq.write_table)(edges, path)
    comm.barrier(name="files written")
    data = edges if source == "memory" else str(path)
    with pytest.warns(UserWarning, match="vertex table") if comm.rank == 0 else contextlib.nullcontext():
        graph = engine.Graph(data, vertices, comm=comm)
    with pytest.warns(UserWarning, match="vertex table"):
        whole = engine.Graph(edges, vertices, comm=SerialComm())
    collective_assert(same(comm, graph.partition, whole.partition))
    degrees = gather_vertices(graph.partition, comm, {"out": graph.partition.out_degrees})
    collective_assert(degrees.equals(gather_vertices(whole.partition, SerialComm(), {"out": whole.partition.out_degrees})))
    graph.save(folder / "saved")
    again = engine.load_graph(folder / "saved", comm=comm)
    collective_assert(same(comm, again.partition, whole.partition))
    collective_assert(again.edges.equals(graph.edges))


def test_an_error_on_one_rank_is_everybodys(comm, folder):
    path = folder / "edges.csv"
    if comm.rank == 0:
        path.write_text("a,b\n" + "1,2\n" * 500 + "3,\n")
    comm.barrier(name="files written")
    with pytest.raises(DataError, match="line 502: column 'b': expected the id of a vertex"):
        engine.Graph(str(path), comm=comm)
