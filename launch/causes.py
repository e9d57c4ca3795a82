"""Why a gang has ended that several agents watch: of all that was reported and seen, the one reason that explains the others.

A cause is an object with ``cause``, ``message`` and the ``ranks`` that it is about. Every cluster of several machines decides here, and
here is what becomes of it: another attempt, and whether that counts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Cause = dict[str, Any]
RETRIED = ("lost", "hang")
MPI_ERROR = re.compile(r"\bMPI_ERR_|\bMPI error\b|\bMPI_[A-Z][a-z]+: ")
STOPPED = "ended by the supervisor"
_OF_THE_REPORT = ("event", "containers", "left")  # what else a report has


def is_retried(cause: Mapping[str, Any]) -> bool:
    """Whether the ranks are started anew after it: after a loss, never after an error of theirs or for want of memory."""
    return cause["cause"] in RETRIED


def counts(cause: Mapping[str, Any]) -> bool:
    """Whether it counts towards ``max_restarts``: what a cluster takes back is nobody's fault."""
    return is_retried(cause) and not cause.get("is_free", False)


def choose_cause(
    reports: Iterable[Mapping[str, Any]], losses: Iterable[Cause], hang: Cause | None, *, launcher: Callable[[], Cause | None]
) -> Cause:
    """The reason that explains the others.

    ``reports`` are how the ranks ended by their agents, ``losses`` the agents that are gone, each as a cause; ``hang`` is one that was
    found, and ``launcher`` says why the launcher has ended, where nothing else explains it.
    """
    reports = sorted(reports, key=_ended_at)
    ended = [{name: value for name, value in report.items() if name not in _OF_THE_REPORT} for report in reports]
    gone = list(losses)
    errors = [report for report in ended if report["cause"] == "error"]
    own = [report for report in errors if not MPI_ERROR.search(report["message"])]  # what others make of a loss is none
    found = [each for each in (*gone, *ended) if each["cause"] == "memory"]
    found += [report for report in ended if report["cause"] == "hang"]
    found += [report for report in own if report.get("error")]
    found += sorted(gone, key=lambda loss: not loss.get("is_free", False))  # what the cluster took back took the others along
    found += [hang] if hang else []
    found += [report for report in ended if report in own or report["cause"] == "lost"]  # by time: the others were ended after it
    found += errors
    if found:
        return found[0]
    if ended and all(report["cause"] == "done" for report in ended):
        return {"cause": "done"}
    return launcher() or {"cause": "stopped", "message": STOPPED}


def _ended_at(report: Mapping[str, Any]) -> tuple[float, bool]:
    """When the first of the ranks ended that a report is about; errors come first where nothing is known of that."""
    times = [each.get("ended") or math.inf for each in report["containers"] if each["rank"] in report.get("ranks", [])]
    return min(times, default=math.inf), report["cause"] != "error"
