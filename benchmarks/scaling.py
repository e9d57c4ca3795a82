"""What ranks say to each other, what that costs here, and what it would cost elsewhere: ``python benchmarks/scaling.py``.

Trains on 1, 2 and 4 ranks of one thread, reads what every training wrote into ``run.json``, and writes it to
``benchmarks/results/scaling.json``; then prints, as Markdown, bytes and calls per level of a tree, seconds per rank, and what a cost model
makes of them for 8 to 1,024 ranks. ``--predict`` prints only. The model needs ``collectives_2.json`` (``benchmarks/collectives.py``).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import Any

from _result import RESULTS, write_result
from _trees.data import SEED, TARGET, write_table

RANKS = (1, 2, 4)
PREDICTED = (8, 16, 32, 64, 128, 256, 512, 1024)
COLUMNS, DEPTH = 28, 6


@dataclass(frozen=True)
class Network:
    """Seconds for a message to arrive, and bytes a second of one rank's connection."""

    latency: float
    bandwidth: float


# Latencies that are usual for MPI over TCP and over a network with remote memory access.
NETWORKS = {"10 Gb/s": Network(30e-6, 1.25e9), "100 Gb/s": Network(3e-6, 12.5e9)}


@dataclass(frozen=True)
class Cost:
    """A training as the model sees it. ``shared`` seconds of work shrink with the ranks and grow with the rows, ``fixed`` ones do not."""

    shared: float
    fixed: float
    calls: int
    n_bytes: int
    add: float  # seconds to pass on and add up one byte within this machine

    def seconds(self, ranks: int, network: Network, rows: float = 1.0) -> float:
        """Seconds of training on ``ranks`` with ``rows`` times the rows that were measured.

        Every exchange takes log2(ranks) steps, and each rank sends and adds (ranks - 1) / ranks of its bytes, as in a reduce-scatter by
        recursive halving. Histograms have the same size for any number of rows.
        """
        steps = math.ceil(math.log2(ranks))
        moved = self.n_bytes * (ranks - 1) / ranks
        return self.shared * rows / ranks + self.fixed + self.calls * steps * network.latency + moved * (1 / network.bandwidth + self.add)


def main() -> None:
    """Measure, unless asked to predict only, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--predict", action="store_true", help="measure nothing")
    parser.add_argument("--results", type=pathlib.Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        train(**json.loads(arguments.worker))
        return
    if not arguments.predict:
        with tempfile.TemporaryDirectory(prefix="samesum-") as folder:
            write_table(pathlib.Path(folder), "floats", rows=arguments.rows, held_out=1, columns=COLUMNS)
            runs = [measure(folder, n, arguments.rounds) for _ in range(arguments.repeats) for n in RANKS]
        sizes = {"rows": arguments.rows, "columns": COLUMNS, "rounds": arguments.rounds, "depth": DEPTH}
        write_result("scaling", {**sizes, "runs": runs}, seed=SEED, packages=("mpi4py", "mpich"), folder=arguments.results)
    measured = json.loads((arguments.results / "scaling.json").read_text())
    sums = json.loads((arguments.results / "collectives_2.json").read_text())
    print(
        "\n".join(
            [*tabulate_levels(measured), "", *tabulate_ranks(measured), "", *tabulate_predictions(measured, fit_cost(measured, sums))]
        )
    )


def measure(folder: str, ranks: int, rounds: int) -> dict[str, Any]:
    """Train on ``ranks``; what each of them spent and said."""
    order = json.dumps({"folder": folder, "rounds": rounds})
    mpiexec = str(pathlib.Path(sys.executable).with_name("mpiexec"))
    command = [mpiexec, "-n", str(ranks), sys.executable, __file__, "--worker", order]
    subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdin=subprocess.DEVNULL, check=True)
    run = json.loads(pathlib.Path(folder, "model", "run.json").read_text())
    if "communication" not in run:
        raise SystemExit(f"expected 'communication' in run.json, got {', '.join(run)}: this release does not count what ranks say")
    return {"ranks": ranks, "training": run["seconds"]["training"], "communication": list_ranks(run["communication"])}


def train(folder: str, rounds: int) -> None:
    """What every rank runs."""
    import samesum

    options = {"max_iterations": rounds, "max_depth": DEPTH, "num_threads": 1, "verbose": False}
    model = samesum.boosted_trees_classifier.create(os.path.join(folder, "training.parquet"), target=TARGET, **options)
    model.save(os.path.join(folder, "model"))


def list_ranks(communication: Any) -> list[dict[str, dict[str, float]]]:
    """Every rank's exchanges by name (calls, bytes, seconds); what one rank counted stands for a list of one."""
    return communication if isinstance(communication, list) else [communication]


