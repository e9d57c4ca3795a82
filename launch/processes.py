"""Processes as Linux shows them: which one a number means, what it uses, and how to end it without hitting another.

A number is used again after its process ends, so a process is a number and the moment at which it started. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import time
from typing import NamedTuple

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_LARGE = 16 << 20  # bytes: more than the stack of a thread


class Process(NamedTuple):
    """One process for good: ``started`` is in ticks since the machine did."""

    pid: int
    started: int

    @property
    def state(self) -> str:
        """The letter that Linux gives it: R, S, D, T (stopped) and so on; empty if it has ended."""
        stat = _stat(self.pid)
        return "" if stat is None or int(stat[19]) != self.started or stat[0] in "ZX" else stat[0]

    @property
    def is_alive(self) -> bool:
        """Whether it runs; one that waits to be collected by its parent does not."""
        return self.state != ""

    @property
    def cpu_seconds(self) -> float:
        """Processor time of all its threads; 0 if it has ended."""
        stat = _stat(self.pid)
        return (int(stat[11]) + int(stat[12])) / _TICKS if stat is not None and int(stat[19]) == self.started else 0.0

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal, if it is still the same process."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            descriptor = _open_process(self.pid)
            if descriptor is None:
                if self.is_alive:
                    os.kill(self.pid, number)
                return
            try:
                if self.is_alive:
                    signal.pidfd_send_signal(descriptor, number)
            finally:
                os.close(descriptor)


def process_of(pid: int) -> Process | None:
    """The process that has this number now."""
    stat = _stat(pid)
    return None if stat is None else Process(pid, int(stat[19]))


def find_processes(variable: str, value: str) -> list[Process]:
    """The processes of this user that were started with this variable in their environment, but for this one."""
    wanted = f"\0{variable}={value}\0".encode()
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        process = process_of(int(entry.name))
        with contextlib.suppress(OSError):
            if wanted in b"\0" + pathlib.Path(entry.path, "environ").read_bytes() + b"\0" and process is not None and process.is_alive:
                found.append(process)
    return found


def kill_all(variable: str, value: str, within: float) -> list[Process]:
    """End all these processes, those too that they start meanwhile; returns what is still there after ``within`` seconds."""
    deadline = time.monotonic() + within
    while left := find_processes(variable, value):
        for process in left:
            process.kill()
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    return left


def resident_bytes(pid: int) -> int:
    """Memory of a process, what it shares with others counted whole; 0 if it has ended."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    return 0


def proportional_bytes(pid: int) -> int:
    """Memory of a process, what it shares counted in proportion; 0 if it has ended."""
    with contextlib.suppress(OSError, ValueError):
        for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def untouched_bytes(pid: int) -> int:
    """What a process has asked for in large pieces and not used yet, and may still: its arrays that it has not filled. Slow to count.

    Address space that was set aside without any claim to memory, as allocators do it, is left out.
    """
    total = size = resident = 0
    is_own = False
    with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/smaps", encoding="utf-8", errors="replace") as file:
        for line in file:
            name, *words = line.split()
            if not name.endswith(":"):
                is_own = words[0].startswith("rw") and words[0].endswith("p") and words[3] == "0"  # private, and of no file
            elif name == "Size:":
                size = int(words[0]) * 1024
            elif name == "Rss:":
                resident = int(words[0]) * 1024
            elif name == "VmFlags:" and is_own and size >= _LARGE and "nr" not in words:
                total += size - resident
    return total


def shared_segments(pid: int) -> set[str]:
    """The files in ``/dev/shm`` that a process has in its memory."""
    with contextlib.suppress(OSError):
        lines = pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines()
        return {line[line.index("/dev/shm/") :] for line in lines if "/dev/shm/" in line and not line.endswith(" (deleted)")}
    return set()


def used_segments() -> set[str]:
    """The files in ``/dev/shm`` that any process has in its memory, of those that let it be seen."""
    return set().union(*(shared_segments(int(entry)) for entry in os.listdir("/proc") if entry.isdigit()))


def _open_process(pid: int) -> int | None:
    """A descriptor that stays the process's own; None on systems that have none."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError) as error:
        if isinstance(error, ProcessLookupError):
            raise
        return None


def _stat(pid: int) -> list[str] | None:
    """The fields of ``/proc/<pid>/stat`` from the state on, as ``man 5 proc`` numbers them less three."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return None
