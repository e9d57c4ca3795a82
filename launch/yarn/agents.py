"""The agents of all containers from the side of the supervisor: as one agent, whose gang is spread over them.

``mpiexec`` runs beside the supervisor. In place of ``rsh`` it starts a small script for each worker, which puts its arguments, as they
are, into a folder; the supervisor sends them to that worker as its order. So ranks are wired up without any way to log in to a node.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from launch.causes import choose_cause
from launch.gang import signal_name, tail
from launch.yarn.diagnoses import SILENT, Diagnosis, diagnose
from launch.yarn.wire import LostWireError, Wire, YarnContainer

POLL = 0.5  # seconds between looks at reports
FAREWELL = 6.0  # seconds for the others to report once one has failed or is gone; YARN notices a loss within 5
STOP_WITHIN = 20.0  # seconds for workers to end their ranks
SILENCE = 60.0  # seconds without a sign of life after which a worker counts as lost
# What mpiexec starts for each worker: the first argument is the worker's label, the others the command for it. It ends with the word of
# the supervisor, or without it once the supervisor is gone, which holds the other end.
LAUNCHER = """#!/bin/sh
worker="$SAMESUM_WIRE/$1"; shift
printf '%s\\0' "$@" > "$worker.partial" && mv "$worker.partial" "$worker.order"
read -r code < "$worker.end"
exit "${code:-1}"
"""


class Member(NamedTuple):
    """A worker that has a rank."""

    key: str
    name: str
    host: str


class Gang:
    """The ranks of one attempt on YARN: a :class:`launch.backends.StartedGang` of many agents.

    ``members`` are the workers by rank; ``order`` makes the order of a rank from its command; ``command`` starts all ranks, or is the one
    rank's own where there is but one. ``memory`` is that of each container in bytes.
    """

    def __init__(
        self,
        wire: Wire,
        attempt: int,
        members: list[Member],
        *,
        command: list[str],
        order: Callable[[int, list[str]], dict[str, Any]],
        folder: pathlib.Path,
        environment: dict[str, str],
        hang_timeout: float,
        memory: int,
    ) -> None:
        self.wire, self.attempt, self.members = wire, attempt, members
        self.hang_timeout, self.memory = hang_timeout, memory
        self.containers: list[dict[str, Any]] = []
        self.reports: dict[int, dict[str, Any]] = {}
        self.lost: dict[int, Diagnosis] = {}
        self.hang: dict[str, Any] | None = None
        self._make_order = order
        self._folder = folder
        self._ordered: set[int] = set()
        self._ends: list[int] = []  # by rank: where the launcher's process for it waits to be told how its worker has ended
        self._heard = dict.fromkeys(range(len(members)), (time.monotonic(), 0.0))
        self._trouble: float | None = None
        self._stopped: float | None = None
        self._next_look = 0.0
        self._launcher: subprocess.Popen[bytes] | None = None
        if len(members) == 1:
            self._send(0, command)
        else:
            self._launcher = self._start(command, environment)

    def _start(self, command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        """Start ``mpiexec``, for workers that are called by their rank."""
        self._folder.mkdir(mode=0o700, parents=True)
        script = self._folder / "launcher"
        script.write_text(LAUNCHER)
        script.chmod(0o700)
        for rank in range(len(self.members)):
            end = self._folder / f"rank_{rank}.end"
            os.mkfifo(end, 0o600)
            self._ends.append(os.open(end, os.O_RDWR | os.O_NONBLOCK))
        hosts = ",".join(f"rank_{rank}:1" for rank in range(len(self.members)))
        here = os.environ.get("NM_HOST")
        options = ["-launcher", "rsh", "-launcher-exec", str(script), "-hosts", hosts, "-genvnone", "-wdir", "/"]
        words = [command[0], *options, *(["-localhost", here] if here else []), *command[1:]]
        own = {"SAMESUM_WIRE": str(self._folder), "HYDRA_LAUNCHER_AUTOFORK": "0"}
        with (self._folder.parent / "logs" / "launcher.log").open("ab") as log:
            return subprocess.Popen(
                words, env={**os.environ, **environment, **own}, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    # --- what a supervisor asks ---

    @property
    def usage(self) -> list[dict[str, Any]]:
        """What each rank has used, by the last report of its worker."""
        found = []
        for rank, report in sorted(self.reports.items()):
            said = report.get("ranks") or report.get("containers") or [{}]
            found.append({**said[0], "rank": rank, "host": self.members[rank].host, "container": self.members[rank].name})
        return found

    def wait(self, within: float) -> dict[str, Any] | None:
        """Why the gang has ended, None if it has not ``within`` these seconds."""
        time.sleep(within)
        self._send_orders()
        now = time.monotonic()
        if now < self._next_look:
            return None
        self._next_look = now + POLL
        self._look(now)
        ended = {rank for rank, report in self.reports.items() if report["event"] == "ended"}
        never_asked = set() if self._stopped is None else set(range(len(self.members))) - self._ordered
        accounted = ended | self.lost.keys() | never_asked
        if len(accounted) == len(self.members):
            return self._cause()
        if self._stopped is not None:
            if now <= self._stopped:
                return None
            self.lost |= dict.fromkeys(self._ordered - accounted, SILENT)
            return self._cause()
        self.hang = self.hang or self._find_hang()
        if self._trouble is None and (self.lost or self._bad_report() or self.hang or self._launcher_has_ended()):
            self._trouble = now
        if self._trouble is not None and now - self._trouble > (FAREWELL / 6 if self.lost or self.hang else FAREWELL):
            self.stop()
        return None

    def is_gone(self) -> bool:
        """Whether all workers have said that their ranks have ended, or are gone."""
        return all(self._has_ended(rank) or rank in self.lost for rank in range(len(self.members)))

    def stop(self, within: float = STOP_WITHIN) -> None:
        """Take all orders back: the workers end their ranks, and count as lost if they do not say so ``within`` these seconds."""
        if self._stopped is None:
            self._stopped = time.monotonic() + within
            for member in self.members:
                self.wire.withdraw(member.key, self.attempt)

    def end(self) -> None:
        """See the gang to its end."""
        with contextlib.suppress(LostWireError):  # whoever is to be told is gone, and the workers' leases with it
            self.stop()
        codes = {rank: 0 if report.get("cause") == "done" else 1 for rank, report in self.reports.items()}
        for rank, end in enumerate(self._ends):
            os.write(end, f"{codes.get(rank, 1)}\n".encode())
        if self._launcher is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._launcher.wait(2.0)
            self._launcher.kill()
            self._launcher.wait(2.0)
        while self._ends:
            os.close(self._ends.pop())
        here = {"rank": None, "container": self.wire.name, "host": os.environ.get("NM_HOST"), "diagnosis": "Application Master"}
        self.containers = [here, *(self._describe(rank, member) for rank, member in enumerate(self.members))]

    # --- orders and reports ---

    def _send_orders(self) -> None:
        """Send what the launcher has put into its folder."""
        if self._launcher is None or len(self._ordered) == len(self.members):
            return
        for path in self._folder.glob("rank_*.order"):
            rank = int(path.stem.removeprefix("rank_"))
            if rank not in self._ordered:
                self._send(rank, path.read_bytes().decode().split("\0")[:-1])

    def _send(self, rank: int, command: list[str]) -> None:
        self._ordered.add(rank)
        self.wire.order(self.members[rank].key, self.attempt, self._make_order(rank, command))

    def _look(self, now: float) -> None:
        """Read reports, and see who is gone."""
        reports = self.wire.reports(self.attempt)
        there = self.wire.workers()
        containers: dict[str, YarnContainer] = {}
        if any(member.key not in there for member in self.members):
            containers = {each.key: each for each in self.wire.containers()}
        for rank, member in enumerate(self.members):
            report = reports.get(member.key)
            if report is not None and report != self.reports.get(rank):
                self.reports[rank] = report
                self._heard[rank] = (now, float(report.get("still", 0.0)))
            if self._has_ended(rank) or rank in self.lost:
                continue
            seen = containers.get(member.key)
            if seen is not None and seen.is_over:
                used, wanted = (self.reports.get(rank, {}).get(name) or 0 for name in ("peak_memory", "wanted_memory"))
                self.lost[rank] = diagnose(seen.message, share=used / self.memory, used=used or None, wanted=wanted)
            elif member.key not in there and now - self._heard[rank][0] > SILENCE / 4:
                self.lost[rank] = diagnose("")
            elif now - self._heard[rank][0] > SILENCE and rank in self._ordered:
                self.lost[rank] = SILENT

    def _has_ended(self, rank: int) -> bool:
        return self.reports.get(rank, {}).get("event") == "ended"

    def _bad_report(self) -> bool:
        return any(report["event"] == "ended" and report["cause"] != "done" for report in self.reports.values())

    def _launcher_has_ended(self) -> bool:
        return self._launcher is not None and self._launcher.poll() is not None and not any(map(self._has_ended, self.reports))

    def _find_hang(self) -> dict[str, Any] | None:
        """The hang as a cause, if no rank anywhere has moved for longer than it may."""
        now = time.monotonic()
        still = [now - heard + before for rank, (heard, before) in self._heard.items() if not self._has_ended(rank)]
        if not self.hang_timeout or not still or min(still) < self.hang_timeout or any(map(self._has_ended, self.reports)):
            return None
        missing = [rank for rank, report in self.reports.items() if report.get("missing")]
        words = ", ".join(f"rank {rank} {self.reports[rank]['missing']}" for rank in missing) or "all ranks wait for each other"
        return {"cause": "hang", "ranks": missing, "message": f"no progress for {min(still):.0f} s: {words}"}

    # --- the end ---

    def _cause(self) -> dict[str, Any]:
        """Why the gang has ended."""
        ended = [report for _, report in sorted(self.reports.items()) if report["event"] == "ended"]
        return choose_cause(ended, map(self._loss, sorted(self.lost)), self.hang, launcher=self._end_of_launcher)

    def _end_of_launcher(self) -> dict[str, Any] | None:
        code = None if self._launcher is None else self._launcher.poll()
        if code is None or self._trouble is None:
            return None
        if code < 0:
            return {"cause": "lost", "ranks": [], "message": f"mpiexec ended by {signal_name(-code)}"}
        return {"cause": "error", "ranks": [], "message": f"mpiexec ended with exit code {code}: {self._words()}"}

    def _loss(self, rank: int) -> dict[str, Any]:
        diagnosis, member = self.lost[rank], self.members[rank]
        message = f"rank {rank} was lost with {member.name} on {member.host}: {diagnosis.text}"
        if diagnosis.remedy:
            message += f"; {diagnosis.remedy}"
        return {"cause": diagnosis.cause, "ranks": [rank], "message": message, "is_free": diagnosis.is_free}

    def _describe(self, rank: int, member: Member) -> dict[str, Any]:
        """One worker for ``containers.json``."""
        about: dict[str, Any] = {"rank": rank, "container": member.name, "host": member.host}
        report = self.reports.get(rank, {})
        about |= next(iter(report.get("containers", [])), {}) | {"rank": rank, "host": member.host}
        if rank in self.lost:
            about["diagnosis"] = self.lost[rank].text
            about["cause"] = self.lost[rank].cause
            about["said"] = self.lost[rank].said or None
            about["peak_memory"] = self.lost[rank].used or report.get("peak_memory")
        elif about.get("diagnosis") == "ended with the others":
            about["diagnosis"] = None  # there is nothing to say of it
        return about

    def _words(self) -> str:
        """The end of what ``mpiexec`` said, in one line."""
        return tail(self._folder.parent / "logs" / "launcher.log")
