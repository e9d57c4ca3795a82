"""Many trainings that differ in their parameters: one job for each set, started together, and a table of what came of them."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import itertools
import json
import math
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from engine import storage
from engine.errors import MissingFileError, OptionError
from engine.model_io import read_envelope
from engine.spec import GRAPH_TOOLKITS, TOOLKITS
from engine.working_dir import WorkingDir
from launch.array import element_of
from launch.backends import backend_of
from launch.clusters import Cluster, check_address, find_cluster
from launch.job import Job, load_job
from launch.states import FinalState, State
from launch.submitting import describe_training, start_all

SWEEP_FILE = "sweep.json"
GREATER_IS_BETTER = ("accuracy", "auc")
_SIDES = ("validation_", "training_")


class Sweep:
    """Jobs that were submitted together; ``parameters[i]`` is what ``jobs[i]`` has of its own.

    ``working_dir`` is the address from which :func:`load_sweep` makes another handle.
    """

    def __init__(self, working_dir: str, parameters: Sequence[Mapping[str, Any]], jobs: Sequence[Job]) -> None:
        self.working_dir = working_dir
        self.parameters = [dict(each) for each in parameters]
        self.jobs = list(jobs)

    def __repr__(self) -> str:
        return f"Sweep of {len(self.jobs)} jobs, {self.working_dir!r}"

    def wait(self, timeout: float | None = None) -> list[FinalState | None]:
        """Wait until all have ended; how each did, None for those that have not within ``timeout`` seconds."""
        until = None if timeout is None else time.monotonic() + timeout
        return [job.wait(None if until is None else max(0.0, until - time.monotonic())) for job in self.jobs]

    def cancel(self) -> None:
        """End those that have not ended, on batch systems by one command. ``jobs[i].cancel()`` ends one."""
        directories = [WorkingDir(job.working_dir) for job in self.jobs]
        backend_of(directories[0].spec()).cancel_all(directories)

    def table(self, by: str | None = None) -> Any:
        """An Arrow table of a row per job, the best first: ``job``, its parameters, ``state``, its metrics, ``working_dir``.

        Metrics are called as the model's fields, such as ``validation_log_loss``: those of the model that was kept, or of the last
        iteration while the job runs. ``by`` is the one to sort by; None takes the last validation metric that is tracked, else the last one
        of training. Jobs without it come last, in the order of their submission. ``.to_pandas()`` makes a frame of it.

        Raises:
            OptionError: No job has a metric ``by``.
        """
        import pyarrow as pa

        found = [_metrics_of(job) for job in self.jobs]
        metrics = list(dict.fromkeys(name for each in found for name in each))
        if by is not None and by not in metrics:
            raise OptionError(f"by must be one of {', '.join(metrics) or 'the metrics, of which there is none yet'}, got {by!r}")
        by = by or _default_metric(metrics)
        rows = [
            {"job": number, **own, "state": _state_of(job), **values, "working_dir": job.working_dir}
            for number, (own, job, values) in enumerate(zip(self.parameters, self.jobs, found, strict=True))
        ]
        names = ["job", *dict.fromkeys(name for each in self.parameters for name in each), "state", *metrics, "working_dir"]
        rows.sort(key=lambda row: _rank(by, row.get(by or "")))
        return pa.table({name: _column([row.get(name) for row in rows]) for name in names})

    def best(self, by: str | None = None) -> Job:
        """The job in the first row of :meth:`table`."""
        return self.jobs[self.table(by)["job"][0].as_py()]


def submit_sweep(
    env: Cluster | str,
    toolkit: Any,
    dataset: Any = None,
    target: str | None = None,
    *,
    parameters: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]],
    max_at_once: int | None = None,
    **options: Any,
) -> Sweep:
    """Submit a training for every set of parameters, and return the handle of all.

    On Slurm and PBS they are one job array. Each job has a directory and restarts of its own. Nothing is submitted unless all can be.

    Args:
        env: A cluster, or the name of one that is kept.
        toolkit: A toolkit, such as ``launch.boosted_trees_classifier``, or its name.
        dataset: As in the toolkit's ``submit_training_job``; None for those of graphs, which take ``graph`` among the options.
        target: The column to predict.
        parameters: A list of sets of options, or a dict with a list of values for each option: then all combinations.
        max_at_once: Jobs that run at a time. None: one on this machine, on clusters as many as there is room for; Hadoop takes None alone.
        options: Options that all jobs have.

    Raises:
        OptionError: An option is unknown or out of range.
        JobError: The batch system refused the jobs.
    """
    name = toolkit if isinstance(toolkit, str) else str(getattr(toolkit, "__name__", toolkit)).rpartition(".")[2]
    if name not in (*TOOLKITS, *GRAPH_TOOLKITS):
        raise OptionError(f"toolkit must be one of {', '.join((*TOOLKITS, *GRAPH_TOOLKITS))}, got {toolkit!r}")
    if max_at_once is not None and (isinstance(max_at_once, bool) or not isinstance(max_at_once, int) or max_at_once < 1):
        raise OptionError(f"max_at_once must be an integer of 1 or more, or None, got {max_at_once!r}")
    if "working_dir" in options:
        raise OptionError("working_dir is no option of a sweep, whose jobs have a directory each: set working_dir of the cluster")
    sets = combinations(parameters)
    cluster = find_cluster(env)
    stem = storage.join(cluster.working_dir, f"dml_sweep_{uuid.uuid4()}")
    signature = inspect.signature(importlib.import_module(f"launch.toolkits.{name}").submit_training_job)
    data = () if name in GRAPH_TOOLKITS else (dataset, target)
    with contextlib.ExitStack() as stack:
        described = []
        for number, each in enumerate(sets, start=1):
            bound = signature.bind(cluster, *data, **{**options, **each, "working_dir": element_of(stem, number)})
            bound.apply_defaults()
            described.append(stack.enter_context(describe_training(name, bound.arguments)))
        storage.make_folder(stem)
        record = json.dumps({"parameters": sets, "jobs": len(sets)}, ensure_ascii=False, indent=1, default=_plain)
        storage.put_bytes(storage.join(stem, SWEEP_FILE), record.encode() + b"\n")
        return Sweep(stem, sets, start_all(described, max_at_once))


def load_sweep(working_dir: str | os.PathLike[str]) -> Sweep:
    """The handle of the sweep with that directory, whoever submitted it. Raises ``MissingFileError`` if there is none."""
    stem = check_address("working_dir", working_dir)
    try:
        record = json.loads(storage.read_bytes(storage.join(stem, SWEEP_FILE)))
    except MissingFileError:
        raise MissingFileError(f"expected the working directory of a sweep, got {stem!r}: it has no {SWEEP_FILE}") from None
    return Sweep(stem, record["parameters"], [load_job(element_of(stem, number)) for number in range(1, record["jobs"] + 1)])


def combinations(parameters: Any) -> list[dict[str, Any]]:
    """The sets of parameters that are meant. Raises :class:`OptionError` for none."""
    if isinstance(parameters, Mapping):
        if any(isinstance(values, str) or not isinstance(values, Sequence) for values in parameters.values()):
            raise OptionError(f"parameters must be a dict with a list of values for each option, got {parameters!r}")
        sets = [dict(zip(parameters, values, strict=True)) for values in itertools.product(*parameters.values())]
    elif isinstance(parameters, Sequence) and all(isinstance(each, Mapping) for each in parameters):
        sets = [dict(each) for each in parameters]
    else:
        raise OptionError(f"parameters must be a list of dicts, or a dict of lists, got {parameters!r}")
    if not any(sets):
        raise OptionError(f"parameters must have a set of options at least, got {parameters!r}")
    return sets


def _state_of(job: Job) -> str:
    state = job.get_state()
    return job.get_final_state().name if state == State.COMPLETED else state.name


def _metrics_of(job: Job) -> dict[str, Any]:
    """The metrics of the last iteration so far, of the model instead where there is one."""
    directory = WorkingDir(job.working_dir)
    rows = [event["values"] for event in directory.events() if event["event"] == "row"]
    shown = {name.lower().replace("-", "_").replace(" ", "_"): value for name, value in (rows[-1] if rows else {}).items()}
    result = directory.result()
    if result is not None and result["state"] == "SUCCESS":
        document = read_envelope(job.address_of(result["model"]))["document"]
        shown |= {name: value for name, value in document.get("metrics", {}).items() if name in shown}
    return shown


def _default_metric(names: Sequence[str]) -> str | None:
    return next((name for side in _SIDES for name in reversed(names) if name.startswith(side)), None)


def _rank(metric: str | None, value: Any) -> tuple[bool, float]:
    """What rows are sorted by: those without a number last, the best first."""
    if metric is None or not isinstance(value, int | float) or math.isnan(value):
        return True, 0.0
    return False, -value if metric.endswith(GREATER_IS_BETTER) else value


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)


def _column(values: list[Any]) -> list[Any]:
    """Values of one kind: as they are, else as text."""
    kinds = {type(value) for value in values if value is not None}
    return values if len(kinds) <= 1 or kinds <= {int, float} else [None if value is None else str(value) for value in values]
