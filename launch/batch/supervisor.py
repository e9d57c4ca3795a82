"""The supervisor within an allocation of a batch system: the one of every job, whose ranks are on several nodes for a limited time.

``python -m launch.batch.supervisor WORKING_DIR [--seconds S]``, which is what a job's script ends with. On SIGUSR1, or after ``S`` seconds,
the time limit is near: it ends the ranks once there is a new checkpoint, at the latest in the middle of what is left, and has the job
scheduled anew. On SIGTERM it ends them and says nothing: the scheduler ends the job, or has it run elsewhere, and says which.
"""

from __future__ import annotations

import pathlib
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import FrameType
from typing import Any, cast

from engine.errors import JobError
from engine.spec import JobSpec
from engine.working_dir import WorkingDir
from launch.agents import LocalAgent
from launch.backends import StartedGang
from launch.backends.batch import BatchBackend
from launch.batch.gang import Launcher, SpreadGang
from launch.batch.launchers import Mpiexec, Srun, hosts_of_pbs
from launch.causes import RETRIED
from launch.commands import gang_command, rank_command
from launch.supervisor import Supervisor, supervise

PROBE_WITHIN, PROBE_PAUSE = 20.0, 5.0  # seconds for all nodes to answer, and until they are asked again
NODES_WITHIN = 600.0  # seconds for a scheduler to notice that a node is gone, and to act


def main() -> int:
    """Supervise the job of the first argument until it has ended, or must go on elsewhere."""
    seconds = float(sys.argv[3]) if sys.argv[2:3] == ["--seconds"] else None

    def make(wd: WorkingDir, spec: JobSpec) -> AllocationSupervisor:
        supervisor = AllocationSupervisor(wd, spec)
        for number in (signal.SIGUSR1, signal.SIGALRM):
            signal.signal(number, supervisor.warn)
        if seconds is not None:
            signal.setitimer(signal.ITIMER_REAL, seconds)
        return supervisor

    supervise(WorkingDir(sys.argv[1]), make)
    return 0


class AllocationSupervisor(Supervisor):
    """A supervisor that may be told that its time is nearly up."""

    def __init__(self, wd: WorkingDir, spec: JobSpec) -> None:
        super().__init__(wd, spec)
        assert self.resources.batch is not None
        self.batch = self.resources.batch
        self.failures = 0  # those of earlier allocations were not this one's
        self.warned: float | None = None
        self._is_waiting = False  # for a new checkpoint
        self.first_checkpoint = wd.last_checkpoint()
        self._checkpoint_then: str | None = None  # the last one when the warning was seen

    def warn(self, number: int, frame: FrameType | None) -> None:
        """The time limit is near."""
        if self.warned is None:
            self.warned = time.monotonic()

    def prepare(self) -> bool:
        """After a loss, wait until all nodes answer: a scheduler takes its time to see that one is gone, and then ends this supervisor."""
        until = time.monotonic() + NODES_WITHIN
        while self.number and self.batch.nodes > 1 and not self.nodes_answer():
            if self.must_stop() or self.wd.result() is not None:
                return False
            if time.monotonic() > until:
                raise JobError(f"not all of the {self.batch.nodes} nodes have answered within {NODES_WITHIN:.0f} s: one may be lost")
            time.sleep(PROBE_PAUSE)
        return True

    def nodes_answer(self) -> bool:
        """Whether a process can be started on every node."""
        try:
            command = self.launcher(pathlib.Path(self.wd.logs_path(self.number))).command(1, ["true"], is_mpi=False)
            return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PROBE_WITHIN, check=False).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def start_gang(self, gang: str, scratch: pathlib.Path) -> StartedGang:
        """Have the ranks started, with an agent on each node; on one alone as on a cluster of one machine."""
        if self.batch.nodes == 1 and self.batch.mpi == "mpiexec":
            order = self.order(gang, scratch)
            return LocalAgent(replace(order, command=gang_command(order.ranks, order.command)))
        command = rank_command(self.spec, self.wd.address)
        return SpreadGang(self.wd, self.number, self.resources, launcher=self.launcher(scratch), command=command, scratch=scratch)

    def launcher(self, folder: pathlib.Path) -> Launcher:
        """What starts processes on the nodes."""
        if self.batch.mpi != "mpiexec":
            return Srun(self.batch.nodes, self.batch.mpi)
        hosts = hosts_of_pbs()
        return Mpiexec(self.batch.nodes, hosts, folder / "hosts" if hosts else None)

    def must_stop(self) -> bool:
        """Whether the scheduler says so, or time is nearly up and there is a new checkpoint, or no time to wait for one."""
        if self.warned is not None and not self.must_end:
            last = self.wd.last_checkpoint()
            if not self._is_waiting:
                self._is_waiting, self._checkpoint_then = True, last
            is_late = time.monotonic() - self.warned > self.batch.warning / 2
            self.must_end = is_late or self.wd.checkpoint_folder(self.spec) is None or last != self._checkpoint_then
        return self.must_end

    def fail(self, cause: dict[str, Any]) -> None:
        """Publish FAILURE, unless the job goes on, or the scheduler says how it ended."""
        is_own = self.wd.error(self.number) is not None or (self.warned is not None and cause["cause"] not in ("stopped", *RETRIED))
        if not self.must_end or is_own:
            super().fail(cause)
        elif self.warned is None:  # whatever the ranks say of it, they were ended too
            self.records.say("told to end by the scheduler")
        elif (checkpoint := self.wd.last_checkpoint()) is not None and checkpoint != self.first_checkpoint:
            self.records.say(f"the time limit is near: the job goes on from {checkpoint} when it is scheduled anew")
            cast(BatchBackend, self.backend).go_on(self.wd)
        else:
            self.fail_in_time()

    def fail_in_time(self) -> None:
        """Publish that another run of the same length would come no further."""
        limit = f"time_limit={self.batch.time_limit} (minutes)" if self.batch.time_limit else "the queue's time limit"
        if self.wd.checkpoint_folder(self.spec) is None:
            summary = f"{limit} was too short, and the job writes no checkpoints from which it could go on: give more time"
        else:
            summary = f"{limit} was too short for a new checkpoint: give more time, or a smaller model_checkpoint_interval"
            if checkpoint := self.wd.last_checkpoint():
                summary += f"; resume with resume_from_checkpoint={checkpoint!r}"
        self.wd.publish("FAILURE", attempt=self.number, summary=summary, time=time.time(), cause="time")
        self.records.say(f"the job has failed: {summary}")


if __name__ == "__main__":
    code = main()
    sys.exit(code)
