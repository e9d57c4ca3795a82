"""What each rank of this machine has used so far: time, processor time, memory, and how much it talked to the others.

Ranks keep account of their talking on the boards on which they say where they are (:mod:`engine.collectives.heartbeat`); all else Linux
knows. So it costs a rank nothing to be looked at.
"""

from __future__ import annotations

import contextlib
import pathlib
import time
from collections.abc import Mapping
from typing import Any

from engine.collectives.heartbeat import PREFIX, Pulse, read_board
from launch.memory import MemoryWatch
from launch.processes import Process


def usage_of(folder: pathlib.Path, records: Mapping[int, Mapping[str, Any]], memory: MemoryWatch) -> list[dict[str, Any]]:
    """A description of every rank that has a leash's record, in rank order; ``folder`` has the boards.

    ``seconds`` since the rank began; of these ``collective_seconds`` in collectives and ``wait_seconds`` in waiting there, None where that
    is not known; ``cpu_seconds`` of all its threads; ``collectives``, ``bytes`` given to them; ``memory`` and
    ``peak_memory`` in bytes; ``doing`` says where it is. A rank that keeps no account, as a user's program, has None for what it said.
    """
    pulses = read_pulses(folder)
    return [describe(rank, records[rank], pulses.get(rank, []), memory) for rank in sorted(records)]


def read_pulses(folder: pathlib.Path) -> dict[int, list[Pulse]]:
    """What ranks have said on all boards: there is one for each communicator."""
    pulses: dict[int, list[Pulse]] = {}
    for path in sorted(folder.glob(f"{PREFIX}*")):
        with contextlib.suppress(OSError):
            for pulse in read_board(path.read_bytes()):
                pulses.setdefault(pulse.rank, []).append(pulse)
    return pulses


def describe(rank: int, record: Mapping[str, Any], pulses: list[Pulse], memory: MemoryWatch) -> dict[str, Any]:
    """One rank."""
    has_ended = "ended" in record
    now, talks = time.monotonic(), [pulse.talk for pulse in pulses]
    seconds = sum(talk.seconds for talk in talks)
    waited = [talk.waited for talk in talks if talk.waited is not None]
    inside = None if has_ended else max((pulse for pulse in pulses if pulse.waiting), key=lambda pulse: pulse.since, default=None)
    if inside is not None:
        seconds += max(0.0, now - inside.since)
    began = record.get("began", time.time())
    process = Process(record["pid"], record["started"])
    return {
        "rank": rank,
        "host": record.get("host"),
        "pid": record["pid"],
        "seconds": round(max(seconds, record.get("ended", time.time()) - began), 6),
        "cpu_seconds": round(record.get("cpu_seconds", process.cpu_seconds), 6),
        "collective_seconds": round(seconds, 6) if talks else None,
        "wait_seconds": round(sum(waited), 6) if waited and len(waited) == len(talks) else None,
        "collectives": sum(talk.collectives for talk in talks) if talks else None,
        "bytes": sum(talk.bytes for talk in talks) if talks else None,
        "memory": None if has_ended else memory.used.get(rank),
        "peak_memory": max(record.get("peak_memory") or 0, memory.peak.get(rank, 0)) or None,
        "doing": "ended" if has_ended else "computing" if inside is None else f"in {inside.name!r}",
    }
