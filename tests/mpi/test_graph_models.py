"""Graph toolkits on real ranks: every rank's model is the one that a single rank makes, byte for byte, however values travel."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile

import numpy as np
import pyarrow as pa
import pytest

import engine
from engine.collectives import mpi
from engine.errors import DataError
from engine.models import label_propagation, pagerank
from engine.models._graphs import exchange
from tests.graph_oracles import chain, random_toy

MODELS = {
    "pagerank": lambda graph, **options: pagerank.create(graph, verbose=False, threshold=1e-9, **options),
    "float32": lambda graph, **options: pagerank.create(graph, verbose=False, precision="float32", dangling="redistribute", **options),
    "weights": lambda graph, **options: pagerank.create(graph, verbose=False, weight_field="w", personalization="wish", **options),
    "label_propagation": lambda graph, **options: label_propagation.create(graph, "label", verbose=False, **options),
    "undirected": lambda graph, **options: label_propagation.create(
        graph, "label", verbose=False, undirected=True, weight_field="w", threshold=1e-6, **options
    ),
}


def content(model):
    document, arrays, _ = model._content()
    return document, {name: array.tobytes() for name, array in arrays.items()}


@pytest.fixture(params=["shared memory", "gathered", "needed"])
def travel(request, monkeypatch):
    """How values come to the ranks that read them."""
    if request.param == "gathered":
        monkeypatch.setattr(mpi, "has_room", lambda n_bytes: False)
    if request.param == "needed":
        make_plan = exchange.make_plan
        monkeypatch.setattr("engine.models._graphs.rows.make_plan", lambda *arguments: make_plan(*arguments[:4], "needed"))
    return request.param


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("num_threads", [1, 2])
def test_the_bytes_of_one_rank(comm, travel, name, num_threads):
    toy = random_toy(21, n=200, m=900)
    assert content(MODELS[name](toy.on(comm), num_threads=num_threads)) == content(MODELS[name](toy.on()))


@pytest.mark.parametrize("name", ["pagerank", "label_propagation"])
def test_ranks_without_vertices(comm, travel, name):
    toy = dataclasses.replace(chain(5), vertices={"label": ["a", None, None, None, "b"]})
    bounds = np.array([0] * comm.size + [5])
    assert content(MODELS[name](toy.on(comm, bounds))) == content(MODELS[name](toy.on()))


def test_a_graph_of_strings(comm):
    draw = np.random.default_rng(3)
    names = np.array([f"vertex {number} é" for number in range(80)])
    edges = pa.table({"from": names[draw.integers(0, 60, 400)], "to": names[draw.integers(0, 80, 400)], "w": draw.random(400)})
    vertices = pa.table({"id": names[::-1], "wish": draw.integers(0, 3, 80), "label": draw.choice(["x", "y", None], 80, p=[0.1, 0.1, 0.8])})
    for name, create in MODELS.items():
        together = create(engine.Graph(edges, vertices, src="from", dst="to", vid="id", comm=comm))
        alone = create(engine.Graph(edges, vertices, src="from", dst="to", vid="id", comm=engine.collectives.serial.SerialComm()))
        assert content(together) == content(alone), name
        table = together.labels if hasattr(together, "classes") else together.pagerank
        assert table["__id"].to_pylist() == names[::-1].tolist()


@pytest.mark.parametrize("name", MODELS)
def test_resuming_from_a_checkpoint(comm, name):
    toy = random_toy(22)
    folder = comm.gather_objects(tempfile.mkdtemp() if comm.rank == 0 else None, name="folder")[0]
    options = {"model_checkpoint_path": folder, "model_checkpoint_interval": 2}
    MODELS[name](toy.on(comm), max_iterations=5, **options)
    resumed = MODELS[name](toy.on(comm), max_iterations=9, resume_from_checkpoint="auto", **options)
    assert content(resumed) == content(MODELS[name](toy.on(), max_iterations=9))
    comm.barrier(name="all have resumed")
    if comm.rank == 0:
        shutil.rmtree(folder)


def test_the_last_ranks_mistake_is_every_ranks(comm):
    toy = dataclasses.replace(random_toy(23), vertices={"wish": [1.0] * 59 + [-1.0]})
    with pytest.raises(DataError, match=r"personalization 'wish' has -1.0 for vertex 59") as caught:
        pagerank.create(toy.on(comm), personalization="wish", verbose=False)
    assert len(set(comm.gather_objects(str(caught.value), name="messages"))) == 1
