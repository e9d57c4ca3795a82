"""YARN: a job is an application, its supervisor runs in the container of the application master."""

from __future__ import annotations

import contextlib
import functools
import json
import pathlib
import time
import uuid
from collections.abc import Sequence
from typing import Any

from engine import storage
from engine.errors import JobError, MissingFileError, OptionError, StorageError
from engine.spec import JobSpec, YarnResources
from engine.working_dir import WorkingDir
from launch.backends import Status, cancel_in_turn
from launch.yarn import applications, hadoop, security
from launch.yarn.applications import SUBMIT_WITHIN, Report
from launch.yarn.description import MASTER_MB, PAGE_PATH, describe
from launch.yarn.diagnoses import last_words
from launch.yarn.placing import preferred_nodes
from launch.yarn.room import Room, ask, room_on, say_room

SUBMITTED_FILE = "submitted.json"
LOG_FILE = "yarn.log"
ENDED_WITHIN = 6.0  # seconds for the supervisor to end the ranks and clear away what they left; then YARN ends them
GONE_WITHIN = 20.0  # seconds for YARN to end an application
LOGS_WITHIN = 20.0  # seconds for YARN to gather the logs
LAST_WORDS_WITHIN = 60.0  # seconds for the same, where nothing else says why a job has failed
SILENCE = 120.0  # seconds without a sign of life of a supervisor
POLL = 0.3


