"""The handle of a job: what a user holds in the hand, here or in any other process, from its working directory alone."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import engine
from engine import errors, storage
from engine.errors import EngineError, JobError, JobKindError, MissingFileError, OptionError
from engine.report.page import encode, render
from engine.working_dir import REPORT_FILE, WorkingDir
from launch.backends import backend_of
from launch.clusters import Cluster, check_address, find_cluster
from launch.report.bundle import write_bundle
from launch.report.collect import collect
from launch.report.upkeep import put_page
from launch.states import FinalState, State
from launch.summary import describe_containers, what_happened

# Seconds between two looks: at a folder of this machine, and at a server, less often the longer nothing happens.
LOCAL_PAUSE = 0.1
REMOTE_PAUSES = (1.0, 2.0)
CLEARED_WITHIN = 30.0  # seconds from a job's result until its supervisor has ended


class Job:
    """A job that was submitted. Every call looks anew, so that handles in several processes see the same.

    ``job_id`` is its name and ``working_dir`` the address of its directory, from which :func:`load_job` makes another handle.
    """

    STATE: ClassVar[type[State]] = State
    FINAL_STATE: ClassVar[type[FinalState]] = FinalState

    def __init__(self, directory: WorkingDir) -> None:
        self._directory = directory
        self._spec = directory.spec()
        self._backend = backend_of(self._spec)
        self._end: dict[str, Any] | None = None
        self._results: Any = None

    def __str__(self) -> str:
        """Its name; once it has failed, why."""
        if self.get_state() == State.COMPLETED and self.get_final_state() != FinalState.SUCCESS:
            return f"Job {self.job_id}: {what_happened(self._ended())}"
        return f"Job submitted with job_id: {self.job_id}"

    def __repr__(self) -> str:
        return f"Job({self.working_dir!r})"

    @property
    def job_id(self) -> str:
        """Its name: the last part of its directory's address."""
        return self._directory.job_id

    @property
    def working_dir(self) -> str:
        """The address of its directory."""
        return self._directory.address

    @property
    def submitted(self) -> float:
        """When it was submitted, in seconds since 1970."""
        return self._spec.submitted or 0.0

    @property
    def tracking_url(self) -> str | None:
        """The address of its page where its scheduler has pages, as YARN does; None elsewhere, and for a job that it has forgotten."""
        return self._backend.tracking_url(self._directory)

    def get_state(self) -> State:
        """PENDING until its workers run, RUNNING until its result is there, then COMPLETED however it ended.

        Whoever asks first after all its processes were lost writes down that it failed, and why.
        """
        if self._find_end() is not None:
            return State.COMPLETED
        status = self._backend.status(self._directory)
        if status in ("pending", "running"):
            return State[status.upper()]
        if status == "gone":
            self._backend.make_sure_it_ended(self._directory)
            self._finish_page()
        self._find_end()
        return State.COMPLETED

    def get_final_state(self) -> FinalState:
        """How it ended. Raises ``JobError``, a RuntimeError, while it has not."""
        state = self.get_state()
        if state != State.COMPLETED:
            raise JobError(f"job {self.job_id} has no final state yet, it is {state}: wait for it with wait()")
        return FinalState[self._ended()["state"]]

    def wait(self, timeout: float | None = None) -> FinalState | None:
        """Wait until it has ended, and say how; None if ``timeout`` seconds went by before."""
        if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout >= 0):
            raise OptionError(f"timeout must be seconds, 0 or more, or None, got {timeout!r}")
        until = None if timeout is None else time.monotonic() + timeout
        pauses = self._pauses()
        while self.get_state() != State.COMPLETED:
            pause = next(pauses)
            if until is not None:
                pause = min(pause, until - time.monotonic())
                if pause <= 0:
                    return None
            time.sleep(pause)
        return self.get_final_state()

    def get_results(self) -> Any:
        """What the job was for, once it has ended: this waits.

        A training gives its model, a prediction the address of what it wrote, an evaluation its metrics, a script its exit code. Raises
        ``JobError``, a RuntimeError, if the job failed or was killed; its cause is the error that the workers met, if they met one.
        """
        if self._results is None:
            if self.wait() != FinalState.SUCCESS:
                raise self._failure()
            self._results = self._read_results()
        return self._results

    def get_progress(self) -> str:
        """What the job has printed so far, each line with ``PROGRESS: `` before it."""
        return self._directory.progress()

    def events(self) -> Iterator[dict[str, Any]]:
        """What happens to the job, from its beginning until it has ended, as it happens: each a dict with ``event`` and ``time``."""
        seen = 0
        pauses = self._pauses()
        while True:
            is_over = self.get_state() == State.COMPLETED
            events = self._directory.events()
            if len(events) > seen:
                pauses = self._pauses()
            yield from events[seen:]
            seen = max(seen, len(events))
            if is_over:
                return
            time.sleep(next(pauses))

    def last_checkpoint(self) -> str:
        """The path of the newest checkpoint, as ``resume_from_checkpoint`` takes it.

        Raises ``JobKindError``, a TypeError, for a job that never has any, ``JobError``, a RuntimeError, if there is none yet.
        """
        if self._directory.checkpoint_folder(self._spec) is None:
            why = "it was told to write none" if self._spec.task == "train" else f"it is a job to {self._spec.task}"
            raise JobKindError(f"job {self.job_id} has no checkpoints: {why}")
        path = self._directory.last_checkpoint()
        if path is None:
            raise JobError(f"job {self.job_id} has no checkpoint yet: one is written every model_checkpoint_interval iterations")
        return path

    def summary(self) -> str:
        """The workers, how each of them ended and, if the job failed, what happened and what to do. Returns text, prints nothing."""
        is_over = self._is_cleared()
        text = describe_containers(self._directory.containers())
        return text if not is_over else f"{text}\n\n{what_happened(self._ended())}"

    def get_log_file_path(self) -> str:
        """The path of a file with the logs of all workers, which is there as long as this handle. ``JobError`` if there are no logs yet."""
        if self._is_cleared():
            self._backend.gather_logs(self._directory)
        logs = self._directory.logs()
        if not logs:
            raise JobError(f"job {self.job_id} has no logs yet, it is {self.get_state()}: ask again when it runs")
        folder = tempfile.mkdtemp(prefix="samesum-job-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        path = os.path.join(folder, f"{self.job_id}.log")
        with open(path, "wb") as file:
            for address in logs:
                file.write(f"===== {address.removeprefix(self.working_dir).lstrip('/')} =====\n".encode())
                text = storage.read_bytes(address)
                file.write(text if text.endswith(b"\n") or not text else text + b"\n")
        return path

    @property
    def page_url(self) -> str:
        """Where the job's page is: on YARN behind its proxy while the job runs, else ``report.html`` in the job's directory."""
        live = None if self._find_end() is not None else self._backend.page_url(self._directory)
        page = self._directory.path(REPORT_FILE)
        return live or (storage.local_path(page).absolute().as_uri() if storage.is_local(page) else page)

    def report(self, path: str | os.PathLike[str]) -> str:
        """Write the job's page as it is now to a file, one of HTML that needs no other, and return its address.

        Works for a job that waits, runs or has ended, also where its cluster does not answer. Raises ``StorageError``.
        """
        address = check_address("path", path)
        storage.put_bytes(address, encode(render(collect(self.working_dir, state=self._say_state()[0]))))
        return address

    def bundle(self, path: str | os.PathLike[str]) -> str:
        """Write what a bug report needs to a zip file, and return its address: spec, versions, events, containers, ends of logs, page.

        What looks like a secret is hidden. Works for any job, also where its cluster does not answer any more. Raises ``StorageError``.
        """
        address = check_address("path", path)
        state, note = self._say_state()
        if state in FinalState.__members__:
            self._backend.gather_logs(self._directory)
        write_bundle(self._directory, address, state=state, note=note)
        return address

    def address_of(self, path: str) -> str:
        """Where a path in the result is: in the job's directory, unless it is an address or begins at the root."""
        return path if not storage.is_local(path) or os.path.isabs(path) else storage.join(self.working_dir, *path.split("/"))

    def cancel(self) -> None:
        """End the job, all its processes with it. Its final state is KILLED, unless it had ended before: then nothing happens."""
        if self.get_state() != State.COMPLETED:
            self._backend.cancel(self._directory)
            self.get_state()
            self._finish_page()

    def _say_state(self) -> tuple[str, str | None]:
        """How far it is in one word; UNKNOWN, and why, where its cluster does not answer."""
        try:
            if not self._is_cleared():
                return self.get_state().name, None
            return self.get_final_state().name, None
        except EngineError as error:
            return "UNKNOWN", str(error)

    def _finish_page(self) -> None:
        """Write the page of a job whose supervisor may not have come to it; one that cannot be written is left."""
        with contextlib.suppress(EngineError):
            put_page(self._directory, collect(self.working_dir))

    def _find_end(self) -> dict[str, Any] | None:
        """What ``result.json`` says, once it is there; what was staged for the job goes then."""
        if self._end is None:
            self._end = self._directory.result()
            if self._end is not None and self._spec.staged is not None:
                storage.remove(self._spec.staged)
        return self._end

    def _is_cleared(self) -> bool:
        """Whether it has ended; if so, this waits until all that is to be written of it is there, a moment later than its result."""
        if self.get_state() != State.COMPLETED:
            return False
        until = time.monotonic() + CLEARED_WITHIN
        while self._backend.status(self._directory) != "ended" and time.monotonic() < until:
            time.sleep(LOCAL_PAUSE)
        return True

    def _ended(self) -> dict[str, Any]:
        end = self._find_end()
        if end is None:
            raise JobError(f"job {self.job_id} ended without a result: its directory {self.working_dir!r} may have been removed")
        return end

    def _failure(self) -> JobError:
        """The error for a job without results, caused by the one that its workers met."""
        end = self._ended()
        word = "was killed" if end["state"] == FinalState.KILLED.name else "failed"
        failure = JobError(f"job {self.job_id} {word}: {what_happened(end)} (more in its summary() and get_log_file_path())")
        met = end.get("error")
        if isinstance(met, Mapping):
            kind = getattr(errors, str(met.get("class")), None)
            is_ours = isinstance(kind, type) and issubclass(kind, errors.EngineError)
            failure.__cause__ = (kind if is_ours and kind is not None else RuntimeError)(met.get("message", ""))
        return failure

    def _read_results(self) -> Any:
        end, task = self._ended(), self._spec.task
        if task == "train":
            return engine.load_model(self.address_of(end["model"]))
        if task == "evaluate":
            return {name: _as_metric(value) for name, value in end["metrics"].items()}
        return 0 if task == "script" else self.address_of(end["output"])

    def _pauses(self) -> Iterator[float]:
        if storage.is_local(self.working_dir):
            while True:
                yield LOCAL_PAUSE
        yield REMOTE_PAUSES[0]
        while True:
            yield REMOTE_PAUSES[1]


def _as_metric(value: Any) -> Any:
    """A metric as ``evaluate`` of a model gives it: an object of columns is a table."""
    if not isinstance(value, Mapping):
        return value
    import pyarrow as pa

    return pa.table(dict(value))


def load_job(working_dir: str | os.PathLike[str]) -> Job:
    """The handle of the job in a working directory, whoever submitted it, and from which machine.

    Raises ``MissingFileError`` if there is no job there.
    """
    return Job(WorkingDir(check_address("working_dir", working_dir)))


def list_jobs(env: Cluster | str) -> list[Job]:
    """The jobs in a cluster's working directory, the newest first; jobs with a directory of their own elsewhere are not among them."""
    cluster = find_cluster(env)
    try:
        names = [entry.name for entry in storage.list_folder(cluster.working_dir) if entry.is_folder]
    except MissingFileError:
        return []
    jobs = []
    for name in names:
        try:
            jobs.append(load_job(storage.join(cluster.working_dir, name)))
        except MissingFileError:
            continue  # another folder, or a job that is being submitted
    return sorted(jobs, key=lambda job: job.submitted, reverse=True)
