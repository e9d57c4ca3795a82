"""A small process beside the ranks of a node that says which rank is missing when the others have waited for long.

It reads the board of :mod:`engine.collectives.heartbeat`, runs no MPI, warns on standard error and never ends anything: a slow
rank is not a dead one. It lives no longer than the rank that started it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import mmap
import os
import pathlib
import select
import subprocess
import sys
import time

from engine.collectives.heartbeat import Pulse, late_ranks, read_board
from engine.errors import OptionError

DEFAULT_SECONDS = 60.0
VARIABLE = "SAMESUM_WATCHDOG_SECONDS"
_START = "import sys; sys.path.insert(0, sys.argv[1]); from engine.collectives.watchdog import main; main(sys.argv[2:])"


class Watchdog:
    """The watcher's life in the hands of the rank that started it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def stop(self) -> None:
        """End the watcher by closing its input."""
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self._process.communicate(timeout=2.0)


def watchdog_seconds() -> float:
    """After how long to warn: ``SAMESUM_WATCHDOG_SECONDS``, 60 by default; 0 means never."""
    text = os.environ.get(VARIABLE, "")
    try:
        seconds = float(text or DEFAULT_SECONDS)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0.0:
        raise OptionError(f"expected seconds, 0 or more, in {VARIABLE}, got {text!r}; 0 turns the warning off")
    return seconds


def start_watchdog(descriptor: int, size: int) -> Watchdog | None:
    """Start the watcher of this node's board, for a group of ``size`` ranks; None if it is turned off or cannot run here."""
    seconds = watchdog_seconds()
    if seconds == 0.0 or descriptor < 0 or not sys.executable:
        return None
    root = str(pathlib.Path(__file__).resolve().parents[2])
    command = [sys.executable, "-S", "-E", "-c", _START, root, str(descriptor), str(size), str(seconds), str(os.getpid())]
    try:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=(descriptor,))
    except OSError:
        return None
    return Watchdog(process)


def main(arguments: list[str]) -> None:
    """Watch until the parent closes standard input or is gone. Arguments: descriptor, size, seconds, the parent's pid."""
    descriptor, size, parent = int(arguments[0]), int(arguments[1]), int(arguments[3])
    seconds = float(arguments[2])
    board = mmap.mmap(descriptor, os.fstat(descriptor).st_size, access=mmap.ACCESS_READ)
    watch = Watch(size, seconds)
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        # A child that the parent forks may hold the pipe open, so look at the parent as well.
        while not select.select([0], [], [], min(seconds / 4, 1.0))[0] and os.getppid() == parent:
            message = watch.look(read_board(board), time.monotonic())
            if message:
                os.write(2, (message + "\n").encode())


@dataclasses.dataclass
class Watch:
    """When to warn about what is on a board, and in which words. One warning per collective, again each time the wait has doubled."""

    size: int
    seconds: float
    _warned: tuple[int, float] = (0, 0.0)

    def look(self, pulses: list[Pulse], now: float) -> str | None:
        """A warning that is due at ``now``, or None."""
        waiting, late = late_ranks(pulses)
        if not waiting or (not late and len(pulses) == self.size):
            return None
        number = waiting[0].number
        waited = now - min(pulse.since for pulse in waiting)
        number_warned, warned_at = self._warned
        if waited < (2 * warned_at if number == number_warned else self.seconds):
            return None
        self._warned = (number, waited)
        return describe(waiting, late, size=self.size, now=now)


def describe(waiting: list[Pulse], late: list[Pulse], *, size: int, now: float) -> str:
    """One line that names the collective, who waits in it since when, who is missing, and what the missing do."""
    waited = now - min(pulse.since for pulse in waiting)
    text = f"samesum: {_ranks(waiting)} waited {waited:.0f} s in collective {waiting[0].number}, {waiting[0].name!r}"
    if late:
        text += f", for {'; '.join(_activity(pulse, now) for pulse in late)}"
    if len(waiting) + len(late) < size:
        seen = "the ranks of this node alone are seen here; "
        text += f" ({seen}{'others may be missing too' if late else 'the missing ones are on other nodes'})"
    return text


def _ranks(pulses: list[Pulse]) -> str:
    names = ", ".join(str(pulse.rank) for pulse in pulses)
    return f"rank {names} has" if len(pulses) == 1 else f"ranks {names} have"


def _activity(pulse: Pulse, now: float) -> str:
    """What a missing rank does, as far as its node can tell."""
    last = f"collective {pulse.number}, {pulse.name!r}" if pulse.number else "its start"
    state = _process_state(pulse.pid)
    if state in ("", "Z"):
        return f"rank {pulse.rank}, whose process {pulse.pid} has ended after {last}"
    if state in ("T", "t"):
        return f"rank {pulse.rank}, whose process {pulse.pid} is stopped after {last}"
    if pulse.waiting:
        return f"rank {pulse.rank}, still in {last}, since {now - pulse.since:.0f} s"
    return f"rank {pulse.rank}, computing (process {pulse.pid}) since {last}, {now - pulse.since:.0f} s ago"


def _process_state(pid: int) -> str:
    """The letter that Linux gives a process, '' if it is gone, '?' where this cannot be known."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1]
    except FileNotFoundError:
        return "" if pathlib.Path("/proc/self/stat").exists() else "?"
    except OSError:
        return "?"
