"""Keeps a job's page as its supervisor goes along: what the ranks use, and ``report.html`` where the working directory is on a disk.

It takes a thousandth of one core's time at most: the longer a page takes to make, the longer it waits until the next one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from engine import storage
from engine.errors import EngineError
from engine.report.page import encode, render
from engine.spec import JobSpec
from engine.working_dir import REPORT_FILE, WorkingDir
from launch.report.collect import USAGE_FILE, Collector

LOCAL_EVERY, REMOTE_EVERY = 3.0, 15.0  # seconds from one look at the ranks to the next, at least
SHARE = 1e-3  # of the time that may go to this


class Upkeep:
    """One supervisor's. ``usage`` is what the ranks have used, as it was given last."""

    def __init__(self, wd: WorkingDir, spec: JobSpec) -> None:
        self.collector = Collector(wd, spec)
        self.usage: list[dict[str, Any]] = []
        self._wd = wd
        self._is_local = storage.is_local(wd.address)
        self._next = 0.0

    def look(self, attempt: int, usage: Callable[[], Sequence[Mapping[str, Any]]]) -> None:
        """Write down what the ranks have used, and how the job is going, if that is due; what cannot be written is left."""
        began = time.monotonic()
        if began < self._next:
            return
        worked = time.thread_time()
        self.usage = [dict(each) for each in usage()]
        try:
            storage.put_bytes(self._wd.attempt_path(attempt, USAGE_FILE), json.dumps(self.usage).encode())
            if self._is_local:
                self._put()
        except EngineError:
            pass  # a page is not worth a job
        every = LOCAL_EVERY if self._is_local else REMOTE_EVERY
        self._next = time.monotonic() + max(every, (time.thread_time() - worked) / SHARE)

    def finish(self) -> None:
        """Write the page of a job that has ended. Raises :class:`StorageError`."""
        self.usage = []
        self._put()

    def _put(self) -> None:
        storage.put_bytes(self._wd.path(REPORT_FILE), encode(render(self.collector.collect(usage=self.usage))))


def write_report(wd: WorkingDir) -> None:
    """Write the page of a job whose supervisor cannot."""
    Upkeep(wd, wd.spec()).finish()
