"""Plots with a line for each column: how often trees ask it, or its coefficient and how sure that is."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from engine.encode.features import Floats
from engine.errors import OptionError
from engine.models._linear.model import label_of
from engine.models._options import Limits, check_flag
from engine.models._plots.sheet import BLUE, COLOURS, GREY, Sheet, add_legend, shorten, tidy

NAME = 40  # columns of a label
INCHES = 0.27  # of a line
MOST = Limits(int, 1)


def draw_importance(model: Any, sheet: Sheet, *, most: int = 20, by_feature: bool = False) -> None:
    """How many splits ask each column, the ``most`` used ones; ``by_feature``: categories, keys and positions of a feature together."""
    check_most(most)
    table = model.get_feature_importance()
    if check_flag("by_feature", by_feature):
        counts = table.group_by("name").aggregate([("count", "sum")]).to_pylist()
        rows = sorted(((row["name"], row["count_sum"]) for row in counts), key=lambda row: -row[1])
    else:
        rows = [(label_of(row), row["count"]) for row in table.to_pylist()]
    used = [row for row in rows[:most] if row[1]]
    axes = sheet.open(7.0, 1.0 + INCHES * max(len(used), 3))
    axes.barh(range(len(used)), [count for _, count in used], color=BLUE, height=0.7)
    axes.set_yticks(range(len(used)), [shorten(name, NAME) for name, _ in used], parse_math=False)
    axes.invert_yaxis()
    axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    axes.set_xlabel("Number of splits")
    tidy(axes, "x")
    axes.tick_params(axis="y", length=0)


def draw_coefficients(
    model: Any, sheet: Sheet, *, confidence: float = 0.95, most: int = 20, standardized: bool = False, label: Any = None
) -> None:
    """Coefficients, but for the intercept, with their intervals of ``confidence``; filled where 0 is outside.

    ``most``: those farthest from 0, in the model's order. ``standardized``: times the standard deviation of the column, so that columns
    compare; for models trained with feature_rescaling. ``label``: one class of a model of more than two; None: all.
    """
    check_most(most)
    names, blocks = read_coefficients(model, confidence, label)
    if check_flag("standardized", standardized):
        blocks = {each: block * model.column_deviations() for each, block in blocks.items()}
    size = np.max([np.abs(middle) for _, middle, _ in blocks.values()], axis=0)
    shown = np.sort(np.argsort(-size, kind="stable")[:most])
    axes = sheet.open(7.0, 1.1 + INCHES * max(len(shown) * (0.6 + 0.4 * len(blocks)), 3))
    axes.axvline(0.0, color=GREY, linewidth=1.0)
    step = 0.7 / len(blocks)
    for number, (colour, block) in enumerate(zip(COLOURS, blocks.values(), strict=False)):
        draw_intervals(axes, np.arange(len(shown)) + (number - (len(blocks) - 1) / 2) * step, block[:, shown], colour)
    axes.set_yticks(range(len(shown)), [shorten(names[i], NAME) for i in shown], parse_math=False)
    axes.invert_yaxis()
    axes.set_xlabel("Coefficient times standard deviation" if standardized else "Coefficient")
    tidy(axes, "x")
    axes.tick_params(axis="y", length=0)
    if len(blocks) > 1:
        handles = [Line2D([], [], color=colour, marker="o") for colour in COLOURS[: len(blocks)]]
        add_legend(axes, handles, [shorten(each, NAME) for each in blocks])


def read_coefficients(model: Any, confidence: float, label: Any) -> tuple[list[str], dict[Any, Floats]]:
    """Names of the columns, and for each class (None of a regression) lower ends, coefficients and upper ends, [3, n]; NaN: unknown."""
    rows = model.get_coefficient_statistics(confidence=confidence).to_pylist()
    blocks: dict[Any, list[Any]] = {}
    for row in rows:
        blocks.setdefault(row.get("class"), []).append(row)
    if label is not None:
        if label not in blocks:
            raise OptionError(f"label must be one of {', '.join(map(repr, blocks))}, got {label!r}")
        blocks = {label: blocks[label]}
    if len(blocks) > len(COLOURS):
        raise OptionError(f"coefficients of up to {len(COLOURS)} classes are drawn, the model has them of {len(blocks)}: pass label=")
    first = next(iter(blocks.values()))[1:]
    if not first:
        raise OptionError("the model has no coefficient but the intercept: there is nothing to draw")
    values = {
        each: np.array([[row[name] for row in block[1:]] for name in ("lower", "value", "upper")], dtype=np.float64)
        for each, block in blocks.items()
    }
    return [label_of({"name": row["name"], "index": row["index"]}) for row in first], values


def draw_intervals(axes: Axes, places: NDArray[Any], block: Floats, colour: str) -> None:
    """Intervals [3, n] as lines with a dot, empty where 0 is inside."""
    low, middle, high = block
    axes.hlines(places, low, high, color=colour, linewidth=1.8)
    unsure = (low <= 0.0) & (high >= 0.0)
    axes.plot(middle[~unsure], places[~unsure], "o", color=colour, markersize=6)
    axes.plot(middle[unsure], places[unsure], "o", color=colour, markerfacecolor=axes.get_facecolor(), markersize=6)


def check_most(most: Any) -> None:
    """Refuse a number of lines that is none."""
    if not MOST.accepts(most):
        raise OptionError(f"most must be {MOST}, got {most!r}")
