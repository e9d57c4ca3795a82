"""The options of training: every one once, with its help, and which toolkit has which. Toolkits know the defaults and check the ranges."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from launch.cli.words import FLAG, MODEL


def _word(kind: Any, text: str, **more: Any) -> Any:
    """The annotation of an option of training that may be left out."""
    if kind is bool:
        more["metavar"] = FLAG
    return Annotated[kind | None, typer.Option(help=text, rich_help_panel=MODEL, show_default=False, **more)]


# Options of training, in the order in which help shows them; which toolkit has which is said below.
TRAINING: dict[str, Any] = {
    "max_iterations": _word(int, "Trees, for each class if there are three or more [1 or more; default 10]."),
    "l2_penalty": _word(float, "Weight of the sum of squared coefficients [0 or more; default 0.01]."),
    "l1_penalty": _word(float, "Weight of the sum of absolute coefficients [0 or more; default 0]."),
    "penalty": _word(float, "C of the SVM: the weight of the rows' losses beside the coefficients [1e-10 to 1e+20; default 1]."),
    "solver": _word(str, "auto, newton, lbfgs, fista or proximal_newton [default auto]."),
    "feature_rescaling": _word(bool, "Whether columns are brought to one scale while solving [default yes]."),
    "convergence_threshold": _word(float, "The largest element of the gradient at which solving ends [1e-10 to 1e+20; default 0.01]."),
    "lbfgs_memory_level": _word(int, "Steps that L-BFGS remembers [1 or more; default 11]."),
    "validation_set": _word(
        list[str], "Data to track metrics on: files as DATA, may be repeated, or auto for 5 percent of the rows.", metavar="FILES"
    ),
    "class_weights": _word(list[str], "auto, or LABEL=WEIGHT for every class.", metavar="LABEL=WEIGHT"),
    "objective": _word(str, "squared_error, poisson or quantile [default squared_error]."),
    "quantile": _word(float, "The quantile to predict, with that objective [0 to 1; default 0.5]."),
    "sample_weight": _word(str, "A column of weights of rows."),
    "offset": _word(str, "A column to add to every margin, with coefficient 1."),
    "averaging": _word(str, "What is averaged over trees: margin or probability [default margin]."),
    "max_depth": _word(int, "Splits from the root to a leaf [1 to 64; default 6]."),
    "step_size": _word(float, "How much of each tree is added to the model [0 to 1; default 0.3]."),
    "min_loss_reduction": _word(float, "Splits that gain less are taken back [0 or more; default 0]."),
    "min_child_weight": _word(float, "Sum of hessians that a leaf needs [0 or more; default 0.1]."),
    "row_subsample": _word(float, "Share of the rows that each tree is grown on [1e-6 to 1; default 1, of forests 0.8]."),
    "column_subsample": _word(float, "Share of the columns that each tree may ask [0 to 1; default 1, of forests 0.8]."),
    "reg_lambda": _word(float, "L2 regularisation of leaves [0 or more; default 1]."),
    "reg_alpha": _word(float, "L1 regularisation of leaves [0 or more; default 0]."),
    "max_leaves": _word(int, "Leaves of a tree, the best splits first [2 or more; default: no limit]."),
    "monotone_constraints": _word(list[str], "1 or -1 for a feature that may only raise or lower predictions.", metavar="FEATURE=SIGN"),
    "categorical": _word(str, "Splits of strings: onehot, one against the rest, or partition, a set of them [default onehot]."),
    "max_bins": _word(int, "Intervals into which a number's range is cut [2 to 65535; default 256]."),
    "max_categories": _word(int, "Most categories of a column of strings [1 to 65535; default 65535]."),
    "metric": _word(list[str], "A metric to track; may be repeated. Default: two of the toolkit.", metavar="NAME"),
    "early_stopping_rounds": _word(
        int, "Stop when the last metric has not improved on the validation set for so many iterations [1 or more]."
    ),
    "initial_model": _word(str, "The folder of a model to go on from."),
    "random_seed": _word(int, "Seed of all that is drawn [0 or more; default 0]."),
    "model_checkpoint_path": _word(str, "Folder for checkpoints. Default: none are written."),
    "model_checkpoint_interval": _word(int, "Iterations from checkpoint to checkpoint [0 or more; default 5]."),
    "resume_from_checkpoint": _word(str, "A checkpoint to resume from, or auto for the newest in the folder for checkpoints."),
    "memory_limit": _word(str, "Memory of each rank, such as 2GB. Default: SAMESUM_MEMORY_LIMIT, or its share of 0.8 of the machine."),
    "cache_dir": _word(str, "Folder for bins that do not fit the memory. Default: samesum's cache."),
}
_LINEAR = ("solver", "feature_rescaling", "convergence_threshold", "lbfgs_memory_level", "offset")
_PENALTIES = ("l2_penalty", "l1_penalty")
_TREES = (
    *("max_depth", "min_loss_reduction", "min_child_weight", "row_subsample", "column_subsample", "reg_lambda", "reg_alpha"),
    *("max_leaves", "monotone_constraints", "categorical", "max_bins", "max_categories", "metric", "cache_dir"),
)
_LOSSES = ("objective", "quantile")
_FOREST = ("averaging",)
_BOOSTED = ("early_stopping_rounds", "initial_model")
_NOT_TREES = (*_LINEAR, *_PENALTIES, "penalty")
_NOT_LINEAR = (*_TREES, *_LOSSES, *_FOREST, *_BOOSTED)
_FOREIGN = {
    "boosted_trees_classifier": (*_LOSSES, *_FOREST, *_NOT_TREES),
    "boosted_trees_regression": ("class_weights", *_FOREST, *_NOT_TREES),
    "random_forest_classifier": (*_LOSSES, "step_size", *_BOOSTED, *_NOT_TREES),
    "random_forest_regression": ("class_weights", *_LOSSES, "step_size", *_BOOSTED, *_NOT_TREES),
    "linear_regression": ("class_weights", "penalty", *_NOT_LINEAR),
    "logistic_classifier": ("penalty", *_NOT_LINEAR),
    "svm_classifier": (*_PENALTIES, "step_size", *_NOT_LINEAR),
}


# What some of them are to linear models.
_LINEAR_TRAINING = {
    "max_iterations": _word(int, "Most iterations of the solver [1 or more; default 10]."),
    "step_size": _word(float, "The first step size of FISTA [1e-10 to 1e+20; default 1]."),
}


_COMMON_ON_GRAPHS = ("model_checkpoint_path", "model_checkpoint_interval", "resume_from_checkpoint")
GRAPH_TRAINING: dict[str, dict[str, Any]] = {
    "pagerank": {
        "reset_probability": _word(float, "How often the walk jumps to any vertex [0 to 1; default 0.15]."),
        "threshold": _word(float, "Stop when the ranks change by less in all [0 or more; default 0.01]."),
        "max_iterations": _word(int, "Most iterations [1 or more; default 20]."),
        "dangling": _word(str, "Ranks of vertices without edges out: drop or redistribute [default drop]."),
        "normalize": _word(bool, "Ranks that add up to 1, instead of to the number of vertices."),
        "weight_field": _word(str, "An attribute of edges: the walk takes edges in proportion."),
        "personalization": _word(str, "An attribute of vertices: jumps go to vertices in proportion."),
        "initial": _word(str, "An attribute of vertices: ranks to start from."),
        "precision": _word(str, "float64, or float32 for what is sent along edges [default float64]."),
    },
    "label_propagation": {
        "label_field": Annotated[str, typer.Option(help="The attribute of vertices with the labels.", rich_help_panel=MODEL)],
        "threshold": _word(float, "Stop when the distributions change by less, on average [0 or more; default 0.001]."),
        "weight_field": _word(str, "An attribute of edges: their weights."),
        "self_weight": _word(float, "The weight of a vertex's own distribution [0 or more; default 1]."),
        "undirected": _word(bool, "Labels go both ways along edges."),
        "max_iterations": _word(int, "Most iterations [1 or more; default 1000]."),
    },
}


def graph_options_of(toolkit: str) -> dict[str, Any]:
    """The annotations of the options of training of a toolkit of graphs."""
    return {**GRAPH_TRAINING[toolkit], **{name: TRAINING[name] for name in _COMMON_ON_GRAPHS}}


def options_of(toolkit: str) -> dict[str, Any]:
    """The annotations of a toolkit's options of training."""
    own = _LINEAR_TRAINING if "max_depth" in _FOREIGN[toolkit] else {}
    return {name: own.get(name, word) for name, word in TRAINING.items() if name not in _FOREIGN[toolkit]}


# What a job says otherwise, or its cluster does.
_SUBMITTED = {
    "model_checkpoint_path": _word(str, "Folder for checkpoints, or none for none. Default: one in the job's directory."),
}
_OF_CLUSTER = ("memory_limit", "cache_dir")


def submitted(options: dict[str, Any]) -> dict[str, Any]:
    """The annotations of these options where training is submitted as a job."""
    return {name: _SUBMITTED.get(name, word) for name, word in options.items() if name not in _OF_CLUSTER}
