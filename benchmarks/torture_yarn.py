"""Kill what jobs on YARN consist of, at random moments: ``python benchmarks/torture_yarn.py`` or ``make torture``.

A real YARN of two nodes over a real HDFS runs on this machine. Jobs train the same trees on changing numbers of containers, while a rank,
an agent, a container, a node with all its processes, a NodeManager alone or the application master's JVM is ended by SIGKILL every now and
then. Every job must end in SUCCESS with the bytes of an undisturbed one; each checkpoint must be whole, no process of the job may be
left, and of the restarts only as many may count as ranks, agents and containers were killed: the others were the cluster's doing. What
happened goes to ``benchmarks/results/torture_yarn.json``; ``--add`` adds to what is there, so that it can be done in pieces of
``--seconds`` each.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from _result import RESULTS, ROOT, write_result
from same_bytes import hash_model

sys.path.insert(0, str(ROOT))

import launch
from engine import storage
from engine.checkpoint import list_checkpoints, read_checkpoint
from engine.errors import MissingFileError
from engine.working_dir import WorkingDir
from launch.causes import counts
from launch.processes import Process, find_processes
from tests.cluster.hadoop import Hadoop, Hdfs
from tests.cluster.processes import command_of, variable_of
from tests.cluster.yarn import Yarn

SEED = 47
MUSHROOM = ROOT / "examples" / "data" / "mushroom.csv"
VICTIMS = {"rank": 4, "agent": 3, "container": 4, "node": 2, "node manager": 1, "application master": 3}
COUNTED = ("rank", "agent", "container")  # the victims whose loss is the job's own
OPTIONS = {"max_iterations": 40, "max_depth": 4, "row_subsample": 0.8, "column_subsample": 0.7, "random_seed": 3}
PAUSE = 0.4  # seconds after each checkpoint, so that a job can be disturbed
WORKERS = (1, 2, 3, 4)
QUIET = (0.5, 10.0)  # seconds until the next kill, once ranks are there again
AT_ONCE = 0.2  # of the kills do not wait for that
PATIENCE = 420.0  # seconds that a job may take after its last kill before it counts as hanging
GONE_WITHIN = 60.0


def main() -> int:
    """Start Hadoop, run jobs until there were enough kills or time is up; 1 if any did not end as it must."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="in all, those of earlier pieces too")
    parser.add_argument("--seconds", type=float, default=3600.0, help="no new job begins after that")
    parser.add_argument("--add", action="store_true", help="to the result that is there")
    parser.add_argument("--output", default="torture_yarn")
    arguments = parser.parse_args()
    found = RESULTS / f"{arguments.output}.json"
    jobs: list[dict[str, Any]] = json.loads(found.read_text())["jobs"] if arguments.add and found.exists() else []
    with tempfile.TemporaryDirectory(prefix="samesum-torture-") as folder, hadoop(folder) as (hdfs, yarn):
        expected = undisturbed(pathlib.Path(folder))
        until = time.monotonic() + arguments.seconds
        home = f"{hdfs.url}/user/samesum"
        storage.put_file(f"{home}/mushroom.csv", MUSHROOM)
        while (left := arguments.kills - sum(len(job["kills"]) for job in jobs)) > 0 and time.monotonic() < until:
            chance = random.Random(SEED + len(jobs))
            jobs.append(torture(yarn, home, chance, expected, min(left, 12)))
            print(json.dumps(jobs[-1]), flush=True)
            write_result(
                arguments.output, {**summary(jobs), "sha256": expected, "jobs": jobs}, seed=SEED, packages=("mpi4py", "mpich", "skein")
            )
    result = summary(jobs)
    print(f"{result['kills']} kills in {len(jobs)} jobs, {result['same']} models with the same bytes; all as they must: {result['good']}")
    return 0 if result["good"] else 1


@contextlib.contextmanager
def hadoop(folder: str) -> Iterator[tuple[Hdfs, Yarn]]:
    """A running Hadoop, found by this process and those that it starts."""
    hdfs = Hdfs(Hadoop(pathlib.Path(folder, "hadoop")))
    yarn = None
    try:
        hdfs.start()
        yarn = Yarn(hdfs, settings={"yarn.resourcemanager.am.max-attempts": 1000})
        yarn.start()
        os.environ.update(yarn.environment, no_proxy="*", SAMESUM_CONFIG_DIR=folder)
        yield hdfs, yarn
    finally:
        if yarn is not None:
            yarn.stop()
        hdfs.stop()


def undisturbed(folder: pathlib.Path) -> str:
    """The hash of the model that one process trains."""
    import engine

    engine.boosted_trees_classifier.create(str(MUSHROOM), target="label", verbose=False, **OPTIONS).save(folder / "model")
    return hash_model(folder / "model")


class PausingCluster(launch.hadoop_cluster.HadoopCluster):
    """A cluster on which ranks pause after each checkpoint."""

    def resources(self) -> dict[str, Any]:
        """As of every Hadoop cluster."""
        variables = {"PYTHONPATH": str(ROOT / "tests" / "cluster" / "slow"), "TEST_PAUSE": str(PAUSE)}
        return {**super().resources(), "environment": variables}


