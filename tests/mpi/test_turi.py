"""Frames and graphs of GraphLab Create's names on real ranks: the models are those of one rank, accessors are whole on every rank."""

from __future__ import annotations

import os

import numpy as np
import pytest

import samesum as gl
from engine.collectives.serial import SerialComm

pytestmark = pytest.mark.mpi
N = 400
FILES = ("model.json", "arrays.safetensors")


def columns():
    return {"größe": np.arange(N) * 37 % 101 / 4, "s": [None if i % 9 == 0 else "äöü"[i % 3] for i in range(N)], "y": np.arange(N) % 5 % 2}


def test_frames(comm, folder, collective_assert):
    """Saved by all ranks, read by each its share, trained on together; a side of a split, and rows that a mask keeps."""
    gl.SFrame(columns()).save(folder / "rows", comm=comm)
    gl.SFrame(columns()).save(folder / "rows.csv", comm=comm)
    collective_assert(len(os.listdir(folder / "rows")) == comm.size + 1, "a part for each rank")
    frame = gl.SFrame(folder / "rows")
    collective_assert(frame.to_table() == gl.SFrame(columns()).to_table() == gl.SFrame(folder / "rows.csv").to_table(), "all the rows")
    options = {"target": "y", "max_iterations": 2, "verbose": False}
    for part in (frame, frame.random_split(0.7, seed=3)[1], frame[frame["größe"] > 7], frame.dropna()):
        together = gl.boosted_trees_classifier.create(part, comm=comm, **options)
        alone = gl.boosted_trees_classifier.create(part, comm=SerialComm(), **options)
        collective_assert(together["trees_json"] == alone["trees_json"], "the same trees")
        collective_assert(together.predict(part, comm=comm) == alone.predict(part, comm=SerialComm()), "the same predictions")


def test_graphs(comm, folder, collective_assert):
    """From a file and from memory, loaded where the ranks are; saved by all ranks."""
    edges = gl.SFrame({"from": np.arange(N) % 41, "to": np.arange(N) * 7 % 43})
    edges.save(folder / "edges.csv", comm=comm)
    graphs = [gl.SGraph().add_edges(each, "from", "to") for each in (edges, gl.SFrame(folder / "edges.csv"))]
    graphs[0].save(folder / "graph", comm=comm)
    alone = gl.pagerank.create(graphs[0], verbose=False, comm=SerialComm())
    for graph in (*graphs, gl.load_sgraph(folder / "graph")):
        collective_assert(graph.summary() == {"num_vertices": 43, "num_edges": N}, "the whole graph")
        together = gl.pagerank.create(graph, verbose=False, comm=comm)
        collective_assert(together["pagerank"] == alone["pagerank"], "the same ranks")
