"""An agent from the side of its supervisor."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import select
import subprocess
from typing import Any

from launch.commands import module_command
from launch.order import Order

END_WITHIN = 30.0  # seconds for an agent to end what is left of its gang
# What a launcher around the supervisor has said is not for the ranks of its job.
_LAUNCHER_VARIABLES = re.compile(r"(PMI|PMIX|OMPI|PRTE|HYD|HYDRA|MV2|PALS|JSM|FLUX|SLURM|MPI|PBS)_|PMI_|MPIR_CVAR_CH3|SAMESUM_(JOB|GANG|SCRATCH|ATTEMPT|AGENT|LOGS|HEARTBEAT_DIR)$")


class LocalAgent:
    """An agent on this machine: a child whose input is its order and its lease. ``ended`` is its last report, empty until then."""

    def __init__(self, order: Order, logs: pathlib.Path) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        environment = {name: value for name, value in os.environ.items() if not _LAUNCHER_VARIABLES.match(name)}
        with (logs / "agent-0.log").open("ab") as log:
            self._process = subprocess.Popen(
                module_command("launch.agent"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment
            )
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(order.to_json().encode())
            self._process.stdin.flush()
        self.ended: dict[str, Any] = {}
        self._read = b""

    def wait(self, within: float) -> dict[str, Any] | None:
        """How the gang has ended, None if it has not ``within`` these seconds."""
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], within)[0]:
            return None
        data = os.read(self._process.stdout.fileno(), 1 << 16)
        self._read += data
        *lines, self._read = self._read.split(b"\n")
        for line in lines:
            report = json.loads(line)
            if report.pop("event") == "ended":
                self.ended = report
        if data and not self.ended:
            return None
        return self.ended or {"cause": "lost", "ranks": [], "message": "the agent of the ranks is gone"}

    def stop(self) -> None:
        """Take the lease away: the agent ends the gang."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    def end(self) -> None:
        """See the agent to its end."""
        self.stop()
        try:
            self._process.wait(END_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
