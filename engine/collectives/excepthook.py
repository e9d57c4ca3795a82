"""How a rank ends: no rank may leave the others waiting for it.

Installed with the first MPI communicator of more than one rank, for scripts started by plain ``mpirun python train.py``:

- An uncaught error that all ranks raise (``found_by_all``) is printed once, and every rank exits with code 1.
- Any other uncaught exception, of any thread, is printed with its rank and aborts all ranks.
- A rank that exits by itself, ``sys.exit`` too, waits for the others to exit; if it sees that they wait in a collective that it
  never reached, it says so and aborts them.

Only the main thread calls MPI, but for an abort from another thread where MPI was started to allow it.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import fcntl
import mmap
import os
import stat
import sys
import termios
import threading
import time
import traceback
from types import TracebackType
from typing import Any

from engine.collectives.heartbeat import late_ranks, read_board
from engine.collectives.watchdog import Watchdog

ABORT_AFTER = 2.0
"""Seconds for which others are seen waiting before a rank on its way out aborts them."""
LEAVE_WITHIN = 4.0
"""Seconds for which a rank that failed waits for the others to fail too."""

READ_WITHIN = 1.0
"""Seconds that a launcher gets to read a rank's last words before an abort."""
FORWARD_TIME = 0.2
"""Seconds that it gets to pass them on."""


class Farewell:
    """One communicator's end on this rank: a barrier that ranks enter on their way out."""

    def __init__(self, comm: Any, board: mmap.mmap) -> None:
        self.comm, self.board = comm, board
        self.watchdog: Watchdog | None = None
        self.rank = comm.Get_rank()
        self.process = os.getpid()

    def wait(self, mpi: Any, *, failed: bool) -> None:
        """Return once every rank is on its way out; abort if some wait for this one, or if this one failed and they do not follow."""
        arrived = self.comm.Ibarrier()
        started, nap = time.monotonic(), 0.0005
        while not arrived.Test():
            time.sleep(nap)
            nap = min(nap * 1.5, 0.05)
            waiting = self._waiting_for_this_rank()
            if waiting and time.monotonic() - max(started, *waiting) > ABORT_AFTER:
                _say(f"samesum: rank {self.rank} has exited while other ranks wait for it in {self._collective()}; ending all ranks")
                _abort(mpi)
            if failed and time.monotonic() - started > LEAVE_WITHIN:
                _abort(mpi)

    def _waiting_for_this_rank(self) -> list[float]:
        """Since when ranks of this node wait in a collective that this rank never entered."""
        waiting, late = late_ranks(read_board(self.board))
        return [pulse.since for pulse in waiting] if any(pulse.rank == self.rank for pulse in late) else []

    def _collective(self) -> str:
        waiting, _ = late_ranks(read_board(self.board))
        return f"collective {waiting[0].number}, {waiting[0].name!r}" if waiting else "a collective"


class _Exit:
    """The hooks of this process, and the communicators they look after."""

    def __init__(self, mpi: Any) -> None:
        self.mpi = mpi
        self.rank = mpi.COMM_WORLD.Get_rank()
        self.failed = False
        self.farewells: list[Farewell] = []
        sys.excepthook = self.uncaught
        threading.excepthook = self.uncaught_in_thread
        atexit.register(self.leave)

    def uncaught(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        """End this rank with the others if they raise the same error, else end them all."""
        if not getattr(error, "found_by_all", False):
            self.report(error, trace, f"rank {self.rank}")
            _abort(self.mpi)
            return
        self.failed = True
        if not getattr(error, "prints_here", True):
            return
        if os.environ.get("SAMESUM_DEBUG") == "1":
            traceback.print_exception(kind, error, trace)
        else:
            _say(f"{kind.__name__}: {error}")

    def uncaught_in_thread(self, args: threading.ExceptHookArgs) -> None:
        """A thread that died may be what the others wait for: end them all."""
        if args.exc_type is SystemExit or args.exc_value is None:
            return
        name = args.thread.name if args.thread is not None else "a thread"
        self.report(args.exc_value, args.exc_traceback, f"rank {self.rank}, thread {name}")
        if self.mpi.Query_thread() < self.mpi.THREAD_MULTIPLE:
            os._exit(1)  # MPI may not be called here; launchers end a job of which a process dies
        _abort(self.mpi)

    def report(self, error: BaseException, trace: TracebackType | None, who: str) -> None:
        """Print a traceback in one piece, every line with its rank, as lines of several ranks mix."""
        lines = "".join(traceback.format_exception(type(error), error, trace)).splitlines()
        _say("\n".join(f"[{who}] {line}" for line in lines))

    def leave(self) -> None:
        """Wait for the other ranks; at exit, before MPI is finalised."""
        if self.mpi.Is_finalized():
            return
        for farewell in self.farewells:
            if farewell.process == os.getpid():
                farewell.wait(self.mpi, failed=self.failed)
                if farewell.watchdog is not None:
                    farewell.watchdog.stop()
        if any(farewell.comm.Get_size() == self.mpi.COMM_WORLD.Get_size() for farewell in self.farewells):
            # Under `python -m mpi4py` a failed rank aborts the others when MPI is finalised. All of them are here: no need, no noise.
            getattr(self.mpi, "_set_abort_status", lambda status: None)(0)


_installed: list[_Exit] = []


def install(mpi: Any, comm: Any, board: mmap.mmap) -> Farewell:
    """Look after ``comm``, a communicator for this alone, from now to the end of the process; the first call installs the hooks.

    ``board`` is the heartbeat of the ranks on this node. A watchdog put into what is returned is stopped at the end.
    """
    if not _installed:
        _installed.append(_Exit(mpi))
    farewell = Farewell(comm, board)
    _installed[0].farewells.append(farewell)
    return farewell


def _abort(mpi: Any) -> None:
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    _let_launcher_read()
    mpi.COMM_WORLD.Abort(1)


def _let_launcher_read() -> None:
    """Wait until the launcher has taken what this rank wrote: Hydra drops at an abort what it has not read yet."""
    deadline = time.monotonic() + READ_WITHIN
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):
            while time.monotonic() < deadline and _unread_bytes(descriptor):
                time.sleep(0.01)
    time.sleep(FORWARD_TIME)


def _unread_bytes(descriptor: int) -> int:
    """Bytes in the pipe that ``descriptor`` writes to; ``OSError`` where it cannot be known."""
    buffer = array.array("i", [0])
    fcntl.ioctl(descriptor, termios.FIONREAD, buffer)
    return buffer[0] if stat.S_ISFIFO(os.fstat(descriptor).st_mode) else 0


def _say(text: str) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
