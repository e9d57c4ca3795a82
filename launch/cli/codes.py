"""How the command ends: what a script may rely on."""

from __future__ import annotations

from enum import IntEnum

import typer

from engine.errors import OptionError


class ExitCode(IntEnum):
    """The exit code of every command."""

    DONE = 0
    FAILED = 1
    MISTAKEN = 2
    UNFINISHED = 3
    KILLED = 4
    JOB_FAILED = 5
    INTERRUPTED = 130
    UNREAD = 141


# What each of them means, for the page on the command line.
EXPLANATIONS = {
    ExitCode.DONE: "Done. Of a job that was waited for or asked about: it ended in success.",
    ExitCode.FAILED: "The command failed: data, a file, a model, a job or a server was not there or not as expected.",
    ExitCode.MISTAKEN: "The command line cannot be meant; nothing was done.",
    ExitCode.UNFINISHED: "The job has not ended: it waits or runs.",
    ExitCode.KILLED: "The job was cancelled.",
    ExitCode.JOB_FAILED: "The job failed; `samesum summary JOB` says why.",
    ExitCode.INTERRUPTED: "Interrupted by Ctrl-C. A job that was being followed goes on.",
    ExitCode.UNREAD: "Whoever read the output stopped reading, as `head` does.",
}


def code_of(error: BaseException) -> ExitCode:
    """The exit code for an error that ends a command."""
    return ExitCode.MISTAKEN if isinstance(error, OptionError) else ExitCode.FAILED


def leave(code: ExitCode) -> typer.Exit:
    """The exception that ends a command with ``code``, to be raised."""
    return typer.Exit(int(code))
