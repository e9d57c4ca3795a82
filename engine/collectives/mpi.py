"""The communicator over MPI. The only module that splits messages too long for a count of int32."""

from __future__ import annotations

import copy
import itertools
import json
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
from mpi4py import MPI

from engine.collectives.agree import agree
from engine.collectives.communicator import (
    Array,
    CommonArray,
    PrivateArray,
    check_common,
    check_comparable,
    check_counts,
    check_in_place,
    check_order,
    check_parts,
    check_root,
    check_stackable,
    check_summable,
    check_vector,
)
from engine.collectives.excepthook import install
from engine.collectives.heartbeat import Heartbeat, Talk, open_board
from engine.collectives.shared_memory import SharedArray, SharedParts, fits, forget_names, has_room
from engine.collectives.watchdog import start_watchdog

LARGEST_COUNT = 2**31 - 1
# Bytes up to which a reduce-scatter is an Alltoallv and a sum: two ranks take 85 and 131 us for 218 and 445 KiB, where MPICH's own takes
# 263 and 678; for 1.8 MiB it is the other way round, 315 against 201.
LARGEST_ALLTOALL = 1 << 19
ROOM_TO_GROW = 8  # times what is asked for: levels of a tree have twice the nodes of those before, and sharing memory takes a millisecond
ASK_FOR = 5e-4
SHORTEST_NAP = 5e-5
LONGEST_NAP = 5e-4
_RAW_TYPES = {1: MPI.BYTE, 2: MPI.INT16_T, 4: MPI.INT32_T, 8: MPI.INT64_T}
_WRAPPED = MPI.Comm.Create_keyval()


