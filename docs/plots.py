"""Draw the plots of the pages: ``python docs/plots.py``. Needs the extra ``docs``.

Runs the Python blocks of every page. A toolkit's page has a plot of the model that they leave behind; other pages save theirs in their
examples, so what is shown is what the example draws. The picture of a notebook is taken with chromium, where there is one.
"""

from __future__ import annotations

import contextlib
import io
import os
import pathlib
import re
import shutil
import subprocess
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
NOTEBOOK = """<!DOCTYPE html><meta charset="utf-8"><style>
body {{ margin: 0; display: flex; font: 13px sans-serif }}
div.page {{ padding: 16px; width: 418px }} div.page > div {{ margin-bottom: 10px }}
</style><div class="page" style="background: #fff; color: #222">{0}</div>
<div class="page" style="background: #151515; color: #ddd">{0}</div>"""
SIZE = "900,550"


def main() -> None:
    """Draw all plots; the same bytes with the same matplotlib."""
    mpl.use("Agg")
    mpl.rcParams.update(SETTINGS)
    IMAGES.mkdir(exist_ok=True)
    for name, options in PAGES.items():
        model = run_page(DOCS / f"{name}.md")["model"]
        model.plot(**options).figure.savefig(IMAGES / f"{name}.png", metadata={"Software": None})
        plt.close("all")
    names = run_page(DOCS / "plots.md")
    plt.close("all")
    os.chdir(DOCS.parent)
    shoot_notebook(names["model"], names["ss"].Dataset("examples/data/mushroom.csv").select(["label", "odor", "habitat"]))


def run_page(page: pathlib.Path) -> dict[str, Any]:
    """Run a page's Python blocks one after the other in a folder of their own, and keep the images; the names that they define."""
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
        for image in pathlib.Path(folder).glob("*.png"):
            shutil.copyfile(image, IMAGES / image.name)
    return names


def shoot_notebook(*shown: Any) -> None:
    """A picture of what notebooks show of these objects, on a light and on a dark page."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        print("no chromium: images/notebook.png stays as it is")
        return
    content = "".join(each._repr_html_() for each in shown)
    with tempfile.TemporaryDirectory(prefix="samesum-") as folder:
        page = pathlib.Path(folder, "page.html")
        page.write_text(NOTEBOOK.format(content))
        command = [browser, "--headless", "--disable-gpu", "--no-sandbox", "--hide-scrollbars", f"--window-size={SIZE}"]
        subprocess.run([*command, f"--screenshot={IMAGES / 'notebook.png'}", page.as_uri()], check=True, capture_output=True, timeout=60)


if __name__ == "__main__":
    main()
