"""Saved models of releases: one of each toolkit, small, with what it predicted. ``python -m tests.golden_models`` writes this release's.

A folder of ``tests/golden/models`` is never written again once its release is out; ``tests/models/test_golden_models.py`` loads all.
"""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any

import numpy as np
import pyarrow as pa

import engine

GOLDEN = pathlib.Path(__file__).with_name("golden") / "models"
ROWS, EDGES, PREDICTIONS = "rows.json", "edges.json", "predictions.json"
CLASSIFIERS = {
    "boosted_trees_classifier": {"max_iterations": 3, "max_depth": 3},
    "random_forest_classifier": {"max_iterations": 3, "max_depth": 3},
    "logistic_classifier": {"max_iterations": 5},
    "svm_classifier": {"max_iterations": 5},
}
REGRESSIONS = {
    "boosted_trees_regression": {"max_iterations": 3, "max_depth": 3},
    "random_forest_regression": {"max_iterations": 3, "max_depth": 3},
    "linear_regression": {"max_iterations": 5},
}
GRAPHS = {"pagerank": {"max_iterations": 5}, "label_propagation": {"max_iterations": 5}}
OUTPUT_TYPES = {
    "boosted_trees_classifier": ("class", "probability", "margin"),
    "random_forest_classifier": ("class", "probability"),
    "logistic_classifier": ("class", "probability", "margin"),
    "svm_classifier": ("class", "margin"),
}


def make(folder: pathlib.Path) -> None:
    """Train one of each on tables of this file, and write models, tables and predictions."""
    folder.mkdir(parents=True)
    (folder / ROWS).write_text(json.dumps(make_rows()) + "\n")
    (folder / EDGES).write_text(json.dumps(make_edges()) + "\n")
    for toolkit, options in {**CLASSIFIERS, **REGRESSIONS}.items():
        target = "word" if toolkit in CLASSIFIERS else "number"
        rows = without_missing(make_rows()) if "tree" not in toolkit and "forest" not in toolkit else make_rows()
        getattr(engine, toolkit).create(rows, target=target, verbose=False, **options).save(folder / toolkit)
    for toolkit, options in GRAPHS.items():
        data, more = make_edges(), {}
        if toolkit == "label_propagation":
            more["label_field"] = "label"
        graph = engine.Graph(data["edges"], data["vertices"], src="from", dst="to", vid="id")
        getattr(engine, toolkit).create(graph, verbose=False, **options, **more).save(folder / toolkit)
    said = {toolkit: predict(folder, toolkit) for toolkit in toolkits()}
    (folder / PREDICTIONS).write_text(json.dumps(said, indent=1) + "\n")


def toolkits() -> list[str]:
    """All nine."""
    return [*CLASSIFIERS, *REGRESSIONS, *GRAPHS]


def predict(folder: pathlib.Path, toolkit: str) -> dict[str, list[Any]]:
    """What the saved model says of the saved table: floats as hexadecimal text, of which every bit counts."""
    model = engine.load_model(folder / toolkit)
    if toolkit in GRAPHS:
        table = model.pagerank if toolkit == "pagerank" else model.labels
        return {name: exactly(table[name]) for name in table.column_names}
    rows = json.loads((folder / ROWS).read_text())
    rows = rows if "tree" in toolkit or "forest" in toolkit else without_missing(rows)
    if toolkit in REGRESSIONS:
        return {"value": exactly(model.predict(rows))}
    return {kind: exactly(model.predict(rows, output_type=kind)) for kind in OUTPUT_TYPES[toolkit]}


def exactly(column: pa.ChunkedArray) -> list[Any]:
    """The values of a column as JSON that says them bit by bit."""
    return [_exactly(value) for value in column.to_pylist()]


def _exactly(value: Any) -> Any:
    if isinstance(value, list):
        return [_exactly(each) for each in value]
    return value.hex() if isinstance(value, float) else value


def make_rows() -> dict[str, list[Any]]:
    """A table with numbers, integers, words, and values that are missing."""
    numbers = (np.arange(40) * 7919 % 101 / 10.0).tolist()
    integers = (np.arange(40) * 31 % 17).tolist()
    words = ["abc"[n * 5 % 3] + "é" * (n % 4 == 0) for n in range(40)]
    return {
        "x": [None if n % 11 == 3 else value for n, value in enumerate(numbers)],
        "n": integers,
        "kind": [None if n % 13 == 5 else word for n, word in enumerate(words)],
        "word": ["yes" if number + integer > 12 else "no" for number, integer in zip(numbers, integers, strict=True)],
        "number": [2.0 * number - integer + len(word) for number, integer, word in zip(numbers, integers, words, strict=True)],
    }


def without_missing(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The same table with a value everywhere, as linear models want it."""
    filled = {"x": 0.5, "kind": "none"}
    return {name: [filled[name] if value is None else value for value in column] for name, column in rows.items()}


def make_edges() -> dict[str, Any]:
    """A small graph of words, some of whose vertices have labels."""
    pairs = [(n, n * n % 13) for n in range(13)] + [(n, (n + 4) % 13) for n in range(0, 13, 2)]
    return {
        "edges": {"from": [f"v{a}" for a, _ in pairs], "to": [f"v{b}" for _, b in pairs]},
        "vertices": {"id": [f"v{n}" for n in range(13)], "label": [n % 2 if n < 4 else None for n in range(13)]},
    }


if __name__ == "__main__":
    place = GOLDEN / engine.__version__
    if place.exists():
        sys.exit(f"{place} is there already: what a release wrote stays as it is")
    make(place)
