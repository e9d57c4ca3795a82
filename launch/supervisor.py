"""The supervisor of a job: takes attempts, has the ranks started, starts them anew after a loss, and sees to the end.

``python -m launch.supervisor WORKING_DIR``. It trains nothing and imports nothing that does. What it publishes is create-only, and only
while its attempt is the latest; a later supervisor on the same working directory makes it end without a word.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
import socket
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from types import FrameType
from typing import Any

from engine import storage
from engine.errors import EngineError, StorageError
from engine.spec import JobSpec, Resources
from engine.working_dir import PROGRESS_FILE, WorkingDir
from launch.backends import StartedGang, backend_of
from launch.causes import RETRIED, counts, is_retried
from launch.commands import rank_command
from launch.environment import rank_environment
from launch.order import Order
from launch.processes import process_of
from launch.records import Records
from launch.report.upkeep import Upkeep
from launch.scripts import script_lines
from launch.versions import versions

LOCAL_POLL, REMOTE_POLL = 0.1, 1.5  # seconds between looks at the working directory
END_WITHIN = 10.0  # seconds that ranks have to end by themselves once there is a result
SIGN_OF_LIFE = 15.0  # seconds from one to the next, for those who watch the job from other machines
AGENT_WITHIN = 1.0  # seconds for an agent to say how its ranks ended that have
STOP_WITHIN = 30.0  # seconds for agents to end their ranks
FAREWELL = 10.0  # seconds for a storage that does not answer, once the supervisor has to end


def main() -> int:
    """Supervise the job of the one argument, a working directory."""
    supervise(WorkingDir(sys.argv[1]), Supervisor)
    return 0


def supervise(wd: WorkingDir, make: Callable[[WorkingDir, JobSpec], Supervisor], leave_on: tuple[type[Exception], ...] = ()) -> None:
    """Supervise a job until it has a result, also where the supervisor itself fails; but for ``leave_on``, after which another comes."""
    supervisor: Supervisor | None = None
    try:
        if wd.result() is None:
            supervisor = make(wd, wd.spec())
            signal.signal(signal.SIGTERM, supervisor.told_to_end)
            supervisor.run()
    except Exception as error:
        if not isinstance(error, leave_on) and (supervisor is None or supervisor.is_current()):
            message = str(error) if isinstance(error, EngineError) else f"the supervisor failed: {type(error).__name__}: {error}"
            number = 0 if supervisor is None else supervisor.number
            wd.publish("FAILURE", attempt=number, summary=message, time=time.time(), cause="supervisor")
            if supervisor is not None:
                supervisor.page.finish()
        raise


class Supervisor:
    """One job's supervisor; ``number`` is the attempt that it has taken last."""

    def __init__(self, wd: WorkingDir, spec: JobSpec) -> None:
        assert spec.resources is not None
        self.wd, self.spec = wd, spec
        self.resources: Resources = spec.resources
        self.backend = backend_of(spec)
        self.number = 0
        self.is_local = storage.is_local(wd.address)
        self.poll = LOCAL_POLL if self.is_local else REMOTE_POLL
        self.must_end = False
        self.failures = sum(counts(wd.attempt_end(number)) for number in wd.attempts())  # an attempt without an end lost its supervisor
        self.records = Records(wd)
        self.page = Upkeep(wd, spec, self.records.say)

    def told_to_end(self, number: int, frame: FrameType | None) -> None:
        """The machine, or a scheduler, says to end."""
        self.must_end = True
        storage.limit_patience(FAREWELL)

    def run(self) -> None:
        """Attempt after attempt until there is a result."""
        while True:
            cause = self.attempt()
            if not self.is_current() or self.wd.result() is not None:
                break
            if cause["cause"] == "done" and self.spec.script is not None:
                self.wd.publish("SUCCESS", attempt=self.number, summary="ended well", time=time.time(), exit_code=0)
                break
            self.failures += counts(cause)
            if self.must_end or not is_retried(cause) or self.failures > self.resources.max_restarts:
                self.fail(cause)
                break
            self.records.say(f"attempt {self.number} is over: {cause['message']}; starting anew")
        if self.is_current() and self.wd.result() is not None:
            if text := self.wd.progress():
                storage.put_bytes(self.wd.path(PROGRESS_FILE), text.encode())
            self.records.finish()
            self.page.finish()
            if self.spec.staged is not None:
                storage.remove(self.spec.staged)

    def is_current(self) -> bool:
        """Whether nobody has taken an attempt after this supervisor's last."""
        return self.wd.attempts()[-1:] in ([], [self.number])

    def attempt(self) -> dict[str, Any]:
        """Take an attempt and see it to its end; why it ended."""
        if not self.prepare():
            return {"cause": "stopped", "message": "the job ended before its ranks began"}
        gang, own = uuid.uuid4().hex, process_of(os.getpid())
        scratch = pathlib.Path(self.resources.node_tmp_dir or tempfile.gettempdir()).expanduser() / f"samesum-{gang[:16]}"
        about = {"host": socket.gethostname(), "pid": os.getpid(), "started": own.started if own else 0, "gang": gang}
        self.number = self.wd.take_attempt({**about, "scratch": str(scratch), "time": time.time(), "versions": versions()})
        self.records.begin(self.number)
        try:
            scratch.mkdir(mode=0o700, parents=True)
            return self.run_gang(gang, scratch)
        except StorageError:
            storage.limit_patience(FAREWELL)  # it has been waited for long enough already
            raise
        finally:
            if not self.is_local:
                self.records.gather(self.number, self.logs(scratch))
            shutil.rmtree(scratch, ignore_errors=True)

    def prepare(self) -> bool:
        """See to what must be there before an attempt is taken; False if the job ended meanwhile."""
        return True

    def run_gang(self, gang: str, scratch: pathlib.Path) -> dict[str, Any]:
        """Have an agent start the ranks, and wait for their end; why they ended."""
        if self.spec.script is not None:
            text = "".join(f"PROGRESS: {line}\n" for line in script_lines(self.spec, self.wd.address, scratch))
            storage.put_bytes(self.wd.attempt_path(self.number, PROGRESS_FILE), text.encode())
        ranks = self.start_gang(gang, scratch)
        try:
            cause = self.watch(ranks)
        finally:
            ranks.end()
        if self.is_current():
            self.records.end(self.number, cause, ranks.containers)
        return cause

    def start_gang(self, gang: str, scratch: pathlib.Path) -> StartedGang:
        """Have the ranks started."""
        return self.backend.start_gang(self.order(gang, scratch))

    def order(self, gang: str, scratch: pathlib.Path) -> Order:
        """What the agent is to do."""
        resources = self.resources
        memory = resources.worker_memory
        return Order(
            gang=gang,
            command=rank_command(self.spec, self.wd.address),
            ranks=resources.num_workers,
            folder=os.getcwd(),
            scratch=str(scratch),
            logs=str(self.logs(scratch)),
            memory=None if memory is None else memory << 20,
            hang_timeout=resources.hang_timeout,
            environment=rank_environment(self.spec, self.wd.address, self.number, gang, scratch),
        )

    def watch(self, ranks: StartedGang) -> dict[str, Any]:
        """Wait for the end of the gang, ending it once the job has ended or is another's."""
        next_look, next_sign, leave_by = 0.0, 0.0, None
        while (cause := ranks.wait(LOCAL_POLL)) is None:
            now = time.monotonic()
            if now < next_look:
                continue
            next_look = now + self.poll
            if now >= next_sign:
                next_sign = now + SIGN_OF_LIFE
                self.wd.renew(self.number, time.time())
            self.page.look(self.number, lambda: ranks.usage)
            result = self.wd.result()
            if result is not None and result["state"] == "SUCCESS":
                leave_by = leave_by or now + END_WITHIN
                if now > leave_by or ranks.is_gone():
                    ranks.stop(AGENT_WITHIN)
            elif self.must_stop() or result is not None or not self.is_current():
                ranks.stop(STOP_WITHIN)
        return cause

    def must_stop(self) -> bool:
        """Whether the ranks must be ended though nothing is wrong with them."""
        return self.must_end

    def fail(self, cause: dict[str, Any]) -> None:
        """Publish FAILURE: why, after how many attempts, and how to go on."""
        found = self.wd.error(self.number)
        error = found or cause.get("error")
        message = found["message"] if found else cause.get("message", "the ranks ended without a result")
        if self.must_end:
            message = "the supervisor was told to end (SIGTERM)"
        summary = message if self.number == 1 else f"{message} (attempt {self.number})"
        if (self.must_end or cause["cause"] in RETRIED) and (checkpoint := self.wd.last_checkpoint()):
            summary += f"; resume with resume_from_checkpoint={checkpoint!r}"
        more = {"error": error, "cause": cause["cause"], "exit_code": cause.get("exit_code")}
        self.wd.publish("FAILURE", attempt=self.number, summary=summary, time=time.time(), **more)
        self.records.say(f"the job has failed: {summary}")

    def logs(self, scratch: pathlib.Path) -> pathlib.Path:
        """The folder on this machine for the attempt's logs."""
        return storage.local_path(self.wd.logs_path(self.number)) if self.is_local else scratch / "logs"


if __name__ == "__main__":
    code = main()
    sys.exit(code)
