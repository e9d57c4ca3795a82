"""Whether ranks keep to their memory, as YARN watches its containers."""

from __future__ import annotations

import contextlib
import math
import pathlib
import time
from collections.abc import Mapping
from typing import Any

from launch.processes import Process, proportional_bytes, resident_bytes

VMSTAT = pathlib.Path("/proc/vmstat")
LOOK_EVERY = 0.5  # seconds
MB = 1 << 20
ROOM = 1.25  # what would do is what was used, and a quarter more, in steps of 64 MB
STEP = 64


def kernel_kills() -> int:
    """How many processes the kernel of this machine has ended because there was no memory left; 0 where it does not say."""
    with contextlib.suppress(OSError, StopIteration):
        lines = VMSTAT.read_text().splitlines()
        return int(next(line for line in lines if line.startswith("oom_kill ")).split()[1])
    return 0


class MemoryWatch:
    """Watches each rank's memory against ``limit`` bytes, None for no limit. ``used``: what each rank had last, ``peak``: the most."""

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.used: dict[int, int] = {}
        self.peak: dict[int, int] = {}
        self._kernel_kills = kernel_kills()
        self._next = 0.0

    def look(self, running: Mapping[int, Process]) -> dict[str, Any] | None:
        """The rank that is over the limit, as a cause, or None."""
        now = time.monotonic()
        if now < self._next:
            return None
        self._next = now + LOOK_EVERY
        for rank, process in running.items():
            used = resident_bytes(process.pid)
            if self.limit is not None and used > self.limit:
                used = proportional_bytes(process.pid)  # never more than the resident, and slow to count
            self.used[rank] = used
            self.peak[rank] = max(self.peak.get(rank, 0), used)
            if self.limit is not None and used > self.limit:
                return {"cause": "memory", "ranks": [rank], "used": used, "limit": self.limit, "message": describe(rank, used, self.limit)}
        return None

    def explain(self, lost: dict[str, Any]) -> dict[str, Any]:
        """A rank's loss as what it was, if the kernel has ended processes for want of memory since the ranks were started."""
        if "SIGKILL" not in lost["message"] or kernel_kills() == self._kernel_kills:
            return lost
        advice = "this machine's memory ran out: use fewer workers on it, or give worker_memory so that they keep to it"
        return {**lost, "cause": "memory", "message": f"{lost['message']}, by the kernel, as {advice}"}


def describe(rank: int, used: int, limit: int) -> str:
    """What happened, in the words that users of YARN know, and what would do."""
    enough = STEP * math.ceil(used / MB * ROOM / STEP)
    return (
        f"rank {rank} exceeded its memory: {used / MB:.1f} MB of {limit // MB} MB physical memory used (-104); "
        f"give worker_memory={enough} or more, or use more workers"
    )
