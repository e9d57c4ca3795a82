"""The command line as its users have it: in a pipe, under ``mpiexec``, and on a terminal."""

import contextlib
import dataclasses
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

from tests.mpi_jobs import ROOT, mpiexec, plain_environment

MUSHROOM = str(ROOT / "examples" / "data" / "mushroom.csv")


def command_of(*words, ranks=0, module="launch.cli"):
    """``samesum WORDS``, alone or on so many ranks."""
    command = [sys.executable, "-m", module, *map(str, words)]
    return [mpiexec(), "-n", str(ranks), *command] if ranks else command


def samesum(*words, ranks=0, module="launch.cli", timeout=100, **environment):
    """Run ``samesum WORDS`` in a pipe."""
    return subprocess.run(
        command_of(*words, ranks=ranks, module=module),
        cwd=ROOT,
        env=plain_environment(**environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@dataclasses.dataclass
class Terminal:
    """A program on a terminal: what it has shown, control sequences and all."""

    pid: int
    descriptor: int
    shown: str = ""
    code: int | None = None

    def read_until(self, text, timeout=60):
        """Read until ``text`` is shown; an error if it never is."""
        deadline = time.monotonic() + timeout
        while text not in self.shown:
            assert time.monotonic() < deadline, f"{text!r} is not in {self.shown!r}"
            if not self._read_some():
                assert text in self.shown, f"{text!r} is not in {self.shown!r}"

    def press(self, keys):
        """Type keys, Ctrl-C as the character 3."""
        os.write(self.descriptor, keys.encode())

    def wait(self, timeout=60):
        """Read to the end; the exit code, negative for a signal."""
        deadline = time.monotonic() + timeout
        while self._read_some():
            assert time.monotonic() < deadline, f"it goes on: {self.shown!r}"
        self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.code

    def _read_some(self):
        ready, _, _ = select.select([self.descriptor], [], [], 0.1)
        if not ready:
            return True
        data = b""
        with contextlib.suppress(OSError):  # the other side has closed
            data = os.read(self.descriptor, 1 << 16)
        self.shown += data.decode(errors="replace")
        return bool(data)


@contextlib.contextmanager
def terminal(*words, columns=120, lines=40, **environment):
    """``samesum WORDS`` on a terminal of that size."""
    pid, descriptor = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        command = command_of(*words)
        os.execve(command[0], command, plain_environment(TERM="xterm-256color", **environment))
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    program = Terminal(pid, descriptor)
    try:
        yield program
    finally:
        if program.code is None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.close(descriptor)


def show(*words, **more):
    """The exit code of ``samesum WORDS`` and what it shows on a terminal, colours and all."""
    with terminal(*words, **more) as program:
        code = program.wait()
    return code, program.shown.replace("\r\n", "\n")


def without_colours(shown):
    """What a terminal shows, without control sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
