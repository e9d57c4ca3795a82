"""From files to a ready graph, beside other libraries: contenders in turn, each in a process of its own, medians, ratios.

Integers: samesum reads Parquet; the others get arrays in memory, numbered from 0. Text ids of 20 characters: all read a file of the same
edges, samesum and networkx CSV, igraph the NCOL that its C reader knows; of a smaller graph too, as networkx takes minutes and gigabytes.
"""

from __future__ import annotations

import csv
import pathlib
import statistics
import time
from typing import Any

import numpy as np
from _result import write_result

from _graphs import contenders, rmat
from _graphs.contenders import load_samesum, peak, read_edges, run
from _graphs.rank_section import label_of

PACKAGES = ("pyarrow", "networkit", "igraph", "networkx")
SMALLER = 2  # so many scales less for text that all contenders read
SLOW = ("igraph arrays", "networkx text", "networkit arrays", "networkit arrays, 2 threads")  # once


def write_files(folder: pathlib.Path, scale: int) -> pathlib.Path:
    """An R-MAT graph as Parquet and arrays; made once."""
    import pyarrow as pa
    from pyarrow import parquet

    path = folder / f"load{scale}"
    if not (path / "edges.npy").exists():
        path.mkdir(parents=True, exist_ok=True)
        arrays = np.lib.format.open_memmap(path / "partial.npy", "w+", np.uint32, (2, 16 << scale))
        at = 0
        with parquet.ParquetWriter(path / "edges.parquet", pa.schema([("src", pa.int64()), ("dst", pa.int64())])) as sink:
            for src, dst in rmat.edge_batches(scale):
                sink.write_table(pa.table({"src": src, "dst": dst}))
                arrays[:, at : at + len(src)] = src, dst
                at += len(src)
        (path / "partial.npy").rename(path / "edges.npy")
    return path


def write_texts(folder: pathlib.Path, scale: int) -> pathlib.Path:
    """An R-MAT graph with ids of 20 characters as CSV and NCOL; made once."""
    path = folder / f"text{scale}"
    if not (path / "edges.csv").exists():
        path.mkdir(parents=True, exist_ok=True)
        names = [f"vertex-{number:013d}" for number in range(1 << scale)]
        with (path / "partial.csv").open("w") as text, (path / "edges.ncol").open("w") as ncol:
            text.write("src,dst\n")
            for src, dst in rmat.edge_batches(scale):
                pairs = [(names[a], names[b]) for a, b in zip(src.tolist(), dst.tolist(), strict=True)]
                text.writelines(f"{a},{b}\n" for a, b in pairs)
                ncol.writelines(f"{a} {b}\n" for a, b in pairs)
        (path / "partial.csv").rename(path / "edges.csv")
    return path


def load_parquet(folder: pathlib.Path, order: dict[str, Any]) -> dict[str, Any]:
    """Seconds to a ready graph, and memory beyond that of the imports."""
    _import_all()
    before, began = peak(), time.perf_counter()
    graph = load_samesum(folder, order.get("threads", 1))
    seconds = time.perf_counter() - began
    return {**_sizes(graph.num_vertices, graph.num_edges, seconds), "memory": {"import": before, "load": peak()}}


def load_text(folder: pathlib.Path, order: dict[str, Any]) -> dict[str, Any]:
    import samesum as ss

    _import_all()
    before, began = peak(), time.perf_counter()
    graph = ss.Graph(str(folder / "edges.csv"), src="src", dst="dst", num_threads=order.get("threads", 1))
    seconds = time.perf_counter() - began
    return {**_sizes(graph.num_vertices, graph.num_edges, seconds), "memory": {"import": before, "load": peak()}}


def build_networkit(folder: pathlib.Path, order: dict[str, Any]) -> dict[str, Any]:
    import networkit as nk

    nk.setNumberOfThreads(order.get("threads", 1))
    src, dst, n = read_edges(folder)
    ends = (src.astype(np.uint64), dst.astype(np.uint64))
    began = time.perf_counter()
    graph = nk.GraphFromCoo(ends, n=n, directed=True)
    return _sizes(graph.numberOfNodes(), graph.numberOfEdges(), time.perf_counter() - began)


def build_igraph(folder: pathlib.Path, order: dict[str, Any]) -> dict[str, Any]:
    import igraph

    src, dst, n = read_edges(folder)
    ends = np.column_stack([src, dst])
    began = time.perf_counter()
    graph = igraph.Graph(n=n, edges=ends, directed=True)
    return _sizes(graph.vcount(), graph.ecount(), time.perf_counter() - began)


def read_igraph(folder: pathlib.Path, order: dict[str, Any]) -> dict[str, Any]:
    import igraph

    began = time.perf_counter()
    graph = igraph.Graph.Read_Ncol(str(folder / "edges.ncol"), names=True, weights=False, directed=True)
    return _sizes(graph.vcount(), graph.ecount(), time.perf_counter() - began)


def read_networkx(folder: pathlib.Path, order: dict[str, Any]) -> dict[str, Any]:
    """Its fastest way: edges from a reader of CSV; parallel ones become one."""
    import networkx

    began = time.perf_counter()
    with (folder / "edges.csv").open(newline="") as file:
        rows = csv.reader(file)
        next(rows)
        graph = networkx.DiGraph()
        graph.add_edges_from(rows)
    return _sizes(graph.number_of_nodes(), graph.number_of_edges(), time.perf_counter() - began)


