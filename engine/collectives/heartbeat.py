"""Where each rank is, in shared memory: the last collective it entered, its name, and since when it waits there or computes.

A board is a small file per communicator and node, mapped by all its ranks and unlinked at once, so that nothing is left behind; in a job
it stays in the folder that ``SAMESUM_HEARTBEAT_DIR`` names, where the job's agent reads it. Ranks write without locks, each in its own
slot; readers are an agent, a watcher process and ranks on their way out, which look more than once before they believe what they see. Only
the standard library is used here: the watcher must start in milliseconds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import mmap
import os
import pathlib
import struct
import tempfile
from time import monotonic
from typing import Any, NamedTuple

SLOT_BYTES = 128
NAME_BYTES = 64
FOLDER_VARIABLE = "SAMESUM_HEARTBEAT_DIR"
PREFIX = "samesum-heartbeat-"
_OWNER = struct.Struct("<II")  # at byte 0: pid, rank
_POSITION = struct.Struct(f"<Qd{NAME_BYTES}s")  # at byte 8: collective number, since, name
_SINCE = struct.Struct("<d")
_TALK = struct.Struct("<ddQ")  # at byte 88: seconds in collectives, seconds of waiting among them, bytes
_POSITION_AT = _OWNER.size
_SINCE_AT = _POSITION_AT + 8
_TALK_AT = _POSITION_AT + _POSITION.size
_write_position = _POSITION.pack_into
_write_since = _SINCE.pack_into
_write_talk = _TALK.pack_into


class Talk(NamedTuple):
    """How much a rank has talked so far: ``collectives``, the ``seconds`` in them, and the ``bytes`` of its arrays that it gave to them.

    Seconds are those of moving data and of waiting for other ranks together; ``waited`` are those of waiting, None where nobody can tell
    them apart.
    """

    collectives: int = 0
    seconds: float = 0.0
    waited: float | None = None
    bytes: int = 0


SILENT = Talk()


@dataclasses.dataclass(frozen=True)
class Pulse:
    """What a rank last said: ``number`` and ``name`` of its last collective, whether it is still in it, and since when.

    ``since`` is in seconds of ``time.monotonic()``, which the processes of a node share. Number 0 is before the first collective. ``talk``
    is without the collective that it is in.
    """

    pid: int
    rank: int
    number: int
    name: str
    waiting: bool
    since: float
    talk: Talk = SILENT


class Heartbeat:
    """One rank's pen: ``with heartbeat.entered('histograms'): ...`` around every collective, which costs it a microsecond.

    Inside of it ``bytes`` and ``waited`` may be added to; ``waited`` stays negative where nobody can tell waiting from moving data.
    """

    __slots__ = ("_board", "_entered_at", "_position_at", "_seconds", "_since_at", "_talk_at", "bytes", "number", "waited")

    def __init__(self, board: mmap.mmap, slot: int, rank: int, *, knows_waiting: bool = False) -> None:
        self._board = board
        self._position_at = slot * SLOT_BYTES + _POSITION_AT
        self._since_at = slot * SLOT_BYTES + _SINCE_AT
        self._talk_at = slot * SLOT_BYTES + _TALK_AT
        self._entered_at = self._seconds = 0.0
        self.number = self.bytes = 0
        self.waited = 0.0 if knows_waiting else -1.0
        _write_position(board, self._position_at, 0, -monotonic(), b"")
        _write_talk(board, self._talk_at, 0.0, self.waited, 0)
        _OWNER.pack_into(board, slot * SLOT_BYTES, os.getpid(), rank)

    def entered(self, name: str) -> Heartbeat:
        """Say that this rank enters its next collective, ``name``."""
        self.number = number = self.number + 1
        self._entered_at = now = monotonic()
        _write_position(self._board, self._position_at, number, now, name.encode())
        return self

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        now = monotonic()
        self._seconds = seconds = self._seconds + now - self._entered_at
        _write_since(self._board, self._since_at, -now)
        _write_talk(self._board, self._talk_at, seconds, self.waited, self.bytes)

    @property
    def talk(self) -> Talk:
        """What this rank has said so far."""
        return Talk(self.number, self._seconds, self.waited if self.waited >= 0 else None, self.bytes)


def read_board(board: mmap.mmap | bytes) -> list[Pulse]:
    """The pulses of all ranks that have written one, in rank order."""
    pulses = []
    for at in range(0, len(board), SLOT_BYTES):
        pid, rank = _OWNER.unpack_from(board, at)
        number, since, name = _POSITION.unpack_from(board, at + _POSITION_AT)
        if pid:
            seconds, waited, n_bytes = _TALK.unpack_from(board, at + _TALK_AT)
            talk = Talk(number, seconds, waited if waited >= 0 else None, n_bytes)
            pulses.append(Pulse(pid, rank, number, name.rstrip(b"\0").decode(errors="replace"), since > 0, abs(since), talk))
    return sorted(pulses, key=lambda pulse: pulse.rank)


def late_ranks(pulses: list[Pulse]) -> tuple[list[Pulse], list[Pulse]]:
    """Split ranks into those that wait in the latest collective any rank waits in, and those that have not reached it yet."""
    latest = max((pulse.number for pulse in pulses if pulse.waiting), default=0)
    waiting = [pulse for pulse in pulses if pulse.waiting and pulse.number == latest]
    return waiting, [pulse for pulse in pulses if pulse.number < latest]


def open_board(node: Any) -> tuple[mmap.mmap, int]:
    """Map one board for the ranks of ``node``, an MPI communicator within one machine; collective. Return it and a file descriptor.

    Where the ranks cannot share a file (a full disk, a container per rank), each gets a private board, and -1: nobody can look at it.
    """
    size = node.Get_size() * SLOT_BYTES
    path = _create_file(size) if node.Get_rank() == 0 else None
    path = node.bcast(path)
    descriptor = _open_file(path, size)
    shared = node.allreduce(descriptor < 0) == 0
    if path and node.Get_rank() == 0 and not os.environ.get(FOLDER_VARIABLE):
        pathlib.Path(path).unlink(missing_ok=True)
    if shared:
        return mmap.mmap(descriptor, size), descriptor
    if descriptor >= 0:
        os.close(descriptor)
    return mmap.mmap(-1, size), -1


def _create_file(size: int) -> str | None:
    own = os.environ.get(FOLDER_VARIABLE)
    for folder in (own,) if own else ("/dev/shm", tempfile.gettempdir()):
        with contextlib.suppress(OSError):
            descriptor, path = tempfile.mkstemp(prefix=PREFIX, dir=folder)
            with os.fdopen(descriptor, "wb") as file:
                file.write(bytes(size))
            return path
    return None


def _open_file(path: str | None, size: int) -> int:
    """A descriptor of the board, or -1 if this rank does not see it."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path or "", os.O_RDWR | os.O_CLOEXEC)
        if os.fstat(descriptor).st_size == size:
            return descriptor
        os.close(descriptor)
    return -1
