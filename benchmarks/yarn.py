"""How long a job on YARN takes to its first iteration, part by part, on a real ResourceManager and two NodeManagers of this machine.

``python benchmarks/yarn.py``. The first job begins with no driver and an environment that no node has unpacked; those after it find both.
Beside them the same training by ``mpiexec`` on a local file. Writes every run to ``benchmarks/results/yarn.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time

from _result import ROOT, write_result

sys.path.insert(0, str(ROOT))

import launch
from engine import storage
from launch.yarn.installing import install
from tests.cluster.hadoop import Hadoop, Hdfs
from tests.cluster.yarn import Yarn

MUSHROOM = ROOT / "examples" / "data" / "mushroom.csv"
WORKERS, ITERATIONS = 4, 10


def main() -> None:
    """Start Hadoop, measure in turn, and print the parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", default="yarn")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="samesum-yarn-") as folder:
        hdfs = Hdfs(Hadoop(pathlib.Path(folder, "hadoop")))
        yarn = None
        try:
            hdfs.start()
            yarn = Yarn(hdfs)
            yarn.start()
            os.environ.update(yarn.environment, no_proxy="*", SAMESUM_CONFIG_DIR=folder)
            result = measure(hdfs.url, folder, arguments.repeats)
        finally:
            if yarn is not None:
                yarn.stop()
            hdfs.stop()
    write_result(arguments.output, result, packages=("samesum", "mpi4py", "mpich", "skein"))


def measure(url: str, folder: str, repeats: int) -> dict[str, object]:
    """The installation, then job after job."""
    home = f"{url}/user/samesum"
    storage.put_file(f"{home}/mushroom.csv", MUSHROOM)
    clock = time.perf_counter()
    installed = install(f"{home}/app", {})
    packing = {"seconds": time.perf_counter() - clock, "bytes": installed["bytes"]}
    cluster = launch.hadoop_cluster.create("benchmark", f"{home}/app", None, WORKERS, 1024, 1)
    runs = [{"repeat": repeat, **run_job(cluster, f"{home}/mushroom.csv")} for repeat in range(repeats + 1)]
    here = launch.local_cluster.create("here", WORKERS, num_threads=1, working_dir=f"{folder}/jobs")
    local = [{"repeat": repeat, **run_job(here, str(MUSHROOM))} for repeat in range(repeats)]
    for name, found in (("first", runs[:1]), ("later", runs[1:]), ("this machine", local)):
        medians = {part: statistics.median(run[part] for run in found) for part in found[0] if part != "repeat"}
        print(f"{name}: " + ", ".join(f"{part} {seconds:.2f} s" for part, seconds in medians.items()))
    print(f"packing: {packing['seconds']:.1f} s, {packing['bytes'] / 1e6:.0f} MB")
    return {"workers": WORKERS, "iterations": ITERATIONS, "packing": packing, "runs": runs, "this_machine": local}


def run_job(cluster: launch.Cluster, path: str) -> dict[str, float]:
    """Seconds of the parts of one job: submitting, until all workers are there, until the first iteration, until the result."""
    began = time.time()
    job = launch.boosted_trees_classifier.submit_training_job(cluster, path, "label", max_iterations=ITERATIONS)
    submitted = time.time()
    job.wait()
    job.summary()
    events = list(job.events())
    attempt = next(event["time"] for event in events if event["event"] == "attempt")
    first = next(event["time"] for event in events if event["event"] == "row")
    end = json.loads(storage.read_bytes(storage.join(job.working_dir, "result.json")))
    assert end["state"] == "SUCCESS", end
    return {
        "submit": submitted - began,
        "workers": attempt - submitted,
        "wire_up_and_reading": first - attempt,
        "to_first_iteration": first - began,
        "total": end["time"] - began,
    }


if __name__ == "__main__":
    main()
