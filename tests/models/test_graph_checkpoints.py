"""Checkpoints of graph toolkits: a run that is resumed, on any number of ranks, is the run that was never interrupted."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

import engine
from engine.errors import DataError, ModelFileError, OptionError
from engine.models import label_propagation, pagerank
from tests.graph_oracles import random_toy
from tests.threads_comm import run_ranks

TOY = random_toy(11)
TOOLKITS = {
    "pagerank": lambda graph, **options: pagerank.create(
        graph, verbose=False, **{"dangling": "redistribute", "weight_field": "w", "personalization": "wish", "threshold": 1e-9, **options}
    ),
    "label_propagation": lambda graph, **options: label_propagation.create(
        graph, "label", verbose=False, **{"weight_field": "w", "undirected": True, "threshold": 1e-7, **options}
    ),
}


def content(model):
    document, arrays, _ = model._content()
    document = {**document, "options": {name: value for name, value in document["options"].items() if name != "max_iterations"}}
    return json.dumps(document), {name: array.tobytes() for name, array in arrays.items()}


@pytest.fixture(params=TOOLKITS)
def toolkit(request):
    return TOOLKITS[request.param]


def test_resuming_is_exact_on_any_number_of_ranks(toolkit, tmp_path):
    whole = toolkit(TOY.on(), max_iterations=17)
    folder = tmp_path / "checkpoints"
    before = 0
    for ranks, most in ((1, 3), (3, 7), (2, 12), (4, 17)):
        options = {
            "model_checkpoint_path": folder,
            "model_checkpoint_interval": 1,
            "resume_from_checkpoint": "auto",
            "max_iterations": most,
        }
        models = run_ranks(ranks, lambda comm, options=options: toolkit(TOY.on(comm), **options))
        assert models[0].num_iterations == most > before
        before = most
    assert all(content(model) == content(whole) for model in models)
    assert sorted(path.name for path in folder.iterdir()) == ["model_checkpoint_16", "model_checkpoint_17"]


def test_resuming_what_had_ended_adds_nothing(toolkit, tmp_path):
    options = {"model_checkpoint_path": tmp_path, "model_checkpoint_interval": 1, "threshold": 1e-2, "max_iterations": 200}
    whole = toolkit(TOY.on(), **options)
    assert whole.converged
    again = toolkit(TOY.on(), **options, resume_from_checkpoint="auto")
    assert content(again) == content(whole)
    assert again.num_iterations == whole.num_iterations


def test_progress_is_that_of_all_iterations(toolkit, tmp_path, capsys):
    options = {"model_checkpoint_path": tmp_path, "model_checkpoint_interval": 2}
    toolkit(TOY.on(), max_iterations=5, **options)
    model = toolkit(TOY.on(), max_iterations=6, resume_from_checkpoint=tmp_path / "model_checkpoint_4", **options)
    assert model.progress["Iteration"].to_pylist() == [1, 2, 3, 4, 5, 6]
    assert None not in model.progress["Elapsed Time"].to_pylist()
    with pytest.raises(ModelFileError, match="is a checkpoint, no model yet"):
        engine.load_model(tmp_path / "model_checkpoint_4")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"src": np.where(TOY.src == 5, 6, TOY.src)}, DataError, "is of another graph: its edges is"),
        ({"edges": {"w": TOY.edges["w"] * 2}}, DataError, "is of another graph: its edges is"),
        ({"n": 61, "positions": None, "vertices": {name: [*v, v[0]] for name, v in TOY.vertices.items()}}, DataError, "its num_vertices"),
        (
            {"vertices": {**TOY.vertices, "wish": [1.0] * 60, "label": ["b", *TOY.vertices["label"][1:]]}},
            DataError,
            "its (personalization|labels) is",
        ),
    ],
)
def test_another_graph_is_refused(toolkit, change, error, message, tmp_path):
    toolkit(TOY.on(), max_iterations=2, model_checkpoint_path=tmp_path, model_checkpoint_interval=2)
    other = dataclasses.replace(TOY, **change)
    with pytest.raises(error, match=message):
        toolkit(other.on(), resume_from_checkpoint=tmp_path / "model_checkpoint_2")
    with pytest.warns(UserWarning, match="not resuming"):
        fresh = toolkit(other.on(), max_iterations=2, model_checkpoint_path=tmp_path, resume_from_checkpoint="auto")
    assert content(fresh) == content(toolkit(other.on(), max_iterations=2))


def test_other_options_and_toolkits_are_refused(tmp_path):
    for name, toolkit in TOOLKITS.items():
        toolkit(TOY.on(), max_iterations=2, model_checkpoint_path=tmp_path / name, model_checkpoint_interval=2)
    with pytest.raises(OptionError, match="was made with reset_probability=0.15, got 0.2"):
        TOOLKITS["pagerank"](TOY.on(), reset_probability=0.2, resume_from_checkpoint=tmp_path / "pagerank" / "model_checkpoint_2")
    path = tmp_path / "label_propagation" / "model_checkpoint_2"
    with pytest.raises(OptionError, match="was made with undirected=True, got False"):
        TOOLKITS["label_propagation"](TOY.on(), undirected=False, resume_from_checkpoint=path)
    with pytest.raises(OptionError, match="is of toolkit 'pagerank', expected 'label_propagation'"):
        TOOLKITS["label_propagation"](TOY.on(), resume_from_checkpoint=tmp_path / "pagerank" / "model_checkpoint_2")


def test_a_damaged_checkpoint_is_every_ranks_error_or_passed_over(toolkit, tmp_path):
    options = {"model_checkpoint_path": tmp_path, "model_checkpoint_interval": 2, "max_iterations": 4}
    whole = toolkit(TOY.on(), **options)
    damaged = tmp_path / "model_checkpoint_4"
    file = damaged / "arrays.safetensors"
    file.write_bytes(file.read_bytes()[:-3] + b"abc")

    def fail(comm):
        with pytest.raises(ModelFileError, match="damaged"):
            toolkit(TOY.on(comm), resume_from_checkpoint=damaged, max_iterations=4)

    run_ranks(2, fail)
    with pytest.warns(UserWarning, match="not resuming"):
        assert content(toolkit(TOY.on(), **options, resume_from_checkpoint="auto")) == content(whole)
