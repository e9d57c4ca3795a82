"""What a process of a job was started with."""

from __future__ import annotations

import contextlib
import pathlib

from launch.processes import Process


def command_of(process: Process) -> str:
    """The command line, its words with spaces between them; empty if it has ended."""
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{process.pid}/cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
    return ""


def is_java(process: Process) -> bool:
    """Whether it runs Java; no longer so once it has ended."""
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{process.pid}/exe").readlink().name == "java"
    return False


def variable_of(process: Process, name: str) -> str:
    """A variable of its environment; empty if it has none, or has ended."""
    with contextlib.suppress(OSError):
        words = pathlib.Path(f"/proc/{process.pid}/environ").read_bytes().decode(errors="replace").split("\0")
        return next((word.partition("=")[2] for word in words if word.startswith(f"{name}=")), "")
    return ""
