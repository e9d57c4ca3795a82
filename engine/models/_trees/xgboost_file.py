"""Trees in XGBoost's JSON format for models, https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.encode.bins import round_up
from engine.encode.encoding import Encoding
from engine.errors import DataError, OptionError
from engine.models._exported import category_lists, column_names
from engine.models._trees.ensemble import CATEGORY, LEAF, NUMERIC, SUBSET, TreeEnsemble

FORMAT_VERSION = [2, 1, 0]  # the oldest release that the tests' dependency allows; newer ones read it
NO_PARENT = 2**31 - 1


def xgboost_document(ensemble: TreeEnsemble, encoding: Encoding, *, is_classifier: bool) -> dict[str, Any]:
    """The model as XGBoost would have saved it. Raises :class:`DataError`, :class:`OptionError` for what it cannot express."""
    thresholds = round_thresholds(ensemble, encoding)
    objective, base_score = choose_objective(ensemble, is_classifier=is_classifier)
    n_trees, k = ensemble.n_trees, ensemble.n_outputs
    model = {
        "gbtree_model_param": {"num_parallel_tree": "1", "num_trees": str(n_trees)},
        "iteration_indptr": list(range(0, n_trees + 1, k)),
        "tree_info": [tree % k for tree in range(n_trees)],
        "trees": [tree_document(ensemble, thresholds, tree, n_columns=len(encoding.columns)) for tree in range(n_trees)],
    }
    learner = {
        "attributes": {"samesum_categories": json.dumps(category_lists(encoding), ensure_ascii=False)},
        "feature_names": column_names(encoding),
        "feature_types": ["c" if column.kind == "category" else "float" for column in encoding.columns],
        "gradient_booster": {"model": model, "name": "gbtree"},
        "learner_model_param": {
            "base_score": repr(base_score),
            "boost_from_average": "0",
            "num_class": str(k if k > 1 else 0),
            "num_feature": str(len(encoding.columns)),
            "num_target": "1",
        },
        "objective": objective,
    }
    return {"learner": learner, "version": FORMAT_VERSION}


def choose_objective(ensemble: TreeEnsemble, *, is_classifier: bool) -> tuple[dict[str, Any], float]:
    """The objective whose transform turns sums into predictions, and the base score, which the logistic one wants as a probability."""
    if ensemble.link == "probability" and ensemble.n_outputs > 1:
        raise OptionError(
            "XGBoost cannot divide averaged probabilities of more than two classes by their sum; train with averaging='margin' to export"
        )
    if ensemble.n_outputs > 1:
        return {"name": "multi:softprob", "softmax_multiclass_param": {"num_class": str(ensemble.n_outputs)}}, ensemble.base_score
    if is_classifier and ensemble.link == "margin":
        return {"name": "binary:logistic", "reg_loss_param": {"scale_pos_weight": "1"}}, 1.0 / (1.0 + math.exp(-ensemble.base_score))
    if ensemble.link == "log":
        return {"name": "count:poisson", "poisson_regression_param": {"max_delta_step": "0.7"}}, math.exp(ensemble.base_score)
    return {"name": "reg:squarederror", "reg_loss_param": {"scale_pos_weight": "1"}}, ensemble.base_score


def round_thresholds(ensemble: TreeEnsemble, encoding: Encoding) -> NDArray[np.float32]:
    """Thresholds of all nodes as float32, rounded up: every float32 is below the one if and only if it is below the other.

    Raises :class:`DataError` for a column two of whose thresholds become one.
    """
    numeric = ensemble.kind == NUMERIC
    for column in np.unique(ensemble.column[numeric]).tolist():
        exact = np.unique(ensemble.threshold[numeric & (ensemble.column == column)])
        short = round_up(exact)
        same = np.flatnonzero(short[1:] == short[:-1])
        if len(same):
            raise DataError(
                f"column {encoding.columns[column].name!r}: XGBoost's float32 cannot tell {len(same)} of {len(exact)} thresholds from "
                f"the next one, such as {float(exact[same[0]])!r} from {float(exact[same[0] + 1])!r}; "
                "take an offset off the column and train again"
            )
    return round_up(ensemble.threshold)


def tree_document(ensemble: TreeEnsemble, thresholds: NDArray[np.float32], tree: int, *, n_columns: int) -> dict[str, Any]:
    """One tree. XGBoost's left is x < threshold, or a category that is not in the node's set, or none that is known."""
    nodes = np.arange(ensemble.tree_start[tree], ensemble.tree_start[tree + 1])
    kind, yes, no = ensemble.kind[nodes], ensemble.yes[nodes], ensemble.no[nodes]
    leaf, by_set = kind == LEAF, (kind == CATEGORY) | (kind == SUBSET)
    parents = np.full(len(nodes), NO_PARENT, dtype=np.int64)
    for side in (yes, no):
        parents[side[~leaf]] = np.flatnonzero(~leaf)
    threshold = ensemble.threshold
    sets = [[int(threshold[i])] if ensemble.kind[i] == CATEGORY else ensemble.members(i).tolist() for i in nodes[by_set].tolist()]
    sizes = [len(members) for members in sets]
    return {
        "base_weights": ensemble.value[nodes].tolist(),
        "categories": [category for members in sets for category in members],
        "categories_nodes": np.flatnonzero(by_set).tolist(),
        "categories_segments": np.cumsum([0, *sizes])[: len(sizes)].tolist(),
        "categories_sizes": sizes,
        "default_left": np.where(leaf, 0, by_set | ensemble.missing_yes[nodes]).astype(int).tolist(),
        "id": tree,
        "left_children": np.where(by_set, no, yes).tolist(),
        "loss_changes": ensemble.gain[nodes].tolist(),
        "parents": parents.tolist(),
        "right_children": np.where(by_set, yes, no).tolist(),
        "split_conditions": [float(v) for v in np.where(leaf, ensemble.value[nodes], np.where(by_set, 0.0, thresholds[nodes]))],
        "split_indices": np.where(leaf, 0, ensemble.column[nodes]).tolist(),
        "split_type": by_set.astype(int).tolist(),
        "sum_hessian": ensemble.cover[nodes].tolist(),
        "tree_param": {"num_deleted": "0", "num_feature": str(n_columns), "num_nodes": str(len(nodes)), "size_leaf_vector": "1"},
    }
