"""The commands of batch systems: to submit, to look, to cancel. Every call has a deadline."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from engine.errors import JobError

CALL_WITHIN = 30.0  # seconds


class Look(NamedTuple):
    """A job as its scheduler sees it: ``state`` is 'pending', 'running', 'over', or 'unknown' where the scheduler does not answer.

    ``words`` are its own; ``is_cancelled``: it was ended by a user or an administrator; ``is_forgotten``: the scheduler does not know it.
    """

    state: str
    words: str = ""
    is_cancelled: bool = False
    is_forgotten: bool = False


class Scheduler(Protocol):
    """One batch system."""

    name: str

    def submit(self, script: str) -> str:
        """Submit a script; what the job is called. Raises :class:`JobError` with the scheduler's words."""

    def look(self, job: str) -> Look:
        """How a job is; 'over' for one that is not known any more."""

    def element(self, job: str, number: int) -> str:
        """What the job with that number is called in the array ``job``."""

    def cancel(self, jobs: Sequence[str]) -> None:
        """End jobs; no error for those that have ended."""

    def go_on(self, job: str, script: str) -> str:
        """Have this very job scheduled anew; what it is called then."""


def call(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a scheduler's command. Raises :class:`JobError` if it is not there or does not end in time."""
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=CALL_WITHIN, check=False)
    except FileNotFoundError:
        raise JobError(f"{command[0]!r} is not on this machine's PATH: submit from a node of the cluster where it is") from None
    except subprocess.TimeoutExpired:
        raise JobError(f"{command[0]!r} has not answered within {CALL_WITHIN:.0f} s") from None


def submit(command: Sequence[str]) -> str:
    """Run a command that submits, for what it prints."""
    done = call(*command)
    if done.returncode:
        raise JobError(f"{command[0]} refused the job: {' '.join(done.stderr.split())}")
    return done.stdout.strip()


class Slurm:
    """Slurm, by ``sbatch``, ``scontrol`` and ``scancel``."""

    name = "Slurm"
    _PENDING = "PENDING CONFIGURING REQUEUED REQUEUE_FED REQUEUE_HOLD SPECIAL_EXIT SUSPENDED RESV_DEL_HOLD"
    _RUNNING = "RUNNING COMPLETING STOPPED SIGNALING STAGE_OUT RESIZING"

    def submit(self, script: str) -> str:
        """By ``sbatch``; its answer may have the cluster's name after a semicolon."""
        return submit(["sbatch", "--parsable", script]).splitlines()[-1].partition(";")[0]

    def look(self, job: str) -> Look:
        """By ``scontrol``, which knows a job until a while after its end."""
        try:
            done = call("scontrol", "--oneliner", "show", "job", job)
        except JobError as error:
            return Look("unknown", str(error))
        if done.returncode:
            return _look_at_none(done, "Invalid job id|not found")
        found = dict(re.findall(r"(\w+)=(\S*)", done.stdout))
        state = found["JobState"]
        words = f"{state} (reason {found.get('Reason', 'None')}, exit code {found.get('ExitCode', '?')})"
        if state in self._PENDING.split() or state in self._RUNNING.split():
            return Look("pending" if state in self._PENDING.split() else "running", words)
        return Look("over", words, is_cancelled=state == "CANCELLED")

    def element(self, job: str, number: int) -> str:
        """As ``scontrol`` and ``scancel`` take it."""
        return f"{job}_{number}"

    def cancel(self, jobs: Sequence[str]) -> None:
        """By ``scancel``, which also ends what is requeued."""
        call("scancel", *jobs)

    def go_on(self, job: str, script: str) -> str:
        """Requeue it; where that is not allowed, submit its script anew."""
        return job if call("scontrol", "requeue", job).returncode == 0 else self.submit(script)


class Pbs:
    """OpenPBS and PBS Professional, by ``qsub``, ``qstat`` and ``qdel``."""

    name = "PBS"
    _PENDING, _RUNNING = "QHWTMSU", "REB"  # F: has finished; X: has finished, of an array
    _DELETED = 91  # the substate of a job that was deleted

    def submit(self, script: str) -> str:
        """By ``qsub``, which prints what the job is called."""
        return submit(["qsub", script]).splitlines()[-1]

    def look(self, job: str) -> Look:
        """By ``qstat``; of jobs that have finished too, where the server keeps their history."""
        try:
            done = call("qstat", "-x", "-f", "-F", "json", job)
        except JobError as error:
            return Look("unknown", str(error))
        if done.returncode:
            return _look_at_none(done, "Unknown Job Id|has finished")
        about = next(iter(json.loads(done.stdout)["Jobs"].values()))
        state = about["job_state"]
        words = f"{state} (exit status {about.get('Exit_status', '?')}{', ' + about['comment'] if about.get('comment') else ''})"
        if state in self._PENDING or state in self._RUNNING:
            return Look("pending" if state in self._PENDING else "running", words)
        return Look("over", words, is_cancelled=about.get("substate") == self._DELETED)

    def element(self, job: str, number: int) -> str:
        """The number goes between the brackets that arrays are known by."""
        return job.replace("[]", f"[{number}]", 1)

    def cancel(self, jobs: Sequence[str]) -> None:
        """By ``qdel``."""
        call("qdel", *jobs)

    def go_on(self, job: str, script: str) -> str:
        """Submit its script anew, to start when this job has ended: users may not rerun jobs.

        PBS knows no dependency on one job of an array; the new one may start at once, since this one has nothing more to do.
        """
        after = [] if "[" in job else ["-W", f"depend=afterany:{job}"]
        return submit(["qsub", *after, script]).splitlines()[-1]


def _look_at_none(done: subprocess.CompletedProcess[str], forgotten: str) -> Look:
    """A job of which the scheduler shows nothing: as it does not know it, which it says in the words ``forgotten``, or cannot tell now."""
    words = " ".join((done.stderr or done.stdout).split())
    is_forgotten = re.search(forgotten, words) is not None
    return Look("over" if is_forgotten else "unknown", words, is_forgotten=is_forgotten)


def own_job() -> str | None:
    """What the job is called that this process is part of; of a job array of Slurm, where the number alone may mean the whole array."""
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ.get("SLURM_JOB_ID") or os.environ.get("PBS_JOBID")
