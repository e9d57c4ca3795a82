"""Ranks as threads of one process: a communicator for tests that want several ranks without MPI."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from engine.collectives.communicator import Array, CommonArray, PrivateArray, check_common, check_order
from engine.collectives.serial import check_summable

Result = TypeVar("Result")
PATIENCE = 60.0  # seconds before a missing rank breaks the barrier instead of hanging the test run


class Meeting:
    """What the threads of one group share: a slot per rank and a barrier."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.slots: list[Any] = [None] * size
        self.barrier = threading.Barrier(size, timeout=PATIENCE)
        self.others: list[Meeting] = []  # of the same ranks under other numbers

    def abort(self) -> None:
        """Break the barriers of all ranks that wait."""
        self.barrier.abort()
        for other in self.others:
            other.abort()


class ThreadComm:
    """One rank of a group of threads. Every operation checks that all ranks are in the same one."""

    def __init__(self, meeting: Meeting, rank: int) -> None:
        self.meeting = meeting
        self.rank = rank

    @property
    def size(self) -> int:
        """Number of ranks."""
        return self.meeting.size

    @property
    def ranks_on_node(self) -> int:
        """All threads share this node, and one process: a thirtieth of the machine's memory may be less than that has already."""
        return min(self.meeting.size, 8)

    def _exchange(self, value: Any, operation: str) -> list[Any]:
        """Every rank's ``value``, in rank order."""
        self.meeting.slots[self.rank] = (operation, value)
        self.meeting.barrier.wait()
        gathered = list(self.meeting.slots)
        self.meeting.barrier.wait()
        operations = [name for name, _ in gathered]
        assert len(set(operations)) == 1, f"ranks are in different collectives: {operations}"
        return [value for _, value in gathered]

    def allreduce_sum(self, array: Array, *, name: str) -> None:
        """Add in place, wrapping as integers do."""
        check_summable(array)
        parts = self._exchange(array.copy(), f"allreduce_sum {name} {array.shape} {array.dtype}")
        array[...] = np.sum(np.stack(parts), axis=0, dtype=array.dtype)

    def allreduce_max(self, array: Array, *, name: str) -> None:
        """Take the maximum in place."""
        parts = self._exchange(array.copy(), f"allreduce_max {name} {array.shape} {array.dtype}")
        array[...] = np.max(np.stack(parts), axis=0)

    def reduce_scatter_sum(self, array: Array, counts: list[int], *, name: str) -> Array:
        """Add, and return this rank's part."""
        check_summable(array)
        parts = self._exchange(array.copy(), f"reduce_scatter_sum {name} {array.shape} {counts}")
        first = sum(counts[: self.rank])
        return np.sum(np.stack(parts), axis=0, dtype=array.dtype)[first : first + counts[self.rank]]

    def work_array(self, size: int) -> Array:
        """A fresh array full of what nobody should rely on."""
        self._exchange(None, f"work_array {size}")
        return np.full(size, -(2**40) - self.rank)

    def common_array(self, counts: list[int], dtype: Any) -> CommonArray:
        """A copy per rank."""
        check_common(counts, dtype, self.size)
        self._exchange(None, f"common_array {counts} {np.dtype(dtype)}")
        return PrivateArray(counts, self.rank, dtype, self._gather_in_place)

    def _gather_in_place(self, whole: Array, counts: list[int], name: str) -> None:
        first = sum(counts[: self.rank])
        parts = self._exchange(whole[first : first + counts[self.rank]].copy(), f"publish {name} {counts}")
        whole[:] = np.concatenate(parts)

    def broadcast(self, array: Array, *, root: int = 0, name: str) -> None:
        """Copy ``root``'s array."""
        parts = self._exchange(array.copy(), f"broadcast {name} {array.shape} {array.dtype} {root}")
        array[...] = parts[root]

    def allgather(self, array: Array, *, name: str) -> list[Array]:
        """Every rank's array."""
        return [part.copy() for part in self._exchange(array.copy(), f"allgather {name} {array.dtype}")]

    def stack(self, array: Array, *, name: str) -> Array:
        """Every rank's array in one."""
        return np.stack(self._exchange(array.copy(), f"stack {name} {array.shape} {array.dtype}"))

    def alltoall(self, arrays: list[Array], *, name: str) -> list[Array]:
        """What each rank sent here."""
        assert len(arrays) == self.size
        sent = self._exchange([array.copy() for array in arrays], f"alltoall {name}")
        return [parts[self.rank].copy() for parts in sent]

    def gather_objects(self, value: Any, *, name: str) -> list[Any]:
        """Every rank's value, after a trip through JSON."""
        return [json.loads(text) for text in self._exchange(json.dumps(value), f"gather_objects {name}")]

    def barrier(self, *, name: str) -> None:
        """Wait for every rank."""
        self._exchange(None, f"barrier {name}")

    def renumbered(self, order: Sequence[int]) -> ThreadComm:
        """Another meeting of the same threads."""
        check_order(order, self.size)
        meeting = self._exchange(Meeting(self.size), f"renumbered {list(order)}")[0]
        if self.rank == 0:
            self.meeting.others.append(meeting)
        return ThreadComm(meeting, list(order).index(self.rank))


def run_ranks(size: int, function: Callable[[ThreadComm], Result]) -> list[Result]:
    """Call ``function(comm)`` on ``size`` ranks at once; return their results in rank order.

    An exception on a rank breaks the others out of their barriers; the first true cause (by rank) is raised here.
    """
    outcomes, errors = collect_ranks(size, function)
    causes = [error for error in errors if error is not None and not isinstance(error, threading.BrokenBarrierError)]
    for error in causes or [error for error in errors if error is not None]:
        raise error
    return outcomes


def collect_ranks(size: int, function: Callable[[ThreadComm], Result]) -> tuple[list[Any], list[BaseException | None]]:
    """As :func:`run_ranks`, but return each rank's result and each rank's exception (None where there is none)."""
    meeting = Meeting(size)
    outcomes: list[Any] = [None] * size
    errors: list[BaseException | None] = [None] * size

    def run(rank: int) -> None:
        try:
            outcomes[rank] = function(ThreadComm(meeting, rank))
        except BaseException as error:  # handed to the caller, whatever it is
            errors[rank] = error
            if not getattr(error, "found_by_all", False):  # the others raise it too, and may still be leaving the barrier
                meeting.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes, errors
