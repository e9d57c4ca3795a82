"""Arrays in memory that all ranks of a node map: sums over ranks, and what every rank reads of the others, copy nothing there."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from mpi4py import MPI

from engine.collectives.communicator import Array

# Larger arrays are rare, and a container's shared memory may be small: 64 MiB where nobody asked for more.
LARGEST_WINDOW = 1 << 25
FOLDER = "/dev/shm"
_OF_MPICH = re.compile(rf"{FOLDER}/mpich_shm_\S+$", re.MULTILINE)


def forget_names() -> None:
    """Take the names from the memory that MPICH shares on this node, once all ranks on it have mapped it.

    MPICH 5 keeps them until it ends, so that a rank that is killed leaves its memory behind; unlinked it goes with the last process.
    """
    with contextlib.suppress(OSError):
        for path in set(_OF_MPICH.findall(pathlib.Path("/proc/self/maps").read_text())):
            with contextlib.suppress(FileNotFoundError):  # another rank was quicker
                os.unlink(path)


class SharedArray:
    """An int64 array on each rank of one node, in memory that all of them map. Making and freeing it is collective."""

    def __init__(self, comm: MPI.Intracomm, size: int) -> None:
        self._comm = comm
        self._window = MPI.Win.Allocate_shared(8 * size, 8, comm=comm)
        self._arrays = [np.asarray(self._window.Shared_query(rank)[0]).view(np.int64) for rank in range(comm.Get_size())]
        self.array: Array = self._arrays[comm.Get_rank()]
        self._address = self.array.ctypes.data
        self._window.Lock_all(MPI.MODE_NOCHECK)

    def holds(self, array: Array) -> bool:
        """Whether ``array`` begins where this rank's array does."""
        return bool(array.ctypes.data == self._address)

    def sum_part(self, first: int, last: int) -> Array:
        """The sum of all ranks' elements ``first`` to ``last``, in this rank's array; collective."""
        self._window.Sync()
        self._comm.Barrier()
        self._window.Sync()
        mine = self.array[first:last]
        for rank, array in enumerate(self._arrays):
            if rank != self._comm.Get_rank():
                np.add(mine, array[first:last], out=mine)
        return mine

    def free(self) -> None:
        """Give the memory back; what was read from it must not be used any more."""
        self._window.Unlock_all()
        self._window.Free()


class SharedParts:
    """A common array (see :class:`engine.collectives.communicator.CommonArray`) that all ranks of one node map. Making it is collective.

    ``entered(name, bytes)`` is what a rank says and does as it comes to a collective.
    """

    def __init__(
        self, comm: MPI.Intracomm, counts: list[int], dtype: Any, entered: Callable[[str, int], AbstractContextManager[Any]]
    ) -> None:
        self._comm, self._entered = comm, entered
        size, rank = sum(counts), comm.Get_rank()
        item = np.dtype(dtype).itemsize
        self._window = MPI.Win.Allocate_shared(size * item if rank == 0 else 0, item, comm=comm)
        self.whole: Array = np.asarray(self._window.Shared_query(0)[0]).view(np.uint8)[: size * item].view(dtype)
        first = sum(counts[:rank])
        self.mine: Array = self.whole[first : first + counts[rank]]
        self._window.Lock_all(MPI.MODE_NOCHECK)
        self.mine.view(np.uint8)[:] = 0
        self.publish(name="shared memory")

    def publish(self, *, name: str) -> None:
        """Wait for every rank: what was written before is seen after."""
        with self._entered(name, self.mine.nbytes):
            self._window.Sync()
            self._comm.Barrier()
            self._window.Sync()

    def close(self) -> None:
        """Give the memory back; collective."""
        self._window.Unlock_all()
        self._window.Free()


def has_room(n_bytes: int) -> bool:
    """Whether this node has shared memory for ``n_bytes``, twice over."""
    if not os.path.isdir(FOLDER):
        return False
    room = os.statvfs(FOLDER)
    return 2 * n_bytes < room.f_bavail * room.f_frsize


def fits(size: int, n_ranks: int) -> bool:
    """Whether arrays of ``size`` elements on ``n_ranks`` ranks are small enough, and this node has shared memory for them."""
    return 8 * size <= LARGEST_WINDOW and has_room(8 * size * n_ranks)
