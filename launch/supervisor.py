"""The supervisor of a job: takes attempts, has the ranks started, starts them anew after a loss, and sees to the end.

``python -m launch.supervisor WORKING_DIR``. It trains nothing and imports nothing that does. What it publishes is create-only, and only
while its attempt is the latest; a later supervisor on the same working directory makes it end without a word.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import sys
import tempfile
import time
import uuid
from types import FrameType
from typing import Any

from engine import storage
from engine.errors import EngineError
from engine.spec import JobSpec, Resources
from engine.working_dir import CONTAINERS_FILE, ERROR_FILE, PROGRESS_FILE, WorkingDir
from launch.agents import LocalAgent
from launch.commands import gang_command, rank_command
from launch.environment import rank_environment
from launch.order import Order
from launch.processes import kill_all, process_of

LOCAL_POLL, REMOTE_POLL = 0.1, 1.5  # seconds between looks at the working directory
END_WITHIN = 10.0  # seconds that ranks have to end by themselves once there is a result
RETRIED = ("lost", "hang")


def main() -> int:
    """Supervise the job of the one argument, a working directory."""
    wd = WorkingDir(sys.argv[1])
    supervisor = Supervisor(wd)
    signal.signal(signal.SIGTERM, supervisor.told_to_end)
    try:
        supervisor.run()
    except EngineError as error:
        wd.publish("FAILURE", attempt=supervisor.number, summary=f"the supervisor failed: {error}", time=time.time())
        raise
    return 0


class Supervisor:
    """One job's supervisor; ``number`` is the attempt that it has taken last."""

    def __init__(self, wd: WorkingDir) -> None:
        self.wd = wd
        self.number = 0
        self.is_local = storage.is_local(wd.address)
        self.poll = LOCAL_POLL if self.is_local else REMOTE_POLL
        self.must_end = False

    def told_to_end(self, number: int, frame: FrameType | None) -> None:
        """The machine or a scheduler says to end."""
        self.must_end = True

    def run(self) -> None:
        """Attempt after attempt until there is a result."""
        if self.wd.result() is not None:
            return
        self.spec = self.wd.spec()
        assert self.spec.resources is not None
        self.resources = self.spec.resources
        while True:
            cause = self.attempt()
            if self.wd.result() is not None or not self.is_current():
                break
            if self.must_end or cause["cause"] not in RETRIED or self.number > self.resources.max_restarts:
                self.fail(cause)
                break
            self.say(f"attempt {self.number} is over: {cause['message']}; starting anew")
        self.finish()

    def is_current(self) -> bool:
        """Whether nobody has taken a later attempt."""
        return self.wd.attempts()[-1] == self.number

    def attempt(self) -> dict[str, Any]:
        """Take an attempt and see it to its end; why it ended."""
        own = process_of(os.getpid())
        gang = uuid.uuid4().hex
        folder = pathlib.Path(self.resources.node_tmp_dir or tempfile.gettempdir()).expanduser()
        scratch = folder / f"samesum-{gang[:16]}"
        about = {"host": socket.gethostname(), "pid": os.getpid(), "started": own.started if own else 0, "gang": gang}
        self.number = self.wd.take_attempt({**about, "scratch": str(scratch), "time": time.time()})
        try:
            scratch.mkdir(mode=0o700, parents=True)
            agent = LocalAgent(self.order(gang, scratch), self.logs(scratch))
            try:
                return self.watch(agent)
            finally:
                agent.end()
                kill_all("SAMESUM_GANG", gang, END_WITHIN)
                self.note(agent.ended)
                self.gather_logs(scratch)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def order(self, gang: str, scratch: pathlib.Path) -> Order:
        """What the agent is to do."""
        resources = self.resources
        memory = resources.worker_memory
        return Order(
            gang=gang,
            command=gang_command(resources.num_workers, rank_command(self.spec, self.wd.address)),
            ranks=resources.num_workers,
            folder=os.getcwd(),
            scratch=str(scratch),
            logs=str(self.logs(scratch)),
            memory=None if memory is None else memory << 20,
            hang_timeout=resources.hang_timeout,
            environment=rank_environment(self.spec, self.wd.address, self.number, gang, scratch),
        )

    def watch(self, agent: LocalAgent) -> dict[str, Any]:
        """Wait for the end of the gang, ending it when the job has ended or is another's."""
        next_look, leave_until = 0.0, None
        while (ended := agent.wait(min(self.poll, LOCAL_POLL))) is None:
            now = time.monotonic()
            if now < next_look:
                continue
            next_look = now + self.poll
            result = self.wd.result()
            if result is not None and result["state"] == "SUCCESS":
                leave_until = leave_until or now + END_WITHIN
                if now > leave_until:
                    agent.stop()
            elif self.must_end or result is not None or not self.is_current():
                agent.stop()
        return ended

    def fail(self, cause: dict[str, Any]) -> None:
        """Publish FAILURE: why, after how many attempts, and how to go on."""
        error = self.wd.error(self.number) or cause.get("error")
        message = error["message"] if error else cause.get("message", "the ranks ended without a result")
        if self.must_end:
            message = "its supervisor was told to end (SIGTERM)"
        times = "" if self.number == 1 else f" in attempt {self.number}"
        summary = message + times
        if cause["cause"] in RETRIED and (checkpoint := self.wd.last_checkpoint()):
            summary += f"; resume with resume_from_checkpoint={checkpoint!r}"
        more = {"error": error, "cause": cause["cause"], "exit_code": cause.get("exit_code")}
        self.wd.publish("FAILURE", attempt=self.number, summary=summary, time=time.time(), **more)
        self.say(f"the job has failed: {summary}")

    def note(self, ended: dict[str, Any]) -> None:
        """Add the attempt's ranks to ``containers.json``."""
        if self.is_current():
            found = [{"attempt": self.number, **container} for container in ended.get("containers", [])]
            self.wd.put_containers(self.wd.containers() + found)

    def logs(self, scratch: pathlib.Path) -> pathlib.Path:
        """The folder on this machine for the attempt's logs."""
        return storage.local_path(self.wd.logs_path(self.number)) if self.is_local else scratch / "logs"

    def gather_logs(self, scratch: pathlib.Path) -> None:
        """Put the logs into the working directory."""
        if not self.is_local:
            for path in sorted(self.logs(scratch).glob("*.log")):
                storage.put_file(self.wd.logs_path(self.number, path.name), path)

    def finish(self) -> None:
        """The whole progress log, in its place."""
        if self.is_current() and (text := self.wd.progress()):
            storage.put_bytes(self.wd.path(PROGRESS_FILE), text.encode())

    def say(self, text: str) -> None:
        """A line for the supervisor's log."""
        sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
        sys.stderr.flush()


if __name__ == "__main__":
    code = main()
    sys.exit(code)
