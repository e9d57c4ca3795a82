"""An agent from the side of its supervisor."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import select
import subprocess
import time
from typing import Any

from launch.commands import module_command
from launch.order import Order

SILENCE = 60.0  # seconds without a sign of life after which an agent counts as lost
STOP_WITHIN = 30.0  # seconds for an agent to end its gang
END_WITHIN = 2.0  # seconds for an agent to exit then
# What a launcher around the supervisor has said, or a supervisor around this one, is not for the ranks of its job.
_FOREIGN_VARIABLES = re.compile(
    r"(PMI|PMIX|OMPI|PRTE|HYD|HYDRA|HYDI|MV2|PALS|JSM|FLUX|SLURM|MPI|PBS)_"
    r"|SAMESUM_(JOB|GANG|SCRATCH|ATTEMPT|AGENT|LOGS|HEARTBEAT_DIR)$"
)


class LocalAgent:
    """An agent on this machine: a child whose input is its order and its lease. ``containers`` are those of its last report."""

    def __init__(self, order: Order, logs: pathlib.Path) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        environment = {name: value for name, value in os.environ.items() if not _FOREIGN_VARIABLES.match(name)}
        with (logs / "agent-0.log").open("ab") as log:
            self._process = subprocess.Popen(
                module_command("launch.agent"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment, bufsize=0
            )
        self.containers: list[dict[str, Any]] = []
        self._unread = b""
        self._heard = time.monotonic()
        self._stop_by: float | None = None
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(order.to_json().encode())

    def wait(self, within: float) -> dict[str, Any] | None:
        """Why the gang has ended, None if it has not ``within`` these seconds."""
        assert self._process.stdout is not None
        now = time.monotonic()
        if not select.select([self._process.stdout], [], [], within)[0]:
            silent = now - self._heard > SILENCE or (self._stop_by is not None and now > self._stop_by)
            return lost("the agent of the ranks does not answer") if silent else None
        self._heard = now
        data = os.read(self._process.stdout.fileno(), 1 << 16)
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            report = json.loads(line)
            if report.pop("event") == "ended":
                self.containers = report.pop("containers")
                return dict(report)
        return None if data else lost("the agent of the ranks is gone")

    def stop(self) -> None:
        """Take the lease away: the agent ends the gang."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._stop_by = self._stop_by or time.monotonic() + STOP_WITHIN

    def end(self) -> None:
        """See the agent to its end, which comes soon once it has no lease; one that does not answer is killed."""
        self.stop()
        try:
            self._process.wait(END_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def lost(message: str) -> dict[str, Any]:
    """An agent's end as a cause."""
    return {"cause": "lost", "ranks": [], "message": message}
