"""What ranks write together: rows, predictions and graphs, read back on one rank and on all."""

from __future__ import annotations

import os

import numpy as np
import pyarrow as pa
import pytest

import engine
from engine.collectives.serial import SerialComm
from engine.data.shard import read_shard
from engine.errors import StorageError

pytestmark = pytest.mark.mpi
N = 1000


def dataset():
    return engine.Dataset({"x": np.arange(N) / 4, "s": [None if n % 7 == 0 else f"ä{n}" for n in range(N)]})


@pytest.mark.parametrize("format", ["parquet", "csv"])
def test_rows(comm, folder, collective_assert, format):
    for rows in (dataset(), dataset().random_split(0.5, seed=3)[0]):
        rows.save(folder / "rows", format, comm=comm)
        collective_assert(len(os.listdir(folder / "rows")) == comm.size + 1, "a part for each rank")
        alone = engine.Dataset(folder / "rows").to_table()
        collective_assert(alone.equals(rows.to_table()), "the rows in their order")
        shard = read_shard(engine.Dataset(folder / "rows"), comm)
        collective_assert(shard.table.equals(alone.slice(shard.first_row, shard.table.num_rows)), "the rank's rows")


def test_predictions(comm, folder, collective_assert):
    table = pa.table({"x": np.arange(N) / 4, "y": np.arange(N) % 13})
    model = engine.boosted_trees_regression.create(table, target="y", verbose=False, max_iterations=2, comm=comm)
    given = model.predict(table, output=folder / "predicted", comm=comm)
    alone = model.predict(table, comm=SerialComm())
    collective_assert(given.to_table()["prediction"].to_pylist() == alone.to_pylist(), "all predictions in their order")


def test_one_ranks_trouble_is_every_ranks(comm, folder, collective_assert):
    if comm.rank == 0:
        (folder / "file").write_text("mine")
    comm.barrier(name="written")
    with pytest.raises(StorageError, match="a file is there"):
        dataset().save(folder / "file", comm=comm)
    collective_assert(os.listdir(folder) == ["file"])


def test_graphs(comm, folder, collective_assert):
    rng = np.random.default_rng(5)
    edges = {"a": rng.integers(0, 90, 400), "b": rng.integers(0, 90, 400), "w": np.arange(400)}
    graph = engine.Graph(edges, comm=comm)
    graph.save(folder / "g")
    alone = engine.load_graph(folder / "g", comm=SerialComm())
    again = engine.load_graph(folder / "g", comm=comm)
    collective_assert(again.vertices.equals(graph.vertices), "the same ranges")
    collective_assert(again.edges.equals(graph.edges), "the same edges")
    expected = engine.Graph(edges, comm=SerialComm())
    collective_assert(alone.edges.equals(expected.edges), "the whole graph on one rank")