def torture(yarn: Yarn, home: str, chance: random.Random, expected: str, most: int) -> dict[str, Any]:
    """One job, disturbed until it has ended or so many kills were done; what happened."""
    workers = chance.choice(WORKERS)
    launch.hadoop_cluster.create("torture", home, None, workers, 1024, 1, python=sys.executable, max_restarts=1000)
    cluster = PausingCluster(**vars(launch.environments["torture"]))
    began = time.monotonic()
    options = {"model_checkpoint_interval": 2, **OPTIONS}
    job = launch.boosted_trees_classifier.submit_training_job(cluster, f"{home}/mushroom.csv", "label", **options)
    kills = disturb(yarn, job, chance, most)
    state = job.wait(PATIENCE)
    yarn.repair()
    wd = WorkingDir(job.working_dir)
    ends = [wd.attempt_end(number) for number in wd.attempts()[:-1]]
    found: dict[str, Any] = {"workers": workers, "kills": kills, "state": state and state.name, "attempts": len(wd.attempts())}
    found |= {"ends": dict(Counter(end["cause"] for end in ends)), "counted": sum(counts(end) for end in ends)}
    found |= {"may_count": sum(kill["victim"] in COUNTED for kill in kills), "seconds": round(time.monotonic() - began, 1)}
    found |= {"restarted": job.get_progress().count("restarted from"), "left": left_of(job)}
    if state == job.FINAL_STATE.SUCCESS:
        with tempfile.TemporaryDirectory() as folder:
            job.get_results().save(f"{folder}/model")
            found["same"] = hash_model(pathlib.Path(folder, "model")) == expected
        for _, path in list_checkpoints(wd.path("checkpoints")):
            read_checkpoint(path)
    else:
        found["summary"] = job.summary()
        job.cancel()
    return found


def disturb(yarn: Yarn, job: Any, chance: random.Random, most: int) -> list[dict[str, Any]]:
    """Strike again and again while the job runs; what was hit."""
    kills: list[dict[str, Any]] = []
    while len(kills) < most:
        needs_ranks, seconds = chance.random() > AT_ONCE, chance.uniform(*QUIET)
        until = None if needs_ranks else time.monotonic() + seconds
        while until is None or time.monotonic() < until:
            if until is None and ranks_of(job):
                until = time.monotonic() + seconds
            if job.get_state() == job.STATE.COMPLETED:
                return kills
            time.sleep(0.2)
        (victim,) = chance.choices(list(VICTIMS), list(VICTIMS.values()))
        if processes := strike(yarn, job, victim, chance):
            kills.append({"victim": victim, "processes": processes, "attempt": max(WorkingDir(job.working_dir).attempts(), default=0)})
    return kills


def strike(yarn: Yarn, job: Any, victim: str, chance: random.Random) -> int:
    """End what is there of a kind; how many processes, or daemons, were."""
    found = processes_of(job)
    kinds = {
        "rank": ranks_of(job),
        "agent": [each for each in found if "launch.agent" in command_of(each)],
        "container": [each for each in found if "-m launch.yarn.worker" in command_of(each)],
        "application master": [each for each in found if "com.anaconda.skein.ApplicationMaster" in command_of(each)],
        "node": found,
        "node manager": found,
    }
    if not kinds[victim]:
        return 0
    one = chance.choice(kinds[victim])
    if victim in ("node", "node manager"):
        try:
            number = yarn.node_of(one)
        except StopIteration:
            return 0  # it has just ended
        if victim == "node":
            yarn.lose_node(number)
        else:
            yarn.node_managers[number].stop(signal.SIGKILL)
            time.sleep(chance.uniform(0.0, 15.0))  # it may come back before it was missed, or after
        yarn.repair()
        return 1
    victims = [one]
    if victim == "container":  # as a NodeManager does
        own = variable_of(one, "CONTAINER_ID")
        victims = [each for each in found if variable_of(each, "CONTAINER_ID") == own and "leash.py" not in command_of(each)]
        victims = [each for each in victims if os.getpgid(each.pid) == os.getpgid(one.pid)] if one.is_alive else []
    for process in victims:
        process.kill(signal.SIGKILL)
    return len(victims)


def ranks_of(job: Any) -> list[Process]:
    """The ranks that run."""
    return [each for each in processes_of(job) if "-m engine" in command_of(each) and "leash.py" not in command_of(each)]


def processes_of(job: Any) -> list[Process]:
    """All processes of the job's application."""
    with contextlib.suppress(MissingFileError):
        about = json.loads(storage.read_bytes(f"{job.working_dir}/submitted.json"))
        return find_processes("SKEIN_APPLICATION_ID", about["application"])
    return []


def left_of(job: Any) -> list[str]:
    """Commands of processes of the job that have not ended a while after it."""
    deadline = time.monotonic() + GONE_WITHIN
    while (left := [*processes_of(job), *find_processes("SAMESUM_JOB", job.working_dir)]) and time.monotonic() < deadline:
        time.sleep(0.2)
    return [command_of(each)[:200] for each in left]


def summary(jobs: list[dict[str, Any]]) -> dict[str, Any]:
    """What came of all jobs."""
    victims = Counter(kill["victim"] for job in jobs for kill in job["kills"])
    same = sum(job.get("same", False) for job in jobs)
    good = all(job.get("same", False) and not job["left"] and job["counted"] <= job["may_count"] for job in jobs)
    return {"options": OPTIONS, "kills": sum(victims.values()), "victims": dict(victims), "ended": len(jobs), "same": same, "good": good}


if __name__ == "__main__":
    sys.exit(main())
