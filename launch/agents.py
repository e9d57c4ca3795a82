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
from launch.gang import Gang
from launch.order import Order
from launch.processes import find_processes, kill_all

SILENCE = 60.0  # seconds without a sign of life after which an agent counts as lost
STOP_WITHIN = 30.0  # seconds for an agent to end its gang
END_WITHIN = 2.0  # seconds for an agent to exit then
# What a launcher around the supervisor has said, or a supervisor around this one, is not for the ranks of its job.
_FOREIGN_VARIABLES = re.compile(
    r"(PMI|PMIX|OMPI|PRTE|HYD|HYDRA|HYDI|MV2|PALS|JSM|FLUX|SLURM|MPI|PBS)_"
    r"|SAMESUM_(JOB|GANG|SCRATCH|ATTEMPT|AGENT|LOGS|HEARTBEAT_DIR)$"
)


class LocalAgent:
    """An agent on this machine: a child whose input is its order and its lease.

    ``containers`` are those of its last report, ``sign`` its last sign of life.
    """

    def __init__(self, order: Order) -> None:
        self._order = order
        logs = pathlib.Path(order.logs)
        logs.mkdir(parents=True, exist_ok=True)
        environment = {name: value for name, value in os.environ.items() if not _FOREIGN_VARIABLES.match(name)}
        with (logs / "agent-0.log").open("ab") as log:
            self._process = subprocess.Popen(
                module_command("launch.agent"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment, bufsize=0
            )
        self.containers: list[dict[str, Any]] = []
        self.sign: dict[str, Any] = {}
        self._cause = lost("the supervisor failed")
        self._unread = b""
        self._heard = time.monotonic()
        self._stop_by: float | None = None
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(order.to_json().encode())

    def wait(self, within: float) -> dict[str, Any] | None:
        """Why the gang has ended, None if it has not ``within`` these seconds."""
        cause = self._read_reports(within)
        if cause is not None:
            self._cause = cause
        return cause

    def _read_reports(self, within: float) -> dict[str, Any] | None:
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
            self.sign = report
        return None if data else lost("the agent of the ranks is gone")

    @property
    def usage(self) -> list[dict[str, Any]]:
        """What each rank has used, by the last sign of life."""
        return list(self.sign.get("ranks", []))

    def is_gone(self) -> bool:
        """Whether no rank, leash or launcher is left."""
        return not find_processes("SAMESUM_GANG", self._order.gang)

    def stop(self, within: float = STOP_WITHIN) -> None:
        """Take the lease away: the agent ends the gang, and counts as lost if it does not say so ``within`` these seconds."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._stop_by = self._stop_by or time.monotonic() + within

    def end(self) -> None:
        """See the agent to its end, which comes soon once it has no lease; one that does not answer is killed."""
        self.stop()
        try:
            self._process.wait(END_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(END_WITHIN)
        kill_all("SAMESUM_GANG", self._order.gang, STOP_WITHIN)  # what an agent that was killed has left
        if not self.containers:
            gang = Gang(self._order)
            gang.read_records()
            self.containers = gang.containers(self._cause)


def lost(message: str) -> dict[str, Any]:
    """An agent's end as a cause."""
    return {"cause": "lost", "ranks": [], "message": message}
