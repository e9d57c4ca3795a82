"""The ranks of one attempt, spread over the nodes of an allocation, in the hands of the supervisor: one agent on each node."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any, Protocol

from engine import storage
from engine.errors import StorageError
from engine.spec import Resources
from engine.working_dir import WorkingDir
from launch.batch import rank
from launch.batch.node_agent import LEASE, report_path, usage_path
from launch.causes import choose_cause
from launch.commands import module_command
from launch.gang import tail

HERE_WITHIN = 90.0  # seconds for the agents to be on all nodes
SILENCE = 60.0  # seconds without a sign of life after which a node counts as lost
FAREWELL = 4.0  # seconds for the other nodes to report once one has failed or is gone
STOP_WITHIN = 30.0  # seconds for agents to end their ranks
WORD_WITHIN = 3.0  # seconds for agents to see that their lease is gone; then they are told by a signal
END_WITHIN = 5.0  # seconds for a launcher to end


class Launcher(Protocol):
    """What starts processes on the nodes."""

    def command(self, per_node: int, command: Sequence[str], *, threads: int = 1, is_mpi: bool = True) -> list[str]:
        """So many processes on every node."""


class SpreadGang:
    """A :class:`launch.backends.StartedGang` with an agent on every node; once all are there, one launcher starts all ranks.

    ``command`` is that of a rank, ``scratch`` what the agents' scratch folders begin with.
    """

    def __init__(
        self, wd: WorkingDir, attempt: int, resources: Resources, *, launcher: Launcher, command: list[str], scratch: pathlib.Path
    ) -> None:
        assert resources.batch is not None
        self.wd, self.attempt = wd, attempt
        self.nodes = resources.batch.nodes
        self.per_node = resources.num_workers // self.nodes
        self.hang_timeout = resources.hang_timeout
        self.logs = storage.local_path(wd.logs_path(attempt))
        self.here: set[int] = set()
        self.reports: dict[int, dict[str, Any]] = {}
        self.signs: dict[int, dict[str, Any]] = {}
        self.lost: dict[int, str] = {}
        self.hang: dict[str, Any] | None = None
        self._trouble: float | None = None
        self._stop_by: float | None = None
        self._unread = b""
        started = [sys.executable, "-I", "-S", rank.__file__, str(scratch), str(self.per_node), *command]
        self._rank_command = launcher.command(self.per_node, started, threads=resources.num_threads or 1)
        self._ranks: subprocess.Popen[bytes] | None = None
        self.logs.mkdir(parents=True, exist_ok=True)
        storage.put_bytes(wd.attempt_path(attempt, LEASE), b"")
        agent = module_command("launch.batch.node_agent", wd.address, str(attempt))
        self._agents = self._start(launcher.command(1, agent, is_mpi=False), "agents.log", subprocess.PIPE)
        self._began = time.monotonic()
        self._heard = dict.fromkeys(range(self.nodes), self._began)

    def _start(self, command: list[str], log: str, output: int | None = None) -> subprocess.Popen[bytes]:
        with (self.logs / log).open("ab") as file:
            return subprocess.Popen(
                command,
                env={**os.environ, "SLURM_OVERLAP": "1"},
                stdin=subprocess.DEVNULL,
                stdout=file if output is None else output,
                stderr=file,
                start_new_session=True,
                bufsize=0,
            )

    # --- what a supervisor asks ---

    @property
    def containers(self) -> list[dict[str, Any]]:
        """The ranks and how each of them ended, as far as the agents could tell."""
        found = {each["rank"]: each for report in self.reports.values() for each in report["containers"]}
        for node, message in self.lost.items():
            host = self.signs.get(node, {}).get("host")
            for number in self._ranks_of(node):
                found.setdefault(number, {"rank": number, "host": host, "cause": "lost", "diagnosis": message})
        return [found[number] for number in sorted(found)]

    @property
    def usage(self) -> list[dict[str, Any]]:
        """What each rank has used, as the agents have written it down."""
        found: list[dict[str, Any]] = []
        for node in sorted(self.signs):
            with contextlib.suppress(StorageError, ValueError):
                found += json.loads(storage.read_bytes(usage_path(self.wd, self.attempt, node)))
        return found

    def wait(self, within: float) -> dict[str, Any] | None:
        """Why the gang has ended, None if it has not ``within`` these seconds."""
        self._read_lines(within)
        now = time.monotonic()
        self._look_for_losses(now)
        if len(self.reports.keys() | self.lost.keys()) == self.nodes:
            return self._cause()
        if self._stop_by is not None:
            if now > self._stop_by - STOP_WITHIN + WORD_WITHIN:
                self._agents.terminate()
            return self._cause() if now > self._stop_by else None
        self.hang = self.hang or self._find_hang()
        has_failed = self.lost or any(report["cause"] != "done" for report in self.reports.values()) or self.hang
        if self._trouble is None and (has_failed or (self._ranks is not None and self._ranks.poll() is not None)):
            self._trouble = now
        if self._trouble is not None and now - self._trouble > FAREWELL:
            self.stop()
        return None

    def is_gone(self) -> bool:
        """Whether all nodes have said that their ranks have ended, or are gone."""
        return len(self.reports.keys() | self.lost.keys()) == self.nodes

    def stop(self, within: float = STOP_WITHIN) -> None:
        """Take the lease away: the agents end the ranks, and count as lost if they do not say so ``within`` these seconds."""
        if self._stop_by is None:
            self._stop_by = time.monotonic() + within
            storage.remove(self.wd.attempt_path(self.attempt, LEASE))

    def end(self) -> None:
        """See the gang to its end."""
        self.stop()
        deadline = time.monotonic() + STOP_WITHIN
        while self._agents.poll() is None and time.monotonic() < deadline:
            self.wait(0.1)
        for process in (self._agents, self._ranks):
            if process is not None:
                end_process(process)

    # --- reports ---

    def _read_lines(self, within: float) -> None:
        assert self._agents.stdout is not None
        if self._agents.stdout.closed:
            time.sleep(within)
            return
        if not select.select([self._agents.stdout], [], [], within)[0]:
            return
        data = os.read(self._agents.stdout.fileno(), 1 << 16)
        if not data:
            self._agents.stdout.close()
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            with contextlib.suppress(ValueError):  # a launcher's own words
                self._take(json.loads(line))

    def _take(self, line: dict[str, Any]) -> None:
        node = line["node"]
        self._heard[node] = time.monotonic()
        if line["event"] == "ended":
            self.reports[node] = json.loads(storage.read_bytes(report_path(self.wd, self.attempt, node)))
        elif line["event"] == "alive":
            self.signs[node] = line
        elif line["event"] == "here":
            self.here.add(node)
            if len(self.here) == self.nodes and self._ranks is None:
                self._ranks = self._start(self._rank_command, "launcher.log")

    def _look_for_losses(self, now: float) -> None:
        """The nodes whose agents are gone, silent, or never came."""
        assert self._agents.stdout is not None
        for node in range(self.nodes):
            if node in self.reports or node in self.lost:
                continue
            if self._agents.stdout.closed:
                words = tail(self.logs / "agents.log")
                self.lost[node] = f"the agent of node {node} is gone{f': {words}' if words else ''}"
            elif now - self._heard[node] > (SILENCE if node in self.here else HERE_WITHIN):
                self.lost[node] = f"the agent of node {node} does not answer"

    def _find_hang(self) -> dict[str, Any] | None:
        """The hang as a cause, if no rank on any node has moved for longer than it may."""
        if not self.hang_timeout or self.reports or len(self.signs) < self.nodes:
            return None
        now = time.monotonic()
        still = min(now - self._heard[node] + sign["still"] for node, sign in self.signs.items())
        if still < self.hang_timeout:
            return None
        words = [f"on node {node} a rank {sign['missing']}" for node, sign in self.signs.items() if sign["missing"]]
        return {"cause": "hang", "ranks": [], "message": f"no progress for {still:.0f} s: {', '.join(words) or 'all wait for each other'}"}

    # --- the end ---

    def _cause(self) -> dict[str, Any]:
        """Why the gang has ended."""
        losses = [{"cause": "lost", "ranks": self._ranks_of(node), "message": message} for node, message in self.lost.items()]
        return choose_cause(self.reports.values(), losses, self.hang, launcher=self._end_of_launcher)

    def _end_of_launcher(self) -> dict[str, Any] | None:
        if self._ranks is None or self._ranks.poll() is None or self._trouble is None:
            return None
        message = f"the launcher ended with exit code {self._ranks.poll()}: {tail(self.logs / 'launcher.log')}"
        return {"cause": "error", "ranks": [], "message": message}

    def _ranks_of(self, node: int) -> list[int]:
        return list(range(node * self.per_node, (node + 1) * self.per_node))


def end_process(process: subprocess.Popen[bytes]) -> None:
    """End a launcher, gently at first."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(END_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
