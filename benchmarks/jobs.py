"""What a job costs beside its training, on the local cluster: ``python benchmarks/jobs.py``.

Each run submits a training, waits for its model, and takes the time of every part: the call that submits; until a supervisor has taken the
attempt; until the ranks have read, trained and shown the last iteration; until the result is there; until the handle has given the model.
Training is what ``create`` says that it took on the ranks, reading included; the rest is overhead. Writes every run to
``benchmarks/results/jobs.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import tempfile
import time

from _result import ROOT, write_result

import launch

MUSHROOM = str(ROOT / "examples" / "data" / "mushroom.csv")
TARGET = 3.0  # seconds of overhead
ITERATIONS = 10


def main() -> None:
    """Measure in turn, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--output", default="jobs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SAMESUM_CONFIG_DIR"] = folder
        runs = [
            {"repeat": repeat, "workers": workers, **measure(pathlib.Path(folder), workers)}
            for repeat in range(arguments.repeats)
            for workers in arguments.workers
        ]
    medians = {workers: medians_of([run for run in runs if run["workers"] == workers]) for workers in arguments.workers}
    for workers, parts in medians.items():
        print(f"{workers} workers: " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in parts.items()))
    worst = max(run["overhead"] for run in runs)
    print(f"largest overhead {worst:.2f} s, target {TARGET} s")
    result = {"iterations": ITERATIONS, "target": TARGET, "largest_overhead": worst, "medians": medians, "runs": runs}
    write_result(arguments.output, result, packages=("samesum", "mpi4py", "mpich"))


def measure(folder: pathlib.Path, workers: int) -> dict[str, float]:
    """Seconds of the parts of one job."""
    cluster = launch.local_cluster.create("benchmark", num_workers=workers, num_threads=1, working_dir=folder / "jobs")
    began, clock = time.time(), time.perf_counter()
    job = launch.boosted_trees_classifier.submit_training_job(cluster, MUSHROOM, "label", max_iterations=ITERATIONS)
    submit = time.perf_counter() - clock
    job.get_results()
    total = time.perf_counter() - clock
    job.summary()  # waits for its supervisor to have ended, out of the next run's way
    at = {event["event"]: event["time"] for event in job.events()}  # the last of each kind
    result = json.loads(pathlib.Path(job.working_dir, "result.json").read_text())
    training = json.loads(pathlib.Path(job.working_dir, result["model"], "run.json").read_text())["training_time"]
    return {
        "submit": submit,
        "supervisor": at["attempt"] - began - submit,
        "ranks until the last iteration": at["row"] - at["attempt"],
        "checkpoint, model and result": at["end"] - at["row"],
        "handle and model": total - (at["end"] - began),
        "total": total,
        "training": training,
        "overhead": total - training,
    }


def medians_of(runs: list[dict[str, float]]) -> dict[str, float]:
    """The median of each part."""
    return {name: statistics.median(run[name] for run in runs) for name in runs[0] if name not in ("repeat", "workers")}


if __name__ == "__main__":
    main()
