"""A linear model as an ONNX graph of plain operators in float64: numbers times coefficients, a table of coefficients for each string."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from engine.encode.design_encoding import DesignEncoding
from engine.errors import OptionError
from engine.models._exported import category_lists, column_names
from engine.models._linear.objective_protocol import Floats

OPSET = 18
IR_VERSION = 8  # of the first release with this


def onnx_bytes(design: DesignEncoding, coefficients: Floats, *, link: str | None) -> bytes:
    """The bytes of an ONNX file; ``link``: 'logistic' or 'softmax' makes probabilities, None none.

    Raises :class:`OptionError` where the package onnx is not installed.
    """
    try:
        from onnx import TensorProto, checker, helper, numpy_helper
    except ImportError as error:
        raise OptionError("export_onnx needs the package onnx; install it with: pip install 'samesum[onnx]'") from error
    n_outputs = len(coefficients)
    constants: dict[str, Any] = {"intercept": coefficients[:, -1].reshape(1, -1).copy(), "one": np.array([1], dtype=np.int64)}
    nodes, last = [], "sum0"
    nodes += add_numbers(helper, design, coefficients, constants)
    for number, (column, first, size) in enumerate(list_strings(design)):
        names = {part: f"{part}{number}" for part in ("place", "table", "code", "whole", "index", "row")}
        constants[names["place"]] = np.array([column], dtype=np.int64)
        # row 0 is for missing and unseen categories, row 1 for the first, whose coefficient is 0 too
        constants[names["table"]] = np.concatenate([np.zeros((2, n_outputs)), coefficients[:, first : first + size].T])
        following = f"sum{number + 1}"
        nodes += [
            helper.make_node("Gather", ["columns", names["place"]], [names["code"]], axis=1),
            *finite_or(helper, names["code"], names["whole"], "minus_one"),
            helper.make_node("Cast", [names["whole"]], [names["index"] + "_below"], to=TensorProto.INT64),
            helper.make_node("Add", [names["index"] + "_below", "one"], [names["index"]]),
            helper.make_node("GatherND", [names["table"], names["index"]], [names["row"]]),
            helper.make_node("Add", [last, names["row"]], [following]),
        ]
        constants["minus_one"] = np.array([-1.0])
        last = following
    nodes += finish(helper, last, link, constants, n_outputs)
    outputs = ["margins"] if link is None else ["margins", "probabilities"]
    widths = {"margins": n_outputs, "probabilities": n_outputs + 1}
    graph = helper.make_graph(
        nodes,
        "samesum",
        [helper.make_tensor_value_info("columns", TensorProto.DOUBLE, ["n", len(design.encoding.columns)])],
        [helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["n", widths[name]]) for name in outputs],
        initializer=[numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="samesum")
    helper.set_model_props(
        model,
        {
            "columns": json.dumps(column_names(design.encoding), ensure_ascii=False),
            "categories": json.dumps(category_lists(design.encoding), ensure_ascii=False),
        },
    )
    checker.check_model(model)
    return bytes(model.SerializeToString())


def list_numbers(design: DesignEncoding) -> list[tuple[int, int, float]]:
    """Encoded columns that are numbers: their places, those of their coefficients, and what stands for a missing value."""
    found, place, at = [], 0, 0
    for name, columns in design.encoding.by_source.items():
        kind = design.encoding.sources[name]
        if kind == "str":
            at += max(len(columns[0].categories) - 1, 0)
            place += 1
            continue
        for _ in columns:
            found.append((place, at, float(design.means[at]) if kind in ("int", "float", "vector") else 0.0))
            place, at = place + 1, at + 1
    return found


def list_strings(design: DesignEncoding) -> list[tuple[int, int, int]]:
    """Encoded columns of strings: their places, that of the first of their coefficients, and how many there are."""
    found, place, at = [], 0, 0
    for name, columns in design.encoding.by_source.items():
        if design.encoding.sources[name] != "str":
            place, at = place + len(columns), at + len(columns)
            continue
        size = max(len(columns[0].categories) - 1, 0)
        found.append((place, at, size))
        place, at = place + 1, at + size
    return found


def add_numbers(helper: Any, design: DesignEncoding, coefficients: Floats, constants: dict[str, Any]) -> list[Any]:
    """Nodes from the input to ``sum0``, what numbers and the intercept add up to."""
    numbers = list_numbers(design)
    places = [place for place, _, _ in numbers]
    constants["number_places"] = np.array(places, dtype=np.int64)
    constants["fill"] = np.array([fill for _, _, fill in numbers]).reshape(1, -1)
    constants["weights"] = coefficients[:, [at for _, at, _ in numbers]].T.copy().reshape(len(numbers), len(coefficients))
    return [
        helper.make_node("Gather", ["columns", "number_places"], ["numbers"], axis=1),
        *finite_or(helper, "numbers", "known", "fill"),
        helper.make_node("MatMul", ["known", "weights"], ["products"]),
        helper.make_node("Add", ["products", "intercept"], ["sum0"]),
    ]


def finite_or(helper: Any, source: str, result: str, other: str) -> list[Any]:
    """Nodes that put ``other`` where ``source`` is NaN. IsNaN of doubles is not everywhere: NaN is what differs from itself."""
    return [
        helper.make_node("Equal", [source, source], [f"{result}_present"]),
        helper.make_node("Where", [f"{result}_present", source, other], [result]),
    ]


def finish(helper: Any, last: str, link: str | None, constants: dict[str, Any], n_outputs: int) -> list[Any]:
    """Nodes from the sums to the outputs."""
    nodes = [helper.make_node("Identity", [last], ["margins"])]
    if link == "logistic":
        nodes += [
            helper.make_node("Neg", ["margins"], ["against"]),
            helper.make_node("Sigmoid", ["margins"], ["yes"]),
            helper.make_node("Sigmoid", ["against"], ["no"]),
            helper.make_node("Concat", ["no", "yes"], ["probabilities"], axis=1),
        ]
    elif link == "softmax":
        constants["spread"] = np.eye(n_outputs, n_outputs + 1, 1)
        nodes += [
            helper.make_node("MatMul", ["margins", "spread"], ["scores"]),
            helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
        ]
    return nodes