class YarnBackend:
    """Jobs as applications of YARN."""

    def __init__(self) -> None:
        self._applications: dict[str, dict[str, Any]] = {}  # what submitted.json says, by working directory

    def submit(self, wd: WorkingDir) -> None:
        """Submit the application; what it is called goes to ``submitted.json``."""
        spec, conf = wd.spec(), conf_of(wd)
        yarn = yarn_of(spec)
        user = security.user_of(conf)
        check_places(spec, user)
        public = check_archives([*([yarn.archive] if yarn.archive else []), *yarn.packages])
        share, found = applications.check_queue(conf, yarn.queue), applications.nodes(conf)
        check_room(spec, room_on(found), 1.0 if yarn.node_label else share)
        nodes = [] if yarn.node_label else preferred_nodes(spec, [node.host for node in found])  # YARN takes one or the other
        description = describe(spec, wd.address, conf=conf, user=user, nodes=nodes, public=public)
        application = applications.submit(conf, security.secured(description, spec, wd.address, conf, user))
        about = {"application": application, "resource_manager": hadoop.resource_manager(conf), "time": time.time()}
        storage.put_bytes(wd.path(SUBMITTED_FILE), json.dumps(about).encode())

    def submit_all(self, wds: Sequence[WorkingDir], at_once: int | None) -> None:
        """One application after the other; YARN's queue alone says how many run at a time."""
        if at_once is not None:
            raise OptionError(f"max_at_once must be None on Hadoop, whose queues have limits of their own, got {at_once}")
        for wd in wds:
            self.submit(wd)

    def status(self, wd: WorkingDir) -> Status:
        """By the result and by YARN."""
        has_ended = wd.result() is not None
        try:
            found = self._report(wd)
        except JobError:
            if has_ended or is_alive(wd):
                return "running"  # the ResourceManager is away for a while, which the job does not mind
            raise
        if found is None or found.is_over:
            return "ended" if has_ended or wd.result() is not None else "pending" if is_being_submitted(wd) else "gone"
        if has_ended or (found.state == "RUNNING" and wd.attempts()) or is_alive(wd):
            return "running"  # a ResourceManager that was restarted calls what runs ACCEPTED for a while
        return "gone" if self._is_overdue(wd, found) else "pending"

    def cancel(self, wd: WorkingDir) -> None:
        """The supervisor sees the result and ends the ranks; one that does not is ended by YARN."""
        wd.publish("KILLED", attempt=max(wd.attempts(), default=0), summary="cancelled by its user", time=time.time())
        found = self._report(wd)
        if found is not None and found.state == "RUNNING" and self._wait_for_end(wd, ENDED_WITHIN):
            return
        self._end_application(wd)

    def cancel_all(self, wds: Sequence[WorkingDir]) -> None:
        """One after another."""
        cancel_in_turn(self.cancel, wds)

    def make_sure_it_ended(self, wd: WorkingDir) -> None:
        """An application that ended without a result has failed; YARN may know why."""
        if self.status(wd) != "gone":
            return
        found = self._report(wd)
        if found is None:
            application = self._application(wd) or "which was never submitted"
            summary = f"the resource manager lost the application, {application}: YARN does not know it any more, and there is no result"
        elif found.state == "KILLED":
            summary = f"its application was killed: {_in_one_line(found.diagnostics) or 'nobody says by whom'}"
        elif found.is_over:
            summary = f"its application ended as {found.state} without a result: {self._last_words(wd) or _in_one_line(found.diagnostics)}"
        else:
            self._end_application(wd)
            summary = self._why_waiting(wd, found)
        if checkpoint := wd.last_checkpoint():
            summary += f"; resume with resume_from_checkpoint={checkpoint!r}"
        wd.publish("FAILURE", attempt=max(wd.attempts(), default=0), summary=summary, time=time.time())
        if (known := self._application(wd)) is not None:
            clear_away(conf_of(wd), known)

    def gather_logs(self, wd: WorkingDir) -> None:
        """Put the logs that YARN has gathered into the job's directory, unless they are there; it gathers them once a job has ended."""
        address = wd.path("logs", LOG_FILE)
        if self._application(wd) is None or wd.result() is None or storage.exists(address):
            return
        if logs := self._fetch_logs(wd, LOGS_WITHIN):  # else the logs of the ranks are in the directory anyway
            storage.put_bytes(address, logs)

    def _fetch_logs(self, wd: WorkingDir, within: float) -> bytes:
        """The logs of all nodes, which YARN gathers once an application has ended; those that are there in time, else empty.

        A node's logs can be read as soon as they are there, so that the first answer may be that of one node alone.
        """
        application = self._application(wd)
        if application is None:
            return b""
        conf, deadline, is_all = conf_of(wd), time.monotonic() + within, False
        while not is_all and time.monotonic() < deadline:
            with contextlib.suppress(JobError):
                is_all = hadoop.logs_are_gathered(conf, application)
            if not is_all:
                time.sleep(1.0)
        with contextlib.suppress(JobError):
            return hadoop.fetch_logs(conf, application)
        return b""

    def _last_words(self, wd: WorkingDir) -> str:
        return last_words(self._fetch_logs(wd, LAST_WORDS_WITHIN).decode(errors="replace"))

    def _is_overdue(self, wd: WorkingDir, found: Report) -> bool:
        """Whether an application has waited for the application master's container for longer than it may.

        One whose supervisor has given a sign of life may be new to a ResourceManager that was started anew.
        """
        submitted = self._submitted(wd)
        if submitted is None or found.state == "RUNNING" or time.time() - float(submitted["time"]) < yarn_of(wd.spec()).start_within:
            return False
        return not wd.attempts()

    def _why_waiting(self, wd: WorkingDir, found: Report) -> str:
        yarn = yarn_of(wd.spec())
        facts = "; ".join(filter(None, [say_room(*ask(conf_of(wd), yarn.queue)), _in_one_line(found.diagnostics)]))
        return (
            f"the application master's container of {MASTER_MB} MB did not come within {yarn.start_within:.0f} s in queue {yarn.queue!r}: "
            f"it is full or too small{facts and f' ({facts})'}; the application was taken back. Use another queue, or wait longer by "
            "start_within"
        )

    def tracking_url(self, wd: WorkingDir) -> str | None:
        """The address of the application's page."""
        found = self._report(wd)
        return None if found is None else found.tracking_url

    def page_url(self, wd: WorkingDir) -> str | None:
        """The address of the job's page behind YARN's proxy, while the application runs."""
        found = self._report(wd)
        if found is None or found.state != "RUNNING" or not found.tracking_url:
            return None
        return f"{found.tracking_url.rstrip('/')}{PAGE_PATH}"

    def _end_application(self, wd: WorkingDir) -> None:
        if (application := self._application(wd)) is not None:
            applications.kill(conf_of(wd), application)
            self._wait_for_end(wd, GONE_WITHIN)
            clear_away(conf_of(wd), application)

    def _application(self, wd: WorkingDir) -> str | None:
        about = self._submitted(wd)
        return None if about is None else str(about["application"])

    def _submitted(self, wd: WorkingDir) -> dict[str, Any] | None:
        """What was written down when the job was submitted."""
        if wd.address not in self._applications:
            with contextlib.suppress(MissingFileError):
                self._applications[wd.address] = json.loads(storage.read_bytes(wd.path(SUBMITTED_FILE)))
        return self._applications.get(wd.address)

    def _report(self, wd: WorkingDir) -> Report | None:
        application = self._application(wd)
        return None if application is None else applications.report(conf_of(wd), application)

    def _wait_for_end(self, wd: WorkingDir, within: float) -> bool:
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            found = self._report(wd)
            if found is None or found.is_over:
                return True
            time.sleep(POLL)
        return False


