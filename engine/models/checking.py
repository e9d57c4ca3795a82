"""Checking a call of ``create`` before there is data or a rank: what a job is refused for at once."""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any

from engine.errors import OptionError
from engine.models._trees.training_rows import Task

_TASKS: Mapping[str, Task] = {
    "boosted_trees_classifier": "classifier",
    "boosted_trees_regression": "regression",
    "random_forest_classifier": "classifier",
    "random_forest_regression": "regression",
}
_LOSSES: Mapping[str, Any] = {"linear_regression": "squared", "logistic_classifier": "logistic", "svm_classifier": "hinge"}


def check_training(toolkit: str, options: Mapping[str, Any]) -> None:
    """Raise :class:`OptionError` if ``create`` of the toolkit would, whatever the data; ``options`` are its arguments but the data.

    A model to go on from (``initial_model``) is looked at if it is a model, and not opened if it is a path.
    """
    create = importlib.import_module(f"engine.models.{toolkit}").create
    arguments = _arguments_of(create, toolkit, options)
    if isinstance(arguments.get("initial_model"), (str, os.PathLike)):
        arguments["initial_model"] = None
    if toolkit in _TASKS:
        from engine.models._trees import creating as trees

        is_forest = toolkit.startswith("random_forest")
        trees.check_call(toolkit, trees.rename_num_trees(arguments) if is_forest else arguments, task=_TASKS[toolkit])
    elif toolkit in _LOSSES:
        from engine.models._linear import creating as linear

        linear.check_call(arguments, loss=_LOSSES[toolkit])
    else:
        from engine.models._graphs import creating as graphs

        graphs.check_call(arguments, importlib.import_module(create.__module__).CHECKS)


def _arguments_of(create: Callable[..., Any], toolkit: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments of a call of ``create`` by name, with their defaults; no data."""
    try:
        bound = inspect.signature(create).bind(None, **options)
    except TypeError as error:
        raise OptionError(f"{toolkit}: {error}") from None
    bound.apply_defaults()
    return dict(bound.arguments)
