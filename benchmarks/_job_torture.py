"""Kill the processes of jobs at random moments: the part of :mod:`torture` about supervision.

Jobs on the local cluster train the same trees on changing numbers of ranks, while one rank, all of them, the agent, the launcher or the
supervisor is ended by SIGKILL, or a rank is stopped, every now and then. A job must end in SUCCESS with the bytes of an undisturbed
one, or, if its supervisor was killed, in FAILURE with a summary that says so, from whose last checkpoint another job goes on. After
each job no process of it may be left, each checkpoint must be whole, and its scratch folders gone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import random
import signal
import time
import uuid
from collections import Counter
from typing import Any

from same_bytes import hash_model

from engine.checkpoint import list_checkpoints, read_checkpoint
from engine.spec import DataSpec, JobSpec, Resources
from engine.working_dir import WorkingDir
from launch.backends import backend_of
from launch.processes import Process, process_of

VICTIMS = ("rank", "ranks", "agent", "launcher", "supervisor", "stopped rank")
WEIGHTS = (4, 3, 3, 2, 1, 1)
PATIENCE = 300.0  # seconds that a job may take before it counts as hanging
RANKS = (1, 2, 3, 4)
HANG_TIMEOUT = 3.0


@dataclasses.dataclass
class Course:
    """How far a run has come: kept in its folder after each job, so that a later call goes on where this one ended."""

    expected: str  # the hash of the model of a job that nobody disturbed
    longest: float  # seconds that job took
    jobs: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    resume: str | None = None  # the checkpoint that the next job goes on from
    pieces: int = 0

    @property
    def kills(self) -> int:
        """How many were done."""
        return sum(len(job["kills"]) for job in self.jobs)


def torture_jobs(
    folder: pathlib.Path, kills: int, *, seed: int, options: dict[str, Any], write: Any, n_rows: int, seconds: float
) -> dict[str, Any]:
    """Run jobs until so many kills were done, the last one to its end, or until a job ends after so many seconds; what happened so far.

    ``write`` makes the data. What an earlier call left in ``folder`` is gone on with; ``SystemExit`` where it had other options.
    """
    began = time.monotonic()
    course = begin(folder, {"seed": seed, "options": options, "rows": n_rows}, lambda path: write(path, n_rows))
    course.pieces += 1
    while (course.kills < kills or course.resume is not None) and time.monotonic() < began + seconds:
        course.jobs.append(run_job(folder, course, random.Random(f"{seed} {len(course.jobs)}"), options, most=kills - course.kills))
        keep(folder, course)
        print(json.dumps(course.jobs[-1]), flush=True)
    counts = Counter(kill["victim"] for job in course.jobs for kill in job["kills"])
    done = {"sha256": course.expected, "kills": course.kills, "victims": dict(counts), "ended": len(course.jobs)}
    return {**done, "pieces": course.pieces, "complete": course.kills >= kills and course.resume is None, "jobs": course.jobs}


def begin(folder: pathlib.Path, task: dict[str, Any], write: Any) -> Course:
    """What was kept in ``folder``, or, where nothing was, a job that nobody disturbs."""
    if (folder / "course.json").exists():
        if json.loads((folder / "task.json").read_text()) != task:
            raise SystemExit(f"{folder} has a run of other options: remove it, or name another folder")
        return Course(**json.loads((folder / "course.json").read_text()))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "task.json").write_text(json.dumps(task))
    write(folder / "data.parquet")
    began = time.monotonic()
    undisturbed = submit(folder, task["options"], ranks=1, resume=None)
    assert finish(undisturbed)["state"] == "SUCCESS"
    longest = time.monotonic() - began
    return Course(hash_model(pathlib.Path(undisturbed.path(undisturbed.result()["model"]))), longest)


def keep(folder: pathlib.Path, course: Course) -> None:
    """Write down how far the run has come, whole or not at all."""
    partial = folder / ".course.json"
    partial.write_text(json.dumps(dataclasses.asdict(course)))
    partial.replace(folder / "course.json")


def run_job(folder: pathlib.Path, course: Course, chance: random.Random, options: dict[str, Any], *, most: int) -> dict[str, Any]:
    """One job, from its beginning or from where the last one failed, disturbed at most so often; what came of it."""
    ranks, resume = chance.choice(RANKS), course.resume
    wd = submit(folder, options, ranks=ranks, resume=resume)
    done = disturb(wd, chance, course.longest, most=most)
    result = finish(wd)
    job = {"ranks": ranks, "resumed": resume is not None, "kills": done, "state": result["state"], "attempts": len(wd.attempts())}
    job |= {"summary": result["summary"].partition("; resume")[0], "checked": check(wd)}
    if result["state"] == "SUCCESS":
        job["same"] = hash_model(pathlib.Path(wd.path(result["model"]))) == course.expected
    course.resume = wd.last_checkpoint() if result["state"] == "FAILURE" else None
    return job


def is_good(result: dict[str, Any]) -> bool:
    """Whether every job ended as it must."""
    return all(job["checked"] and (job["same"] if job["state"] == "SUCCESS" else is_explained(job)) for job in result["jobs"])


def is_explained(job: dict[str, Any]) -> bool:
    """Whether a failure is that of a job whose supervisor was killed, and says so."""
    return any(kill["victim"] == "supervisor" for kill in job["kills"]) and "is gone and left no result" in job["summary"]


def submit(folder: pathlib.Path, options: dict[str, Any], *, ranks: int, resume: str | None) -> WorkingDir:
    """A job that trains the trees."""
    spec = JobSpec(
        task="train",
        toolkit="boosted_trees_classifier",
        target="y",
        data=DataSpec(paths=(str(folder / "data.parquet"),)),
        options={**options, **({} if resume is None else {"resume_from_checkpoint": resume})},
        resources=Resources(num_workers=ranks, num_threads=1, max_restarts=1000, hang_timeout=HANG_TIMEOUT),
    )
    wd = WorkingDir.create(str(folder / f"dml_job_{uuid.UUID(int=random.getrandbits(128))}"), spec)
    backend_of(spec).submit(wd)
    return wd


def disturb(wd: WorkingDir, chance: random.Random, longest: float, *, most: int) -> list[dict[str, Any]]:
    """Kill something at random moments until the job has ended, at most so often."""
    kills: list[dict[str, Any]] = []
    while len(kills) < most:
        seconds = chance.uniform(0.1, 1.5) * longest
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if backend_of(wd.spec()).status(wd) in ("gone", "ended"):
                return kills
            time.sleep(0.02)
        (victim,) = chance.choices(VICTIMS, WEIGHTS)
        if hit := strike(wd, victim, chance):
            kills.append({"victim": victim, "after": round(seconds, 3), "attempt": max(wd.attempts(), default=0), "processes": hit})
    return kills


def strike(wd: WorkingDir, victim: str, chance: random.Random) -> int:
    """End or stop what is there of a kind of process; how many were."""
    attempts = wd.attempts()
    if not attempts:
        return 0
    about = wd.attempt(attempts[-1])
    supervisor = Process(about["pid"], about["started"])
    agents = children(supervisor)
    ranks = []
    for path in sorted(pathlib.Path(about["scratch"], "ranks").glob("*.json")):
        with contextlib.suppress(OSError, ValueError):
            record = json.loads(path.read_text())
            ranks.append(Process(record["pid"], record["started"]))
    ranks = [rank for rank in ranks if rank.is_alive]
    one = [chance.choice(ranks)] if ranks else []
    launchers = [child for agent in agents for child in children(agent)]
    kinds = {"rank": one, "ranks": ranks, "agent": agents, "launcher": launchers, "supervisor": [supervisor], "stopped rank": one}
    victims = [process for process in kinds[victim] if process.is_alive]
    for process in victims:
        process.kill(signal.SIGSTOP if victim == "stopped rank" else signal.SIGKILL)
    return len(victims)


def children(parent: Process) -> list[Process]:
    """The processes that a process has started itself."""
    found = []
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError):
            if int(pathlib.Path("/proc", entry, "stat").read_text().rpartition(") ")[2].split()[1]) == parent.pid:
                found.append(process_of(int(entry)))
    return [process for process in found if process is not None]


def finish(wd: WorkingDir) -> dict[str, Any]:
    """Wait for the end of a job, and say so where nobody is left to."""
    backend = backend_of(wd.spec())
    deadline = time.monotonic() + PATIENCE
    while (status := backend.status(wd)) in ("pending", "running"):
        if time.monotonic() > deadline:
            raise SystemExit(f"{wd.address} is {status} after {PATIENCE} s")
        time.sleep(0.05)
    if status == "gone":
        backend.make_sure_it_ended(wd)
    result = wd.result()
    assert result is not None
    return result


def check(wd: WorkingDir) -> bool:
    """Whether nothing is left of a job, and what it has written is whole."""
    for _ in range(40):
        if not (left := list(processes_of(wd))):
            break
        time.sleep(0.05)
    for _, path in list_checkpoints(wd.path("checkpoints")):
        read_checkpoint(path)
    scratch = [wd.attempt(number)["scratch"] for number in wd.attempts()]
    return not left and not any(os.path.exists(path) for path in scratch)


def processes_of(wd: WorkingDir) -> Any:
    """Processes that know of the job, but for this one."""
    word = wd.job_id.encode()
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if word in (entry / "cmdline").read_bytes() or word in (entry / "environ").read_bytes():
                    yield int(entry.name)
