"""What ranks and labels are measured on, each in a process of its own: the same graph, the same number of iterations, one by one."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from _graphs import rmat

ITERATIONS, SWEEPS, CLASSES, LABELLED = 20, 10, 10, 20  # one vertex in LABELLED has a label
RESET = 0.15


def write_graph(folder: pathlib.Path, scale: int) -> pathlib.Path:
    """The edges of an R-MAT graph as Parquet, and as arrays of numbers of its vertices (those with edges); made once."""
    import pyarrow as pa
    from pyarrow import parquet

    path = folder / f"rmat{scale}"
    if not (path / "edges.npy").exists():
        path.mkdir(parents=True, exist_ok=True)
        src, dst = rmat.edges(scale)
        parquet.write_table(pa.table({"src": src, "dst": dst}), path / "edges.parquet", row_group_size=1 << 20)
        used = np.zeros(1 << scale, dtype=bool)
        used[src] = used[dst] = True
        ids = np.flatnonzero(used)
        numbers = np.cumsum(used, dtype=np.uint32) - np.uint32(1)
        labels = pa.array(np.arange(len(ids)) // LABELLED % CLASSES, mask=np.arange(len(ids)) % LABELLED != 0)
        parquet.write_table(pa.table({"id": ids, "label": labels}), path / "vertices.parquet")
        np.save(path / "edges.npy", np.stack([numbers[src], numbers[dst]]))
    return path


def run(name: str, folder: pathlib.Path, *, ranks: int = 1, **order: Any) -> dict[str, Any]:
    """Start a process (or ranks) that does the work of ``name``; what it measured."""
    job = json.dumps({"name": name, "folder": str(folder), **order})
    command = [sys.executable, str(pathlib.Path(__file__).resolve().parents[1] / "graphs.py"), "--worker", job]
    if ranks > 1:
        command = [str(pathlib.Path(sys.executable).with_name("mpiexec")), "-n", str(ranks), *command]
    environment = {**os.environ, "OMP_NUM_THREADS": str(order.get("threads", 1))}
    began, before = time.perf_counter(), foreign_seconds()
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    others = (foreign_seconds() - before) / (time.perf_counter() - began) / (os.cpu_count() or 1)
    if done.returncode:
        raise SystemExit(f"{name} {order} failed with exit code {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return {"name": name, "ranks": ranks, **order, "others": round(others, 3), **json.loads(done.stdout.strip().splitlines()[-1])}


def foreign_seconds() -> float:
    """Processor seconds, of all cores since the start, that neither this process nor those it has waited for have used."""
    used = sum(map(int, pathlib.Path("/proc/stat").read_text().split()[1:4])) / os.sysconf("SC_CLK_TCK")
    own = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return used - sum(usage.ru_utime + usage.ru_stime for usage in own)


def work(order: dict[str, Any]) -> None:
    """What a process does; rank 0 prints what came of it."""
    measured = CONTENDERS[order["name"]](pathlib.Path(order["folder"]), order)
    if measured is not None:
        print(json.dumps(measured))


def peak() -> int:
    """Most bytes that this process has had in memory, as Linux counts; getrusage would count what started it too."""
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def load_samesum(folder: pathlib.Path, threads: int, **options: Any) -> Any:
    import samesum as ss

    return ss.Graph(str(folder / "edges.parquet"), src="src", dst="dst", num_threads=threads, **options)


def rank_samesum(folder: pathlib.Path, order: dict[str, Any]) -> dict[str, Any] | None:
    """Seconds of the iterations, and of the whole call: the layout of rows and the table of results included."""
    import samesum as ss

    threads = order.get("threads", 1)
    before = peak()
    graph = load_samesum(folder, threads)
    loaded = peak()
    began = time.perf_counter()
    model = ss.pagerank.create(
        graph,
        threshold=0.0,
        max_iterations=ITERATIONS,
        dangling="redistribute",
        normalize=True,
        precision=order.get("precision", "float64"),
        num_threads=threads,
        verbose=False,
    )
    seconds = time.perf_counter() - began
    times = model.progress["Elapsed Time"].to_numpy()
    spoken = model._run["communication"]
    if graph.comm.rank > 0:
        return None
    return {
        "seconds": float(times[-1] - times[0]) * ITERATIONS / (ITERATIONS - 1),
        "whole": seconds,
        "num_vertices": graph.num_vertices,
        "num_edges": graph.num_edges,
        "checksum": float(model.pagerank["pagerank"].to_numpy().max()),
        "bytes_given": [rank.get("give ranks", {}) for rank in spoken],
        "memory": {"import": before, "load": loaded, "rank": peak()},
    }


def read_edges(folder: pathlib.Path) -> tuple[np.ndarray, np.ndarray, int]:
    src, dst = np.load(folder / "edges.npy")
    return src, dst, int(max(src.max(), dst.max())) + 1


def rank_scipy(folder: pathlib.Path, order: dict[str, Any]) -> dict[str, Any]:
    """A loop over a CSR matrix; seconds without building it."""
    import scipy.sparse

    src, dst, n = read_edges(folder)
    matrix = scipy.sparse.csr_matrix((np.ones(len(src)), (dst, src)), shape=(n, n))
    out = np.bincount(src, minlength=n).astype(np.float64)
    inverse = np.divide(1.0, out, out=np.zeros(n), where=out > 0)
    sinks = np.flatnonzero(out == 0)
    began = time.perf_counter()
    ranks = np.full(n, 1.0 / n)
    for _ in range(ITERATIONS):
        before, ranks = ranks, RESET / n + (1 - RESET) * (matrix @ (ranks * inverse) + ranks[sinks].sum() / n)
        np.abs(ranks - before).sum()
    return {"seconds": time.perf_counter() - began, "num_vertices": n, "num_edges": len(src), "checksum": float(ranks.max())}


def rank_networkit(folder: pathlib.Path, order: dict[str, Any]) -> dict[str, Any]:
    """As many iterations, dangling ranks redistributed."""
    import networkit as nk

    nk.setNumberOfThreads(order.get("threads", 1))
    src, dst, n = read_edges(folder)
    graph = nk.GraphFromCoo((src.astype(np.uint64), dst.astype(np.uint64)), n=n, directed=True)
    work = nk.centrality.PageRank(graph, damp=1 - RESET, tol=0.0, distributeSinks=nk.centrality.SinkHandling.DistributeSinks)
    work.maxIterations = ITERATIONS
    began = time.perf_counter()
    work.run()
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "iterations": work.numberOfIterations(), "num_edges": len(src), "checksum": max(work.scores())}


def rank_igraph(folder: pathlib.Path, order: dict[str, Any]) -> dict[str, Any]:
    """Its own solver (PRPACK) to its own tolerance: it takes no number of iterations."""
    import igraph

    src, dst, n = read_edges(folder)
    graph = igraph.Graph(n=n, edges=np.column_stack([src, dst]), directed=True)
    began = time.perf_counter()
    scores = graph.pagerank(damping=1 - RESET)
    return {"seconds": time.perf_counter() - began, "num_edges": len(src), "checksum": max(scores)}


def rank_rustworkx(folder: pathlib.Path, order: dict[str, Any]) -> dict[str, Any]:
    """As many iterations: it raises after them, as its tolerance is not reached."""
    import rustworkx

    src, dst, n = read_edges(folder)
    graph = rustworkx.PyDiGraph()
    graph.add_nodes_from(range(n))
    graph.add_edges_from_no_data(list(zip(src.tolist(), dst.tolist(), strict=True)))
    began = time.perf_counter()
    with contextlib.suppress(rustworkx.FailedToConverge):
        rustworkx.pagerank(graph, alpha=1 - RESET, tol=0.0, max_iter=ITERATIONS)
    return {"seconds": time.perf_counter() - began, "num_edges": len(src)}


def label_samesum(folder: pathlib.Path, order: dict[str, Any]) -> dict[str, Any] | None:
    """Seconds of a sweep, the median of all but the first."""
    import samesum as ss

    threads = order.get("threads", 1)
    graph = load_samesum(folder, threads, vertices=str(folder / "vertices.parquet"), vid="id")
    began = time.perf_counter()
    model = ss.label_propagation.create(graph, "label", threshold=0.0, max_iterations=SWEEPS, num_threads=threads, verbose=False)
    seconds = time.perf_counter() - began
    times = model.progress["Elapsed Time"].to_numpy()
    if graph.comm.rank > 0:
        return None
    return {"seconds": float(np.median(np.diff(times))), "whole": seconds, "checksum": float(np.sum(model.labels["P0"].to_numpy()))}


def label_scipy(folder: pathlib.Path, order: dict[str, Any]) -> dict[str, Any]:
    """A sparse matrix times a dense one, normalised and clamped, with the change as it is tracked; seconds of a sweep, the median."""
    import scipy.sparse

    src, dst, n = read_edges(folder)
    matrix = scipy.sparse.csr_matrix((np.ones(len(src)), (dst, src)), shape=(n, n))
    labelled = np.arange(0, n, LABELLED)
    first = np.eye(CLASSES)[labelled // LABELLED % CLASSES]
    values = np.full((n, CLASSES), 1.0 / CLASSES)
    values[labelled] = first
    seconds = []
    for _ in range(SWEEPS):
        began = time.perf_counter()
        fresh = matrix @ values
        fresh += values
        fresh /= fresh.sum(axis=1, keepdims=True)
        fresh[labelled] = first
        np.sqrt(((fresh - values) ** 2).sum(axis=1)).sum()
        values = fresh
        seconds.append(time.perf_counter() - began)
    return {"seconds": float(np.median(seconds[1:])), "checksum": float(values[:, 0].sum())}


def measure_bandwidth(folder: pathlib.Path, order: dict[str, Any]) -> dict[str, Any]:
    """Bytes a second of ``a = b + c`` over arrays far larger than any cache: two read, one written."""
    a, b, c = (np.full(1 << 25, float(number)) for number in range(3))
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        np.add(b, c, out=a)
        seconds.append(time.perf_counter() - began)
    return {"seconds": min(seconds), "bytes_a_second": 3 * a.nbytes / min(seconds)}


CONTENDERS: dict[str, Callable[[pathlib.Path, dict[str, Any]], dict[str, Any] | None]] = {
    "samesum": rank_samesum,
    "scipy": rank_scipy,
    "networkit": rank_networkit,
    "igraph": rank_igraph,
    "rustworkx": rank_rustworkx,
    "samesum labels": label_samesum,
    "scipy labels": label_scipy,
    "bandwidth": measure_bandwidth,
}
