"""Draw the plots of the pages: ``python docs/plots.py``. Needs the extra ``docs``.

Runs the Python blocks of every page. A toolkit's page has a plot of the model that they leave behind; other pages save theirs in their
examples, so what is shown is what the example draws.
"""

from __future__ import annotations

import contextlib
import io
import os
import pathlib
import re
import shutil
import tempfile
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt

DOCS = pathlib.Path(__file__).resolve().parent
IMAGES = DOCS / "images"
# The arguments of ``model.plot`` on each toolkit's page.
PAGES: dict[str, dict[str, Any]] = {
    "boosted_trees_classifier": {"log": True},
    "boosted_trees_regression": {"log": True},
    "linear_regression": {"kind": "coefficients", "standardized": True},
    "random_forest_classifier": {},
    "random_forest_regression": {},
}
SETTINGS = {"font.size": 11, "figure.dpi": 120, "savefig.dpi": 120}


def main() -> None:
    """Draw all plots; the same bytes with the same matplotlib."""
    for name, options in PAGES.items():
        model = run_page(DOCS / f"{name}.md")["model"]
        model.plot(**options).figure.savefig(IMAGES / f"{name}.png", metadata={"Software": None})
        plt.close("all")
    for name in ("plots", "quickstart"):
        run_page(DOCS / f"{name}.md")
        plt.close("all")


def run_page(page: pathlib.Path) -> dict[str, Any]:
    """Run a page's Python blocks one after the other in a folder of their own, and keep the images; the names that they define."""
    mpl.use("Agg")
    mpl.rcParams.update(SETTINGS)
    names: dict[str, Any] = {}
    home = pathlib.Path.cwd()
    with tempfile.TemporaryDirectory(prefix="samesum-") as folder, contextlib.redirect_stdout(io.StringIO()):
        os.environ["SAMESUM_CONFIG_DIR"] = f"{folder}/config"
        pathlib.Path(folder, "examples").symlink_to(DOCS.parent / "examples")
        os.chdir(folder)
        try:
            for block in re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
                exec(block, names)
        finally:
            os.chdir(home)
        for image in pathlib.Path(folder).glob("*.png"):
            shutil.copyfile(image, IMAGES / image.name)
    return names


if __name__ == "__main__":
    main()
