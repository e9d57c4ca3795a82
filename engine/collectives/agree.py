"""One rank's error is every rank's error; one rank's options are every rank's options."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from engine import errors
from engine.collectives.communicator import Communicator
from engine.errors import CommunicationError, EngineError


@contextlib.contextmanager
def agree(comm: Communicator, stage: str) -> Iterator[None]:
    """Run a block that may fail on some ranks only; at its end all ranks go on, or all raise. Collective.

    The block itself must hold no collective, which a rank that failed would miss. ``stage`` is a noun for messages and the watchdog,
    such as ``'reading'``. See :func:`raise_on_all` for what is raised. What is no ``Exception`` (an interrupt, an exit) passes through.
    """
    found: Exception | None = None
    try:
        yield
    except Exception as error:
        found = error
    raise_on_all(comm, found, stage)


def raise_on_all(comm: Communicator, error: Exception | None, stage: str) -> None:
    """Raise on every rank what the lowest rank with an ``error`` found, or return if none did. Collective.

    An ``EngineError`` is raised everywhere with the same class and message (and the ranks that found it, if not all did), marked
    ``found_by_all``. Any other exception is a mistake in the program: it goes on where it happened, with its traceback, and
    the other ranks raise a ``CommunicationError`` that names it. On one rank the error itself is raised.
    """
    if comm.size == 1:
        if error is not None:
            raise error
        return
    failed = np.array([error is not None], dtype=np.int64)
    comm.allreduce_max(failed, name=stage)
    if not failed[0]:
        return
    reports = comm.gather_objects(_report(error), name=f"{stage}: error")
    if error is not None and not isinstance(error, EngineError):
        raise error
    agreed = _agreed_error(reports, stage)
    agreed.found_by_all = True
    agreed.prints_here = comm.rank == 0
    raise agreed from error


def agree_on_value(comm: Communicator, value: Any, what: str) -> None:
    """Check that every rank passed the same JSON-able ``value``, ``what`` in messages. Collective.

    Raises ``CommunicationError`` on every rank, naming the first key (in sorted order) that differs and which rank passed what.
    """
    values = comm.gather_objects(value, name=f"agreement on {what}")
    texts = [_text(other) for other in values]
    if len(set(texts)) == 1:
        return
    key = _first_difference(values)
    if key is not None:
        texts = [_text(other[key]) if key in other else "nothing" for other in values]
        what = f"{what}[{key!r}]"
    given = ", ".join(f"{text} on {name_ranks(ranks)}" for text, ranks in _by_text(texts).items())
    error = CommunicationError(f"expected the same {what} on every rank, got {given}; pass the same arguments on every rank")
    error.found_by_all = True
    error.prints_here = comm.rank == 0
    raise error


def name_ranks(ranks: list[int]) -> str:
    """Ranks in words: ``rank 2``, ``ranks 0-3, 7``."""
    runs: list[list[int]] = []
    for rank in ranks:
        if runs and rank == runs[-1][-1] + 1:
            runs[-1].append(rank)
        else:
            runs.append([rank])
    names = ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
    return f"rank{'s' if len(ranks) > 1 else ''} {names}"


def _report(error: Exception | None) -> dict[str, str] | None:
    """What other ranks are told: the class if :mod:`engine.errors` has it, or its nearest base there, and the message."""
    if error is None:
        return None
    if not isinstance(error, EngineError):
        return {"class": "", "message": f"{type(error).__name__}: {error}"}
    names = (base.__name__ for base in type(error).__mro__)
    return {"class": next(name for name in names if hasattr(errors, name)), "message": str(error)}


def _agreed_error(reports: list[dict[str, str] | None], stage: str) -> EngineError:
    found = next(report for report in reports if report is not None)
    ranks = [rank for rank, report in enumerate(reports) if report == found]
    if not found["class"]:
        return CommunicationError(f"{stage} failed on {name_ranks(ranks)} with {found['message']}")
    where = "" if len(ranks) == len(reports) else f" (on {name_ranks(ranks)})"
    return getattr(errors, found["class"])(found["message"] + where)


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _first_difference(values: list[Any]) -> str | None:
    """The first key under which dictionaries differ; None if some value is no dictionary."""
    if not all(isinstance(value, dict) for value in values):
        return None
    keys: list[str] = sorted({key for value in values for key in value})
    return next(key for key in keys if len({_text(value[key]) if key in value else "" for value in values}) > 1)


def _by_text(texts: list[str]) -> dict[str, list[int]]:
    ranks: dict[str, list[int]] = {}
    for rank, text in enumerate(texts):
        ranks.setdefault(text, []).append(rank)
    return ranks
