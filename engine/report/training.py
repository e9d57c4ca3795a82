"""The page of a training that is no job: of what its model knows of how it came about, and of what its ranks have used."""

from __future__ import annotations

import os
import platform
import resource
import socket
import time
from typing import Any

from engine.collectives.communicator import Communicator
from engine.collectives.heartbeat import SILENT, Talk
from engine.masking import mask
from engine.report.data import Report, Row
from engine.report.page import encode, render
from engine.spec import JobSpec
from engine.storage import name_of, put_bytes


class Stopwatch:
    """What this rank uses from its making on."""

    def __init__(self, comm: Communicator) -> None:
        self.began = time.time()
        self._talk = _talk_of(comm)
        self._cpu = time.process_time()

    def use(self, comm: Communicator) -> dict[str, Any]:
        """A description of this rank, as :func:`launch.usage.usage_of` makes them of those of a job."""
        before, now = self._talk, _talk_of(comm)
        is_alone = comm.size == 1
        waited = None if now.waited is None or before.waited is None or is_alone else now.waited - before.waited
        return {
            "rank": comm.rank,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "seconds": time.time() - self.began,
            "cpu_seconds": time.process_time() - self._cpu,
            "collective_seconds": None if is_alone else now.seconds - before.seconds,
            "wait_seconds": waited,
            "collectives": None if is_alone else now.collectives - before.collectives,
            "bytes": None if is_alone else now.bytes - before.bytes,
            "peak_memory": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
            "doing": "ended",
        }


def write_report(model: Any, spec: JobSpec, stopwatch: Stopwatch, comm: Communicator) -> None:
    """Write the page of a training that has ended well to ``spec.report``. Collective; raises :class:`StorageError` on rank 0."""
    ranks = comm.gather_objects(stopwatch.use(comm), name="what ranks have used")
    if comm.rank == 0:
        put_bytes(spec.report or "", encode(render(report_of(model, spec, ranks, stopwatch.began, time.time()))))


def report_of(model: Any, spec: JobSpec, ranks: list[dict[str, Any]], began: float, ended: float) -> Report:
    """What is known of a training that has ended well."""
    from engine import __version__

    table = model.progress
    columns = {name: column.to_pylist() for name, column in zip(table.column_names, table.columns, strict=True)}
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    facts = {"Toolkit": str(spec.toolkit).replace("_", " "), **({"Target": spec.target} if spec.target else {}), "Ranks": len(ranks)}
    for title, lines in model._sections():
        facts |= {f"{label}": value for label, value in lines if "Schema" not in title}
    data = [] if spec.data is None else list(spec.data.paths)
    return Report(
        name=name_of(spec.output or "") or str(spec.toolkit),
        state="SUCCESS",
        taken=ended,
        facts=mask(facts),
        data=mask({"data": data, **({"features": list(spec.features)} if spec.features else {})}),
        options=mask(dict(spec.options)),
        versions={"samesum": __version__, "python": platform.python_version(), "system": platform.platform()},
        rows=[Row(int(row.get("Iteration", number)), row) for number, row in enumerate(rows, start=1)],
        began=began,
        ended=ended,
        ranks=ranks,
        files=mask({"model": spec.output, "report": spec.report}),
    )


def _talk_of(comm: Communicator) -> Talk:
    """What this rank has said; nothing, where it has nobody to talk to."""
    found: Talk = getattr(comm, "talk", SILENT)
    return found
