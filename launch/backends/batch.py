"""Batch systems: a job is a script that ends with the job's supervisor; its state is what scheduler and working directory say together."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence

from engine import storage
from engine.errors import MissingFileError, OptionError
from engine.working_dir import WorkingDir
from launch.array import Array
from launch.backends import Status
from launch.backends.local import SUBMITTED_FILE, is_being_submitted
from launch.batch.schedulers import Look, Scheduler, own_job
from launch.batch.script import SCRIPTS

SCRIPT_FILE = "job.sh"
SILENCE = 120.0  # seconds without a sign of life of a supervisor whose scheduler does not answer
END_WITHIN = 60.0  # seconds for a supervisor to clear away what was left, and for a scheduler to end a job
POLL = 0.3


class BatchBackend:
    """Jobs as scripts of a batch system."""

    def __init__(self, kind: str, scheduler: Scheduler) -> None:
        self.kind = kind
        self.scheduler = scheduler

    def submit(self, wd: WorkingDir) -> None:
        """Write the script and submit it; what the job is called goes to ``submitted.json``."""
        self._note(wd, self.scheduler.submit(self._write_script(wd)))

    def submit_all(self, wds: Sequence[WorkingDir], at_once: int | None) -> None:
        """Submit all as one job array. Each has a script of its own too, by which it goes on where the scheduler cannot requeue it."""
        if len(wds) == 1:
            self.submit(wds[0])
            return
        for wd in wds:
            self._write_script(wd)
        array = Array.of(wds, at_once)
        script = storage.join(array.stem, SCRIPT_FILE)
        storage.make_folder(array.stem)
        storage.put_bytes(script, SCRIPTS[self.kind](WorkingDir(array.stem), wds[0].spec(), array).encode())
        job = self.scheduler.submit(str(storage.local_path(script)))
        for number, wd in enumerate(wds, start=1):
            self._note(wd, self.scheduler.element(job, number))

    def go_on(self, wd: WorkingDir) -> None:
        """Have the job that this process is part of scheduled anew."""
        job = own_job() or self.job_of(wd)
        assert job is not None
        self._note(wd, self.scheduler.go_on(job, str(storage.local_path(wd.path(SCRIPT_FILE)))))

    def job_of(self, wd: WorkingDir) -> str | None:
        """What the scheduler calls the job."""
        with contextlib.suppress(MissingFileError):
            return str(json.loads(storage.read_bytes(wd.path(SUBMITTED_FILE)))["job"])
        return None

    def status(self, wd: WorkingDir) -> Status:
        """By the result and by the scheduler; by the supervisor's last sign of life, where that does not answer."""
        result = wd.result()
        look = self._look(wd)
        if result is not None:
            return "running" if look.state == "running" and time.time() - result["time"] < END_WITHIN else "ended"
        attempts = wd.attempts()
        if look.state == "unknown":
            is_seen = bool(attempts) and time.time() - wd.last_sign(attempts[-1]) < SILENCE
            return "running" if is_seen else "pending"
        if look.state == "over":
            return "ended" if wd.result() is not None else "pending" if is_being_submitted(wd) else "gone"
        return "running" if look.state == "running" and attempts else "pending"

    def cancel(self, wd: WorkingDir) -> None:
        """The scheduler ends the job, and with it all its processes."""
        wd.publish("KILLED", attempt=max(wd.attempts(), default=0), summary="cancelled by its user", time=time.time())
        if (job := self.job_of(wd)) is None:
            return
        self.scheduler.cancel([job])
        self._wait_for_end([wd])

    def cancel_all(self, wds: Sequence[WorkingDir]) -> None:
        """By one command, so that none starts in the place of another."""
        summary = "cancelled by its user"
        open_ = [wd for wd in wds if wd.publish("KILLED", attempt=max(wd.attempts(), default=0), summary=summary, time=time.time())]
        if jobs := [job for job in map(self.job_of, open_) if job is not None]:
            self.scheduler.cancel(jobs)
        self._wait_for_end(open_)

    def make_sure_it_ended(self, wd: WorkingDir) -> None:
        """A job that is over without a result was cancelled, or has failed; the scheduler may know why."""
        if self.status(wd) != "gone":
            return
        look, job, name = self._look(wd), self.job_of(wd), self.scheduler.name
        has_begun = bool(wd.attempts()) or storage.exists(wd.path("logs", "supervisor.log"))
        if look.is_cancelled:
            state, summary = "KILLED", f"its job {job} of {name} was cancelled: {look.words}"
        elif look.is_forgotten and job is not None and not has_begun:  # as Slurm does at once with jobs of an array
            state, summary = "KILLED", f"its job {job} of {name} was cancelled before it began: {look.words}"
        else:
            state, summary = "FAILURE", f"its job {job} of {name} is over and left no result: {look.words or 'it is not known any more'}"
        if checkpoint := wd.last_checkpoint():
            summary += f"; resume with resume_from_checkpoint={checkpoint!r}"
        wd.publish(state, attempt=max(wd.attempts(), default=0), summary=summary, time=time.time())

    def page_url(self, wd: WorkingDir) -> str | None:
        """It is in the shared folder."""
        return None

    def gather_logs(self, wd: WorkingDir) -> None:
        """They are in the shared folder."""

    def tracking_url(self, wd: WorkingDir) -> str | None:
        """Batch systems have no pages."""
        return None

    def _write_script(self, wd: WorkingDir) -> str:
        """The path of the script of one job."""
        if not storage.is_local(wd.address):
            raise OptionError(f"working_dir must be a folder that all nodes share, got {wd.address!r}")
        storage.make_folder(wd.path("logs"))
        storage.put_bytes(wd.path(SCRIPT_FILE), SCRIPTS[self.kind](wd, wd.spec()).encode())
        return str(storage.local_path(wd.path(SCRIPT_FILE)))

    def _wait_for_end(self, wds: Sequence[WorkingDir]) -> None:
        """Until the scheduler says so, or for as long as that may take."""
        deadline = time.monotonic() + END_WITHIN
        for wd in wds:
            while self._look(wd).state in ("pending", "running") and time.monotonic() < deadline:
                time.sleep(POLL)

    def _look(self, wd: WorkingDir) -> Look:
        """At the job as it is called now: one that is over may have said meanwhile under which name it goes on."""
        while (job := self.job_of(wd)) is not None:
            look = self.scheduler.look(job)
            if look.state != "over" or self.job_of(wd) == job:
                return look
        return Look("over", "it was never submitted")

    def _note(self, wd: WorkingDir, job: str) -> None:
        storage.put_bytes(wd.path(SUBMITTED_FILE), json.dumps({"job": job, "time": time.time()}).encode())
