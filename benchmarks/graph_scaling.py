"""What ranks tell each other of a graph, counted, and what it would cost elsewhere: ``python benchmarks/graph_scaling.py``.

Ranks an R-MAT graph on 2, 4 and 8 ranks, once with all values going to every rank and once with those that are needed, counts what each
rank is sent in an iteration, and writes that to ``benchmarks/results/graphs_scaling.json``. Then prints it as Markdown, and what a cost
model makes of it for the graph of Twitter of 2010 on 8 to 1,024 ranks. ``--predict`` prints only; it needs ``graphs_rank_22.json`` as
well (``benchmarks/graphs.py rank --scale 22``).
"""

from __future__ import annotations

import argparse
import json
import math
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np
from _graphs.contenders import write_graph
from _result import RESULTS, write_result
from scaling import NETWORKS, PREDICTED, Network

RANKS = (2, 4, 8)
STEPS = 4
TWITTER_VERTICES, TWITTER_EDGES = 41_652_230, 1_468_365_182  # Kwak and others 2010, as graph archives hold it
BYTES = 8  # a value
CALLS = 2  # of an iteration: values, sums


def main() -> None:
    """Count, unless asked to predict only, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=int, default=20)
    parser.add_argument("--predict", action="store_true", help="measure nothing")
    parser.add_argument("--results", type=pathlib.Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--folder", type=pathlib.Path, help="where graphs are kept from call to call")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        count(pathlib.Path(arguments.worker))
        return
    if not arguments.predict:
        with tempfile.TemporaryDirectory(prefix="samesum-") as folder:
            graph = write_graph(arguments.folder or pathlib.Path(folder), arguments.scale)
            runs = [measure(graph, ranks) for ranks in RANKS]
        result = {"scale": arguments.scale, "runs": runs}
        write_result("graphs_scaling", result, seed=1, packages=("mpi4py", "mpich"), folder=arguments.results)
    counted = json.loads((arguments.results / "graphs_scaling.json").read_text())
    speed = json.loads((arguments.results / "graphs_rank_22.json").read_text())
    print("\n".join([*tabulate_bytes(counted), "", *tabulate_predictions(edges_a_second(speed))]))


def measure(graph: pathlib.Path, ranks: int) -> dict[str, Any]:
    """Count on so many ranks of this machine."""
    mpiexec = str(pathlib.Path(sys.executable).with_name("mpiexec"))
    command = [mpiexec, "-n", str(ranks), sys.executable, __file__, "--worker", str(graph)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def count(folder: pathlib.Path) -> None:
    """What every rank runs: a few steps for each way that values travel; rank 0 prints what each rank was sent in a step."""
    import samesum as ss
    from engine.collectives.metered import MeteredComm
    from engine.models._graphs.ranking import Ranking, Start
    from engine.models._graphs.rows import arrange_rows

    graph = ss.Graph(str(folder / "edges.parquet"), src="src", dst="dst", num_threads=1)
    part, found = graph.partition, {}
    start = Start(part.out_degrees.astype(np.float64), None, np.ones(part.n_local), float(part.n_vertices))
    rules = {"n_vertices": part.n_vertices, "reset_probability": 0.15, "redistribute": True, "normalize": False, "precision": "float64"}
    for reach in ("all", "needed"):
        comm = MeteredComm(graph.comm)
        rows = arrange_rows(part, part.edges_in, part.out_degrees, comm, num_threads=1, reach=reach)
        ranking = Ranking(rows, start, **rules, num_threads=1, comm=comm)
        for _ in range(STEPS - 1):
            ranking.step()
        sent = comm.account["give ranks"]["bytes"] / STEPS
        received = BYTES * (part.n_vertices - part.n_local if reach == "all" else rows.plan.received)
        sums = comm.account["sum changes"]["bytes"] / STEPS
        found[reach] = graph.comm.gather_objects({"written": sent, "received": received, "sums": sums}, name="counts")
        ranking.close()
    if graph.comm.rank == 0:
        print(json.dumps({"ranks": graph.comm.size, "num_vertices": part.n_vertices, "num_edges": part.n_edges, **found}))


def tabulate_bytes(counted: dict[str, Any]) -> list[str]:
    """What the rank that is sent the most is sent in an iteration, either way."""
    first = counted["runs"][0]
    lines = [
        f"R-MAT of scale {counted['scale']}, {first['num_vertices']:,} vertices with edges, {first['num_edges']:,} edges, PageRank in "
        "float64, bytes that the busiest rank is sent in an iteration:",
        "",
        "| ranks | all values | needed values | share needed | sums |",
        "|---|---|---|---|---|",
    ]
    for run in counted["runs"]:
        everything, needed = (max(rank["received"] for rank in run[way]) for way in ("all", "needed"))
        lines.append(f"| {run['ranks']} | {everything:,} | {needed:,} | {needed / everything:.0%} | {run['all'][0]['sums']:.0f} |")
    return lines


def edges_a_second(speed: dict[str, Any]) -> float:
    """Of one core, in the median run of scale 22."""
    edges = next(run["num_edges"] for run in speed["runs"] if run["name"] == "samesum")
    return edges * speed["iterations"] / speed["medians"]["samesum"]


def seconds(ranks: int, network: Network, speed: float) -> tuple[float, float]:
    """An iteration's seconds of work and of exchange: all edges shared out, and each rank sent what it can need at most."""
    everything = TWITTER_VERTICES * (ranks - 1) / ranks
    # no more than if the sources of a rank's edges were drawn evenly: where some are drawn more often, fewer different ones are
    needed = everything * -math.expm1(-TWITTER_EDGES / ranks / TWITTER_VERTICES)
    received = BYTES * (everything if needed > everything / 2 else needed)
    return TWITTER_EDGES / ranks / speed, received / network.bandwidth + CALLS * math.ceil(math.log2(ranks)) * network.latency


def tabulate_predictions(speed: float) -> list[str]:
    """Seconds of 20 iterations on the graph of Twitter, by network."""
    lines = [
        f"Predicted seconds of 20 iterations on the graph of Twitter of 2010 ({TWITTER_VERTICES:,} vertices, {TWITTER_EDGES:,} edges), "
        f"each rank a core of {speed / 1e6:,.0f} million edges a second (measured at scale 22):",
        "",
        "| ranks | work | " + " | ".join(f"exchange, {name}" for name in NETWORKS) + " |",
        "|---" * (2 + len(NETWORKS)) + "|",
    ]
    for ranks in PREDICTED:
        parts = [seconds(ranks, network, speed) for network in NETWORKS.values()]
        lines.append(f"| {ranks} | {20 * parts[0][0]:.2f} | " + " | ".join(f"{20 * exchange:.2f}" for _, exchange in parts) + " |")
    return lines


if __name__ == "__main__":
    main()
