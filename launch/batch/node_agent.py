"""The agent of one node of an allocation: that of every job, but that the ranks are started from elsewhere.

``python -m launch.batch.node_agent WORKING_DIR ATTEMPT``, once on every node. Its order is in the working directory, and so is its lease, a
file: once that is gone, or on SIGTERM, it ends every process of the gang on its node. Its standard output are short lines of JSON; how the
gang ended here goes to a file beside the lease first.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import signal
import sys
import time
from types import FrameType
from typing import Any

from engine import storage
from engine.working_dir import WorkingDir
from launch.agent import POLL, Agent
from launch.batch.rank import ENVIRONMENT_FILE, own_number
from launch.environment import rank_environment
from launch.order import Order
from launch.processes import process_of

LEASE, REPORTS = "lease", "nodes"  # a file and a folder in the attempt's
LOOK_AT_LEASE = 1.0  # seconds
NEVER = 1e9  # seconds: the supervisor alone sees all nodes and says what is a hang
WORDS = 200  # of a report at most, so that lines of several agents do not mix


def main() -> int:
    """Watch this node's ranks of an attempt."""
    wd, attempt = WorkingDir(sys.argv[1]), int(sys.argv[2])
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    agent = NodeAgent(wd, attempt, own_number())
    signal.signal(signal.SIGTERM, agent.take_word)
    try:
        return agent.run()
    finally:
        shutil.rmtree(agent.scratch, ignore_errors=True)


class NodeAgent(Agent):
    """An agent that starts nothing; ``node`` is its node's number in the allocation."""

    def __init__(self, wd: WorkingDir, attempt: int, node: int) -> None:
        super().__init__(make_order(wd, attempt, node))
        self.node = node
        self.lease = wd.attempt_path(attempt, LEASE)
        self.report_path, self.usage_path = report_path(wd, attempt, node), usage_path(wd, attempt, node)
        self._next_look = 0.0

    def take_word(self, number: int, frame: FrameType | None) -> None:
        """The supervisor, or the scheduler, says to stop."""
        self.told_to_stop = True

    def start(self) -> _Elsewhere:
        """Leave what ranks need to know where they look for it, and say so."""
        own = process_of(os.getpid())
        assert own is not None
        said = {"SAMESUM_AGENT": f"{own.pid}:{own.started}", "SAMESUM_LOGS": self.order.logs, "SAMESUM_SCRATCH": self.order.scratch}
        path = self.scratch / ENVIRONMENT_FILE
        path.with_suffix(".partial").write_text(json.dumps({**self.order.environment, **said}))
        path.with_suffix(".partial").rename(path)
        self.report(0.0, event="here")
        return _Elsewhere(self)

    def is_told_to_stop(self, within: float = POLL) -> bool:
        """Whether the lease has ended, ``within`` seconds from now."""
        time.sleep(within)
        if time.monotonic() > self._next_look:
            self._next_look = time.monotonic() + LOOK_AT_LEASE
            self.told_to_stop = self.told_to_stop or not storage.exists(self.lease)
        return self.told_to_stop

    def report(self, within: float, **what: Any) -> None:
        """A line for the supervisor; the last report is a file."""
        if what["event"] == "ended":
            storage.put_bytes(self.report_path, json.dumps(what).encode())
            what = {"event": "ended"}
        if (ranks := what.pop("ranks", None)) is not None:  # a line must be short
            storage.put_bytes(self.usage_path, json.dumps(ranks).encode())
        short = {name: value[:WORDS] if isinstance(value, str) else value for name, value in what.items()}
        super().report(within or 1.0, **short, node=self.node)


class _Elsewhere:
    """The launcher, as far as a node can tell: it has ended once all ranks here have."""

    def __init__(self, agent: NodeAgent) -> None:
        self._agent = agent

    def poll(self) -> int | None:
        """0 once it has ended."""
        records = self._agent.gang.records
        return 0 if len(records) == self._agent.order.ranks and all("ended" in record for record in records.values()) else None

    def wait(self, timeout: float | None = None) -> int:
        """Nothing to wait for: whoever started the ranks sees to it."""
        return 0


def make_order(wd: WorkingDir, attempt: int, node: int) -> Order:
    """What the agent of a node is to do."""
    spec, about = wd.spec(), wd.attempt(attempt)
    resources = spec.resources
    assert resources is not None
    assert resources.batch is not None
    per_node = resources.num_workers // resources.batch.nodes
    gang, scratch = f"{about['gang']}-{node}", pathlib.Path(f"{about['scratch']}-{node}")
    return Order(
        gang=gang,
        command=[],
        ranks=per_node,
        first_rank=node * per_node,
        folder=os.getcwd(),
        scratch=str(scratch),
        logs=str(storage.local_path(wd.logs_path(attempt))),
        memory=None if resources.worker_memory is None else resources.worker_memory << 20,
        hang_timeout=NEVER if resources.hang_timeout else 0.0,
        environment=rank_environment(spec, wd.address, attempt, gang, scratch),
    )


def report_path(wd: WorkingDir, attempt: int, node: int) -> str:
    """Where an agent says how the gang has ended on its node."""
    return wd.attempt_path(attempt, REPORTS, f"{node}.json")


def usage_path(wd: WorkingDir, attempt: int, node: int) -> str:
    """Where an agent says what the ranks of its node have used."""
    return wd.attempt_path(attempt, REPORTS, f"{node}-ranks.json")


if __name__ == "__main__":
    code = main()
    sys.exit(code)
