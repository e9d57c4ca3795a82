"""The axes that a plot is drawn in, given or new, and what all plots look like."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot, ticker
from matplotlib.axes import Axes

# Told apart without colour vision (Okabe and Ito), on white and on black.
BLUE, ORANGE = "#0072b2", "#d55e00"
COLOURS = (BLUE, ORANGE, "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31", "#7f7f7f")
GREY = "#808080"
DOTS = 30  # lines of no more points show each
FACTOR = 20.0  # between the least and the largest value, from which an axis is logarithmic


class Sheet:
    """Axes that were given, of which nothing else is touched, or a figure that is made when its size is known."""

    def __init__(self, axes: Axes | None) -> None:
        self._axes = axes

    def open(self, width: float = 7.0, height: float = 3.6) -> Axes:
        """The axes; ``width`` and ``height``, in inches, are those of a new figure."""
        if self._axes is None:
            _, self._axes = pyplot.subplots(figsize=(width, height), layout="constrained")
        return self._axes

    @property
    def axes(self) -> Axes:
        """The axes that were drawn in."""
        return self.open()


def tidy(axes: Axes, grid: str | None = None) -> None:
    """No box around the plot, and faint lines at the ticks of an axis ('x', 'y' or 'both')."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    if grid == "x":
        axes.grid(axis="x", color=GREY, alpha=0.3)
    elif grid == "y":
        axes.grid(axis="y", color=GREY, alpha=0.3)
    elif grid == "both":
        axes.grid(color=GREY, alpha=0.3)


def add_legend(axes: Axes, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """A legend whose labels are words, whatever is in them."""
    legend = axes.legend(list(handles), list(labels), frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)


def scale_axis(axis: Any, low: float, high: float) -> None:
    """A logarithmic axis, with numbers within a decade where there are few of these."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    if high < 100.0 * low:
        axis.set_major_locator(ticker.LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
        axis.set_major_formatter(ticker.FormatStrFormatter("%g"))
        axis.set_minor_locator(ticker.NullLocator())


def text_colour() -> Any:
    """The colour of text under the user's settings."""
    return mpl.rcParams["text.color"]


def shorten(value: Any, most: int) -> str:
    """A name in one line of at most ``most`` columns, wide characters being two; what is left out shows as an ellipsis."""
    text = "".join(c if c.isprintable() else " " for c in str(value))
    widths = [2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text]
    if sum(widths) <= most:
        return text
    room = most - 1
    kept = 0
    for width in widths:
        if width > room:
            break
        room, kept = room - width, kept + 1
    return text[:kept] + "…"