class MpiComm:
    """A group of MPI ranks, on a communicator of its own: what users send on theirs never mixes with it.

    Making one is collective; :func:`wrap` makes one per underlying communicator. Only the thread that started MPI may use it.
    """

    def __init__(self, comm: MPI.Intracomm) -> None:
        self._comm = comm.Dup()
        self.rank: int = comm.Get_rank()
        self.size: int = comm.Get_size()
        node = self._comm.Split_type(MPI.COMM_TYPE_SHARED)
        self.ranks_on_node: int = node.Get_size()
        board, descriptor = open_board(node)
        cores: set[int] = set().union(*node.allgather(_cores()))
        forget_names()  # whoever has sent its cores has mapped it
        self._crowded = self.ranks_on_node > len(cores)
        self._heartbeat = Heartbeat(board, node.Get_rank(), self.rank, knows_waiting=self._crowded)
        if self.size > 1:
            farewell = install(MPI, self._comm.Dup(), board)
            with agree(self, "starting the watchdog"):
                farewell.watchdog = start_watchdog(descriptor, self.size) if node.Get_rank() == 0 else None
        node.Free()
        self._shared: SharedArray | None = None
        self._work: Array = np.empty(0, dtype=np.int64)
        self._renumbered: dict[tuple[int, ...], MpiComm] = {}

    @property
    def talk(self) -> Talk:
        """What this rank has said so far."""
        return self._heartbeat.talk

    def allreduce_sum(self, array: Array, *, name: str) -> None:
        """Replace ``array`` by its sum over ranks."""
        check_summable(array)
        with self._entered(name, array.nbytes):
            for piece in _pieces(array.reshape(-1)):
                self._comm.Allreduce(MPI.IN_PLACE, piece, MPI.SUM)

    def allreduce_max(self, array: Array, *, name: str) -> None:
        """Replace ``array`` by its maximum over ranks."""
        check_comparable(array)
        with self._entered(name, array.nbytes):
            for piece in _pieces(array.reshape(-1)):
                self._comm.Allreduce(MPI.IN_PLACE, piece, MPI.MAX)

    def reduce_scatter_sum(self, array: Array, counts: list[int], *, name: str) -> Array:
        """Sum ``array`` over ranks and return this rank's part, a view."""
        check_summable(array)
        check_counts(array, counts, self.size)
        if array.size > LARGEST_COUNT:
            self.allreduce_sum(array, name=name)
            first = sum(counts[: self.rank])
            return array[first : first + counts[self.rank]]
        with self._entered(name, array.nbytes):
            if self._shared is not None and self._shared.holds(array):
                first = sum(counts[: self.rank])
                return self._shared.sum_part(first, first + counts[self.rank])
            if array.nbytes <= LARGEST_ALLTOALL:
                return self._exchange_and_add(array, counts)
            self._comm.Reduce_scatter(MPI.IN_PLACE, array, counts, MPI.SUM)
        return array[: counts[self.rank]]

    def work_array(self, size: int) -> Array:
        """In shared memory where all ranks are on one node; kept from call to call."""
        if self._shared is not None and self._shared.array.size >= size:
            return self._shared.array[:size]
        if self.ranks_on_node == self.size > 1:
            too_large = np.array([not fits(each, self.size) for each in (size, ROOM_TO_GROW * size)], dtype=np.int64)
            self.allreduce_max(too_large, name="shared memory")
            if not too_large[0]:
                if self._shared is not None:
                    self._shared.free()
                self._shared = SharedArray(self._comm, size if too_large[1] else ROOM_TO_GROW * size)
                return self._shared.array[:size]
        if self._work.size < size:
            self._work = np.empty(size, dtype=np.int64)
        return self._work[:size]

    def common_array(self, counts: list[int], dtype: Any) -> CommonArray:
        """In shared memory where all ranks are on one node with room for it."""
        check_common(counts, dtype, self.size)
        n_bytes = sum(counts) * np.dtype(dtype).itemsize
        if self.ranks_on_node == self.size > 1 and n_bytes:
            no_room = np.array([not has_room(n_bytes)], dtype=np.int64)
            self.allreduce_max(no_room, name="shared memory")
            if not no_room[0]:
                return SharedParts(self._comm, counts, dtype, self._entered)
        return PrivateArray(counts, self.rank, dtype, self._gather_in_place)

    def _gather_in_place(self, whole: Array, counts: list[int], name: str) -> None:
        """Replace every other rank's part of ``whole`` by what that rank holds there."""
        with self._entered(name, counts[self.rank] * whole.itemsize):
            if whole.size <= LARGEST_COUNT:
                self._comm.Allgatherv(MPI.IN_PLACE, _message(whole, counts))
                return
            for root, part in enumerate(_cut(whole, counts)):
                self._broadcast(part, root)

    def _exchange_and_add(self, array: Array, counts: list[int]) -> Array:
        """A reduce-scatter of medium size: every rank is sent its parts and adds them up."""
        mine = counts[self.rank]
        parts = np.empty((self.size, mine), dtype=array.dtype)
        self._comm.Alltoallv(_message(array, counts), _message(parts, [mine] * self.size))
        return np.add.reduce(parts, axis=0, out=array[:mine])

    def broadcast(self, array: Array, *, root: int = 0, name: str) -> None:
        """Replace ``array`` by ``root``'s bytes."""
        check_in_place(array)
        check_root(root, self.size)
        with self._entered(name, array.nbytes if root == self.rank else 0):
            self._broadcast(array.reshape(-1), root)

    def allgather(self, array: Array, *, name: str) -> list[Array]:
        """Every rank's ``array``, as views of one buffer."""
        check_vector(array)
        with self._entered(name, array.nbytes):
            counts = self._gather_counts(array.size)
            gathered = np.empty(sum(counts), dtype=array.dtype)
            parts = _cut(gathered, counts)
            if gathered.size <= LARGEST_COUNT:
                send = np.ascontiguousarray(array)
                self._comm.Allgatherv(_message(send), _message(gathered, counts))
                return parts
            # Too long for one message: every rank's part is broadcast, in pieces.
            parts[self.rank][:] = array
            for root, part in enumerate(parts):
                self._broadcast(part, root)
            return parts

    def stack(self, array: Array, *, name: str) -> Array:
        """Every rank's ``array``, in one new array."""
        check_stackable(array)
        stacked = np.empty((self.size, *array.shape), dtype=array.dtype)
        with self._entered(name, array.nbytes):
            if stacked.size <= LARGEST_COUNT:
                received, _, kind = _message(stacked.reshape(-1))
                self._comm.Allgather(_message(array.reshape(-1)), [received, array.size, kind])  # counted by rank
                return stacked
            stacked[self.rank] = array
            for root in range(self.size):
                self._broadcast(stacked.reshape(self.size, -1)[root], root)
            return stacked

    def alltoall(self, arrays: list[Array], *, name: str) -> list[Array]:
        """What each rank sent here, as views of one buffer."""
        check_parts(arrays, self.size)
        with self._entered(name, sum(array.nbytes for array in arrays)):
            send = np.concatenate(arrays)
            send_counts = [array.size for array in arrays]
            counts = np.empty(self.size, dtype=np.int64)
            self._comm.Alltoall(np.array(send_counts, dtype=np.int64), counts)
            received = np.empty(int(counts.sum()), dtype=send.dtype)
            parts = _cut(received, counts.tolist())
            longest = np.array([max(send.size, received.size)], dtype=np.int64)
            self._comm.Allreduce(MPI.IN_PLACE, longest, MPI.MAX)
            if longest[0] <= LARGEST_COUNT:
                self._comm.Alltoallv(_message(send, send_counts), _message(received, counts.tolist()))
            else:
                self._exchange_pieces(arrays, parts)
            return parts

    def gather_objects(self, value: Any, *, name: str) -> list[Any]:
        """Every rank's ``value`` after a trip through JSON."""
        text = np.frombuffer(json.dumps(value).encode(), dtype=np.uint8)
        return [json.loads(part.tobytes()) for part in self.allgather(text, name=name)]

    def barrier(self, *, name: str) -> None:
        """Wait for every rank."""
        with self._entered(name):
            self._comm.Barrier()

    def renumbered(self, order: Sequence[int]) -> MpiComm:
        """On a communicator of its own, kept for the next call; watched as this one is, under the ranks' numbers here."""
        check_order(order, self.size)
        if tuple(order) not in self._renumbered:
            other = copy.copy(self)
            other.rank = list(order).index(self.rank)
            with self._entered("numbering ranks"):
                other._comm = cast("MPI.Intracomm", self._comm.Split(0, other.rank))
            other._shared, other._work, other._renumbered = None, np.empty(0, dtype=np.int64), {}
            self._renumbered[tuple(order)] = other
        return self._renumbered[tuple(order)]

    def _entered(self, name: str, n_bytes: int = 0) -> Heartbeat:
        """Say that this rank enters ``name`` with so many bytes, and on a crowded node wait for the others without taking a core from them.

        MPI libraries wait by asking again and again. With more ranks than cores that starves the ranks that are waited for: at 7 ranks
        on 2 cores, 0.1 s of work on one rank took 0.35 s under MPICH, and takes 0.11 s if the others sleep. So ranks meet at a
        barrier that they ask after more rarely the longer it takes, and the operation itself finds all of them there.
        """
        heartbeat = self._heartbeat.entered(name)
        heartbeat.bytes += n_bytes
        if self._crowded:
            began = time.perf_counter()
            met, asked_enough, nap = self._comm.Ibarrier(), began + ASK_FOR, SHORTEST_NAP
            while not met.Test():
                if time.perf_counter() < asked_enough:
                    _give_way()
                else:
                    time.sleep(nap)
                    nap = min(1.2 * nap, LONGEST_NAP)
            heartbeat.waited += time.perf_counter() - began
        return heartbeat

    def _gather_counts(self, count: int) -> list[int]:
        counts = np.empty(self.size, dtype=np.int64)
        self._comm.Allgather(np.array([count], dtype=np.int64), counts)
        return [int(count) for count in counts]

    def _broadcast(self, array: Array, root: int) -> None:
        for piece in _pieces(array):
            self._comm.Bcast(_message(piece), root)

    def _exchange_pieces(self, send: list[Array], received: list[Array]) -> None:
        """Exchange with one pair of neighbours after another, so that few messages are under way at a time."""
        for step in range(self.size):
            to, source = (self.rank + step) % self.size, (self.rank - step) % self.size
            requests = [self._comm.Irecv(_message(piece), source) for piece in _pieces(received[source])]
            requests += [self._comm.Isend(_message(piece), to) for piece in _pieces(np.ascontiguousarray(send[to]))]
            MPI.Request.Waitall(requests)


