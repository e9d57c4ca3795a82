"""Plots that are lines: how metrics went while training, ROC curves, and how ranks are distributed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib import ticker
from matplotlib.axes import Axes

from engine.errors import DataError, OptionError
from engine.models._options import check_choice, check_flag
from engine.models._plots.sheet import BLUE, COLOURS, DOTS, FACTOR, GREY, ORANGE, Sheet, add_legend, scale_axis, shorten, tidy

BESIDE = ("Iteration", "Passes", "Step size", "Elapsed Time")  # columns of progress that are no metrics
SIDES = {"Validation": ORANGE, "Training": BLUE}
METRIC_LABELS = {
    "accuracy": "Accuracy",
    "auc": "Area under the ROC curve",
    "log_loss": "Log loss",
    "max_error": "Largest error",
    "poisson_deviance": "Mean Poisson deviance",
    "quantile_loss": "Mean quantile loss",
    "rmse": "Root-mean-square error",
}
MOST_POINTS = 2000  # of a line
LABEL = 30  # columns of a class's name


def draw_learning_curve(model: Any, sheet: Sheet, *, metric: str | None = None, log: bool | None = None) -> None:
    """A metric by iteration, of training and validation rows; where early stopping cut the model there is a dot.

    ``metric``: None for the last that was tracked. ``log``: whether its axis is logarithmic; None: for losses that fall by large factors.
    """
    progress = {name: column.to_pylist() for name, column in zip(model.progress.column_names, model.progress.columns, strict=True)}
    metrics = tracked_metrics(progress)
    if not metrics:
        raise OptionError("a learning curve shows a metric that was tracked, got none: train with metric='auto'")
    chosen = list(metrics)[-1] if metric is None else check_choice("metric", metric, metrics)
    use_log = None if log is None else check_flag("log", log)
    axes = sheet.open()
    lines = draw_sides(axes, progress["Iteration"], {side: progress[column] for side, column in metrics[chosen].items()})
    kept = kept_iterations(model, progress, list(metrics)[-1])
    if kept is not None:
        value = progress[metrics[chosen]["Validation"]][kept - 1]
        lines[f"Kept: {kept} iterations"] = axes.plot(progress["Iteration"][kept - 1], value, "o", color=ORANGE)[0]
    values = [value for column in metrics[chosen].values() for value in progress[column] if value is not None]
    low, high = min(values, default=0.0), max(values, default=0.0)
    if use_log or (use_log is None and chosen not in ("accuracy", "auc") and low > 0.0 and high > FACTOR * low):
        scale_axis(axes.yaxis, low, high)
    axes.set_xlabel("Iteration")
    axes.set_ylabel(METRIC_LABELS.get(chosen, chosen))
    axes.set_xlim(0, len(progress["Iteration"]) + 1)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    tidy(axes, "y")
    if "" not in lines:
        add_legend(axes, list(lines.values()), [name if name.startswith("Kept") else f"{name} rows" for name in lines])


def tracked_metrics(columns: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The columns of progress by metric and side: 'Training', 'Validation', or '' where there is one only."""
    metrics: dict[str, dict[str, str]] = {}
    for name in columns:
        side, dash, metric = name.partition("-")
        if dash and side in SIDES:
            metrics.setdefault(metric, {})[side] = name
        elif name not in BESIDE:
            metrics[name] = {"": name}
    return metrics


def draw_sides(axes: Axes, iterations: Sequence[int], sides: Mapping[str, Sequence[float | None]]) -> dict[str, Any]:
    """A line for each side; the lines by side."""
    lines = {}
    for side in sorted(sides, reverse=True):  # training rows on top
        values = [math.nan if value is None else value for value in sides[side]]
        marker = "o" if (len(values) <= DOTS and len(sides) == 1) or len(values) == 1 else None
        lines[side] = axes.plot(iterations, values, color=SIDES.get(side, BLUE), linewidth=1.8, marker=marker, markersize=4)[0]
    return lines


