"""Each training kernel beside NumPy's way of doing the same: ``python benchmarks/kernels.py [--rows N] [--threads N]``.

Prints nanoseconds per element, the best of several runs taken in turn, and the ratio. Every run goes to
``benchmarks/results/kernels.json``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import numpy as np
from _kernels.case import CODES, COLUMNS, SEED, Case
from _kernels.graphs import graph_cases, loading_cases
from _kernels.linear import dense_cases, linear_cases
from _kernels.models import binning_cases, elementary_cases, gradient_cases, weighted_cases
from _kernels.trees import prediction_cases, tree_cases
from _result import write_result


def main() -> None:
    """Run all cases in turn and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", default="kernels")
    arguments = parser.parse_args()
    results = []
    print(f"{'kernel':28} {'ns':>8} {'NumPy ns':>10} {'ratio':>7}")
    for case in make_cases(arguments.rows, arguments.threads):
        results.append(measure(case, arguments.repeats))
        best = {who: min(results[-1][who]) for who in ("kernel_ns", "numpy_ns")}
        print(f"{case.name:28} {best['kernel_ns']:8.2f} {best['numpy_ns']:10.2f} {best['numpy_ns'] / best['kernel_ns']:7.1f}", flush=True)
    sizes = {"rows": arguments.rows, "threads": arguments.threads, "columns": COLUMNS, "codes": CODES, "unit": "ns per element"}
    write_result(arguments.output, {**sizes, "runs": results}, seed=SEED, packages=["cython"])


def measure(case: Case, repeats: int) -> dict[str, object]:
    """Nanoseconds per element of every run, after one that is not counted."""
    times: dict[str, list[float]] = {"kernel_ns": [], "numpy_ns": []}
    case.kernel()
    case.numpy()
    for _ in range(repeats):
        for who, action in (("kernel_ns", case.kernel), ("numpy_ns", case.numpy)):
            began = time.perf_counter()
            action()
            times[who].append(round((time.perf_counter() - began) / case.n_elements * 1e9, 3))
    return {"name": case.name, "elements": case.n_elements, **times}


def make_cases(n: int, threads: int) -> Iterator[Case]:
    """All cases; arrays live only while their case runs."""
    random = np.random.default_rng(SEED)
    yield from elementary_cases(random.normal(size=n))
    yield from binning_cases(random.normal(size=n), threads)
    yield from gradient_cases(random, n, threads)
    yield from weighted_cases(random, n, threads)
    yield from tree_cases(random, n, threads)
    yield from prediction_cases(random, n, threads)
    yield from graph_cases(random, n, threads)
    yield from loading_cases(random, n, threads)
    yield from dense_cases(random)
    yield from linear_cases(random, n, threads)


if __name__ == "__main__":
    main()
