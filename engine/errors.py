"""The errors that samesum raises: what was expected, what came, what to do.

Every class also inherits the builtin that fits, so ``except ValueError`` keeps working.
"""

from __future__ import annotations

import sys
import warnings


class EngineError(Exception):
    """Root of all errors that samesum raises on purpose.

    ``found_by_all`` is set by :mod:`engine.collectives.agree` once every rank raises the same error; if nobody catches it, only the
    rank whose ``prints_here`` is true, the first of those that agreed, prints it.
    """

    found_by_all: bool = False
    prints_here: bool = True


class OptionError(EngineError, ValueError):
    """An option is unknown or outside its range."""


class DataError(EngineError, ValueError):
    """The data cannot be used as asked: a ragged row, a missing target, a type that does not fit."""


class StorageError(EngineError, OSError):
    """A file or an address could not be read or written."""


class MissingFileError(StorageError, FileNotFoundError):
    """No such file, or nothing matches the glob."""


class ModelFileError(EngineError, ValueError):
    """A saved model is damaged, incomplete or newer than this release."""


class CommunicationError(EngineError, RuntimeError):
    """The ranks cannot work together: launcher and MPI library differ, or the ranks were called with other options."""


class MissingPackageError(EngineError, ImportError):
    """A package that is not among those that are always there is needed, and not installed."""


class SupersededError(EngineError, RuntimeError):
    """Another attempt of the job has taken over, or the job has ended: this one must write nothing more."""


class FieldError(EngineError, KeyError, AttributeError):
    """A model has no field of this name."""

    def __str__(self) -> str:
        """The message as it is; a KeyError would put it in quotes."""
        return str(self.args[0]) if self.args else ""


class JobError(EngineError, RuntimeError):
    """A job failed or was killed, or it cannot give yet what was asked of it."""


class JobKindError(EngineError, TypeError):
    """A job of this kind never has what was asked of it."""


def warn(message: str) -> None:
    """Warn of something that the user may not want, naming the line of theirs that led to it rather than one of the engine's."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).startswith("engine."):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, UserWarning, stacklevel=level)
