"""Whether ranks keep to their memory, as YARN watches its containers."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from launch.processes import Process, proportional_bytes, resident_bytes

LOOK_EVERY = 0.5  # seconds
MB = 1 << 20
ROOM = 1.25  # what would do is what was used, and a quarter more, in steps of 64 MB
STEP = 64


class MemoryWatch:
    """Watches each rank's memory against ``limit`` bytes, None for no limit. ``peak``: the most seen of each rank."""

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.peak: dict[int, int] = {}
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
            self.peak[rank] = max(self.peak.get(rank, 0), used)
            if self.limit is not None and used > self.limit:
                return {"cause": "memory", "ranks": [rank], "used": used, "limit": self.limit, "message": describe(rank, used, self.limit)}
        return None


def describe(rank: int, used: int, limit: int) -> str:
    """What happened, in the words that users of YARN know, and what would do."""
    enough = STEP * math.ceil(used / MB * ROOM / STEP)
    return (
        f"rank {rank} exceeded its memory: {used / MB:.1f} MB of {limit // MB} MB physical memory used (-104); "
        f"give worker_memory={enough} or more, or use more workers"
    )
