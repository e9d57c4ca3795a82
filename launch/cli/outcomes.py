"""How far a job is, in one word, in an exit code and in facts."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from engine.errors import JobError, JobKindError
from engine.working_dir import WorkingDir
from launch.cli.codes import ExitCode

if TYPE_CHECKING:
    from launch.job import Job

_CODES = {"SUCCESS": ExitCode.DONE, "FAILURE": ExitCode.JOB_FAILED, "KILLED": ExitCode.KILLED}


def word_of(job: Job) -> str:
    """PENDING, RUNNING, or how it ended: SUCCESS, FAILURE, KILLED."""
    state = job.get_state()
    return (job.get_final_state() if state == job.STATE.COMPLETED else state).name


def code_of_job(word: str) -> ExitCode:
    """The exit code that says the same as the word."""
    return _CODES.get(word, ExitCode.UNFINISHED)


def facts_of(job: Job) -> dict[str, Any]:
    """What is known of a job."""
    directory = WorkingDir(job.working_dir)
    spec, events, word = directory.spec(), directory.events(), word_of(job)
    rows = [event["number"] for event in events if event["event"] == "row"]
    ended = next((event["time"] for event in events if event["event"] == "end"), None)
    resources = spec.resources
    return {
        "job_id": job.job_id,
        "state": word,
        "task": spec.toolkit or spec.task,
        "working_dir": job.working_dir,
        "workers": resources.num_workers if resources else None,
        "submitted": say_time(job.submitted),
        "ended": say_time(ended),
        "attempts": len(directory.attempts()),
        "iteration": max(rows, default=None),
        "last_checkpoint": _last_checkpoint(job),
        "reason": (directory.result() or {}).get("summary") if code_of_job(word) in (ExitCode.JOB_FAILED, ExitCode.KILLED) else None,
    }


def say_time(seconds: float | None) -> str | None:
    """A moment, in the words of ISO 8601 and of the zone where this runs."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(seconds)) if seconds else None


def _last_checkpoint(job: Job) -> str | None:
    try:
        return job.last_checkpoint()
    except (JobError, JobKindError):
        return None
