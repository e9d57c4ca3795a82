"""How the command ends: what a script may rely on."""

from __future__ import annotations

from enum import IntEnum

import typer

from engine.errors import OptionError


class ExitCode(IntEnum):
    """The exit code of every command, and what it means; ``explanation`` goes into the page on the command line."""

    explanation: str

    def __new__(cls, value: int, explanation: str) -> ExitCode:
        """A code with what it means."""
        member = int.__new__(cls, value)
        member._value_, member.explanation = value, explanation
        return member

    DONE = 0, "Done. Of a job that was waited for or asked about: it ended in success."
    FAILED = 1, "The command failed: data, a file, a model, a job or a server was not there or not as expected."
    MISTAKEN = 2, "The command line cannot be meant; nothing was done."
    UNFINISHED = 3, "The job has not ended: it waits or runs."
    KILLED = 4, "The job was cancelled."
    JOB_FAILED = 5, "The job failed; `samesum summary JOB` says why."
    INTERRUPTED = 130, "Interrupted by Ctrl-C. A job that was being followed goes on."
    UNREAD = 141, "Whoever read the output stopped reading, as `head` does."


def code_of(error: BaseException) -> ExitCode:
    """The exit code for an error that ends a command."""
    return ExitCode.MISTAKEN if isinstance(error, OptionError) else ExitCode.FAILED


def leave(code: ExitCode) -> typer.Exit:
    """The exception that ends a command with ``code``, to be raised."""
    return typer.Exit(int(code))
