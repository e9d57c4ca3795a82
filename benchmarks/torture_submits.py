"""Submit jobs and cancel them at random moments, time after time: ``python benchmarks/torture_submits.py`` or ``make torture``.

``--local`` jobs on this machine, then ``--yarn`` jobs on a real YARN that runs here. Each must end as KILLED, or as SUCCESS where it was
quicker. In the end no process of any of them may be left, nor shared memory that no process uses, nor a file in the folders for temporary
files, on this machine and on HDFS, and neither this process nor a handle that is asked again and again may have grown. Where other jobs
run on the machine, it must have a ``/dev/shm`` of its own (``unshare --mount``), or it finds what they leave. What was found goes to
``benchmarks/results/torture_submits.json``.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from _result import ROOT, write_result

sys.path.insert(0, str(ROOT))

from torture_yarn import hadoop

import launch
from engine import storage
from launch.processes import find_processes, resident_bytes, used_segments
from launch.staging import staging_folder

SEED = 53
MUSHROOM = ROOT / "examples" / "data" / "mushroom.csv"
OPTIONS = {"max_iterations": 300, "max_depth": 6, "model_checkpoint_interval": 2}
LOCAL_PAUSE, YARN_PAUSE = 2.5, 16.0  # seconds: the longest from submitting to cancelling
WARM = 0.25  # of the jobs: memory is compared from there on
MAY_GROW = 8 << 20  # bytes
LOOKS = 2000  # at one handle
SHARED = re.compile(r"mpich_|samesum")


def main() -> int:
    """Do all of it; 1 if anything was left or has grown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--local", type=int, default=200)
    parser.add_argument("--yarn", type=int, default=200)
    parser.add_argument("--output", default="torture_submits")
    arguments = parser.parse_args()
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="submits-") as name:
        folder = pathlib.Path(name)
        os.environ["SAMESUM_CONFIG_DIR"] = str(folder / "config")
        if arguments.local:
            result["local"] = on_this_machine(folder, arguments.local)
        if arguments.yarn:
            result["yarn"] = on_yarn(folder, arguments.yarn)
    good = all(each["good"] for each in result.values())
    write_result(arguments.output, {"good": good, **result}, seed=SEED, packages=("mpi4py", "mpich", "skein"))
    for kind, found in result.items():
        print(f"{kind}: {found['jobs']} jobs {found['states']}, left {found['left']}, grown {found['grown'] / 1e6:.1f} MB")
    return 0 if good else 1


def on_this_machine(folder: pathlib.Path, count: int) -> dict[str, Any]:
    """Jobs on the local cluster, on two workers each."""
    temporary = folder / "tmp"
    temporary.mkdir()
    cluster = launch.local_cluster.create("here", 2, num_threads=1, working_dir=folder / "jobs", node_tmp_dir=temporary)

    def submit() -> Any:
        return launch.boosted_trees_classifier.submit_training_job(cluster, str(MUSHROOM), "label", **OPTIONS)

    before = unused_segments()
    found = again_and_again(submit, count, LOCAL_PAUSE)
    files = [path.name for path in temporary.iterdir()]
    return judged(found, {"files": files, "shared_memory": sorted(unused_segments() - before)})


def on_yarn(folder: pathlib.Path, count: int) -> dict[str, Any]:
    """Jobs on YARN, in two containers each; data of this machine are staged for them."""
    temporary = folder / "nodes"
    temporary.mkdir()
    before = unused_segments()
    with hadoop(str(folder)) as (hdfs, _):
        home = f"{hdfs.url}/user/samesum"
        launch.hadoop_cluster.create("there", home, None, 2, 1024, 1, python=sys.executable)
        cluster = launch.environments["there"]
        cluster.node_tmp_dir, cluster.hdfs_tmp_dir = str(temporary), f"{home}/tmp"

        def submit() -> Any:
            return launch.boosted_trees_classifier.submit_training_job(cluster, str(MUSHROOM), "label", **OPTIONS)

        found = again_and_again(submit, count, YARN_PAUSE)
        places = {"staged": staging_folder(cluster.hdfs_tmp_dir), "applications": f"{home}/.skein"}
        wait_until(lambda: not any(below(address) for address in places.values()))
        left: dict[str, Any] = {name: below(address) for name, address in places.items()}
    files = [path.name for path in temporary.iterdir()]
    return judged(found, {**left, "files": files, "shared_memory": sorted(unused_segments() - before)})


def again_and_again(submit: Callable[[], Any], count: int, pause: float) -> dict[str, Any]:
    """Submit and cancel so many times, then ask one handle many times; how the jobs ended, and this process's memory after each."""
    chance = random.Random(SEED)
    jobs, memory, states = [], [], []
    began = time.monotonic()
    for _ in range(count):
        job = submit()
        time.sleep(chance.uniform(0.0, pause))
        job.cancel()
        states.append(job.get_final_state().name)
        jobs.append(job.working_dir)
        memory.append(resident_bytes(os.getpid()))
    seconds = time.monotonic() - began
    wait_until(lambda: not any(find_processes("SAMESUM_JOB", address) for address in jobs))
    processes = sum(len(find_processes("SAMESUM_JOB", address)) for address in jobs)
    for look in range(LOOKS):
        job.get_state(), job.get_progress(), job.summary()
        if look == LOOKS // 4:
            warm = resident_bytes(os.getpid())
    handle = resident_bytes(os.getpid()) - warm
    found: dict[str, Any] = {"jobs": count, "seconds": round(seconds, 1), "states": dict(Counter(states))}
    return {**found, "processes": processes, "memory": memory, "handle": handle}


def judged(found: dict[str, Any], left: dict[str, Any]) -> dict[str, Any]:
    """The result, and whether it is as it must be."""
    memory = found["memory"]
    grown = memory[-1] - memory[int(WARM * len(memory))]
    left = {"processes": found.pop("processes"), **left}
    good = not any(left.values()) and grown < MAY_GROW and found["handle"] < MAY_GROW and found["states"].keys() <= {"KILLED", "SUCCESS"}
    return {"good": good, "left": left, "grown": grown, **found}


def unused_segments() -> set[str]:
    """Shared memory of MPI that no process has in its memory."""
    return {str(path) for path in pathlib.Path("/dev/shm").iterdir() if SHARED.match(path.name)} - used_segments()


def below(address: str) -> list[str]:
    """The names in a folder; none if it is not there."""
    return [entry.name for entry in storage.list_folder(address)] if storage.exists(address) else []


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for something, but not for ever."""
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main())
