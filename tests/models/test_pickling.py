"""Models are pickled and copied as what ``save`` writes, whatever their toolkit."""

import copy
import pickle

import pyarrow as pa
import pytest

import engine
from engine.spec import GRAPH_TOOLKITS, TOOLKITS
from tests.models.training_helpers import create, model_bytes, table_for

EDGES = {"s": [1, 2, 3, 9], "t": [2, 3, 4, 9]}


def train(toolkit):
    if toolkit == "pagerank":
        return engine.pagerank.create(engine.Graph(EDGES), verbose=False)
    if toolkit == "label_propagation":
        vertices = pa.table({"id": [1, 4], "label": ["a", "b"]})
        return engine.label_propagation.create(engine.Graph(EDGES, vertices, vid="id"), "label", verbose=False)
    if toolkit in ("linear_regression", "logistic_classifier", "svm_classifier"):
        data = {"x": [1.0, 2.0, 4.0, 3.0, 2.5] * 4, "c": ["a", "b", "a", "b", "c"] * 4, "y": [0, 1, 1, 0, 0] * 4}
        return getattr(engine, toolkit).create(data, "y", verbose=False)
    return create(toolkit, table_for(toolkit, 100))


@pytest.mark.parametrize("toolkit", [*TOOLKITS, *GRAPH_TOOLKITS])
@pytest.mark.parametrize("through", [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_the_copy_is_the_model(toolkit, through):
    model = train(toolkit)
    again = through(model)
    assert type(again) is type(model)
    assert model_bytes(again) == model_bytes(model)
    assert again.list_fields() == model.list_fields()
    assert again.summary("str") == model.summary("str")
    assert again.progress == model.progress
