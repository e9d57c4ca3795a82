"""Trees as an ONNX graph: one TreeEnsemble of ai.onnx.ml 5, which compares and adds in float64, and what turns sums into probabilities."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from engine.encode.encoding import Encoding
from engine.errors import OptionError
from engine.models._exported import category_lists, column_names
from engine.models._trees.ensemble import CATEGORY, LEAF, LEAST_PROBABILITY, NUMERIC, SUBSET, TreeEnsemble

OPSETS = {"": 18, "ai.onnx.ml": 5}
IR_VERSION = 9  # of the first release with these
MODES = {NUMERIC: 1, CATEGORY: 4, SUBSET: 6}  # less, equal, member
SUM, NO_TRANSFORM = 1, 0


def onnx_bytes(ensemble: TreeEnsemble, encoding: Encoding, *, is_classifier: bool) -> bytes:
    """The bytes of an ONNX file. Raises :class:`OptionError` where the package onnx is not installed."""
    try:
        from onnx import TensorProto, checker, helper
    except ImportError as error:
        raise OptionError("export_onnx needs the package onnx; install it with: pip install 'samesum[onnx]'") from error
    k = ensemble.n_outputs
    number = TensorProto.DOUBLE
    constants = {"base": np.array([ensemble.base_score])}
    nodes = [
        helper.make_node("TreeEnsemble", ["columns"], ["sums"], domain="ai.onnx.ml", **tree_attributes(ensemble)),
        helper.make_node("Add", ["sums", "base"], ["outputs"]),
    ]
    if not is_classifier or (ensemble.link == "margin" and k > 1):
        nodes.append(helper.make_node("Exp" if ensemble.link == "log" else "Identity", ["outputs"], ["margins"]))
        if is_classifier:
            nodes.append(helper.make_node("Softmax", ["margins"], ["probabilities"], axis=1))
    elif k > 1:
        constants |= {"zero": np.zeros(1), "share": np.array([1.0 / k])}
        nodes += [
            helper.make_node("Max", ["outputs", "zero"], ["scores"]),
            helper.make_node("ReduceSum", ["scores", "axes"], ["total"], keepdims=1),
            helper.make_node("Greater", ["total", "zero"], ["known"]),
            helper.make_node("Div", ["scores", "total"], ["shares"]),
            helper.make_node("Where", ["known", "shares", "share"], ["probabilities"]),
            helper.make_node("Identity", ["probabilities"], ["margins"]),
        ]
    else:
        constants["one"] = np.ones(1)
        if ensemble.link == "margin":
            nodes += [helper.make_node("Identity", ["outputs"], ["margins"]), helper.make_node("Sigmoid", ["margins"], ["p"])]
        else:
            constants |= {"least": np.array(LEAST_PROBABILITY), "most": np.array(1.0 - LEAST_PROBABILITY)}
            nodes += [
                helper.make_node("Clip", ["outputs", "least", "most"], ["p"]),
                helper.make_node("Sub", ["one", "p"], ["rest"]),
                helper.make_node("Div", ["p", "rest"], ["odds"]),
                helper.make_node("Log", ["odds"], ["margins"]),
            ]
        nodes += [helper.make_node("Sub", ["one", "p"], ["q"]), helper.make_node("Concat", ["q", "p"], ["probabilities"], axis=1)]
    tensors = [helper.make_tensor(name, number, value.shape, value.reshape(-1)) for name, value in constants.items()]
    if any("axes" in node.input for node in nodes):
        tensors.append(helper.make_tensor("axes", TensorProto.INT64, [1], [1]))
    outputs = [helper.make_tensor_value_info("margins", number, ["n", k])]
    if is_classifier:
        outputs.append(helper.make_tensor_value_info("probabilities", number, ["n", max(k, 2)]))
    columns = helper.make_tensor_value_info("columns", number, ["n", len(encoding.columns)])
    graph = helper.make_graph(nodes, "trees", [columns], outputs, initializer=tensors)
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="samesum")
    notes = {"columns": column_names(encoding), "categories": category_lists(encoding)}
    helper.set_model_props(model, {name: json.dumps(value, ensure_ascii=False) for name, value in notes.items()})
    checker.check_model(model)
    return bytes(model.SerializeToString())


def tree_attributes(ensemble: TreeEnsemble) -> dict[str, Any]:
    """The attributes of a TreeEnsemble: inner nodes and leaves are numbered apart; a lone leaf gets a question of no matter."""
    from onnx import TensorProto, helper

    tree = np.repeat(np.arange(ensemble.n_trees), np.diff(ensemble.tree_start))
    start = ensemble.tree_start[tree]
    root = np.zeros(len(ensemble.kind), dtype=bool)
    root[ensemble.tree_start[:-1]] = True
    leaf = ensemble.kind == LEAF
    split = ~leaf | root  # lone leaves get a node of their own, both branches of which lead to them
    lone = leaf & root
    leaf_number, split_number = np.cumsum(leaf) - 1, np.cumsum(split) - 1
    own = np.arange(len(leaf))
    branches = {}
    for side, child in (("true", ensemble.yes), ("false", ensemble.no)):
        to = np.where(lone, own, start + child)[split]
        branches[f"nodes_{side}nodeids"] = np.where(leaf[to], leaf_number[to], split_number[to]).tolist()
        branches[f"nodes_{side}leafs"] = leaf[to].astype(int).tolist()
    nodes = own[split]
    kinds = np.where(leaf, NUMERIC, ensemble.kind)[nodes]
    splits = np.where(kinds == SUBSET, 0.0, ensemble.threshold[nodes])
    members = [[*ensemble.members(node).tolist(), np.nan] for node in nodes[kinds == SUBSET].tolist()]
    attributes = {
        "aggregate_function": SUM,
        "post_transform": NO_TRANSFORM,
        "n_targets": ensemble.n_outputs,
        "tree_roots": split_number[ensemble.tree_start[:-1]].tolist(),
        "nodes_featureids": np.maximum(ensemble.column[nodes], 0).tolist(),
        "nodes_modes": helper.make_tensor("modes", TensorProto.UINT8, [len(nodes)], [MODES[kind] for kind in kinds.tolist()]),
        "nodes_splits": helper.make_tensor("splits", TensorProto.DOUBLE, [len(nodes)], splits),
        "nodes_missing_value_tracks_true": np.where(kinds == NUMERIC, ensemble.missing_yes[nodes], 0).tolist(),
        "leaf_targetids": (tree[leaf] % ensemble.n_outputs).tolist(),
        "leaf_weights": helper.make_tensor("weights", TensorProto.DOUBLE, [int(leaf.sum())], ensemble.value[leaf]),
        **branches,
    }
    if members:
        flat = [value for each in members for value in each]
        attributes["membership_values"] = helper.make_tensor("members", TensorProto.DOUBLE, [len(flat)], flat)
    return attributes
