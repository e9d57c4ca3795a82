"""Loading a saved model of any toolkit. Needs no MPI."""

from __future__ import annotations

import importlib
import os
from typing import Any

from engine.errors import ModelFileError
from engine.model_io import Arrays, read_model

_CLASSES = {
    "boosted_trees_classifier": "BoostedTreesClassifier",
    "boosted_trees_regression": "BoostedTreesRegression",
    "label_propagation": "LabelPropagation",
    "pagerank": "PageRank",
    "random_forest_classifier": "RandomForestClassifier",
    "random_forest_regression": "RandomForestRegression",
    "linear_regression": "LinearRegression",
    "logistic_classifier": "LogisticClassifier",
    "svm_classifier": "SvmClassifier",
}


def load_model(path: str | os.PathLike[str]) -> Any:
    """The model that was saved to the directory ``path``, at any address, of the class of its toolkit.

    Raises :class:`MissingFileError` if there is no such directory, :class:`ModelFileError` if its files are damaged, incomplete, or
    written by a newer release. Local: each rank that calls it reads the files.
    """
    document, arrays, run = read_model(path)
    if "checkpoint" in document:
        raise ModelFileError(f"{os.fspath(path)!r} is a checkpoint, no model yet: pass it to create as resume_from_checkpoint")
    toolkit = document.get("toolkit")
    if toolkit not in _CLASSES:
        raise ModelFileError(
            f"{os.fspath(path)!r} is a model of toolkit {toolkit!r}, which this release does not have; it has {', '.join(_CLASSES)}: "
            "install a newer samesum"
        )
    return _class_of(toolkit).from_saved(document, arrays, run, path=os.fspath(path))


def restore_model(toolkit: str, document: dict[str, Any], arrays: Arrays, run: dict[str, Any]) -> Any:
    """The model of these contents, as pickle and copy keep them."""
    return _class_of(toolkit).from_saved(document, arrays, run, path="a pickled model")


def _class_of(toolkit: str) -> Any:
    return getattr(importlib.import_module(f"engine.models.{toolkit}"), _CLASSES[toolkit])
