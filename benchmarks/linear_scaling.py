"""What linear models say per iteration, and a model of what iterations cost: ``python benchmarks/linear_scaling.py``.

For 100, 5,000 and 1,000,000 columns one rank evaluates the objective as its solver would, and its exchanges are counted: their bytes are
the same on any number of ranks. Writes ``benchmarks/results/linear_scaling.json`` and prints tables; ``--predict`` measures nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import pathlib
import statistics
import time
import warnings
from typing import Any

import numpy as np
import pyarrow as pa
from _result import RESULTS, write_result
from scaling import NETWORKS, PREDICTED

SEED, REPEATS = 23, 5
CASES = {
    "100 numbers, Newton": {"columns": 100, "rows": 100_000, "order": 2},
    "5 columns of 1,001 strings, L-BFGS": {"columns": 5_000, "rows": 200_000, "order": 1},
    "1,000,000 keys of maps, L-BFGS": {"columns": 1_000_000, "rows": 100_000, "order": 1},
}


def main() -> None:
    """Measure, unless asked to predict only, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--predict", action="store_true", help="measure nothing")
    parser.add_argument("--results", type=pathlib.Path, default=RESULTS, help="folder of the results")
    arguments = parser.parse_args()
    if not arguments.predict:
        cases = [{"name": name, **case, **measure(**case)} for name, case in CASES.items()]
        write_result("linear_scaling", {"cases": cases}, seed=SEED, packages=("samesum",), folder=arguments.results)
    cases = json.loads((arguments.results / "linear_scaling.json").read_text())["cases"]
    print("\n".join([*tabulate_exchanges(cases), "", *tabulate_predictions(cases)]))


def measure(columns: int, rows: int, order: int) -> dict[str, Any]:
    """Seconds of a pass of one thread, and the calls and bytes of an iteration."""
    from engine.collectives.metered import MeteredComm
    from engine.collectives.serial import SerialComm
    from engine.models._linear.leading import LeadingObjective
    from engine.models._linear.rows import make_objective, read_linear_rows
    from engine.progress import ProgressTable

    comm = MeteredComm(SerialComm())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        encoded = read_linear_rows(
            make_table(columns, rows),
            target="y",
            features=None,
            task="classifier",
            sample_weight=None,
            offset=None,
            class_weights=None,
            feature_rescaling=True,
            validation_set=None,
            random_seed=0,
            num_threads=1,
            comm=comm,
            table=ProgressTable([], verbose=False, comm_rank=0, total=1),
        )
    objective = LeadingObjective(make_objective(encoded, loss="logistic", comm=comm, num_threads=1), comm)
    comm.account.clear()
    w = np.full(objective.n_coefficients, 1e-3)
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        objective.evaluate(w, order)
        seconds.append(time.perf_counter() - began)
    exchanges = {name: {what: each[what] / REPEATS for what in ("calls", "bytes")} for name, each in comm.account.items()}
    return {"coefficients": objective.n_coefficients, "seconds": statistics.median(seconds), "exchanges": exchanges}


def make_table(columns: int, rows: int) -> pa.Table:
    """A table that makes so many columns of a design matrix."""
    draw = np.random.default_rng(SEED)
    y = draw.integers(0, 2, rows)
    if columns == 100:
        return pa.table({**{f"f{j}": draw.normal(size=rows) for j in range(columns)}, "y": y})
    if columns == 5_000:
        levels = pa.array([f"level {number}" for number in range(1001)])
        codes = [np.concatenate([np.arange(1001), draw.integers(0, 1001, rows - 1001)]) for _ in range(5)]
        return pa.table({**{f"f{k}": levels.take(pa.array(each)) for k, each in enumerate(codes)}, "y": y})
    keys = draw.permutation(columns).astype(np.int32)
    starts = np.arange(rows + 1, dtype=np.int32) * (columns // rows)
    entries = pa.MapArray.from_arrays(pa.array(starts), pa.array(keys), pa.array(draw.normal(size=columns)))
    return pa.table({"m": entries, "y": y})


def tabulate_exchanges(cases: list[dict[str, Any]]) -> list[str]:
    """Calls and bytes of an iteration by exchange, of every case."""
    lines = ["| columns | coefficients | exchange | calls | bytes |", "|---|---|---|---|---|"]
    for case in cases:
        for name, each in case["exchanges"].items():
            lines.append(f"| {case['name']} | {case['coefficients']:,} | {name} | {each['calls']:.0f} | {each['bytes']:,.0f} |")
    return lines


def tabulate_predictions(cases: list[dict[str, Any]]) -> list[str]:
    """Seconds of an iteration by the model and parallel efficiency, each rank having as many rows as were measured."""
    heads = [f"{case['name']}, {name}" for case in cases for name in NETWORKS]
    lines = [f"| ranks | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for ranks in PREDICTED:
        cells = []
        for case in cases:
            for network in NETWORKS.values():
                seconds = predict(case, ranks, network)
                cells.append(f"{seconds:.3f} s, {100 * case['seconds'] / seconds:.0f}%")
        lines.append(f"| {ranks:,} | {' | '.join(cells)} |")
    return lines


def predict(case: dict[str, Any], ranks: int, network: Any) -> float:
    """Seconds of an iteration: the pass, and every exchange there and back in log2 p steps; sums go through the network twice."""
    calls = sum(each["calls"] for each in case["exchanges"].values())
    n_bytes = sum(each["bytes"] for each in case["exchanges"].values())
    steps = math.ceil(math.log2(ranks)) if ranks > 1 else 0
    return case["seconds"] + 2 * calls * steps * network.latency + 2 * n_bytes * (ranks - 1) / ranks / network.bandwidth


if __name__ == "__main__":
    main()