def _import_all() -> None:
    """What the others have imported too when their time begins."""
    import pyarrow.csv
    import pyarrow.parquet

    import samesum as ss

    _ = pyarrow.csv, pyarrow.parquet
    ss.Graph({"src": [0], "dst": [0]}, num_threads=1)


def _sizes(n_vertices: int, n_edges: int, seconds: float) -> dict[str, Any]:
    return {"seconds": seconds, "num_vertices": n_vertices, "num_edges": n_edges}


LOADERS = {
    "samesum parquet": load_parquet,
    "samesum text": load_text,
    "networkit arrays": build_networkit,
    "igraph arrays": build_igraph,
    "igraph text": read_igraph,
    "networkx text": read_networkx,
}
contenders.CONTENDERS.update(LOADERS)

Plan = list[dict[str, Any]]
INTEGERS: Plan = [
    {"name": "samesum parquet"},
    {"name": "samesum parquet", "threads": 2},
    {"name": "networkit arrays"},
    {"name": "networkit arrays", "threads": 2},
    {"name": "igraph arrays"},
]
TEXTS: Plan = [{"name": "samesum text"}, {"name": "samesum text", "threads": 2}]
TEXT_PEERS: Plan = [*TEXTS, {"name": "igraph text"}, {"name": "networkx text"}]


def measure(scale: int, repeats: int, folder: pathlib.Path, results: pathlib.Path) -> None:
    """Run all plans, those of scale 21 and above without the other libraries; every run goes to ``graphs_load_<scale>.json``."""
    integers, texts = write_files(folder, scale), write_texts(folder, scale) if scale <= 20 else None
    smaller = write_texts(folder, scale - SMALLER) if scale <= 20 else None
    sections: list[tuple[str, Plan, pathlib.Path | None]] = [
        ("integers", INTEGERS if scale <= 20 else INTEGERS[:2], integers),
        ("text", TEXTS, texts),
        ("text, smaller", TEXT_PEERS, smaller),
    ]
    runs: list[dict[str, Any]] = []
    summary: dict[str, Any] = {}
    for section, plan, files in sections:
        for repeat in range(repeats) if files is not None else ():
            for order in plan:
                if repeat and label_of({"ranks": 1, **order}) in SLOW:
                    continue
                options = {key: value for key, value in order.items() if key != "name"}
                runs.append({"section": section, "repeat": repeat, **run(order["name"], files, **options)})
                print(f"{section:14} {label_of(runs[-1]):28} {runs[-1]['seconds']:8.3f} s", flush=True)
        if files is not None:
            summary[section] = _summarise([run for run in runs if run["section"] == section])
            result = {"scale": scale, "summary": summary, "runs": runs}
            write_result(f"graphs_load_{scale}", result, seed=1, packages=PACKAGES, folder=results)
    for section, lines in summary.items():
        for label, line in lines.items():
            print(section, label, line)


def _summarise(runs: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Of every contender the median seconds, edges a second, how many times the first contender it takes, and memory an edge."""
    labels = dict.fromkeys(label_of(entry) for entry in runs)
    medians = {label: statistics.median(entry["seconds"] for entry in runs if label_of(entry) == label) for label in labels}
    n_edges = runs[0]["num_edges"]
    summary = {}
    for label, seconds in medians.items():
        summary[label] = {"seconds": seconds, "edges_a_second": n_edges / seconds, "times_first": seconds / next(iter(medians.values()))}
        memory = [entry["memory"] for entry in runs if label_of(entry) == label and "memory" in entry]
        if memory:
            most = max(each["load"] - each["import"] for each in memory)
            summary[label]["bytes_an_edge"] = most / n_edges
            summary[label]["bytes_an_edge_less_ids"] = (most - 8 * runs[0]["num_vertices"]) / n_edges
    return summary


TITLES = {
    "integers": "From Parquet of integer ids (samesum) or from arrays (others) to a ready graph",
    "text": "From CSV of ids of 20 characters to a ready graph",
    "text, smaller": "From CSV of ids of 20 characters to a ready graph, small enough for the others",
}


def tabulate(result: dict[str, Any]) -> list[str]:
    """A table of every part of a result: seconds, speed, ratios to samesum on one thread, memory."""
    lines: list[str] = []
    for section, summary in result["summary"].items():
        runs = [run for run in result["runs"] if run["section"] == section]
        machine = f"{result['processor']}, {result['cores']} cores, commit {result['commit'][:12]}"
        lines += [f"## {TITLES[section]}: R-MAT of {runs[0]['num_edges']:,} edges", "", f"{machine}.", ""]
        lines += ["| contender | runs | median s | million edges a second | times the first | bytes an edge |", "|---|---|---|---|---|---|"]
        for label, line in summary.items():
            n_runs = sum(label_of(run) == label for run in runs)
            memory = f"{line['bytes_an_edge_less_ids']:.1f}" if "bytes_an_edge_less_ids" in line else ""
            cells = [label, n_runs, f"{line['seconds']:.3f}", f"{line['edges_a_second'] / 1e6:.1f}", f"{line['times_first']:.2f}", memory]
            lines.append(f"| {' | '.join(map(str, cells))} |")
        lines.append("")
    return lines
