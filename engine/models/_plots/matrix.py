"""The plot of a confusion matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import ticker
from matplotlib.colors import LinearSegmentedColormap

from engine.errors import DataError
from engine.models._options import check_flag
from engine.models._plots.curves import evaluation_of
from engine.models._plots.sheet import BLUE, Sheet, shorten

NAME = 24  # columns of a label
MOST_WRITTEN = 20  # labels up to which cells show their numbers
MOST_NAMED = 60  # and labels their names
SHADES = LinearSegmentedColormap.from_list("shades", ["#ffffff", BLUE])
HALF = 0.55  # a shade on which text is white


def draw_confusion_matrix(model: Any, sheet: Sheet, *, data: Any, normalized: bool = False) -> None:
    """Rows by their class and by the class that was predicted; the shade is the share in the row of the actual class.

    ``data``: a dataset with the target, or what ``evaluate`` returned. ``normalized``: shares instead of numbers of rows.
    """
    as_shares = check_flag("normalized", normalized)
    table = evaluation_of(model, data, "confusion_matrix")["confusion_matrix"].to_pylist()
    if not table:
        raise DataError("expected a confusion matrix of some rows, got none")
    predicted = list(model.classes)
    actual = predicted + sorted({row["target_label"] for row in table} - set(predicted))
    counts = np.zeros((len(actual), len(predicted)), dtype=np.int64)
    for row in table:
        counts[actual.index(row["target_label"]), predicted.index(row["predicted_label"])] = row["count"]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(1.6 + 0.55 * len(actual), 12.0)
    axes = sheet.open(side + 0.8, side)
    axes.imshow(shares, cmap=SHADES, vmin=0.0, vmax=1.0)
    if len(actual) <= MOST_WRITTEN:
        for (i, j), share in np.ndenumerate(shares):
            text = f"{share:.2f}" if as_shares else str(counts[i, j])
            axes.text(j, i, text, ha="center", va="center", color="white" if share > HALF else "black")
    for axis, labels in ((axes.xaxis, predicted), (axes.yaxis, actual)):
        if len(labels) <= MOST_NAMED:
            axis.set_ticks(range(len(labels)), [shorten(label, NAME) for label in labels], parse_math=False)
        else:
            axis.set_major_locator(ticker.MaxNLocator(integer=True))
    if max(len(str(label)) for label in predicted) * len(predicted) > MOST_NAMED:
        axes.tick_params(axis="x", rotation=90)
    axes.set(xlabel="Predicted class", ylabel="Class of the row")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
