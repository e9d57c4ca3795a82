"""What a second rank brings, and what it could bring at most on this machine: ``python benchmarks/two_ranks.py``.

In turn: one rank on all rows, two ranks, and two processes that train on half of the rows each side by side and never talk. The
last share nothing but the machine, so what they lose against half of the time of one rank is what cores, caches and memory take from
each other. Every process stays on a core of its own. Writes every run to ``benchmarks/results/two_ranks.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
from typing import Any

import numpy as np
from _result import write_result

SEED = 11
OPTIONS = {"max_iterations": 100, "max_depth": 6, "step_size": 0.3, "min_child_weight": 1.0, "num_threads": 1, "verbose": False}


def main() -> None:
    """Measure in turn, and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--output", default="two_ranks")
    arguments = parser.parse_args()
    runs: list[dict[str, Any]] = []
    for repeat in range(arguments.repeats):
        run = {
            "one rank": measure(1, 1, arguments.rows),
            "two ranks": measure(2, 1, arguments.rows),
            "two halves side by side": measure(1, 2, arguments.rows // 2),
        }
        runs.append({"repeat": repeat, **run})
        print("  ".join(f"{name} {seconds:.2f} s" for name, seconds in run.items()), flush=True)
    medians = {name: statistics.median(run[name] for run in runs) for name in runs[0] if name != "repeat"}
    ratios = {name: medians["one rank"] / seconds for name, seconds in medians.items() if name != "one rank"}
    for name, ratio in ratios.items():
        print(f"{name}: {ratio:.2f} times one rank")
    result = {"rows": arguments.rows, "medians": medians, "ratios": ratios, "runs": runs}
    write_result(arguments.output, result, seed=SEED, packages=("samesum", "mpi4py", "mpich"))


def measure(ranks: int, processes: int, rows: int) -> float:
    """Seconds of training: of one job on ``ranks`` ranks, or the slowest of ``processes`` jobs side by side."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    cores = sorted(os.sched_getaffinity(0))
    jobs = []
    for number in range(processes):
        command = [sys.executable, __file__, "--rank", str(rows)]
        if ranks > 1:
            command = [str(pathlib.Path(sys.executable).with_name("mpiexec")), "-bind-to", "core", "-n", str(ranks), *command]
        else:
            command.append(str(cores[number]))
        jobs.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
    seconds = []
    for job in jobs:
        out, _ = job.communicate()
        if job.returncode:
            raise SystemExit(f"{' '.join(job.args)} failed with exit code {job.returncode}")
        seconds.append(float(json.loads(out.strip().splitlines()[-1])))
    return max(seconds)


def train(rows: int, core: int | None = None) -> None:
    """What each rank runs; rank 0 prints the seconds of training. ``core``: to stay on, if nobody else sees to it."""
    if core is not None:
        os.sched_setaffinity(0, [core])
    import samesum as ss
    from engine.collectives.default import resolve

    draw = np.random.default_rng(SEED)
    x = draw.normal(size=(28, rows)).astype(np.float32)
    margin = x[0] * x[1] + np.sin(3 * x[2]) + 0.5 * x[3] - 0.7 * (x[4] > 0.3) * x[5] + 0.3 * x[6] ** 2 - 0.3
    y = (draw.random(rows) < 1 / (1 + np.exp(-margin))).astype(np.int64)
    model = ss.boosted_trees_classifier.create({**{f"f{j}": column for j, column in enumerate(x)}, "y": y}, target="y", **OPTIONS)
    if resolve(None).rank == 0:
        print(json.dumps(model.progress["Elapsed Time"][-1].as_py()))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--rank"]:
        train(*map(int, sys.argv[2:]))
    else:
        main()
