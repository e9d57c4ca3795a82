"""Many trainings that differ in their parameters: one job for each set, and a table of what came of them."""

from __future__ import annotations

import importlib
import itertools
import time
from collections.abc import Mapping, Sequence
from typing import Any

from engine.errors import OptionError
from engine.spec import GRAPH_TOOLKITS, TOOLKITS
from launch.clusters import Cluster, find_cluster
from launch.job import Job
from launch.states import FinalState, State


class Sweep:
    """Jobs that were submitted together; ``parameters[i]`` is what ``jobs[i]`` has of its own."""

    def __init__(self, parameters: Sequence[Mapping[str, Any]], jobs: Sequence[Job]) -> None:
        self.parameters = [dict(each) for each in parameters]
        self.jobs = list(jobs)

    def __repr__(self) -> str:
        return f"Sweep of {len(self.jobs)} jobs"

    def wait(self, timeout: float | None = None) -> list[FinalState | None]:
        """Wait until all have ended; how each did, None for those that have not within ``timeout`` seconds."""
        until = None if timeout is None else time.monotonic() + timeout
        return [job.wait(None if until is None else max(0.0, until - time.monotonic())) for job in self.jobs]

    def cancel(self) -> None:
        """End those that have not ended."""
        for job in self.jobs:
            job.cancel()

    def table(self) -> Any:
        """An Arrow table of a row per job: its parameters, ``state``, what its last iteration printed, ``working_dir``."""
        import pyarrow as pa

        rows = [{**own, **_what_came(job)} for own, job in zip(self.parameters, self.jobs, strict=True)]
        names = list(dict.fromkeys(name for row in rows for name in row))
        return pa.table({name: _column([row.get(name) for row in rows]) for name in names})


def submit_sweep(
    env: Cluster | str,
    toolkit: Any,
    dataset: Any = None,
    target: str | None = None,
    *,
    parameters: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]],
    **options: Any,
) -> Sweep:
    """Submit a training for every set of parameters, and return the handle of all.

    Args:
        env: A cluster, or the name of one that is kept.
        toolkit: A toolkit, such as ``launch.boosted_trees_classifier``, or its name.
        dataset: As in the toolkit's ``submit_training_job``; None for those of graphs, which take ``graph`` among the options.
        target: The column to predict.
        parameters: A list of sets of options, or a dict with a list of values for each option: then all combinations.
        options: Options that all jobs have.

    Raises:
        OptionError: An option is unknown or out of range; jobs that were submitted before are cancelled.
    """
    name = toolkit if isinstance(toolkit, str) else str(getattr(toolkit, "__name__", toolkit)).rpartition(".")[2]
    if name not in (*TOOLKITS, *GRAPH_TOOLKITS):
        raise OptionError(f"toolkit must be one of {', '.join((*TOOLKITS, *GRAPH_TOOLKITS))}, got {toolkit!r}")
    sets = combinations(parameters)
    cluster = find_cluster(env)
    submit = importlib.import_module(f"launch.toolkits.{name}").submit_training_job
    data = () if name in GRAPH_TOOLKITS else (dataset, target)
    jobs: list[Job] = []
    try:
        for each in sets:
            jobs.append(submit(cluster, *data, **{**options, **each}))
    except BaseException:
        Sweep(sets[: len(jobs)], jobs).cancel()
        raise
    return Sweep(sets, jobs)


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


def _what_came(job: Job) -> dict[str, Any]:
    state = job.get_state()
    rows = [event["values"] for event in job._directory.events() if event["event"] == "row"]
    return {
        "state": job.get_final_state().name if state == State.COMPLETED else state.name,
        **(rows[-1] if rows else {}),
        "working_dir": job.working_dir,
    }


def _column(values: list[Any]) -> list[Any]:
    """Values of one kind: as they are, else as text."""
    kinds = {type(value) for value in values if value is not None}
    return values if len(kinds) <= 1 or kinds <= {int, float} else [None if value is None else str(value) for value in values]
