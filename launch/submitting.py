"""From the arguments of a submission to a job that runs: check, stage, describe, start."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import engine
from engine import storage
from engine.errors import OptionError, StorageError
from engine.outputs import METRICS, TABLES, is_folder_of_parts
from engine.spec import GRAPH_TOOLKITS, JobSpec, Resources, ScriptSpec
from engine.working_dir import WorkingDir
from launch.backends import backend_of
from launch.clusters import Cluster, absolute, check_address, find_cluster
from launch.job import Job
from launch.leftovers import clear_staged
from launch.staging import Staging

# Arguments of a submission that are no options of `create`.
_ELSEWHERE = ("env", "dataset", "graph", "working_dir", "kwargs", "_single_precision")
# Options that `create` has beside its mathematics, and a job says in its own way.
_SAID_APART = ("target", "features", "validation_set", "initial_model", "num_trees")
# Arguments of `create` that mean nothing here, and what to do instead.
_NOT_OF_JOBS = {
    "verbose": "the progress of a job is in get_progress()",
    "callback": "a function cannot be sent to a job; look at its events()",
    "num_threads": "set num_threads of the cluster",
    "memory_limit": "set worker_memory of the cluster",
    "cache_dir": "set node_tmp_dir of the cluster",
    "comm": "set num_workers of the cluster",
}


def submit_training(toolkit: str, arguments: Mapping[str, Any]) -> Job:
    """Submit a training; ``arguments``: all those of the toolkit's ``submit_training_job``.

    ``env`` is a cluster or the name of one that is kept. ``dataset`` (or ``graph``: ``engine.Graph.source(...)``, a description, or a
    graph that is loaded) and ``validation_set`` are what ``create`` takes: what the cluster can read is not opened here; a table in memory,
    or files that only this machine has, are staged, and removed when the job has ended. ``model_checkpoint_path`` 'auto' is ``checkpoints``
    in the job's directory, None writes none; ``resume_from_checkpoint`` may be another job's ``last_checkpoint()``. ``working_dir`` is
    the job's directory, None makes one in that of the cluster. Threads, memory and folders of workers are the cluster's.

    Returns the handle at once. Raises ``OptionError`` for options that are unknown or out of range, as far as one can know without the
    data, ``DataError`` for what is no data, ``StorageError`` where directory or staged data cannot be written.
    """
    with describe_training(toolkit, arguments) as (address, spec):
        return start(address, spec)


@contextlib.contextmanager
def describe_training(toolkit: str, arguments: Mapping[str, Any]) -> Iterator[tuple[str, JobSpec]]:
    """The address and the description of a training that is to be submitted; what was staged for it goes if that fails."""
    cluster = find_cluster(arguments["env"])
    for name in arguments["kwargs"]:
        if name in _NOT_OF_JOBS:
            raise OptionError(f"{name!r} is no option of a job: {_NOT_OF_JOBS[name]}")
    options = {**{name: value for name, value in arguments.items() if name not in _ELSEWHERE}, **arguments["kwargs"]}
    engine.check_training(toolkit, options)
    options["max_iterations"] = options.get("num_trees", options["max_iterations"])
    with new_job(cluster, arguments["working_dir"]) as (address, staging):
        said = {name: _plain(value) for name, value in options.items() if name not in _SAID_APART}
        for name in ("model_checkpoint_path", "resume_from_checkpoint"):
            said[name] = options[name] if options[name] in (None, "auto") else staging.readable(name, options[name])
        if options.get("initial_model") is not None:
            said["initial_model"] = staging.model("initial_model", options["initial_model"])
        validation = options.get("validation_set")
        if isinstance(validation, str) and validation == "auto":
            said["validation_set"], validation = "auto", None
        if toolkit in GRAPH_TOOLKITS:
            data, graph = staging.graph(arguments["graph"])
        else:
            data, graph = staging.data("dataset", arguments["dataset"]), None
        spec = JobSpec(
            task="train",
            toolkit=toolkit,
            target=options.get("target"),
            features=None if options.get("features") is None else tuple(options["features"]),
            data=data,
            graph=graph,
            validation=None if validation is None else staging.data("validation_set", validation),
            options=said,
            **_common(cluster, staging),
        )
        yield address, spec


def submit_prediction_job(
    env: Cluster | str,
    model: Any,
    dataset: Any,
    *,
    output: str | os.PathLike[str] | None = None,
    task: str = "predict",
    output_type: str | None = None,
    working_dir: str | os.PathLike[str] | None = None,
) -> Job:
    """Submit a job that predicts every row with a model, or evaluates the model, and return its handle.

    Args:
        env: A cluster, or the name of one that is kept.
        model: A model, the path of one, or the job that trained it, for which this waits.
        dataset: The rows, as in training.
        output: For predictions a file, ``.parquet`` or ``.csv``, or the folder of part files that an address ending in a slash means; for
            metrics a ``.json`` file. None puts it into the job's directory.
        task: 'predict', or 'evaluate' for the metrics.
        output_type: What to predict, as ``predict`` of the model takes it; None for its default.
        working_dir: The job's directory, empty or not there yet; None makes one in the cluster's.

    Raises:
        OptionError: An option is not what it must be.
        DataError: ``dataset`` is no data.
        StorageError: The job's directory or staged data could not be written, or local data is not there.
    """
    cluster = find_cluster(env)
    if task not in ("predict", "evaluate"):
        raise OptionError(f"task must be 'predict' or 'evaluate', got {task!r}")
    with new_job(cluster, working_dir) as (address, staging):
        spec = JobSpec(
            task=task,
            model=staging.model("model", model),
            data=staging.data("dataset", dataset),
            output=None if output is None else check_output(task, staging.readable("output", output)),
            output_type=output_type,
            **_common(cluster, staging),
        )
        return start(address, spec)


def run_script(
    env: Cluster | str, path: str | os.PathLike[str], args: Sequence[str] = (), *, working_dir: str | os.PathLike[str] | None = None
) -> Job:
    """Submit a program in Python that every worker runs as one rank of MPI, and return its handle.

    What it prints is in the job's logs. It ends in SUCCESS if all ranks end with exit code 0. ``path`` must be where the cluster can read
    it; jobs on Hadoop bring it along; ``args`` are its ``sys.argv[1:]``. Raises ``OptionError``, ``MissingFileError``, ``StorageError``.
    """
    cluster = find_cluster(env)
    if isinstance(args, str) or not all(isinstance(each, str | int | float | os.PathLike) for each in args):
        raise OptionError(f"args must be a list of texts, got {args!r}")
    with new_job(cluster, working_dir) as (address, staging):
        program = absolute(os.fspath(path)) if cluster.brings_programs else staging.readable("path", path)
        storage.file_size(program)
        script = ScriptSpec(path=program, args=tuple(map(str, args)))
        return start(address, JobSpec(task="script", script=script, **_common(cluster, staging)))


def check_output(task: str, output: str) -> str:
    """The address of what a job is to write. Raises :class:`OptionError` for an extension that says no format."""
    formats = METRICS if task == "evaluate" else TABLES
    if storage.suffix_of(output) not in formats and not (task == "predict" and is_folder_of_parts(output)):
        folder = " or the slash of a folder of parts" if task == "predict" else ""
        raise OptionError(f"output must end with {' or '.join(formats)}{folder}, got {output!r}")
    return output


@contextlib.contextmanager
def new_job(cluster: Cluster, working_dir: str | os.PathLike[str] | None) -> Iterator[tuple[str, Staging]]:
    """The address of a new job and the place for what is staged for it, of which nothing stays if the job is not submitted."""
    given = storage.join(cluster.working_dir, f"dml_job_{uuid.uuid4()}") if working_dir is None else working_dir
    address = check_address("working_dir", given)
    if working_dir is not None and WorkingDir(address).exists():
        raise StorageError(f"a job is in {address!r} already: choose another working directory")
    for _ in clear_staged(cluster):
        pass
    staging = Staging(cluster, address)
    try:
        yield address, staging
    except BaseException:
        staging.remove()
        raise


def start(address: str, spec: JobSpec) -> Job:
    """Write the job's directory and start what supervises it; a job that cannot be started has failed."""
    directory = WorkingDir.create(address, spec)
    try:
        backend_of(spec).submit(directory)
    except BaseException as error:
        directory.publish("FAILURE", attempt=0, summary=f"it could not be started: {error}", time=time.time())
        raise
    return Job(directory)


def start_all(described: Sequence[tuple[str, JobSpec]], at_once: int | None) -> list[Job]:
    """Start several jobs of one cluster together, at most ``at_once`` of them at a time; if that cannot be, all have failed."""
    directories = [WorkingDir.create(address, replace(spec, submitted=time.time())) for address, spec in described]
    try:
        backend_of(described[0][1]).submit_all(directories, at_once)
    except BaseException as error:
        for directory in directories:
            directory.publish("FAILURE", attempt=0, summary=f"it could not be started: {error}", time=time.time())
        raise
    return [Job(directory) for directory in directories]


def _common(cluster: Cluster, staging: Staging) -> dict[str, Any]:
    """What every job says."""
    return {
        "resources": Resources(**cluster.resources()),
        "staged": staging.folder if staging.is_used else None,
        "submitted": time.time(),
    }


def _plain(value: Any) -> Any:
    """A value as JSON has it: labels of classes as text, NumPy's numbers as numbers, paths as text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.item() if hasattr(value, "item") else value
