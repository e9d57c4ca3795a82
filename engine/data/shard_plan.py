"""Which rank reads what: even cuts of all files laid end to end, in listed order."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator


class Segment(NamedTuple):
    """Part of one file: positions ``begin`` to ``end`` of file number ``file``, in bytes or in rows."""

    file: int
    begin: int
    end: int


def cut(total: int, size: int, rank: int) -> tuple[int, int]:
    """Rank's even share of ``total`` things: from ``rank * total // size`` to the next rank's beginning."""
    return rank * total // size, (rank + 1) * total // size


def plan_segments(sizes: Sequence[int], size: int, rank: int, *, whole: Sequence[bool] | None = None) -> list[Segment]:
    """The parts of files of these ``sizes`` that ``rank`` reads, in order.

    A file marked ``whole`` cannot be cut: the rank in whose share its middle lies takes all of it. Together the ranks cover every file
    once, in order.
    """
    first, last = cut(sum(sizes), size, rank)
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