def wrap(comm: MPI.Intracomm) -> MpiComm:
    """The communicator of samesum on ``comm``, made at the first call (which is collective) and kept with ``comm``."""
    wrapped = comm.Get_attr(_WRAPPED)
    if not isinstance(wrapped, MpiComm):
        wrapped = MpiComm(comm)
        comm.Set_attr(_WRAPPED, wrapped)
    return wrapped


def world() -> MPI.Intracomm:
    """All ranks that were started together."""
    return MPI.COMM_WORLD


def library() -> str:
    """Name and version of the MPI library found, in one line."""
    return " ".join(MPI.Get_library_version().splitlines()[0].partition(",")[0].strip("\0").split())


def is_from_mpi4py(comm: object) -> bool:
    """Whether ``comm`` is any communicator of mpi4py, a null or an inter-communicator too."""
    return isinstance(comm, MPI.Comm)


def is_group(comm: object) -> bool:
    """Whether ``comm`` is an mpi4py communicator that collectives can run on."""
    return isinstance(comm, MPI.Intracomm) and comm != MPI.COMM_NULL


_give_way = getattr(os, "sched_yield", lambda: time.sleep(0))


def _cores() -> list[int]:
    """The cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return list(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _pieces(array: Array) -> Iterator[Array]:
    """Cut a 1-d array into views of at most ``LARGEST_COUNT`` elements; an empty one is one piece, so that every rank sends as many."""
    for first in range(0, max(array.size, 1), LARGEST_COUNT):
        yield array[first : first + LARGEST_COUNT]


def _cut(array: Array, counts: list[int]) -> list[Array]:
    """Views of the consecutive parts of ``array``."""
    bounds = np.cumsum([0, *counts])
    return [array[first:last] for first, last in itertools.pairwise(bounds)]


def _message(array: Array, counts: list[int] | None = None) -> list[Any]:
    """What mpi4py takes for a buffer of raw elements, whatever NumPy's name for them."""
    size = array.dtype.itemsize
    if size not in _RAW_TYPES:
        _RAW_TYPES[size] = MPI.BYTE.Create_contiguous(size).Commit()
    return [array.view(np.uint8), array.size if counts is None else counts, _RAW_TYPES[size]]
