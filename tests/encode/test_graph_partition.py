"""A graph in parts, beside NumPy on the whole: the same on any number of ranks, however its edges are cut into blocks."""

import warnings
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from engine.encode import edge_rows, graph_building, ownership, vertex_ids
from engine.encode.adjacency import load_edges_both, load_edges_in, load_edges_out
from engine.encode.edge_rows import EdgeBlock
from engine.encode.graph_building import EdgeRows, VertexRows, build_partition
from engine.encode.vertex_ids import IntCollector, TextCollector, add_column
from engine.encode.vertex_tables import fetch_ids, gather_vertices
from engine.errors import DataError
from tests.graphs import make_partition
from tests.threads_comm import run_ranks

SIZES = (1, 2, 3, 4, 7)


class Case:
    """Random edges with a weight each, and a vertex table in which some vertices come twice and some have no edges."""

    def __init__(self, kind, n, m, seed=0):
        rng = np.random.default_rng(seed)
        self.kind = kind
        base = rng.integers(-(2**62), 2**62, n) if kind == "int64" else rng.permutation(3 * n)[:n]
        self.source = base[rng.integers(0, n, m)]
        self.destination = base[(rng.random(m) ** 3 * n).astype(np.int64)]
        self.weight = rng.integers(0, 4, m) / 2
        self.listed = rng.permutation(np.concatenate([base[: n // 2], rng.integers(2**40, 2**41, 3), base[: n // 4]]))
        every = {*self.source.tolist(), *self.destination.tolist(), *self.listed.tolist()}
        self.ids = sorted(every, key=lambda each: f"é{each}".encode() if kind == "text" else each)
        self.number = {each: number for number, each in enumerate(self.ids)}

    def column(self, ids):
        if self.kind == "text":
            return pa.array([f"é{each}" for each in ids.tolist()], pa.string())
        return pa.array(np.asarray(ids, dtype=np.int64))

    def load(self, comm):
        collector = TextCollector() if self.kind == "text" else IntCollector()
        begin, end = comm.rank * len(self.source) // comm.size, (comm.rank + 1) * len(self.source) // comm.size
        cuts = [*range(begin, end, 7), end]
        blocks = [
            EdgeBlock(*(add_column(collector, self.column(ids[a:b])) for ids in (self.source, self.destination))) for a, b in pairwise(cuts)
        ]
        attributes = pa.table({"w": self.weight[begin:end], "row": np.arange(begin, end)})
        begin, end = comm.rank * len(self.listed) // comm.size, (comm.rank + 1) * len(self.listed) // comm.size
        rows = VertexRows([add_column(collector, self.column(self.listed[begin:end]))], pa.table({"x": np.arange(begin, end)}), begin)
        return build_partition(comm, EdgeRows(blocks, attributes), rows, collector, num_threads=1 + comm.rank % 2)

    def check(self, part, adjacencies):
        source, destination = ([self.number[each] for each in ids.tolist()] for ids in (self.source, self.destination))
        attributes = {"w": self.weight, "row": np.arange(len(source))}
        extra = {"attributes": attributes, "bounds": part.bounds, "ids": self.column(np.array(self.ids))}
        twin = make_partition(source, destination, len(self.ids), rank=part.rank, size=len(part.bounds) - 1, **extra)
        np.testing.assert_array_equal(part.edges_in.indptr, twin.edges_in.indptr)
        np.testing.assert_array_equal(part.edges_in.neighbours, twin.edges_in.neighbours)
        np.testing.assert_array_equal(part.out_degrees, twin.out_degrees)
        assert part.ids.to_pylist() == twin.ids.to_pylist()
        assert part.edge_attributes.equals(twin.edge_attributes)
        assert (part.n_vertices, part.n_edges) == (len(self.ids), len(source))
        ends = {"in": (destination, source), "out": (source, destination), "both": (destination + source, source + destination)}
        for name, edges in adjacencies.items():
            row, neighbour = (np.array(each, dtype=np.int64) for each in ends[name])
            weight = np.tile(self.weight, len(row) // max(len(source), 1))
            order = np.lexsort((weight, neighbour, row))
            order = order[(row[order] >= part.first) & (row[order] < part.first + part.n_local)]
            np.testing.assert_array_equal(edges.neighbours, neighbour[order])
            np.testing.assert_array_equal(edges.weights, weight[order])
            np.testing.assert_array_equal(np.diff(edges.indptr), np.bincount(row[order] - part.first, minlength=part.n_local))


def load_and_walk(case, comm):
    part = case.load(comm)
    loaders = {"in": load_edges_in, "out": load_edges_out, "both": load_edges_both}
    table = gather_vertices(part, comm, {"x": part.vertex_attributes.column("x"), "out": part.out_degrees})
    sources = fetch_ids(part, comm, part.edges_in.neighbours)
    return part, {name: load(part, comm, "w") for name, load in loaders.items()}, table, sources


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("n", "m"), [(1, 0), (1, 1), (1, 5), (3, 2), (40, 300), (500, 3000)])
@pytest.mark.parametrize("kind", ["small", "int64", "text"])
@pytest.mark.filterwarnings("ignore:.*rows of the vertex table")
def test_every_part(kind, n, m, size):
    case = Case(kind, n, m)
    for part, adjacencies, table, sources in run_ranks(size, lambda comm: load_and_walk(case, comm)):
        case.check(part, adjacencies)
        last = {each: row for row, each in enumerate(case.listed.tolist())}
        listed = sorted(last, key=last.__getitem__)
        others = [each for each in case.ids if each not in last]
        assert table.column("__id").to_pylist() == case.column(np.array(listed + others)).to_pylist()
        assert table.column("x").to_pylist() == [last[each] for each in listed] + [None] * len(others)
        named = case.column(np.array(case.ids)).take(pa.array(part.edges_in.neighbours.astype(np.int64)))
        assert sources.to_pylist() == named.to_pylist()


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.filterwarnings("ignore:.*rows of the vertex table")
def test_numbers_of_64_bits(monkeypatch, size):
    """What graphs with more than 2**32 vertices go through."""
    for module in (edge_rows, graph_building, ownership, vertex_ids):
        monkeypatch.setattr(module, "number_type", lambda _: np.uint64)
    monkeypatch.setattr("engine.encode.adjacency.number_type", lambda _: np.uint64)
    case = Case("int64", 60, 400)
    for part, adjacencies, _, _ in run_ranks(size, lambda comm: load_and_walk(case, comm)):
        assert part.edges_in.neighbours.dtype == np.uint64
        case.check(part, adjacencies)


def test_doubled_vertices_warn_only_if_they_differ():
    def load(first, second):
        collector = IntCollector()
        ids = add_column(collector, pa.array([4, 5, 4]))
        table = pa.table({"x": pa.array([first, 1.0, second]), "y": [[1], [2], [1]]})
        return build_partition(run_comm, EdgeRows([], pa.table({})), VertexRows([ids], table, 0), collector, num_threads=1)

    from engine.collectives.serial import SerialComm

    run_comm = SerialComm()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for value in (2.0, None, float("nan")):
            load(value, value)
    with pytest.warns(UserWarning, match="1 rows of the vertex table"):
        part = load(1.0, 3.0)
    assert part.vertex_attributes.column("x").to_pylist() == [3.0, 1.0]
    assert part.positions.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([1.0, -1.0], "finite weights of 0 or more, got -1.0 for the edge from 1 to 2"),
        ([float("nan"), 1.0], "got nan for the edge from 2 to 1"),
        ([1.0, float("inf")], "got inf"),
        ([1.0, None], "a weight for every edge, got null for 1"),
        (["a", "b"], "a column of numbers, got 'string'"),
    ],
)
@pytest.mark.parametrize("size", [1, 2])
def test_weights_that_are_none(weights, words, size):
    def load(comm):
        collector = IntCollector()
        own = slice(0, 2) if comm.rank == 0 else slice(0, 0)
        block = EdgeBlock(*(add_column(collector, pa.array(ids[own], pa.int64())) for ids in ([2, 1], [1, 2])))
        part = build_partition(
            comm, EdgeRows([block], pa.table({"w": pa.array(weights)}).slice(0, 2 if comm.rank == 0 else 0)), None, collector, num_threads=1
        )
        with pytest.raises(DataError, match="expected a column of the edges, got 'v'"):
            load_edges_in(part, comm, "v")
        with pytest.raises(DataError) as caught:
            load_edges_out(part, comm, "w")
        return str(caught.value)

    found = run_ranks(size, load)
    assert len(set(found)) == 1
    assert (words if size == 1 else words.split(" for the edge")[0]) in found[0]
