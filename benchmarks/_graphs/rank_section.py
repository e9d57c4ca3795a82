"""PageRank and label propagation beside other libraries: contenders in turn, medians, ratios."""

from __future__ import annotations

import pathlib
import statistics
from typing import Any

from _result import write_result

from _graphs.contenders import ITERATIONS, run, write_graph

PACKAGES = ("scipy", "networkit", "igraph", "rustworkx", "mpi4py", "mpich")
MOST_FOREIGN = 0.1  # of all cores' time that other processes may use during a run that counts
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


def measure(what: str, scale: int, repeats: int, folder: pathlib.Path, results: pathlib.Path) -> None:
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
        f"graphs_{what}_{scale}",
        {"scale": scale, "iterations": ITERATIONS, "medians": medians, "runs": runs},
        seed=1,
        packages=PACKAGES,
        folder=results,
    )


def label_of(entry: dict[str, Any]) -> str:
    """The name of a contender with what is special about it."""
    special = [f"{entry['ranks']} ranks"] if entry.get("ranks", 1) > 1 else []
    special += [f"{entry['threads']} threads"] if entry.get("threads", 1) > 1 else []
    return ", ".join([entry["name"], *([entry["precision"]] if "precision" in entry else []), *special])


def describe(entry: dict[str, Any]) -> str:
    """A run in a line."""
    return f"{label_of(entry):34} {entry['seconds']:8.3f} s  others {entry['others']:.0%}"


def medians_of(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Median seconds of every contender, in the order of their first run."""
    labels = dict.fromkeys(map(label_of, runs))
    return {
        label: statistics.median(entry["seconds"] for entry in calm([run for run in runs if label_of(run) == label])) for label in labels
    }


def calm(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The runs during which other processes had little of the machine, as far as is known; all of them if there is none."""
    return [run for run in runs if run.get("others", 0.0) < MOST_FOREIGN] or runs


TITLES = {
    "rank": "PageRank, 20 iterations, beside a scipy CSR loop",
    "peers": "PageRank, 20 iterations, beside other libraries (loading and building not counted; igraph has no number of iterations)",
    "labels": "Label propagation, 10 classes, a sweep, beside scipy's sparse-times-dense",
}


def tabulate(result: dict[str, Any], title: str) -> list[str]:
    """Medians, ratios to the first contender, spread of the runs; what a kernel moves beside what memory can; memory an edge."""
    labels = {label: [run for run in result["runs"] if label_of(run) == label] for label in result["medians"] if label != "bandwidth"}
    first = next(iter(labels))
    machine = f"{result['processor']}, {result['cores']} cores, commit {result['commit'][:12]}"
    counting = f"Runs during which other processes used less than {MOST_FOREIGN:.0%} of the cores count, all where there are none such."
    lines = [f"## {title}: R-MAT scale {result['scale']}", "", f"{machine}. {counting}", ""]
    lines += [
        f"| contender | runs | others | median s | least and most s | times {first} | whole call s |",
        "|---|---|---|---|---|---|---|",
    ]
    for label, runs in labels.items():
        counted = calm(runs)
        seconds, whole = [run["seconds"] for run in counted], [run["whole"] for run in counted if "whole" in run]
        ratio = result["medians"][first] / result["medians"][label]
        shown = f"{statistics.median(whole):.3f}" if whole else ""
        others = f"{max(run['others'] for run in counted):.0%}" if all("others" in run for run in counted) else "not known"
        cells = [label, len(counted), others, f"{result['medians'][label]:.3f}"]
        cells += [f"{min(seconds):.3f} to {max(seconds):.3f}", f"{ratio:.2f}", shown]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return [*lines, "", *tabulate_memory(result, labels)]


def tabulate_memory(result: dict[str, Any], labels: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Of one rank and thread in float64: bytes an edge, and how near an iteration is to the memory's bandwidth."""
    own = [run for run in labels.get("samesum", []) if "memory" in run]
    stream = [run["bytes_a_second"] for run in result["runs"] if run["name"] == "bandwidth"]
    if not own or not stream:
        return []
    n, m = own[0]["num_vertices"], own[0]["num_edges"]
    seconds = statistics.median(run["seconds"] for run in calm(own)) / result["iterations"]
    least, lines_of_cache = 4 * m + 56 * n, 64 * m + 4 * m + 48 * n
    bytes_an_edge = max((run["memory"]["rank"] - run["memory"]["import"] - 8 * n) / m for run in own)
    return [
        f"An iteration of one core moves {least / 1e6:,.0f} MB at the least, every array once: {least / seconds / 1e9:.1f} GB/s; "
        f"if every gather fetched a line of the cache from memory it would be {lines_of_cache / seconds / 1e9:.1f} GB/s. "
        f"`a = b + c` on long arrays moves {statistics.median(stream) / 1e9:.1f} GB/s here. Peak memory of loading and ranking, less that "
        f"after imports and the table of ids: {bytes_an_edge:.1f} bytes an edge.",
    ]
