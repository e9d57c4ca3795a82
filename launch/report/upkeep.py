"""Keeps a job's page as its supervisor goes along: what the ranks use, and ``report.html`` where the working directory is on a disk.

It takes a thousandth of one core's time at most: the longer a page takes to make, the longer it waits until the next one.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from engine import storage
from engine.report.data import Report
from engine.report.page import encode, render
from engine.spec import JobSpec
from engine.working_dir import REPORT_FILE, WorkingDir
from launch.report.collect import USAGE_FILE, Collector

EVERY, REMOTE_EVERY = 2.0, 15.0  # seconds from one look at the ranks to the next, and between writes to a server, at least
SHARE = 1e-3  # of the time that may go to this


class Upkeep:
    """One supervisor's. ``usage`` is what the ranks have used, as it was seen last; ``say`` takes a line about what went wrong.

    Whatever it is, it is not worth a job: nothing that goes wrong here is raised.
    """

    def __init__(self, wd: WorkingDir, spec: JobSpec, say: Callable[[str], None]) -> None:
        self._say = say
        self._has_complained = False
        self.usage: list[dict[str, Any]] = []
        self._wd, self._spec = wd, spec
        self._collector = Collector(wd, spec)
        self._is_local = storage.is_local(wd.address)
        self._every = EVERY if self._is_local else REMOTE_EVERY
        self._next_look = time.monotonic() + EVERY
        self._next_write = self._next_page = 0.0

    def look(self, attempt: int, usage: Callable[[], Sequence[Mapping[str, Any]]]) -> None:
        """See what the ranks have used, and write it and the page down, if that is due."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + EVERY
        with self._excused():
            self.usage = [dict(each) for each in usage()]
            if now >= self._next_write:
                self._next_write = now + self._every
                storage.put_bytes(self._wd.attempt_path(attempt, USAGE_FILE), json.dumps(self.usage).encode())
            if self._is_local and now >= self._next_page:
                self._write_page()

    def _write_page(self) -> None:
        self._next_page, worked = time.monotonic() + REMOTE_EVERY, time.thread_time()
        put_page(self._wd, self._collector.collect(usage=self.usage))
        self._next_page = time.monotonic() + max(EVERY, (time.thread_time() - worked) / SHARE)

    def make_collector(self) -> Collector:
        """One for another thread."""
        return Collector(self._wd, self._spec)

    def finish(self) -> None:
        """Write the page of a job that has ended."""
        with self._excused():
            put_page(self._wd, self._collector.collect())

    @contextlib.contextmanager
    def _excused(self) -> Iterator[None]:
        """Say what goes wrong, once."""
        try:
            yield
        except Exception as error:
            if not self._has_complained:
                self._has_complained = True
                self._say(f"the page of the job could not be written: {type(error).__name__}: {error}")


def put_page(wd: WorkingDir, report: Report) -> None:
    """Write a job's page into its directory. Raises :class:`StorageError`."""
    storage.put_bytes(wd.path(REPORT_FILE), encode(render(report)))
