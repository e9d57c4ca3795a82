"""The progress log of a job, as rank 0 writes it: the first lines, then what training prints, each line after ``PROGRESS:``.

An attempt's log begins with that of the attempt before and goes on where it stopped: lines that are there already, and rows of iterations
that are, are not written again. Beside it, ``events.jsonl`` has every row with all its digits. On a local disk each line is there at once,
elsewhere the files are written anew at most once a second, by a thread.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from engine import storage
from engine.errors import StorageError
from engine.working_dir import EVENTS_FILE, PROGRESS_FILE, WorkingDir

PREFIX = "PROGRESS: "
REMOTE_INTERVAL = 1.0  # seconds
_RULE = "+-"
_ROW = re.compile(rf"{PREFIX}\| (\d+) ")


class JobLog:
    """The log of one attempt; a :class:`engine.progress.Recorder` of what training prints. For rank 0 alone."""

    def __init__(self, wd: WorkingDir, attempt: int) -> None:
        earlier, self._open_table = _carry_over(wd.progress())
        self._lines = set(earlier.splitlines())
        self._last_row = max((int(match[1]) for match in map(_ROW.match, earlier.splitlines()) if match), default=0)
        self._must_say_from_where = attempt > 1
        self._is_closed = False
        make = _LocalFile if storage.is_local(wd.address) else _RemoteFile
        self._progress = make(wd.attempt_path(attempt, PROGRESS_FILE), earlier)
        self._events = make(wd.attempt_path(attempt, EVENTS_FILE), "")

    def write(self, lines: Sequence[str]) -> None:
        """Lines that belong together, unless an earlier attempt has written them all."""
        text = [PREFIX + line for line in lines]
        if len(lines) == 1 and lines[0].startswith(_RULE):
            self._open_table = None
        elif all(line in self._lines for line in text):
            return
        self._progress.append("".join(line + "\n" for line in text))

    def message(self, line: str) -> None:
        """A line between the rows."""
        self.write([line])
        self._event("message", text=line)

    def checkpoint(self, path: str, line: str) -> None:
        """A checkpoint that is about to be written."""
        self.write([line])
        self._event("checkpoint", path=path)

    def resumed(self, iteration: int, line: str) -> None:
        """Training goes on after an iteration: as the job's restart tells, or as its user wanted it."""
        if self._must_say_from_where:
            self._restarted(iteration)
        else:
            self.message(line)

    def row(self, number: int, values: Mapping[str, Any]) -> None:
        """The row of an iteration, whether it is shown or not."""
        if self._must_say_from_where:
            self._restarted(number - 1)
        self._event("row", number=number, values=dict(values))

    def show_row(self, number: int, line: str) -> None:
        """A row that is shown."""
        if number > self._last_row:
            self._progress.append(f"{PREFIX}{line}\n")

    def end_table(self) -> None:
        """Close the table of an earlier attempt where this one had no row to add, as all iterations were done."""
        if self._open_table is not None:
            self._progress.append(self._open_table)

    def close(self) -> None:
        """See to it that all is written; nothing can be added then. May be called twice."""
        if not self._is_closed:
            self._is_closed = True
            self._progress.close()
            self._events.close()

    def _restarted(self, iteration: int) -> None:
        self._must_say_from_where = False
        self._progress.append(f"{PREFIX}restarted from {iteration or 'the beginning'}\n")
        self._event("restart", iteration=iteration)

    def _event(self, event: str, **more: Any) -> None:
        self._events.append(json.dumps({"event": event, "time": time.time(), **more}, ensure_ascii=False) + "\n")


class _LocalFile:
    """Appended at once."""

    def __init__(self, address: str, text: str) -> None:
        storage.put_bytes(address, text.encode())
        self._descriptor = os.open(storage.local_path(address), os.O_WRONLY | os.O_APPEND)

    def append(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def close(self) -> None:
        os.close(self._descriptor)


class _RemoteFile:
    """Kept in memory, written whole by a thread. A write that fails is tried again with the next text, or at the end."""

    def __init__(self, address: str, text: str) -> None:
        self._address = address
        self._text = text
        self._changed = threading.Event()
        self._closed = threading.Event()
        self._put()
        self._thread = threading.Thread(target=self._run, name=f"log {storage.name_of(address)}", daemon=True)
        self._thread.start()

    def append(self, text: str) -> None:
        self._text += text
        self._changed.set()

    def close(self) -> None:
        self._closed.set()
        self._changed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.is_set():
            self._changed.wait()
            self._changed.clear()
            self._put()
            self._closed.wait(REMOTE_INTERVAL)
        self._put()

    def _put(self) -> None:
        try:
            storage.put_bytes(self._address, self._text.encode())
        except StorageError:
            self._changed.set()


def _carry_over(text: str) -> tuple[str, str | None]:
    """The log of the attempts before, without a line that was cut short, its table open, and the rule that is to close it."""
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
    rules = [line for line in lines if line.startswith(PREFIX + _RULE)]
    if len(rules) > 2 and lines[-1] == rules[-1]:
        lines.pop()
    return "".join(lines), rules[-1] if rules else None
