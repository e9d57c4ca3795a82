"""Small models without training: random trees over a fixed encoding, and rows to ask them about."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from engine.encode.encoding import EncodedColumn, Encoding
from engine.models._trees.ensemble import CATEGORY, LEAF, NUMERIC, SUBSET, TreeEnsemble
from engine.models.boosted_trees_classifier import BoostedTreesClassifier
from engine.models.boosted_trees_regression import BoostedTreesRegression
from tests.random_trees import random_ensemble

ENCODING = Encoding(
    sources={"age": "int", "width": "float", "colour": "str", "v": "vector", "m": "dict", "tags": "list"},
    columns=(
        EncodedColumn("age", "integer"),
        EncodedColumn("width", "float"),
        EncodedColumn("colour", "category", categories=("blau", "grün", "red", None)),
        EncodedColumn("v", "float", item=0),
        EncodedColumn("v", "float", item=1),
        EncodedColumn("m", "float", item="k"),
        EncodedColumn("tags", "indicator", item="new"),
    ),
)
LETTERS = "nnsnnnn"  # of tests.random_trees, for ENCODING's columns
OPTIONS = {
    "max_iterations": 4,
    "max_depth": 6,
    "step_size": 0.3,
    "min_loss_reduction": 0.0,
    "min_child_weight": 0.1,
    "max_bins": 256,
    "random_seed": 0,
}


def document(toolkit: str, ensemble: TreeEnsemble, classes: list[Any] | None, metrics: tuple[str, ...]) -> dict[str, Any]:
    """A document as training would write it, with made-up metrics."""
    return {
        "toolkit": toolkit,
        "target": "y",
        "options": dict(OPTIONS),
        "num_examples": 100,
        "classes": classes,
        "num_examples_per_class": None if classes is None else [50 + i for i in range(len(classes))],
        "encoding": ENCODING.to_json(),
        "ensemble": ensemble.document(),
        "metrics": {f"training_{name}": 0.25 for name in metrics},
        "progress": {"columns": ["Iteration", *(f"Training-{name}" for name in metrics)], "rows": [[i, 0.5, 0.25] for i in (1, 2, 3, 4)]},
    }


def make_classifier(classes: list[Any], seed: int = 1, n_trees: int = 4) -> BoostedTreesClassifier:
    n_outputs = 1 if len(classes) == 2 else len(classes)
    ensemble = random_ensemble(seed, n_trees=n_trees * n_outputs, n_outputs=n_outputs, columns=LETTERS)
    content = document("boosted_trees_classifier", ensemble, classes, ("accuracy", "log_loss"))
    return BoostedTreesClassifier(content, ENCODING, ensemble, {"training_time": 1.5, "elapsed_time": [0.1, 0.2, 0.3, 0.4]}, rank=0)


def make_regression(seed: int = 2) -> BoostedTreesRegression:
    ensemble = random_ensemble(seed, columns=LETTERS)
    content = document("boosted_trees_regression", ensemble, None, ("max_error", "rmse"))
    return BoostedTreesRegression(content, ENCODING, ensemble, {"training_time": 1.5, "elapsed_time": [0.1, 0.2, 0.3, 0.4]}, rank=0)


def make_rows(n_rows: int, seed: int = 3) -> list[dict[str, Any]]:
    """Rows with every kind of feature, some of it missing or unseen."""
    rng = np.random.default_rng(seed)

    def maybe(value: Any) -> Any:
        return None if rng.random() < 0.2 else value

    return [
        {
            "age": maybe(int(rng.integers(-3, 4))),
            "width": maybe(float(rng.normal())),
            "colour": maybe(str(rng.choice(["blau", "grün", "red", "pink"]))),
            "v": maybe([float(rng.normal()), float(rng.normal())]),
            "m": maybe({"k": float(rng.normal()), "other": 1.0} if rng.random() < 0.5 else {}),
            "tags": maybe(["new", "old"][: int(rng.integers(0, 3))]),
            "ignored": "x",
        }
        for _ in range(n_rows)
    ]


def to_table(rows: list[dict[str, Any]], **extra: Any) -> pa.Table:
    """The rows as a table, as a Parquet file would hold them."""
    types = {
        "age": pa.int64(),
        "width": pa.float64(),
        "colour": pa.string(),
        "v": pa.list_(pa.float64()),
        "m": pa.map_(pa.string(), pa.float64()),
        "tags": pa.list_(pa.string()),
    }
    made = {
        name: pa.array([list(row[name].items()) if name == "m" and row[name] is not None else row[name] for row in rows], type=arrow)
        for name, arrow in types.items()
    }
    return pa.table({**made, "ignored": pa.array([None] * len(rows)), **extra})


def one_split(kind: int, column: int, threshold: float, *, missing_yes: bool) -> TreeEnsemble:
    """A single tree of one split: yes gives 1.5, no gives -0.25."""
    return TreeEnsemble(
        n_outputs=1,
        base_score=0.0,
        tree_start=np.array([0, 3]),
        kind=np.array([kind, LEAF, LEAF], dtype=np.uint8),
        column=np.array([column, -1, -1], dtype=np.int32),
        threshold=np.array([threshold, 0.0, 0.0]),
        missing_yes=np.array([missing_yes, 0, 0], dtype=np.uint8),
        yes=np.array([1, -1, -1], dtype=np.int32),
        no=np.array([2, -1, -1], dtype=np.int32),
        value=np.array([0.0, 1.5, -0.25]),
        gain=np.array([8.0, 0.0, 0.0]),
        cover=np.array([10.0, 6.0, 4.0]),
        set_start=np.array([0, 1]),
        set_bits=np.array([0b1010], dtype=np.uint64),
    )


NUMBER_SPLIT = one_split(NUMERIC, 1, 0.1, missing_yes=True)
SUBSET_SPLIT = one_split(SUBSET, 2, 0.0, missing_yes=False)  # grün or missing
CATEGORY_SPLIT = one_split(CATEGORY, 2, 1.0, missing_yes=False)
