"""Jobs on the local cluster for tests: submit one, disturb it, see how it ends and that nothing is left of it."""

import contextlib
import json
import os
import pathlib
import time
import uuid

from engine.spec import DataSpec, JobSpec, Resources, ScriptSpec
from engine.working_dir import WorkingDir
from launch.backends import backend_of

FAULTS = pathlib.Path(__file__).with_name("faults")
PATIENCE = 90.0
MODEL_FILES = ("model.json", "arrays.safetensors")


def write_data(path, n_rows=300):
    """A small table that takes some iterations to learn."""
    lines = [f"{(7 * n) % 31},{n % 13},{'abc'[n % 3]},{(7 * n) % 31 * (n % 13) % 5 > 1}" for n in range(n_rows)]
    path.write_text("\n".join(["x,y,word,label", *lines]) + "\n")
    return str(path)


def training(data, *, ranks=2, fault=None, options=None, environment=None, **resources):
    """A training of ten iterations with a checkpoint after every other."""
    variables = dict(environment or {})
    if fault is not None:
        variables |= {"PYTHONPATH": str(FAULTS), "TEST_FAULT": json.dumps(fault)}
    return JobSpec(
        task="train",
        toolkit="boosted_trees_classifier",
        target="label",
        data=DataSpec(paths=(data,)),
        options={"max_iterations": 10, "max_depth": 3, "model_checkpoint_interval": 2, **(options or {})},
        resources=Resources(num_workers=ranks, num_threads=1, environment=variables, **resources),
    )


def program(path, *, args=(), ranks=2, environment=None, **resources):
    """A program of a user on the ranks."""
    return JobSpec(
        task="script",
        script=ScriptSpec(path=str(path), args=tuple(args)),
        resources=Resources(num_workers=ranks, num_threads=1, environment=dict(environment or {}), **resources),
    )


def submit(folder, spec):
    """A job that has just been submitted, in a folder of a name that no other process knows."""
    wd = WorkingDir.create(str(folder / f"dml_job_{uuid.uuid4()}"), spec)
    backend_of(spec).submit(wd)
    return wd


def finish(wd, patience=PATIENCE):
    """Wait for the end of a job, whoever says so; gives the result as a new handle finds it, once nothing of the job is left."""
    backend = backend_of(wd.spec())
    deadline = time.monotonic() + patience
    while (status := backend.status(wd)) in ("pending", "running"):
        assert time.monotonic() < deadline, f"{status} after {patience} s:\n{wd.progress()}\n{read_logs(wd)}"
        time.sleep(0.05)
    if status == "gone":
        backend.make_sure_it_ended(wd)
    result = WorkingDir(wd.address).result()
    assert result is not None
    assert processes_of(wd) == [], f"left by the job:\n{read_logs(wd)}"
    assert not any(pathlib.Path(WorkingDir(wd.address).attempt(number)["scratch"]).exists() for number in wd.attempts())
    return result


def wait_until(condition, patience=PATIENCE, say=lambda: "it did not come true"):
    """Wait for something to become true; ``say`` tells what there is instead."""
    deadline = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < deadline, say()
        time.sleep(0.02)
    return found


def processes_of(wd):
    """Command lines of all processes that know of the job, but for this one; looks a moment longer for those about to go."""
    found = []
    for _ in range(20):
        found = list(_list_processes(wd.job_id.encode()))
        if not found:
            break
        time.sleep(0.05)
    return found


def _list_processes(word):
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes()
                if word in command or word in (entry / "environ").read_bytes():
                    yield entry.name, command


def pids(wd):
    """The ranks of the attempt under way, by rank, and its supervisor and agent."""
    number = wd.attempts()[-1]
    about = wd.attempt(number)
    ranks = {}
    for path in sorted(pathlib.Path(about["scratch"], "ranks").glob("*.json")):
        record = json.loads(path.read_text())
        ranks[record["rank"]] = record["pid"]
    return ranks, about["pid"]


def model_bytes(wd):
    """The bytes of the job's model; each checkpoint must be whole as well."""
    from engine.checkpoint import list_checkpoints, read_checkpoint

    for _, path in list_checkpoints(wd.path("checkpoints")):
        read_checkpoint(path)
    return folder_bytes(wd.path(wd.result()["model"]))


def folder_bytes(folder):
    """What of a model does not depend on how it was trained."""
    return [pathlib.Path(folder, name).read_bytes() for name in MODEL_FILES]


def read_logs(wd):
    """All logs of the job."""
    return "\n".join(f"--- {path}\n{pathlib.Path(path).read_text()[-2000:]}" for path in wd.logs())
