"""The machine at hand as a cluster: a supervisor in a session of its own, one agent, and ``mpiexec`` below it."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from engine import storage
from engine.working_dir import RUN_FILE, WorkingDir
from launch.agents import LocalAgent
from launch.array import Array
from launch.backends import Status, cancel_in_turn
from launch.commands import gang_command, module_command
from launch.order import Order
from launch.processes import Process, kill_all, process_of
from launch.records import Records

SUBMITTED_FILE = "submitted.json"
START_WITHIN = 30.0  # seconds for a supervisor to be seen
SILENCE = 120.0  # seconds without a sign of life of a supervisor on another machine
END_WITHIN = 60.0  # seconds for a supervisor to clear away what was left
POLL = 0.05

_started: list[subprocess.Popen[bytes]] = []


class LocalBackend:
    """Jobs as processes of this machine and user."""

    def start_gang(self, order: Order) -> LocalAgent:
        """One agent, and ``mpiexec`` below it if there is more than one rank."""
        return LocalAgent(replace(order, command=gang_command(order.ranks, order.command)))

    def submit(self, wd: WorkingDir) -> None:
        """Start the supervisor, which outlives this process."""
        log: Any = subprocess.DEVNULL
        if storage.is_local(wd.address):
            storage.make_folder(wd.path("logs"))
            log = storage.local_path(wd.path("logs", "supervisor.log")).open("ab")
        try:
            process = subprocess.Popen(
                module_command("launch.supervisor", wd.address),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        finally:
            if log is not subprocess.DEVNULL:
                log.close()
        _started.append(process)
        self._note(wd, process.pid)

    def submit_all(self, wds: Sequence[WorkingDir], at_once: int | None) -> None:
        """Start the queue that the jobs wait in, which outlives this process; one after the other unless ``at_once`` says more."""
        array = Array.of(wds, at_once)
        command = module_command("launch.queue", array.stem, str(array.count), str(at_once or 1))
        null = subprocess.DEVNULL
        _started.append(subprocess.Popen(command, stdin=null, stdout=null, stderr=null, start_new_session=True))

    def wait_in(self, wd: WorkingDir) -> None:
        """Note that a job waits in the queue that this process is."""
        self._note(wd, os.getpid(), is_queued=True)

    def status(self, wd: WorkingDir) -> Status:
        """By the result, and by the processes of this machine; of a supervisor on another one, by its last sign of life."""
        result = wd.result()
        alive = self._supervisor_is_alive(wd)
        if result is not None:
            return "running" if alive and time.time() - result["time"] < END_WITHIN else "ended"
        if not alive:
            return "ended" if wd.result() is not None else "pending" if is_being_submitted(wd) else "gone"
        return "running" if wd.attempts() else "pending"

    def cancel(self, wd: WorkingDir) -> None:
        """The supervisor sees the result and ends the ranks."""
        attempt = max(wd.attempts(), default=0)
        wd.publish("KILLED", attempt=attempt, summary="cancelled by its user", time=time.time())
        deadline = time.monotonic() + END_WITHIN
        while self._supervisor_is_alive(wd) and time.monotonic() < deadline:
            time.sleep(POLL)
        self._clear(wd)

    def cancel_all(self, wds: Sequence[WorkingDir]) -> None:
        """One after another."""
        cancel_in_turn(self.cancel, wds)

    def make_sure_it_ended(self, wd: WorkingDir) -> None:
        """A job whose supervisor is gone fails; who sees that first says so."""
        if self.status(wd) != "gone":
            return
        attempts = wd.attempts()
        about = wd.attempt(attempts[-1]) if attempts else {}
        who = f"its supervisor (process {about.get('pid')} on {about.get('host')})" if about else "its supervisor"
        summary = f"{who} is gone and left no result: it was killed, or the machine was restarted"
        if checkpoint := wd.last_checkpoint():
            summary += f"; resume with resume_from_checkpoint={checkpoint!r}"
        wd.publish("FAILURE", attempt=attempts[-1] if attempts else 0, summary=summary, time=time.time())
        self._clear(wd)

    def page_url(self, wd: WorkingDir) -> str | None:
        """It is in the directory."""
        return None

    def gather_logs(self, wd: WorkingDir) -> None:
        """The supervisor has put them there."""

    def tracking_url(self, wd: WorkingDir) -> str | None:
        """This machine has no pages."""
        return None

    def _supervisor_is_alive(self, wd: WorkingDir) -> bool:
        for process in list(_started):
            if process.poll() is not None:
                _started.remove(process)
        attempts = wd.attempts()
        about = wd.attempt(attempts[-1]) if attempts else _read_json(wd.path(SUBMITTED_FILE))
        if not about or (about.get("is_queued") and wd.result() is not None):
            return False
        if about["host"] != socket.gethostname():
            last = wd.last_sign(attempts[-1]) if attempts else about["time"]
            return bool(time.time() - last < SILENCE) and not storage.exists(wd.path(RUN_FILE))
        return Process(about["pid"], about["started"]).is_alive

    def _note(self, wd: WorkingDir, pid: int, **more: Any) -> None:
        found = process_of(pid)
        about = {"host": socket.gethostname(), "pid": pid, "started": 0 if found is None else found.started, "time": time.time()}
        storage.put_bytes(wd.path(SUBMITTED_FILE), json.dumps({**about, **more}).encode())

    def _clear(self, wd: WorkingDir) -> None:
        """End what a supervisor that was killed may have left, and its scratch folders on this machine."""
        for number in wd.attempts():
            about = wd.attempt(number)
            if about.get("host") == socket.gethostname():
                kill_all("SAMESUM_GANG", about["gang"], END_WITHIN)
                if not storage.is_local(wd.address):
                    Records(wd).gather(number, pathlib.Path(about["scratch"], "logs"))
                shutil.rmtree(about["scratch"], ignore_errors=True)


def is_being_submitted(wd: WorkingDir) -> bool:
    """Whether whoever submits the job may not have come to say yet which process supervises it."""
    submitted = wd.spec().submitted
    started = storage.exists(wd.path(SUBMITTED_FILE)) or wd.attempts()
    return not started and submitted is not None and 0 <= time.time() - submitted < START_WITHIN


def _read_json(address: str) -> dict[str, Any]:
    with contextlib.suppress(FileNotFoundError):
        return dict(json.loads(storage.read_bytes(address)))
    return {}


BACKEND = LocalBackend()
