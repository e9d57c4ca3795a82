"""The agent: one process beside the ranks of a machine, which starts them, watches them and ends them.

``python -m launch.agent``: its standard input is the order, a line of JSON, and from then on the lease: once that is closed the
supervisor is gone, and the agent ends every process of the gang and itself. Its standard output are reports, lines of JSON, the last of
which says how the gang ended. So an agent can be had through a pipe, through ssh, or through a scheduler's own launcher.
"""

from __future__ import annotations

import json
import os
import pathlib
import select
import signal
import socket
import subprocess
import sys
import time
from typing import Any

from launch.gang import Gang
from launch.order import Order
from launch.processes import kill_all, process_of

POLL = 0.05  # seconds
FAREWELL = 6.0  # seconds for the other ranks to end by themselves once one has failed
LAST_WORDS = 20.0  # seconds until killed processes are gone


def main() -> int:
    """Do what the order says; 0 once nothing is left of the gang."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the supervisor ends the agent, by its lease
    order = Order.from_json(sys.stdin.buffer.raw.readline().decode())
    return Agent(order).run()


class Agent:
    """One gang's agent on this machine."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.scratch = pathlib.Path(order.scratch)

    def run(self) -> int:
        """Start the gang, wait until it has ended or must, and see that nothing is left of it."""
        self.make_folders()
        launcher = self.start()
        gang = Gang(self.order, launcher.pid)
        self.report(event="started", host=socket.gethostname(), pid=os.getpid())
        cause: dict[str, Any] | None = None
        told_to_stop = False
        while cause is None and launcher.poll() is None and not told_to_stop:
            told_to_stop = self.is_told_to_stop(POLL)
            cause = gang.look()
        if not told_to_stop and (cause is None or cause["cause"] in ("error", "lost")):
            told_to_stop = self.wait_for_others(launcher)
        gang.collect()
        left = kill_all("SAMESUM_GANG", self.order.gang, LAST_WORDS)
        launcher_code = launcher.wait()
        gang.remove_segments()
        if told_to_stop and cause is None:
            cause = {"cause": "stopped"}
        cause = cause or gang.cause_of_end(launcher_code)
        self.report(event="ended", **cause, containers=gang.containers(cause), left=[process.pid for process in left])
        return 0

    def make_folders(self) -> None:
        """The gang's own folders on this machine."""
        for name in ("ranks", "errors", "heartbeat", "tmp"):
            (self.scratch / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        pathlib.Path(self.order.logs).mkdir(parents=True, exist_ok=True)

    def start(self) -> subprocess.Popen[bytes]:
        """The launcher, or the one rank itself, in a session of its own."""
        own = process_of(os.getpid())
        assert own is not None
        environment = {**os.environ, **self.order.environment, "SAMESUM_AGENT": f"{own.pid}:{own.started}", "SAMESUM_LOGS": self.order.logs}
        log = pathlib.Path(self.order.logs, "launcher.log").open("ab")
        with log:
            return subprocess.Popen(
                self.order.command,
                env=environment,
                cwd=self.order.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def is_told_to_stop(self, within: float) -> bool:
        """Whether the supervisor says to stop, or is gone."""
        return bool(select.select([0], [], [], within)[0])

    def wait_for_others(self, launcher: subprocess.Popen[bytes]) -> bool:
        """Give ranks that fail together the time to say so; true if told to stop meanwhile."""
        deadline = time.monotonic() + FAREWELL
        while launcher.poll() is None and time.monotonic() < deadline:
            if self.is_told_to_stop(POLL):
                return True
        return False

    def report(self, **what: Any) -> None:
        """A line for the supervisor, if it is there."""
        try:
            os.write(1, (json.dumps(what) + "\n").encode())
        except OSError:
            return


if __name__ == "__main__":
    code = main()
    sys.exit(code)
