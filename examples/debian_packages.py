"""Rank the packages of a Debian machine by what depends on them: ``python examples/debian_packages.py``. Needs the extra ``docs``.

Reads ``apt-cache dumpavail`` into a CSV of dependencies, ranks the packages, prints the first ones, and draws the distribution of ranks and
how fast they converge. A package depends on the first of alternatives; a virtual package is a vertex like any other.
"""

from __future__ import annotations

import argparse
import csv
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator

import numpy as np

import samesum as ss

KINDS = ("Depends", "Pre-Depends", "Recommends")
NAME = re.compile(r"\s*([a-z0-9][a-z0-9+.-]+)")
BLUE, ORANGE = "#0072b2", "#d55e00"  # told apart without colour vision


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("debian_packages"), help="for the CSV, the model and the plot")
    parser.add_argument("--plot", type=pathlib.Path, help="where to draw; default: plot.png in the folder")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    edges = arguments.folder / "dependencies.csv"
    write_dependencies(edges)
    graph = ss.Graph(str(edges), src="package", dst="needs")
    model = ss.pagerank.create(graph, threshold=1e-9 * graph.num_vertices, max_iterations=200, dangling="redistribute")
    model.save(arguments.folder / "model")
    for row in model.pagerank.sort_by([("pagerank", "descending")]).slice(0, 10).to_pylist():
        print(f"{row['pagerank']:9.1f}  {row['__id']}")
    draw(model, arguments.plot or arguments.folder / "plot.png")


def write_dependencies(path: pathlib.Path) -> None:
    """One row for each dependency of each package that apt knows."""
    with subprocess.Popen(["apt-cache", "dumpavail"], stdout=subprocess.PIPE, text=True) as listing, path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["package", "needs", "kind"])
        rows.writerows(read_dependencies(listing.stdout or []))
    if listing.returncode:
        sys.exit("apt-cache dumpavail failed: this example needs a Debian machine whose package lists are there (apt-get update)")


def read_dependencies(lines: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Package, what it needs, and how, from paragraphs of ``Field: value``."""
    package = ""
    for line in lines:
        field, _, value = line.partition(":")
        if field == "Package":
            package = value.strip()
        elif field in KINDS:
            for each in value.split(","):
                if match := NAME.match(each):
                    yield package, match.group(1), field


def draw(model: ss.pagerank.PageRank, path: pathlib.Path) -> None:
    """How many packages have at least which rank, and the change of every iteration."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    ranks = np.sort(model.pagerank["pagerank"].to_numpy())[::-1]
    changes = model.progress["L1 change in pagerank"].to_numpy() / model.num_vertices
    mpl.rcParams.update({"font.size": 11, "axes.spines.top": False, "axes.spines.right": False})
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    left.loglog(ranks, np.arange(1, len(ranks) + 1), color=BLUE)
    left.set(xlabel="PageRank (mean 1)", ylabel="Packages of at least this rank", title="Ranks")
    right.semilogy(np.arange(1, len(changes) + 1), changes, color=ORANGE)
    right.set(xlabel="Iteration", ylabel="Mean change of a rank", title="Convergence")
    right.xaxis.get_major_locator().set_params(integer=True)
    figure.savefig(path, dpi=100, metadata={"Software": None})


if __name__ == "__main__":
    main()
