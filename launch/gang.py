"""The ranks of a gang on one machine as their agent sees them: what each says of itself, and why the gang ended."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import signal
from collections.abc import Iterable, Iterator
from typing import Any

from launch.causes import MPI_ERROR
from launch.hang import HangWatch
from launch.memory import MemoryWatch
from launch.order import Order
from launch.processes import Process, find_processes, shared_segments
from launch.scratch import note_segments
from launch.usage import usage_of

_ABORT = re.compile(r"MPI_Abort\([^)]*?(-?\d+)\)|MPI_ABORT was invoked.*?errorcode (-?\d+)")
# What of a rank's use is said of its end too.
USED = ("seconds", "cpu_seconds", "collective_seconds", "wait_seconds", "collectives", "bytes")
LOOK_AT_MAPS = 4  # looks at ranks from one to the next at their shared memory


class Gang:
    """What is known of the ranks of this machine. A cause is an object with ``cause``, ``message``, and the ``ranks`` it is about."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.scratch = pathlib.Path(order.scratch)
        self.records: dict[int, dict[str, Any]] = {}
        self.errors: dict[int, dict[str, Any]] = {}
        self.memory = MemoryWatch(order.memory)
        self.hang = HangWatch(order.hang_timeout, self.scratch / "heartbeat", order.ranks)
        self.segments: set[str] = set()
        self._looks = 0

    def look(self) -> dict[str, Any] | None:
        """Look at all ranks; why the gang must end, or None."""
        self.read_records()
        running = self.running()
        if self._looks % LOOK_AT_MAPS == 0:
            self.note_segments(running.values())
        self._looks += 1
        return self.failed_rank() or self.memory.look(running) or self.hang.look(running)

    def sign(self) -> dict[str, Any]:
        """How long no rank here has moved, in seconds, what those do that others wait for, the most memory used and wanted, and all use."""
        peak, wanted = (max(each.values(), default=None) for each in (self.memory.peak, self.memory.wanted))
        found = {"still": self.hang.still, "missing": self.hang.words, "peak_memory": peak, "wanted_memory": wanted}
        return {**found, "ranks": self.usage()}

    def usage(self) -> list[dict[str, Any]]:
        """What each rank here has used so far, as :func:`launch.usage.usage_of` says it."""
        return usage_of(self.scratch / "heartbeat", self.records, self.memory)

    def running(self) -> dict[int, Process]:
        """The ranks that have not ended, by what is known."""
        return {rank: Process(record["pid"], record["started"]) for rank, record in self.records.items() if "ended" not in record}

    def note_segments(self, processes: Iterable[Process]) -> None:
        """Note which shared memory is the gang's, which can be seen only while it is there."""
        found = self.segments.union(*(shared_segments(process.pid) for process in processes))
        if found != self.segments:
            self.segments = found
            note_segments(self.scratch, found)

    def freeze(self) -> None:
        """Stop the ranks, which are to be killed, so that they make no more shared memory, and note what there is."""
        self.read_records()
        for process in self.running().values():
            process.kill(signal.SIGSTOP)
        self.note_segments(find_processes("SAMESUM_GANG", self.order.gang))

    def read_records(self) -> None:
        """Read what leashes and failing ranks wrote."""
        for name, into in (("ranks", self.records), ("errors", self.errors)):
            for path in (self.scratch / name).glob("*.json"):
                rank = int(path.stem)
                if rank not in into or (name == "ranks" and "ended" not in into[rank]):
                    with contextlib.suppress(OSError, ValueError):
                        into[rank] = json.loads(path.read_text())

    def failed_rank(self) -> dict[str, Any] | None:
        """Why the first rank failed that did: by its own doing, or by being lost; None if none did."""
        gone = self.gone_ranks()
        ends = [*self.noted_errors(), *self.bad_ends()]
        if not ends and gone:
            return self.aborted() or {"cause": "lost", "ranks": gone[:1], "message": f"rank {gone[0]} ended with its leash, by SIGKILL"}
        if not ends:
            return None
        lost = [end for end in ends if end[1]["cause"] == "lost"]
        own = [end for end in ends if not (MPI_ERROR.search(end[1]["message"]) and (lost or gone))]  # what others make of a loss is none
        _, cause = min(own or lost or ends, key=lambda end: end[0])
        return cause if cause["cause"] != "lost" else self.aborted() or self.memory.explain(cause)

    def gone_ranks(self) -> list[int]:
        """The ranks whose leashes have ended without a word."""

        def find() -> list[int]:
            going = {rank: Process(each["leash"], each["leash_started"]) for rank, each in self.records.items() if "ended" not in each}
            return sorted(rank for rank, leash in going.items() if not leash.is_alive)

        if find():
            self.read_records()  # a leash's last word may have come since they were read
        return find()

    def noted_errors(self) -> Iterator[tuple[float, dict[str, Any]]]:
        """The errors that ranks have left notes of, with their times."""
        for rank, error in self.errors.items():
            cause = {"cause": "error", "ranks": [rank], "error": error, "message": f"rank {rank}: {error['message']}"}
            yield error.get("time", 0.0), {**cause, **({"exit_code": error["exit_code"]} if "exit_code" in error else {})}

    def bad_ends(self) -> Iterator[tuple[float, dict[str, Any]]]:
        """The ends of ranks by a signal, or with an exit code other than 0, with their times."""
        for rank, record in self.records.items():
            if "signal" in record:
                message = f"rank {rank} ended by {signal_name(record['signal'])}"
                yield record["ended"], {"cause": "lost", "ranks": [rank], "message": message}
            elif record.get("exit_code"):
                message = f"rank {rank} ended with exit code {record['exit_code']}"
                yield record["ended"], {"cause": "error", "ranks": [rank], "exit_code": record["exit_code"], "message": message}

    def aborted(self) -> dict[str, Any] | None:
        """A rank that ended all by ``MPI_Abort``, which it may not survive itself: MPI libraries say so at the end of its log."""
        for rank in range(self.order.first_rank, self.order.first_rank + self.order.ranks):
            if found := _ABORT.search(tail(pathlib.Path(self.order.logs, f"rank-{rank}.log"))):
                code = int(found[1] or found[2])
                message = f"rank {rank} ended all ranks by MPI_Abort with code {code}"
                return {"cause": "error", "ranks": [rank], "exit_code": code, "message": message}
        return None

    def cause_of_end(self, launcher_code: int) -> dict[str, Any]:
        """Why a gang ended that was not ended by the agent."""
        self.read_records()
        cause = self.failed_rank()
        if cause is not None:
            return cause
        done = [rank for rank, record in self.records.items() if record.get("exit_code") == 0]
        if len(done) == self.order.ranks:
            return {"cause": "done"}
        if launcher_code < 0:
            return {"cause": "lost", "ranks": [], "message": f"the launcher ended by {signal_name(-launcher_code)}"}
        if launcher_code in (signal.SIGKILL, 128 + signal.SIGKILL):  # as launchers say it of ranks
            return {"cause": "lost", "ranks": [], "message": "a rank ended by SIGKILL before it had begun"}
        words = tail(pathlib.Path(self.order.logs, "launcher.log"))
        started = f"{len(self.records)} of {self.order.ranks} ranks started"
        # With all its ranks started, and none that failed, it has lost what it was connected to: another node's part of it.
        kind = "lost" if len(self.records) == self.order.ranks else "error"
        return {"cause": kind, "ranks": [], "message": f"the launcher ended with exit code {launcher_code}, {started}: {words}"}

    def containers(self, cause: dict[str, Any]) -> list[dict[str, Any]]:
        """A description of each rank's end."""
        used = {each["rank"]: each for each in self.usage()}
        return [self.container(rank, self.records[rank], cause, used[rank]) for rank in sorted(self.records)]

    def container(self, rank: int, record: dict[str, Any], cause: dict[str, Any], used: dict[str, Any]) -> dict[str, Any]:
        """One rank's host, pid, end, what it has used, and a diagnosis."""
        found = {name: record.get(name) for name in ("host", "pid", "exit_code", "signal", "ended")}
        found |= {name: used[name] for name in USED}
        about_it = rank in cause.get("ranks", [])
        if about_it:
            diagnosis = cause["message"]
        elif record.get("exit_code") == 0:
            diagnosis = "ended well"
        elif record.get("exit_code"):
            diagnosis = f"ended with exit code {record['exit_code']}"
        elif cause["cause"] == "done":
            diagnosis = "ended"
        else:
            diagnosis = "ended with the others"
        return {
            "rank": rank,
            **found,
            "peak_memory": used["peak_memory"],
            "cause": cause["cause"] if about_it else None,
            "diagnosis": diagnosis,
        }

    def remove_segments(self) -> None:
        """Shared memory that MPI libraries leave behind when their ranks are killed."""
        for path in self.segments:
            with contextlib.suppress(OSError):
                os.unlink(path)


def signal_name(number: int) -> str:
    """``SIGKILL`` for 9."""
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


def tail(path: pathlib.Path, length: int = 400) -> str:
    """The end of a log, in one line."""
    with contextlib.suppress(OSError):
        return " ".join(path.read_text(errors="replace")[-length:].split())
    return ""
