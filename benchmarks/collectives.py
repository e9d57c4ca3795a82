"""Reduce-scatter beside allreduce: ``mpiexec -n 2 python benchmarks/collectives.py``, in the engine's communicator.

Every rank adds up an array of 64 KiB to 64 MiB with the others, the two ways in turn; the time of a call is that of the slowest rank. Every
run goes to ``benchmarks/results/collectives_<ranks>.json``. An allreduce of one number gives the latency of a call.
"""

from __future__ import annotations

import argparse
import pathlib
import statistics
import time
from collections.abc import Callable

import numpy as np
from _result import RESULTS, write_result

from engine.collectives.communicator import Communicator
from engine.collectives.default import resolve

SMALLEST, LARGEST = 1 << 16, 1 << 26


def main() -> None:
    """Time all sizes and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--largest", type=int, default=LARGEST, help="bytes")
    parser.add_argument("--results", type=pathlib.Path, default=RESULTS, help="folder of the results")
    arguments = parser.parse_args()
    comm, runs, size = resolve(None), [], SMALLEST
    latency = time_sums(comm, 8, 101)["allreduce"]
    while size <= arguments.largest:
        runs.append({"bytes": size, **time_sums(comm, size, arguments.repeats)})
        size *= 2
    if comm.rank:
        return
    print(f"{'KiB':>6} {'allreduce us':>13} {'reduce-scatter us':>18} {'ratio':>6}")
    for run in runs:
        one, other = (statistics.median(run[name]) * 1e6 for name in ("allreduce", "reduce_scatter"))
        print(f"{run['bytes'] >> 10:6} {one:13.0f} {other:18.0f} {one / other:6.2f}")
    result = {"ranks": comm.size, "unit": "seconds, slowest rank", "latency": latency, "runs": runs}
    write_result(f"collectives_{comm.size}", result, packages=("mpi4py", "mpich"), folder=arguments.results)


def time_sums(comm: Communicator, size: int, repeats: int) -> dict[str, list[float]]:
    """Seconds of both sums of ``size`` bytes."""
    array = np.zeros(size // 8, dtype=np.int64)
    counts = [len(part) for part in np.array_split(array, comm.size)]
    return time_calls(
        comm,
        {
            "allreduce": lambda: comm.allreduce_sum(array, name="allreduce"),
            "reduce_scatter": lambda: comm.reduce_scatter_sum(array, counts, name="reduce-scatter"),
        },
        repeats,
    )


def time_calls(comm: Communicator, calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of every run of every call on the slowest rank; one run before them is not counted."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(repeats + 1):
        for name, call in calls.items():
            comm.barrier(name="start")
            began = time.perf_counter()
            call()
            slowest = np.array([time.perf_counter() - began])
            comm.allreduce_max(slowest, name="slowest")
            if repeat:
                times[name].append(float(slowest[0]))
    return times


if __name__ == "__main__":
    main()
