"""What a supervisor leaves in the working directory beside the result: containers, times, its own log, the logs of ranks."""

from __future__ import annotations

import json
import pathlib
import socket
import sys
import time
from typing import Any

from engine import storage
from engine.errors import StorageError
from engine.working_dir import RUN_FILE, WorkingDir

LOG_FILE = "supervisor.log"


class Records:
    """The records of one supervisor's attempts; those of an earlier supervisor's are kept."""

    def __init__(self, wd: WorkingDir) -> None:
        self.wd = wd
        self.attempts: list[dict[str, Any]] = []
        self._lines: list[str] = []

    def begin(self, number: int) -> None:
        """An attempt begins."""
        self.attempts.append({"attempt": number, "host": socket.gethostname(), "began": time.time()})
        self.say(f"attempt {number}")

    def end(self, number: int, cause: dict[str, Any], containers: list[dict[str, Any]]) -> None:
        """An attempt is over: say why, and add its ranks to ``containers.json``."""
        self.wd.end_attempt(number, cause)
        self.attempts[-1] |= {"ended": time.time(), "cause": cause["cause"], "message": cause.get("message")}
        found = [{"attempt": number, **container} for container in containers]
        self.wd.put_containers(self.wd.containers() + found)

    def gather(self, number: int, logs: pathlib.Path) -> None:
        """Put an attempt's logs into the working directory; what cannot be is said, and left."""
        for path in sorted(logs.glob("*.log")):
            try:
                storage.put_file(self.wd.logs_path(number, path.name), path)
            except StorageError as error:
                self.say(f"could not keep {path.name}: {error}")

    def finish(self) -> None:
        """Write ``run.json``, and the log where it is not in the working directory anyway."""
        attempts = [{**each, **self.wd.run(each["attempt"])} for each in self.attempts]
        storage.put_bytes(self.wd.path(RUN_FILE), (json.dumps({"attempts": attempts}, indent=1) + "\n").encode())
        if not storage.is_local(self.wd.address):
            storage.put_bytes(self.wd.path("logs", LOG_FILE), "".join(self._lines).encode())

    def say(self, text: str) -> None:
        """A line for the supervisor's log."""
        self._lines.append(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
        sys.stderr.write(self._lines[-1])
        sys.stderr.flush()
