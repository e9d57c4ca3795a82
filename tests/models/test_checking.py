"""Options are refused before there is data exactly where training would refuse them, whatever the data."""

import importlib
import inspect

import pytest

import engine
from engine.errors import OptionError
from engine.spec import GRAPH_TOOLKITS, TOOLKITS

ROWS = {"x": [0.5 * k for k in range(20)], "y": [k % 2 for k in range(20)]}
# Some value that is wrong for each option.
WRONG = {
    "features": "x",
    "target": "",
    "class_weights": 3,
    "sample_weight": 3,
    "offset": 3,
    "metric": "beauty",
    "monotone_constraints": {"x": 2},
    "model_checkpoint_path": 3,
    "resume_from_checkpoint": "auto",
    "initial_model": 3,
    "callback": 3,
    "weight_field": 3,
    "personalization": 3,
    "initial": 3,
    "label_field": "",
}
# Options of which every value may be right: that depends on the data, the ranks or the machine.
UNCHECKED = {"validation_set", "memory_limit", "cache_dir", "comm"}


def options_of(toolkit):
    parameters = inspect.signature(importlib.import_module(f"engine.models.{toolkit}").create).parameters
    return [name for name in parameters if name not in ("dataset", "graph", "kwargs", *UNCHECKED)]


def needed(toolkit):
    return {"label_propagation": {"label_field": "y"}, "pagerank": {}}.get(toolkit, {"target": "y"})


CASES = [(toolkit, name) for toolkit in (*TOOLKITS, *GRAPH_TOOLKITS) for name in (*options_of(toolkit), "optoin")]


@pytest.mark.parametrize(("toolkit", "name"), CASES, ids=lambda value: value)
def test_both_refuse_the_same_with_the_same_words(toolkit, name):
    options = {**needed(toolkit), name: WRONG.get(name, -1)}
    with pytest.raises(OptionError) as early:
        engine.check_training(toolkit, options)
    data = ROWS if toolkit in TOOLKITS else engine.Graph({"from": [0, 1], "to": [1, 2]}, {"id": [0, 1, 2], "y": [0, 1, None]}, vid="id")
    with pytest.raises(OptionError) as late:
        importlib.import_module(f"engine.models.{toolkit}").create(data, **options)
    assert str(early.value) == str(late.value)


@pytest.mark.parametrize("toolkit", [*TOOLKITS, *GRAPH_TOOLKITS])
def test_defaults_are_right(toolkit):
    engine.check_training(toolkit, needed(toolkit))


def test_a_target_is_needed():
    with pytest.raises(OptionError, match="linear_regression: missing a required argument: 'target'"):
        engine.check_training("linear_regression", {})


def test_a_model_to_go_on_from_is_not_opened():
    engine.check_training("boosted_trees_classifier", {"target": "y", "initial_model": "/there/is/none"})
    model = engine.boosted_trees_regression.create(ROWS, "y", max_iterations=1, verbose=False)
    with pytest.raises(OptionError, match="initial_model"):
        engine.check_training("boosted_trees_classifier", {"target": "y", "initial_model": model})


def test_the_old_name_of_max_iterations():
    with pytest.warns(UserWarning, match="num_trees"), pytest.raises(OptionError, match="max_iterations must be"):
        engine.check_training("random_forest_classifier", {"target": "y", "num_trees": 0})
