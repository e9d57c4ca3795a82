"""Tables that sum up what the benchmarks measured: each function reads results and gives Markdown."""

from __future__ import annotations

import json
import pathlib
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

RESULTS = pathlib.Path(__file__).resolve().parents[1] / "benchmarks" / "results"
FAMILIES = ("trees", "linear", "pagerank", "label_propagation", "jobs")


def same_bytes() -> str:
    """What ``make prove`` found: a row for each number of ranks and threads, and for each changed environment."""
    result = read("same_bytes")
    models = len(result["runs"][0]["sha256"])
    rows = []
    for run in result["runs"]:
        environment = ", ".join(f"`{name}={value}`" for name, value in run["environment"].items())
        rows.append((run["ranks"], run["threads"], environment, f"{models - len(run['differ'])} of {models}"))
    return f"{where(result)}\n\n{tabulate(('ranks', 'threads', 'changed environment', 'models with the same bytes'), rows)}"


def kills() -> str:
    """What ``make torture`` found: kills, trainings that ended, and how many of these had the bytes of an undisturbed one."""
    rows = []
    for family in FAMILIES:
        if not (RESULTS / f"torture_{family}.json").exists():
            continue
        result = read(f"torture_{family}")
        ends = [run["same"] for run in result["runs"] if "same" in run] if "runs" in result else [result["good"]] * result["ended"]
        name = "jobs of boosted trees" if family == "jobs" else result["toolkit"]
        rows.append((name, f"{result['rows']:,}", result["kills"], result["ended"], f"{sum(map(bool, ends))} of {len(ends)}"))
    return tabulate(("training", "rows or vertices", "kills", "ended", "with the bytes of an undisturbed one"), rows)


def trees() -> str:
    """Trees beside the best peer on as many cores: seconds, how many times faster, and the difference of the AUC."""
    rows = []
    for result in read_all("trees_*"):
        differences = {verdict["setting"]: verdict["difference"] for verdict in result["verdicts"] if verdict["figure"] == "auc"}
        for verdict in result["verdicts"]:
            if verdict["figure"] in ("train", "total", "predict"):
                more = f"{differences[verdict['setting']]:+.4f}".replace("-0.0000", "+0.0000") if verdict["setting"] in differences else ""
                rows.append((result["title"], f"{verdict['setting']}, {verdict['figure']}", *compare(verdict), more))
    return tabulate(("data", "cores, what", "samesum, s", "best peer, s", "peer", "times faster", "AUC less the best peer's"), thin(rows))


def linear() -> str:
    """Linear models beside the best peer, at the same value of the objective."""
    rows = [
        (result["title"], verdict["setting"], *compare(verdict))
        for result in read_all("linear_*")
        for verdict in result.get("verdicts", ())
        if verdict["peer"] != "1 rank"
    ]
    return tabulate(("data", "cores", "samesum, s", "best peer, s", "peer", "times faster"), thin(rows))


def graphs() -> str:
    """Iterations of PageRank and label propagation beside others."""
    rows = []
    for result in read_all("graphs_rank_*", "graphs_peers_*", "graphs_labels_*"):
        what = "label propagation" if any("labels" in name for name in result["medians"]) else "PageRank"
        base = next(seconds for name, seconds in result["medians"].items() if name in ("samesum", "samesum labels"))
        edges = next((run["num_edges"] for run in result["runs"] if "num_edges" in run), None)
        title = f"{what}, {edges:,} edges" if edges else f"{what}, {16 << result['scale']:,} edges"
        for name, seconds in result["medians"].items():
            if name != "bandwidth":
                rows.append((title, name.replace(" labels", ""), f"{seconds:.3f}", f"{seconds / base:.2f}"))
    return tabulate(("graph, 20 iterations", "who", "s", "times samesum on one core"), thin(rows))


def loading() -> str:
    """From files or arrays to a ready graph."""
    rows = []
    for result in read_all("graphs_load_*"):
        for section, contenders in result["summary"].items():
            edges = next(run["num_edges"] for run in result["runs"] if run["section"] == section and "num_edges" in run)
            for name, figures in contenders.items():
                rows.append((f"{edges:,}, {section.split(',')[0]}", name, f"{figures['seconds']:.2f}", f"{figures['times_first']:.2f}"))
    return tabulate(("edges, ids", "who, from what", "s", "times the first"), thin(rows))