def clear_away(conf: pathlib.Path, application: str) -> None:
    """Remove what skein has uploaded for an application, which its master does not do if it is killed."""
    with contextlib.suppress(StorageError):
        storage.remove(f"hdfs:///user/{security.user_of(conf)}/.skein/{application}")


def is_alive(wd: WorkingDir) -> bool:
    """Whether the job's supervisor has given a sign of life lately."""
    attempts = wd.attempts()
    return bool(attempts) and time.time() - wd.last_sign(attempts[-1]) < SILENCE


def is_being_submitted(wd: WorkingDir) -> bool:
    """Whether whoever submits the job may not have come to say yet what its application is called."""
    submitted = wd.spec().submitted
    return not storage.exists(wd.path(SUBMITTED_FILE)) and submitted is not None and time.time() - submitted < SUBMIT_WITHIN


def conf_of(wd: WorkingDir) -> pathlib.Path:
    """The folder with the settings of the cluster that a job is for."""
    return hadoop.use(_conf_dir_in(wd.address))


@functools.lru_cache(maxsize=256)
def _conf_dir_in(address: str) -> str | None:
    resources = WorkingDir(address).spec().resources
    assert resources is not None
    return None if resources.yarn is None else resources.yarn.conf_dir


def yarn_of(spec: JobSpec) -> YarnResources:
    """What a job asks of YARN."""
    return (spec.resources and spec.resources.yarn) or YarnResources()


def check_archives(addresses: list[str]) -> list[str]:
    """See that what containers unpack is there; the archives that every user may read. Raises :class:`OptionError`."""
    if missing := [address for address in addresses if not storage.exists(address)]:
        raise OptionError(f"{missing[0]!r} is not there any more: run `samesum cluster install` and create the cluster anew")
    return [address for address in addresses if _is_public(address)]


def _is_public(address: str) -> bool:
    try:
        return storage.is_public(address)
    except StorageError:
        return False  # a folder above it that this user cannot look at


def check_room(spec: JobSpec, room: Room, share: float = 1.0) -> None:
    """See that the cluster could run the job if it were empty, in a queue that may have a ``share`` of it. Raises :class:`OptionError`."""
    resources = spec.resources
    assert resources is not None
    count = (resources.yarn and resources.yarn.min_containers) or resources.num_workers
    size, vcores = resources.worker_memory or 0, resources.num_threads or 1
    if size > room.largest:
        raise OptionError(f"container_size={size} is more than any node has: the largest of {room.nodes} has {room.largest} MB")
    memory, all_vcores = room.memory * share, room.vcores * share
    if size * count + MASTER_MB > memory or vcores * count + 1 > all_vcores:
        whose = f"all {room.nodes} nodes have" if share == 1.0 else f"queue {yarn_of(spec).queue!r} may have of {room.nodes} nodes"
        raise OptionError(
            f"{count} containers of {size} MB and {vcores} vcores, and {MASTER_MB} MB and 1 vcore for the application master, are more "
            f"than {whose}: {memory:.0f} MB and {all_vcores:.4g} vcores"
        )


def check_places(spec: JobSpec, user: str) -> None:
    """See that the job's folders can be written by this user, as whom its containers run. Raises :class:`StorageError` for the first."""
    assert spec.resources is not None
    folders = {"hdfs_tmp_dir": spec.resources.hdfs_tmp_dir, "model_checkpoint_path": spec.options.get("model_checkpoint_path")}
    for name, folder in folders.items():
        if folder in (None, "auto"):
            continue
        probe = storage.join(str(folder), f".samesum-{uuid.uuid4()}")
        try:
            storage.put_bytes(probe, b"")
            storage.remove(probe)
        except StorageError as error:
            raise StorageError(f"{name} must be a folder that {user!r} can write, got {str(folder)!r}: {error}") from error


def _in_one_line(text: str) -> str:
    return " ".join(text.split())[:500]


BACKEND = YarnBackend()
