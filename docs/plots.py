"""Draw the plots of the pages: ``python docs/plots.py``. Needs the extra ``docs``.

Runs the Python blocks of every page and draws the progress of the model that they leave behind, or its coefficients, so the plot is that of
the example.
"""

from __future__ import annotations

import contextlib
import io
import os
import pathlib
import re
import tempfile
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib import ticker

DOCS = pathlib.Path(__file__).resolve().parent
# The metric of each page's plot, and how it is called there.
PAGES = {
    "boosted_trees_classifier": ("log_loss", "Log loss"),
    "boosted_trees_regression": ("poisson_deviance", "Mean Poisson deviance"),
    "random_forest_classifier": ("log_loss", "Log loss"),
    "random_forest_regression": ("rmse", "Root-mean-square error"),
}
TRAINING, VALIDATION = "#0072b2", "#d55e00"  # told apart without colour vision


def main() -> None:
    """Draw all plots; the same bytes with the same matplotlib."""
    mpl.use("Agg")
    mpl.rcParams.update({"font.size": 11, "axes.spines.top": False, "axes.spines.right": False})
    (DOCS / "images").mkdir(exist_ok=True)
    for name, (metric, label) in PAGES.items():
        figure = draw_curves(run_page(DOCS / f"{name}.md")["model"], metric, label)
        figure.savefig(DOCS / "images" / f"{name}.png", metadata={"Software": None})
        plt.close(figure)
    names = run_page(DOCS / "linear_regression.md")
    figure = draw_coefficients(names["model"], names["patients"])
    figure.savefig(DOCS / "images" / "linear_regression.png", metadata={"Software": None})
    plt.close(figure)


def run_page(page: pathlib.Path) -> dict[str, Any]:
    """Run a page's Python blocks one after the other in a folder of their own; the names that they define."""
    names: dict[str, Any] = {}
    home = pathlib.Path.cwd()
    with tempfile.TemporaryDirectory(prefix="samesum-") as folder, contextlib.redirect_stdout(io.StringIO()):
        pathlib.Path(folder, "examples").symlink_to(DOCS.parent / "examples")
        os.chdir(folder)
        try:
            for block in re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
                exec(block, names)
        finally:
            os.chdir(home)
    return names


def draw_curves(model: Any, metric: str, label: str) -> Any:
    """The metric of training and validation rows by iteration; a dot marks where early stopping cut the model."""
    figure, axes = plt.subplots(figsize=(7, 3.6), dpi=120, layout="constrained")
    progress = model.progress.to_pydict()
    for side, colour in (("Validation", VALIDATION), ("Training", TRAINING)):
        values = progress[f"{side}-{metric}"]
        axes.plot(progress["Iteration"], values, color=colour, linewidth=1.8, label=f"{side} rows")
    boosted = "early_stopping_rounds" in model.list_fields()
    if boosted:
        kept = model.num_trees  # one tree an iteration on these pages
        axes.plot(kept, progress[f"Validation-{metric}"][kept - 1], "o", color=VALIDATION, label=f"Trees kept: {kept}")
    axes.set_xlabel("Iteration" if boosted else "Trees")
    axes.set_ylabel(label)
    axes.set_xlim(0, len(progress["Iteration"]) + 1)
    if boosted:  # losses fall by factors
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        axes.yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
        axes.yaxis.set_minor_locator(ticker.NullLocator())
    axes.grid(axis="y", color="#dddddd")
    axes.legend(frameon=False)
    return figure


def draw_coefficients(model: Any, data: Any) -> Any:
    """Coefficients of numeric columns with their intervals, each times its column's standard deviation; filled where 0 is outside."""
    figure, axes = plt.subplots(figsize=(7, 3.6), dpi=120, layout="constrained")
    rows = model.get_coefficient_statistics(confidence=0.95).to_pylist()[1:]
    spreads = [float(data[row["name"]].std()) for row in rows]
    axes.axvline(0.0, color="#999999", linewidth=1.0)
    for place, (row, spread) in enumerate(zip(rows, spreads, strict=True)):
        low, middle, high = (row[name] * spread for name in ("lower", "value", "upper"))
        differs = low > 0.0 or high < 0.0
        axes.plot([low, high], [place, place], color=TRAINING, linewidth=1.8)
        axes.plot(middle, place, "o", color=TRAINING, markerfacecolor=TRAINING if differs else "white", markersize=7)
    axes.set_yticks(range(len(rows)), [row["name"] for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("Change of the prediction with one standard deviation of the column")
    axes.grid(axis="x", color="#dddddd")
    axes.set_axisbelow(True)
    return figure


if __name__ == "__main__":
    main()
