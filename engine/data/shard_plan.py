"""Which rank reads what: even cuts of all files laid end to end, in listed order."""

from __future__ import annotations

import bisect
import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator

MOST_MOVED = 0.25  # of a rank's share, by which a cut moves


class Segment(NamedTuple):
    """Part of one file: positions ``begin`` to ``end`` of file number ``file``, in bytes or in rows."""

    file: int
    begin: int
    end: int


def cut(total: int, size: int, rank: int) -> tuple[int, int]:
    """Rank's even share of ``total`` things: from ``rank * total // size`` to the next rank's beginning."""
    return rank * total // size, (rank + 1) * total // size


def plan_segments(
    sizes: Sequence[int], size: int, rank: int, *, whole: Sequence[bool] | None = None, seams: Sequence[int] = ()
) -> list[Segment]:
    """The parts of files of these ``sizes`` that ``rank`` reads, in order.

    A file marked ``whole`` cannot be cut: the rank in whose share its middle lies takes all of it. Cuts move to the nearest of ``seams``,
    sorted positions over all files where a cut costs less, if that is near. Together the ranks cover every file once, in order.
    """
    total = sum(sizes)
    first, last = (_moved(position, seams, int(MOST_MOVED * total / size)) for position in cut(total, size, rank))
    segments = []
    offset = 0
    for file, length in enumerate(sizes):
        if whole is not None and whole[file]:
            begin, end = (0, length) if first <= offset + length // 2 < last else (0, 0)
        else:
            begin, end = max(first - offset, 0), min(last - offset, length)
        if begin < end:
            segments.append(Segment(file, begin, end))
        offset += length
    return segments


def _moved(position: int, seams: Sequence[int], most: int) -> int:
    """The nearest seam that is at most so far away, the lower of two, else the position."""
    place = bisect.bisect_left(seams, position)
    near = [seam for seam in seams[max(0, place - 1) : place + 1] if abs(seam - position) <= most]
    return min(near, key=lambda seam: abs(seam - position), default=position)


def share_from_root(comm: Communicator, make: Callable[[], Any], *, stage: str) -> Any:
    """Rank 0's ``make()``, a JSON-able value of any size, on every rank; its error is every rank's error."""
    made = b""
    with agree(comm, stage):
        if comm.rank == 0:
            made = json.dumps(make()).encode()
    parts = comm.allgather(np.frombuffer(made, dtype=np.uint8), name=f"{stage}: plan")
    return json.loads(parts[0].tobytes())


def gather_json(comm: Communicator, value: Any, *, name: str) -> list[Any]:
    """Every rank's JSON-able value, in rank order; unlike ``gather_objects`` of any size."""
    own = json.dumps(value).encode()
    parts = comm.allgather(np.frombuffer(own, dtype=np.uint8), name=name)
    return [json.loads(part.tobytes()) for part in parts]


def first_row_and_total(comm: Communicator, n_rows_local: int, *, name: str) -> tuple[int, int]:
    """Global id of this rank's first row, and the number of rows over all ranks."""
    counts = [int(part[0]) for part in comm.allgather(np.array([n_rows_local], dtype=np.int64), name=name)]
    return sum(counts[: comm.rank]), sum(counts)