def kept_iterations(model: Any, progress: Mapping[str, Sequence[Any]], watched: str) -> int | None:
    """How many iterations early stopping left in the model; None where it did not cut."""
    values = progress.get(f"Validation-{watched}")
    if values is None or "early_stopping_rounds" not in model.list_fields() or model.get("early_stopping_rounds") is None:
        return None
    best = model.get(f"validation_{watched}")
    kept = list(values).index(best) + 1 if best in values else len(values)
    return kept if kept < len(values) else None


def draw_roc_curve(model: Any, sheet: Sheet, *, data: Any) -> None:
    """The share of a class's rows that are found, by the share of the others that are taken for it, over all thresholds.

    ``data``: a dataset with the target, or what ``evaluate`` returned. Of more than two classes each is drawn against the rest.
    """
    evaluation = evaluation_of(model, data, "roc_curve", more=("auc",))
    table = evaluation["roc_curve"]
    classes = model.classes if "class" in table.column_names else model.classes[1:]
    of_class = table["class"].to_pylist() if "class" in table.column_names else None
    if len(classes) > len(COLOURS):
        raise OptionError(f"a ROC curve is drawn for up to {len(COLOURS)} classes, the model has {len(classes)}: look at evaluate's table")
    axes = sheet.open(4.6, 4.6)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1.0, linestyle="--")
    handles, labels = [], []
    for colour, label in zip(COLOURS, classes, strict=False):
        curve = table if of_class is None else table.filter(pa.array([each == label for each in of_class]))
        false, true = (curve[name].to_pylist() for name in ("fpr", "tpr"))
        if None in false or None in true:
            continue
        handles += axes.plot([*false, 0.0], [*true, 0.0], color=colour, linewidth=1.8)
        area = evaluation.get("auc") if of_class is None else None
        labels.append(shorten(label, LABEL) + ("" if area is None else f", area {area:.4f}"))
    if not handles:
        raise DataError("a ROC curve needs rows of a class and rows of others, got none of one of these")
    axes.set(xlabel="False positive rate", ylabel="True positive rate", aspect="equal", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    tidy(axes, "both")
    add_legend(axes, handles, labels)


def evaluation_of(model: Any, data: Any, metric: str, *, more: Sequence[str] = ()) -> Mapping[str, Any]:
    """``data``, if it is what ``evaluate`` returned, else the evaluation of it; collective then."""
    if isinstance(data, Mapping) and isinstance(data.get(metric), pa.Table):
        return data
    if isinstance(data, Mapping) and any(isinstance(value, (pa.Table, float)) for value in data.values()):
        raise OptionError(f"this plot needs the metric {metric!r}, got an evaluation of {', '.join(map(repr, data))}")
    found: Mapping[str, Any] = model.evaluate(data, metric=[metric, *more])
    return found


def draw_ranks(model: Any, sheet: Sheet) -> None:
    """The share of vertices that have at least a rank, by rank; both axes are logarithmic, and ranks of 0 are left out."""
    ranks = np.sort(model.pagerank["pagerank"].to_numpy())[::-1]
    shown = ranks[ranks > 0.0]
    if not len(shown):
        raise DataError("expected a vertex whose rank is above 0, got none")
    last = np.append(np.flatnonzero(np.diff(shown)), len(shown) - 1)  # of vertices with the same rank
    if len(last) > MOST_POINTS:
        last = last[np.unique(np.geomspace(1, len(last), MOST_POINTS).astype(np.int64)) - 1]
    axes = sheet.open()
    axes.plot(shown[last], (last + 1) / len(ranks), color=BLUE, linewidth=1.4, marker="o" if len(last) <= DOTS else None, markersize=4)
    scale_axis(axes.xaxis, shown[-1], shown[0])
    scale_axis(axes.yaxis, 1.0 / len(ranks), 1.0)
    axes.set(xlabel="Rank", ylabel="Share of vertices with this rank or more")
    tidy(axes, "both")
