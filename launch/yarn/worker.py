"""What runs in a worker's container: it waits for orders, has an agent carry each of them out, and reports.

``python -m launch.yarn.worker``. Agent, leash and rank are those of every job. Without an order, or without the application master that
gave it, the agent's lease ends and every process of the rank with it.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shlex
import shutil
import socket
import sys
import tempfile
import time
from typing import Any

import launch.agents
from engine import storage
from engine.errors import EngineError, JobError
from engine.spec import JobSpec
from engine.working_dir import WorkingDir
from launch.agents import LocalAgent
from launch.environment import rank_environment
from launch.order import Order
from launch.scratch import held
from launch.yarn import ports
from launch.yarn.wire import RANK_PROGRAM, LostWireError, Wire

MPI_PROXY = "hydra_pmi_proxy"
POLL = 0.2  # seconds between looks for an order
LOOK, SAY = 1.0, 3.0  # seconds between looks whether the order stands, and between signs of life


def main() -> int:
    """Serve until the application ends."""
    wire = Wire()
    worker = Worker(wire)
    with contextlib.suppress(LostWireError):
        wire.register(worker.about())
        worker.serve()
    return 0


class Worker:
    """One container's worker."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.logs = pathlib.Path(os.environ.get("LOG_DIRS", tempfile.gettempdir()).split(",")[0])
        self.done = 0  # the last attempt that it had an order for

    def about(self) -> dict[str, Any]:
        """What it says of itself."""
        host = os.environ.get("NM_HOST") or socket.gethostname()
        return {"name": self.wire.name, "host": host, "pid": os.getpid(), "cores": count_cores(), "time": time.time()}

    def serve(self) -> None:
        """Order after order, while the application knows of this worker."""
        next_look = 0.0
        while True:
            if time.monotonic() > next_look:
                next_look = time.monotonic() + SAY
                if not self.wire.is_known():
                    return  # given up by YARN, and not ended: its node has lost its manager
            orders = self.wire.orders()
            attempt = max(orders, default=0)
            if attempt > self.done:
                self.done = attempt
                self.do(attempt, orders[attempt])
            time.sleep(POLL)

    def do(self, attempt: int, what: dict[str, Any]) -> None:
        """Carry an order out and report how it ended."""
        spec = JobSpec.from_json(what["spec"])
        try:
            order = complete(what, spec, attempt, self.logs)
        except JobError as error:
            refusal = {"cause": "error", "ranks": [what["rank"]], "message": str(error), "containers": []}
            self.wire.report(attempt, {"event": "ended", **refusal})
            return
        containers: list[dict[str, Any]] = []
        if words := trouble_here(what, order):
            cause: dict[str, Any] = {"cause": "error", "ranks": [what["rank"]], "message": f"rank {what['rank']}: {words}"}
        else:
            try:
                with held(pathlib.Path(order.scratch)):
                    provide_program(pathlib.Path(order.scratch))
                    cause, containers = self.run(attempt, order)
                    self.keep_logs(what, attempt)
            finally:
                shutil.rmtree(order.scratch, ignore_errors=True)
        self.wire.report(attempt, {"event": "ended", **cause, "containers": containers})  # the container may end at once

    def run(self, attempt: int, order: Order) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Have an agent start the rank, and wait for its end."""
        self.set_logs_aside(attempt)
        agent = LocalAgent(order)
        next_look = next_word = 0.0
        wanted: int | None = None
        try:
            while (cause := agent.wait(0.1)) is None:
                now = time.monotonic()
                if now > next_look:
                    next_look = now + LOOK
                    if not self.wire.has_order(attempt):
                        agent.stop()
                if now > next_word or agent.sign.get("wanted_memory") != wanted:
                    next_word, wanted = now + SAY, agent.sign.get("wanted_memory")
                    self.wire.report(attempt, {"event": "alive", **agent.sign})
        finally:
            agent.end()
        return cause, agent.containers

    def set_logs_aside(self, attempt: int) -> None:
        """Logs of the attempt before get names of their own."""
        for path in [*self.logs.glob("rank-*.log"), self.logs / "agent-0.log", self.logs / "launcher.log"]:
            if path.exists():
                path.rename(path.with_name(f"before-{attempt}-{path.name}"))

    def keep_logs(self, what: dict[str, Any], attempt: int) -> None:
        """Put the logs into the job's directory; YARN has them too."""
        wd = WorkingDir(what["address"])
        for path in self.logs.glob("rank-*.log"):
            with contextlib.suppress(EngineError):
                storage.put_file(wd.logs_path(attempt, path.name), path)


def complete(what: dict[str, Any], spec: JobSpec, attempt: int, logs: pathlib.Path) -> Order:
    """The order for this container's agent: the same rank, with folders and programs as they are here."""
    gang = f"{what['gang']}-{what['rank']}"
    base = pathlib.Path(what["node_tmp_dir"] or tempfile.gettempdir()).expanduser()
    scratch = base / f"samesum-{what['gang'][:16]}-{what['rank']}"
    environment = rank_environment(spec, what["address"], attempt, gang, scratch)
    threads = str(min(int(environment["SAMESUM_NUM_THREADS"]), count_cores()))
    own = {"SAMESUM_NUM_THREADS": threads, "OMP_NUM_THREADS": threads, "PATH": f"{scratch / 'bin'}:{os.environ.get('PATH', os.defpath)}"}
    return Order(
        gang=gang,
        command=localized(what["command"]),
        ranks=1,
        folder=os.getcwd(),
        scratch=str(scratch),
        logs=str(logs),
        hang_timeout=what["hang_timeout"],
        environment={**environment, **what["environment"], **own},
    )


def trouble_here(what: dict[str, Any], order: Order) -> str | None:
    """Why a rank cannot run on this node, and what to do: a folder or ports that it needs are not to be had."""
    base = pathlib.Path(order.scratch).parent
    try:
        base.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=base).close()
    except OSError as error:
        return f"node_tmp_dir must be a folder that can be written on every node, got {str(base)!r} on {socket.gethostname()}: {error}"
    return ports.trouble_here(*what["ports"]) if what["ports"] else None


def provide_program(scratch: pathlib.Path) -> None:
    """Write the program that the rank begins with: it goes to this container's folder and puts the rank on a leash."""
    scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = scratch / "bin"
    folder.mkdir(mode=0o700)
    leash = shlex.join([sys.executable, "-I", "-S", str(pathlib.Path(launch.agents.__file__).with_name("leash.py"))])
    program = folder / RANK_PROGRAM
    program.write_text(f'#!/bin/sh\ncd {shlex.quote(os.getcwd())} && exec {leash} "$@"\n')
    program.chmod(0o700)


def localized(command: list[str]) -> list[str]:
    """The command with MPI's proxy as it is called here: its path is that of another container.

    Workers run that and the program of a rank, and nothing else. Raises :class:`JobError` for another command.
    """
    program = pathlib.PurePath(command[0].strip('"')).name
    if program == MPI_PROXY:
        return [str(pathlib.Path(sys.executable).with_name(program)), *command[1:]]
    if command[0] != RANK_PROGRAM:
        raise JobError(f"expected an order to run {MPI_PROXY} or {RANK_PROGRAM}, got {command[0]!r}: workers run nothing else")
    return command


def count_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if __name__ == "__main__":
    sys.exit(main())
