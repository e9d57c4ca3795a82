"""The agent: one process beside the ranks of a machine, which starts them, watches them and ends them.

``python -m launch.agent``: its standard input is the order, a line of JSON, and from then on the lease: once that is closed the
supervisor is gone, and the agent ends every process of the gang and itself. Its standard output are reports, lines of JSON, the last of
which says how the gang ended. So an agent can be had through a pipe, through ssh, or through a scheduler's own launcher.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import select
import signal
import socket
import subprocess
import sys
import time
from typing import Any, Protocol

from launch.causes import STOPPED
from launch.gang import Gang
from launch.order import Order
from launch.processes import kill_all, process_of

POLL = 0.05  # seconds
SIGN_OF_LIFE = 2.0  # seconds from one to the next
FAREWELL = 6.0  # seconds for the other ranks to end by themselves once one has failed
LAST_WORDS = 20.0  # seconds until killed processes are gone
REPORT_WITHIN = 5.0  # seconds for the supervisor to take the last report


class Launcher(Protocol):
    """What starts the ranks: a process, or one elsewhere."""

    def poll(self) -> int | None:
        """Its exit code, None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; its exit code."""


def main() -> int:
    """Do what the order says; 0 once nothing is left of the gang."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)  # the lease ends the agent
    with open(0, "rb", buffering=0, closefd=False) as lease:
        line = lease.readline()
    os.set_blocking(1, False)
    return Agent(Order.from_json(line.decode())).run() if line else 1


class Agent:
    """One gang's agent on this machine."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.scratch = pathlib.Path(order.scratch)
        self.gang = Gang(order)
        self.told_to_stop = False
        self._next_sign = 0.0

    def run(self) -> int:
        """Start the gang, wait until it has ended or must, and see that nothing is left of it."""
        if self.is_told_to_stop(0.0):
            return 0  # whoever saw the supervisor's end may have cleared the folders already
        self.make_folders()
        gang = self.gang
        try:
            launcher = self.start()
        except OSError as error:
            message = f"could not start {self.order.command[0]!r} in {self.order.folder!r}: {error}"
            self.report(REPORT_WITHIN, event="ended", cause="error", ranks=[], message=message, containers=[], left=[])
            return 1
        try:
            cause = self.watch(gang, launcher)
            if cause is None and not self.told_to_stop:
                cause = gang.cause_of_end(launcher.wait())
        finally:
            gang.freeze()
            left = kill_all("SAMESUM_GANG", self.order.gang, LAST_WORDS)
            with contextlib.suppress(subprocess.TimeoutExpired):
                launcher.wait(LAST_WORDS)
        gang.read_records()
        gang.remove_segments()
        cause = cause or {"cause": "stopped", "message": STOPPED}
        self.report(REPORT_WITHIN, event="ended", **cause, containers=gang.containers(cause), left=[process.pid for process in left])
        return 0

    def make_folders(self) -> None:
        """The gang's own folders on this machine."""
        self.scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("ranks", "errors", "heartbeat", "tmp"):
            (self.scratch / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        pathlib.Path(self.order.logs).mkdir(parents=True, exist_ok=True)

    def start(self) -> Launcher:
        """The launcher, or the one rank itself, in a session of its own."""
        own = process_of(os.getpid())
        assert own is not None
        said = {"SAMESUM_AGENT": f"{own.pid}:{own.started}", "SAMESUM_LOGS": self.order.logs, "SAMESUM_SCRATCH": self.order.scratch}
        with pathlib.Path(self.order.logs, "launcher.log").open("ab") as log:
            return subprocess.Popen(
                self.order.command,
                env={**os.environ, **self.order.environment, **said},
                cwd=self.order.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def watch(self, gang: Gang, launcher: Launcher) -> dict[str, Any] | None:
        """Wait for the launcher's end, the supervisor's word, or a reason to end the gang, which is returned."""
        while launcher.poll() is None and not self.is_told_to_stop():
            cause = gang.look()
            if cause is not None:
                self.wait_for_others(launcher, cause)
                gang.read_records()
                return gang.failed_rank() or cause
            if time.monotonic() > self._next_sign or gang.memory.has_news():
                self._next_sign = time.monotonic() + SIGN_OF_LIFE
                self.report(0.0, event="alive", host=socket.gethostname(), pid=os.getpid(), **gang.sign())
        return None

    def wait_for_others(self, launcher: Launcher, cause: dict[str, Any]) -> None:
        """Where a rank has ended, let the others say why: which of several ends came first may be seen later."""
        deadline = time.monotonic() + {"error": FAREWELL, "lost": FAREWELL / 6}.get(cause["cause"], 0.0)
        while launcher.poll() is None and time.monotonic() < deadline and not self.is_told_to_stop():
            continue

    def is_told_to_stop(self, within: float = POLL) -> bool:
        """Whether the supervisor says to stop, or is gone; waits for it ``within`` seconds."""
        if select.select([0], [], [], within)[0]:
            self.told_to_stop = True
        return self.told_to_stop

    def report(self, within: float, **what: Any) -> None:
        """A line for the supervisor, if it is there and takes it."""
        data = (json.dumps(what) + "\n").encode()
        deadline = time.monotonic() + within
        with contextlib.suppress(OSError):
            while data:
                try:
                    data = data[os.write(1, data) :]
                except BlockingIOError:
                    if within == 0.0 or time.monotonic() > deadline:
                        return
                    select.select([], [1], [], POLL)


if __name__ == "__main__":
    code = main()
    sys.exit(code)