def second_rank() -> str:
    """What a second rank brings, and what the machine would leave at most."""
    result = read("two_ranks")
    rows = [(name, f"{seconds:.2f}", f"{result['ratios'].get(name, 1.0):.2f}") for name, seconds in result["medians"].items()]
    table = tabulate((f"{result['rows']:,} rows", "s", "times faster than one rank"), rows)
    return f"{where(result)}\n\n{table}"


def storage() -> str:
    """Megabytes a second from HDFS and S3, beside the plain clients, on one rank and two; links of a given speed apart."""
    rows = []
    for name in ("storage_hdfs", "storage_s3", "storage_links_hdfs", "storage_links_s3"):
        result, server = read(name), name.rpartition("_")[2]
        speeds = result[server]["megabytes_per_second"]
        links = "this machine" if "links" not in result else f"{result['links'][server]:g} MB/s each"
        for what, engine, plain in (
            ("bytes", "engine", "plain"),
            ("bytes, 2 ranks", "engine on 2 ranks", "plain"),
            ("CSV to a table", "csv by engine", "csv by plain"),
        ):
            ratio = speeds[engine] / speeds[plain]
            rows.append((server.upper(), links, what, f"{speeds[engine]:.0f}", f"{speeds[plain]:.0f}", f"{ratio:.2f}"))
    table = tabulate(("server", "links", "what", "samesum, MB/s", "plain client, MB/s", "times"), rows)
    result = read("storage_hdfs")
    return f"{where(result)} {result['note'].capitalize()}; with links of a given speed they wait for these.\n\n{table}"


def jobs() -> str:
    """Seconds that a job costs beside its training, here and on YARN."""
    result = read("jobs")
    names = (
        "submit",
        "supervisor",
        "ranks until the last iteration",
        "checkpoint, model and result",
        "handle and model",
        "total",
        "training",
    )
    rows = [("this machine", workers, *(f"{medians[name]:.2f}" for name in names)) for workers, medians in result["medians"].items()]
    table = tabulate(("where", "workers", *(f"{name} s" for name in names)), rows)
    if not (RESULTS / "yarn.json").exists():
        return f"{where(result)}\n\n{table}"
    hadoop = read("yarn")
    parts = {"submit": "submit", "workers": "containers", "wire_up_and_reading": "MPI and reading", "total": "total"}
    runs = {"YARN": hadoop["runs"], "this machine": hadoop["this_machine"]}
    medians_of = [
        (name, hadoop["workers"], *(f"{statistics.median(run[part] for run in some):.1f}" for part in parts)) for name, some in runs.items()
    ]
    return f"{where(result)}\n\n{table}\n\n{tabulate(('where', 'workers', *(f'{name} s' for name in parts.values())), medians_of)}"


def compare(verdict: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Our seconds, the best peer's, its name, how many times faster we are."""
    return f"{verdict['own']:.2f}", f"{verdict['best']:.2f}", verdict["peer"], f"{verdict['ratio']:.2f}"


def where(result: Mapping[str, Any]) -> str:
    """On which machine and at which commit it was measured."""
    return f"{result['processor']}, {result['cores']} cores, {result['date'][:10]}, commit {result['commit'][:12]}."


def read(name: str) -> dict[str, Any]:
    """One result."""
    loaded: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return loaded


def read_all(*patterns: str) -> Iterable[dict[str, Any]]:
    """The results of the patterns' names, in their order."""
    for pattern in patterns:
        for path in sorted(RESULTS.glob(f"{pattern}.json")):
            yield read(path.stem)


def thin(rows: Iterable[Sequence[str]]) -> Iterable[Sequence[str]]:
    """The rows, their first cell empty where it is that of the row above."""
    above = None
    for first, *rest in rows:
        yield ("" if first == above else first, *rest)
        above = first


def tabulate(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
