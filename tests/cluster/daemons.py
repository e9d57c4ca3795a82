"""Server processes for tests: started on loopback, waited for, and gone with the process that started them."""

from __future__ import annotations

import ctypes
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

FIRST_PORT = 20000  # below the range from which the kernel takes ports by itself
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


class Daemon:
    """One server process; its output goes to ``log``."""

    def __init__(self, name: str, command: Sequence[str], log: pathlib.Path, environment: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.log = log
        self._command = list(command)
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it may take a while to be ready."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it and wait; nothing if it has ended."""
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def signal(self, how: signal.Signals) -> None:
        """Send it a signal, such as SIGSTOP."""
        assert self._process is not None
        self._process.send_signal(how)

    @property
    def is_running(self) -> bool:
        """Whether it was started, and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def has_ended(self) -> bool:
        """Whether it ended by itself."""
        return self._process is not None and self._process.poll() is not None

    @property
    def exit_code(self) -> int | None:
        """How it ended by itself: its exit code, or less than 0 for a signal."""
        return None if self._process is None else self._process.poll()

    def tail(self, n_lines: int = 30) -> str:
        """The end of what it wrote."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join([f"--- the end of {self.name}'s log {self.log}", *lines[-n_lines:]])


def _end_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def wait_until(is_ready: Callable[[], bool], daemons: Sequence[Daemon], what: str, seconds: float = 90.0) -> None:
    """Wait until ``is_ready()`` is true and raises nothing; an error with the daemons' logs if one ended, or time ran out."""
    deadline = time.monotonic() + seconds
    trouble: Exception | None = None
    while time.monotonic() < deadline:
        if ended := [daemon for daemon in daemons if daemon.has_ended]:
            raise RuntimeError(f"{what}: {ended[0].name} ended with {ended[0].exit_code}\n{ended[0].tail()}")
        try:
            if is_ready():
                return
        except Exception as error:
            trouble = error
        time.sleep(0.1)
    logs = "\n".join(daemon.tail() for daemon in daemons)
    raise RuntimeError(f"{what}: not ready after {seconds:.0f} s (last trouble: {trouble!r})\n{logs}")


def free_ports(count: int, hosts: Sequence[str] = ("127.0.0.1",)) -> list[int]:
    """Ports that nobody listens on at any of ``hosts``."""
    found: list[int] = []
    while len(found) < count:
        port = random.SystemRandom().randrange(FIRST_PORT, 32000)
        if port not in found and all(_is_free(host, port) for host in hosts):
            found.append(port)
    return found


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def python_module(name: str, *arguments: str) -> list[str]:
    """The command that runs a module of this project."""
    return [sys.executable, "-m", name, *arguments]
