"""An attempt of a job in a working directory, as each of its ranks runs it.

Rank 0 writes: the progress log, the model under its attempt, and at last the result that makes it visible. Before it publishes anything
it looks whether the attempt still is the job's. An error that all ranks found goes to the attempt's ``error.json``, one of a rank's own to
the scratch folder, where the agent finds it; the supervisor ends the job.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from engine import storage
from engine.checkpoint import check_may_publish, list_checkpoints, publishing_while
from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator
from engine.data.bytes_read import sum_bytes_read
from engine.data.placement import near_blocks
from engine.data.shard_plan import share_from_root
from engine.errors import EngineError, SupersededError
from engine.job_log import JobLog
from engine.job_settings import first_lines
from engine.progress import recorded_by
from engine.run import open_dataset, run_job
from engine.sizes import format_size
from engine.spec import JobSpec
from engine.working_dir import ERROR_FILE, RUN_FILE, WorkingDir

ATTEMPT_VARIABLE, SCRATCH_VARIABLE = "SAMESUM_ATTEMPT", "SAMESUM_SCRATCH"


def run_attempt(address: str, comm: Communicator) -> None:
    """Do the job of a working directory: the attempt that the supervisor took, or the next one if none started this. Collective."""
    wd = WorkingDir(address)
    before = storage.bytes_read()  # a process may read for itself before it does a job
    with own_errors_noted(comm):
        text, number = share_from_root(comm, lambda: begin(wd), stage="reading the job")
        if number == 0:
            return
        spec = JobSpec.from_json(text)
        try:
            comm = near_data(spec, comm)
            with recorded(wd, spec, number, comm) as log:
                model = run_job(inner_job(wd, spec, number, comm), comm)
                if spec.task == "train" and spec.output is not None:
                    with agree(comm, "saving the model"):
                        model.save(spec.output)
                if log is not None:
                    log.end_table()
                note_traffic(wd, number, log, sum_bytes_read(comm, before), comm)
                if log is not None:
                    log.close()  # who sees the result sees all of the log
                publish(wd, spec, number, comm)
        except SupersededError:
            return
        except EngineError as error:
            if comm.rank == 0 and (error.found_by_all or comm.size == 1) and wd.may_publish(number):
                storage.put_bytes(wd.attempt_path(number, ERROR_FILE), as_record(error))
            raise


def begin(wd: WorkingDir) -> tuple[str, int]:
    """The job as text, and the attempt; 0 for the attempt if there is nothing to do any more."""
    spec = wd.spec()
    number = int(os.environ.get(ATTEMPT_VARIABLE, "0")) or wd.take_attempt({"pid": os.getpid(), "time": time.time()})
    return spec.to_json(), number if wd.may_publish(number) else 0


def near_data(spec: JobSpec, comm: Communicator) -> Communicator:
    """The ranks, numbered by where the job's data lies; rank 0 may be another: what it writes goes to where all can read. Collective."""
    data = None
    with contextlib.suppress(EngineError):  # the same on all ranks, and said when the job's task is done
        data = None if spec.data is None else open_dataset(spec)
    return comm if data is None else near_blocks(comm, data, root_stays=False)


@contextlib.contextmanager
def recorded(wd: WorkingDir, spec: JobSpec, number: int, comm: Communicator) -> Iterator[JobLog | None]:
    """Write the progress log on rank 0, and no checkpoint once the attempt is out of date."""
    with agree(comm, "beginning the progress log"):
        lines = first_lines(wd, spec, comm)
        log = JobLog(wd, number) if comm.rank == 0 else None
    if log is None:
        yield None
        return
    try:
        log.write(lines)
        with recorded_by(log), publishing_while(lambda: wd.may_publish(number)):
            yield log
    finally:
        log.close()


def inner_job(wd: WorkingDir, spec: JobSpec, number: int, comm: Communicator) -> JobSpec:
    """The job with its places filled in: where its model, its checkpoints go, and from which of these an attempt goes on. Collective."""
    output = {"train": "model", "predict": "predictions.parquet", "evaluate": "metrics.json"}[spec.task]
    options = dict(spec.options)
    if spec.task == "train":
        folder = wd.checkpoint_folder(spec)
        options["model_checkpoint_path"] = folder
        again = folder is not None and number > 1
        if again and share_from_root(comm, lambda: bool(list_checkpoints(folder or "")), stage="looking for checkpoints"):
            options["resume_from_checkpoint"] = "auto"
    given = None if spec.task == "train" else spec.output
    return replace(spec, output=given or wd.attempt_path(number, output), options=options, resources=None)


def note_traffic(wd: WorkingDir, number: int, log: JobLog | None, read: storage.BytesRead, comm: Communicator) -> None:
    """How much was read from HDFS or S3, and which share of it from disks of the readers' own hosts, for the record. Collective."""
    with agree(comm, "noting what was read"):
        if log is not None:
            note = {"bytes_read": read.total, "bytes_read_locally": read.local, "ranks": comm.size}
            storage.put_bytes(wd.attempt_path(number, RUN_FILE), (json.dumps(note) + "\n").encode())
            if read.total:
                share = 100 * read.local / read.total
                log.message(f"Read {format_size(read.total)}, {share:.0f}% of it from disks of the workers' own machines")


def publish(wd: WorkingDir, spec: JobSpec, number: int, comm: Communicator) -> None:
    """End the job with SUCCESS, and what came of it. Collective."""
    with agree(comm, "publishing the result"):
        if comm.rank == 0:
            check_may_publish()
            more: dict[str, Any] = {}
            if spec.task == "train":
                model = f"attempts/{number}/model"
                more = {"model": model, "model_sha256": hash_of(storage.join(wd.attempt_path(number, "model"), "model.json"))}
            elif spec.task == "evaluate":
                more = {"metrics": json.loads(storage.read_bytes(spec.output or wd.attempt_path(number, "metrics.json")))}
            else:
                more = {"output": spec.output or wd.attempt_path(number, "predictions.parquet")}
            again = "" if number == 1 else f" in attempt {number}"
            wd.publish("SUCCESS", attempt=number, summary=f"ended well{again}", time=time.time(), **more)


@contextlib.contextmanager
def own_errors_noted(comm: Communicator) -> Iterator[None]:
    """Leave a note for the agent of an error that this rank alone has found, as it ends all ranks."""
    try:
        yield
    except Exception as error:
        if not getattr(error, "found_by_all", False):
            note_own_error(error, comm.rank)
        raise


def note_own_error(error: Exception, rank: int) -> None:
    """Leave the note, where an agent has started this rank."""
    if scratch := os.environ.get(SCRATCH_VARIABLE):
        with contextlib.suppress(OSError):
            partial = pathlib.Path(scratch, "errors", f".{rank}")
            partial.write_bytes(as_record(error, time=time.time()))
            os.replace(partial, partial.with_name(f"{rank}.json"))


def as_record(error: Exception, **more: Any) -> bytes:
    """Class and message of an error, and what else is to be said, as JSON."""
    kind = type(error).__name__
    message = str(error) if isinstance(error, EngineError) else f"{kind}: {error}"
    return json.dumps({"class": kind, "message": message, **more}).encode()


def hash_of(address: str) -> str:
    """The SHA-256 of a file."""
    return hashlib.sha256(storage.read_bytes(address)).hexdigest()
