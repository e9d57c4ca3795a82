"""Whether ranks still make progress, and which are missing if they do not."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Mapping
from typing import Any

from engine.collectives.heartbeat import PREFIX, Pulse, late_ranks, read_board
from engine.collectives.watchdog import describe
from launch.processes import Process

LOOK_EVERY = 0.5  # seconds
STOPPED = ("T", "t")
LEAST_CPU = 0.02  # of the time between two looks: less than that is no work


class HangWatch:
    """It is a hang once nothing has moved for ``seconds``: no rank has entered or left a collective, none of the late ones computes.

    Ranks say where they are on boards in ``folder``. Those that wait in a collective burn processor time while they do, so only the time of
    those that are late counts; of all, where there are no boards.
    """

    def __init__(self, seconds: float, folder: pathlib.Path, size: int) -> None:
        self.seconds = seconds
        self.folder = folder
        self.size = size
        self._next = 0.0
        self._moved = time.monotonic()
        self._boards: list[bytes] = []
        self._cpu: dict[int, tuple[float, float]] = {}

    def look(self, running: Mapping[int, Process]) -> dict[str, Any] | None:
        """The ranks that are missing, as a cause, or None."""
        now = time.monotonic()
        if not self.seconds or now < self._next or not running:
            return None
        self._next = now + LOOK_EVERY
        boards = [path.read_bytes() for path in sorted(self.folder.glob(f"{PREFIX}*"))]
        waiting, late = late_ranks(max(map(read_board, boards), key=_liveliest, default=[]))
        missing = self.missing(running, waiting, late)
        if self.find_working(running, now) & missing or boards != self._boards:
            self._boards, self._moved = boards, now
        if now - self._moved < self.seconds:
            return None
        return self.cause(running, missing, waiting, late, now)

    def find_working(self, running: Mapping[int, Process], now: float) -> set[int]:
        """The ranks that have used the processor since the last look."""
        working = set()
        for rank, process in running.items():
            used = process.cpu_seconds
            before, then = self._cpu.get(rank, (used, now))
            if used - before > LEAST_CPU * (now - then):
                working.add(rank)
            self._cpu[rank] = (used, now)
        return working

    def missing(self, running: Mapping[int, Process], waiting: list[Pulse], late: list[Pulse]) -> set[int]:
        """The ranks that the others wait for: those that are late or stopped; all, where nobody waits or all do."""
        stopped = {rank for rank, process in running.items() if process.state in STOPPED}
        found = stopped | ({pulse.rank for pulse in late} if waiting else set())
        return found or (set() if waiting else set(running))

    def cause(
        self, running: Mapping[int, Process], missing: set[int], waiting: list[Pulse], late: list[Pulse], now: float
    ) -> dict[str, Any]:
        """The missing ranks and what they do, in words."""
        words = [describe(waiting, late, size=self.size, now=now).removeprefix("samesum: ")] if waiting else []
        for rank in sorted(missing - {pulse.rank for pulse in late if waiting}):
            stopped = rank in running and running[rank].state in STOPPED
            words.append(f"rank {rank} {'is stopped' if stopped else 'does nothing'}")
        message = f"no progress for {now - self._moved:.0f} s: {', '.join(words)}"
        return {"cause": "hang", "ranks": sorted(missing), "message": message}


def _liveliest(pulses: list[Pulse]) -> tuple[int, float]:
    """By which of several boards to go: that of most ranks, then the one last written to."""
    return len(pulses), max((pulse.since for pulse in pulses), default=0.0)
