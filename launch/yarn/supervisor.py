"""The supervisor in the container of the application master: the one of every job, whose agents are in other containers.

``python -m launch.yarn.supervisor WORKING_DIR``. It waits until all workers are there, has their ranks wired up, replaces containers that
were lost, and says in the end what became of each.
"""

from __future__ import annotations

import os
import pathlib
import sys
from dataclasses import replace
from typing import Any

from engine import storage
from engine.spec import JobSpec, YarnResources
from engine.working_dir import WorkingDir
from launch.backends import StartedGang
from launch.commands import find_mpiexec, rank_command
from launch.report.serve import PageServer
from launch.scratch import held
from launch.supervisor import Supervisor, supervise
from launch.yarn.agents import Gang, Member
from launch.yarn.description import PAGE, PROGRAM
from launch.yarn.gathering import Gathering
from launch.yarn.wire import RANK_PROGRAM, LostWireError, Wire

LAST_WORDS = 3.0  # seconds for a storage to answer a supervisor that has lost its application master
NEVER = 1e9  # seconds: agents count, the supervisor alone sees all ranks and says what is a hang


def main() -> int:
    """Supervise the job of the one argument, then end the application, if the job has ended; else YARN starts another master for it."""
    wd, wire = WorkingDir(sys.argv[1]), Wire()
    try:
        supervise(wd, lambda wd, spec: YarnSupervisor(wd, spec, wire), leave_on=(LostWireError,))
    finally:
        result = wd.result()
        if result is not None:
            # An application that ends as FAILED would be started anew: it did what it was to do, its job may have failed.
            wire.finish("SUCCEEDED", f"{result['state']}: {result['summary']}")
    return int(result is None)


class YarnSupervisor(Supervisor):
    """A supervisor whose ranks are in containers of YARN."""

    def __init__(self, wd: WorkingDir, spec: JobSpec, wire: Wire) -> None:
        super().__init__(wd, spec)
        assert spec.resources is not None
        self.yarn = spec.resources.yarn or YarnResources()
        self.asked = self.resources
        self.wire = wire
        self.members: list[Member] = []
        self.silent: list[str] = []  # workers of the last attempt that were lost
        self.gang: Gang | None = None
        self.serve_page()

    def serve_page(self) -> None:
        """Serve the job's page, for YARN's proxy alone; without it the job goes on all the same."""
        try:
            collector = self.page.make_collector()
            within = range(self.yarn.start_port, self.yarn.end_port + 1)
            server = PageServer(lambda: collector.collect(usage=self.page.usage), within)
            self.wire.add_page(PAGE, server.address.rstrip("/"), "The job")
        except (OSError, LostWireError) as error:
            self.records.say(f"there is no page while the job runs: {error}")

    def prepare(self) -> bool:
        """Wait until there is a worker for every rank, asking for more where some were lost."""
        self.wire.give_back(self.silent)  # YARN may take long to see that they are gone
        gathering = Gathering(self.wire, self.asked, must_leave=self.must_leave, say=self.records.say)
        members = gathering.members()
        if members is None:
            return False
        self.members = members
        self.resources = replace(self.asked, num_workers=len(members), yarn=replace(self.yarn, min_containers=None))
        self.spec = replace(self.spec, resources=self.resources)
        return True

    def must_leave(self) -> bool:
        """Whether nobody needs containers any more."""
        return self.must_end or self.wd.result() is not None

    def run_gang(self, gang: str, scratch: pathlib.Path) -> dict[str, Any]:
        """As every supervisor, in a folder that others may remove once this container is gone; who is lost and may hold one is noted."""
        try:
            with held(scratch):
                return super().run_gang(gang, scratch)
        except LostWireError:
            storage.limit_patience(LAST_WORDS)  # what tells where HDFS is goes with the container
            raise
        finally:
            self.silent = [] if self.gang is None else [self.members[rank].key for rank in self.gang.lost]

    def fail(self, cause: dict[str, Any]) -> None:
        """Publish FAILURE, unless YARN says to end: it starts another application master, or says itself what happened."""
        if self.must_end:
            self.records.say("told to end by YARN")
        else:
            super().fail(cause)

    def start_gang(self, gang: str, scratch: pathlib.Path) -> StartedGang:
        """Have each worker start its rank."""
        (scratch / "logs").mkdir(parents=True, exist_ok=True)
        spec = self.spec.to_json()
        ports = self.port_range()

        def order(rank: int, command: list[str]) -> dict[str, Any]:
            return {
                "rank": rank,
                "command": command,
                "gang": gang,
                "address": self.wd.address,
                "spec": spec,
                "node_tmp_dir": self.resources.node_tmp_dir,
                "hang_timeout": NEVER if self.resources.hang_timeout else 0.0,
                "environment": ports,
                "ports": [self.yarn.start_port, self.yarn.end_port] if self.resources.num_workers > 1 else None,
            }

        self.gang = Gang(
            self.wire,
            self.number,
            self.members,
            command=self.command(),
            order=order,
            folder=scratch / "wire",
            environment=ports,
            hang_timeout=self.resources.hang_timeout,
            memory=(self.resources.worker_memory or 1) << 20,
        )
        return self.gang

    def command(self) -> list[str]:
        """What starts all ranks; each begins with a program that its worker provides."""
        ranks = self.resources.num_workers
        spec = self.spec
        if spec.script is not None:
            spec = replace(spec, script=replace(spec.script, path=PROGRAM))
        rank = [RANK_PROGRAM, *portable(rank_command(spec, self.wd.address))]
        return rank if ranks == 1 else [find_mpiexec(), "-n", str(ranks), *rank]

    def port_range(self) -> dict[str, str]:
        """The variables that keep MPI to the cluster's ports."""
        first, last = self.yarn.start_port, self.yarn.end_port
        colon = f"{first}:{last}"
        return {"MPIEXEC_PORT_RANGE": colon, "MPICH_PORT_RANGE": colon, "UCX_TCP_PORT_RANGE": f"{first}-{last}"}


def portable(command: list[str]) -> list[str]:
    """The command with what lies in this container said relative to it, as it lies in the others too."""
    here = os.getcwd() + "/"
    return [word.removeprefix(here) for word in command]


if __name__ == "__main__":
    try:
        code = main()
    except LostWireError as error:
        sys.stderr.write(f"{error}\n")
        code = 1
    sys.exit(code)
