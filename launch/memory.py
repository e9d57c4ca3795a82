"""Whether ranks keep to their memory, as YARN watches its containers."""

from __future__ import annotations

import contextlib
import math
import pathlib
import time
from collections.abc import Mapping
from typing import Any

from launch.processes import Process, proportional_bytes, resident_bytes, untouched_bytes

VMSTAT = pathlib.Path("/proc/vmstat")
LOOK_EVERY = 0.5  # seconds
MB = 1 << 20
ROOM = 1.25  # what would do is what was used, and a quarter more, in steps of 64 MB
STEP = 64
GROWTH = 1.25  # of a rank's memory from one count of what it has asked for to the next
WORTH_COUNTING = 32 << 20  # bytes


def kernel_kills() -> int:
    """How many processes the kernel of this machine has ended because there was no memory left; 0 where it does not say."""
    with contextlib.suppress(OSError, StopIteration):
        lines = VMSTAT.read_text().splitlines()
        return int(next(line for line in lines if line.startswith("oom_kill ")).split()[1])
    return 0


class MemoryWatch:
    """Watches each rank's memory against ``limit`` bytes, None for no limit.

    ``used``: what each rank had last, ``peak``: the most seen of it; ``wanted``: with what it had asked for then and not filled yet.
    """

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.used: dict[int, int] = {}
        self.peak: dict[int, int] = {}
        self.wanted: dict[int, int] = {}
        self._counted: dict[int, int] = {}
        self._said = 0
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
            is_over = self.limit is not None and used > self.limit
            if is_over or used > max(GROWTH * self._counted.get(rank, 0), WORTH_COUNTING):
                self._counted[rank] = used
                self.wanted[rank] = max(self.wanted.get(rank, 0), used + untouched_bytes(process.pid))
            if self.limit is not None and is_over:
                message = describe(rank, used, self.limit, self.wanted[rank])
                return {"cause": "memory", "ranks": [rank], "used": used, "limit": self.limit, "message": message}
        return None

    def has_news(self) -> bool:
        """Whether ranks want much more than when this was last asked: who watches them from elsewhere may hear it just in time."""
        wanted = max(self.wanted.values(), default=0)
        is_more = wanted > GROWTH * self._said
        if is_more:
            self._said = wanted
        return is_more

    def explain(self, lost: dict[str, Any]) -> dict[str, Any]:
        """A rank's loss as what it was, if the kernel has ended processes for want of memory since the ranks were started."""
        if "SIGKILL" not in lost["message"] or kernel_kills() == self._kernel_kills:
            return lost
        advice = "this machine's memory ran out: use fewer workers on it, or give worker_memory so that they keep to it"
        return {**lost, "cause": "memory", "message": f"{lost['message']}, by the kernel, as {advice}"}


def enough(used: int, wanted: int = 0) -> int:
    """The MB that would do, as far as one can tell from what was used, and what was asked for then."""
    return STEP * math.ceil(max(used, wanted) / MB * ROOM / STEP)


def say_wanted(used: int, wanted: int) -> str:
    """What a rank had asked for beyond what it used, in words; empty if it is not worth any."""
    return f" and {wanted / MB:.1f} MB asked for" if wanted > used * 1.05 else ""


def describe(rank: int, used: int, limit: int, wanted: int = 0) -> str:
    """What happened, in the words that users of YARN know, and what would do."""
    return (
        f"rank {rank} exceeded its memory: {used / MB:.1f} MB of {limit // MB} MB physical memory used{say_wanted(used, wanted)} (-104); "
        f"give worker_memory={enough(used, wanted)} or more, or use more workers"
    )
