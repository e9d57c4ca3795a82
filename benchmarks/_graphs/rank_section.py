"""PageRank and label propagation beside other libraries: contenders in turn, medians, ratios."""

from __future__ import annotations

import pathlib
import statistics
from typing import Any

from _result import write_result

from _graphs.contenders import ITERATIONS, run, write_graph

PACKAGES = ("scipy", "networkit", "igraph", "rustworkx", "mpi4py", "mpich")
OWN = [
    {"name": "samesum"},
    {"name": "samesum", "precision": "float32"},
    {"name": "samesum", "threads": 2},
    {"name": "samesum", "ranks": 2},
    {"name": "samesum", "threads": 2, "precision": "float32"},
]
PEERS = [{"name": "networkit"}, {"name": "igraph"}, {"name": "rustworkx"}]
LABELS = [{"name": "scipy labels"}, {"name": "samesum labels"}, {"name": "samesum labels", "threads": 2}]
PLANS = {
    "rank": [{"name": "scipy"}, *OWN, {"name": "bandwidth"}],
    "peers": [{"name": "samesum"}, *PEERS],
    "labels": LABELS,
}


def measure(what: str, scale: int, repeats: int, folder: pathlib.Path) -> None:
    """Run a plan in turn; every run goes to ``graphs_<what>_<scale>.json``."""
    graph = write_graph(folder, scale)
    runs: list[dict[str, Any]] = []
    for repeat in range(repeats):
        for order in PLANS[what]:
            if order["name"] in ("igraph", "rustworkx") and repeat:
                continue  # minutes to build
            runs.append({"repeat": repeat, **run(order["name"], graph, **{key: value for key, value in order.items() if key != "name"})})
            print(describe(runs[-1]), flush=True)
    medians = medians_of(runs)
    for label, seconds in medians.items():
        print(f"{label:34} {seconds:8.3f} s  {next(iter(medians.values())) / seconds:6.2f}")
    write_result(
        f"graphs_{what}_{scale}", {"scale": scale, "iterations": ITERATIONS, "medians": medians, "runs": runs}, seed=1, packages=PACKAGES
    )


def label_of(entry: dict[str, Any]) -> str:
    """The name of a contender with what is special about it."""
    special = [f"{entry['ranks']} ranks"] if entry.get("ranks", 1) > 1 else []
    special += [f"{entry['threads']} threads"] if entry.get("threads", 1) > 1 else []
    return ", ".join([entry["name"], *([entry["precision"]] if "precision" in entry else []), *special])


def describe(entry: dict[str, Any]) -> str:
    """A run in a line."""
    return f"{label_of(entry):34} {entry['seconds']:8.3f} s"


def medians_of(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Median seconds of every contender, in the order of their first run."""
    by_label: dict[str, list[float]] = {}
    for entry in runs:
        by_label.setdefault(label_of(entry), []).append(entry["seconds"])
    return {label: statistics.median(seconds) for label, seconds in by_label.items()}