def total(exchanges: dict[str, dict[str, float]], what: str) -> float:
    """The sum of one figure over all exchanges of a rank."""
    return sum(exchange[what] for exchange in exchanges.values())


def typical(measured: dict[str, Any], ranks: int) -> dict[str, Any]:
    """The run of median training time."""
    runs = sorted((run for run in measured["runs"] if run["ranks"] == ranks), key=lambda run: run["training"])
    return runs[len(runs) // 2]


def tabulate_levels(measured: dict[str, Any]) -> list[str]:
    """What the first rank says per level, by the name of the exchange."""
    levels = measured["rounds"] * measured["depth"]
    lines = ["| ranks | exchange | calls a level | bytes a level |", "|---|---|---|---|"]
    for ranks in RANKS:
        for name, exchange in typical(measured, ranks)["communication"][0].items():
            lines.append(f"| {ranks} | {name} | {exchange['calls'] / levels:.2f} | {exchange['bytes'] / levels:,.0f} |")
    return lines


def tabulate_ranks(measured: dict[str, Any]) -> list[str]:
    """Seconds of each rank. The rank that spends the least in exchanges waited for nobody: what others spend beyond it is waiting."""
    lines = ["| ranks | rank | compute s | communication s | wait s |", "|---|---|---|---|---|"]
    for ranks in RANKS:
        run = typical(measured, ranks)
        spent = [total(exchanges, "seconds") for exchanges in run["communication"]]
        for rank, seconds in enumerate(spent):
            lines.append(f"| {ranks} | {rank} | {run['training'] - seconds:.2f} | {min(spent):.2f} | {seconds - min(spent):.2f} |")
    return lines


def fit_cost(measured: dict[str, Any], sums: dict[str, Any]) -> Cost:
    """The model through the runs of 1 and 2 ranks, which have a core each, and the longest sum over 2 ranks."""
    one, two = (typical(measured, ranks) for ranks in (1, 2))
    work = [run["training"] - min(total(exchanges, "seconds") for exchanges in run["communication"]) for run in (one, two)]
    fixed = min(max(2 * work[1] - work[0], 0.0), work[0])
    longest = sums["runs"][-1]
    said = two["communication"][0]
    return Cost(
        shared=work[0] - fixed,
        fixed=fixed,
        calls=int(total(said, "calls")),
        n_bytes=int(total(said, "bytes")),
        add=statistics.median(longest["reduce_scatter"]) / longest["bytes"],
    )


def tabulate_predictions(measured: dict[str, Any], cost: Cost) -> list[str]:
    """Seconds of training by the model and parallel efficiency: as many rows a rank as were measured, and 100 times as many in all."""
    rows = measured["rows"]
    heads = [f"{each}, {name}" for each in (f"{rows:,} rows a rank", f"{100 * rows:,} rows in all") for name in NETWORKS]
    lines = [f"| ranks | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for ranks in PREDICTED:
        cells = []
        for factor in (ranks, 100):
            ideal = (cost.shared * factor + cost.fixed) / ranks
            for network in NETWORKS.values():
                seconds = cost.seconds(ranks, network, factor)
                cells.append(f"{seconds:.2f} s, {100 * ideal / seconds:.0f}%")
        lines.append(f"| {ranks:,} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
