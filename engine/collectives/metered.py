"""A communicator that keeps account: how often ranks talked about what, how much they sent, and how long they were at it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from engine.collectives.communicator import Array, CommonArray, Communicator


class MeteredComm:
    """Passes everything on to ``comm``. ``account``: by name of the exchange its calls, bytes of this rank's arrays, and seconds in it.

    Seconds include the wait for other ranks: what a rank has more than the one with the fewest is time that it waited.
    """

    def __init__(self, comm: Communicator) -> None:
        self._comm = comm
        self.rank, self.size, self.ranks_on_node = comm.rank, comm.size, comm.ranks_on_node
        self.account: dict[str, dict[str, float]] = {}

    def allreduce_sum(self, array: Array, *, name: str) -> None:
        """As of the communicator."""
        with self._metered(name, array.nbytes):
            self._comm.allreduce_sum(array, name=name)

    def allreduce_max(self, array: Array, *, name: str) -> None:
        """As of the communicator."""
        with self._metered(name, array.nbytes):
            self._comm.allreduce_max(array, name=name)

    def reduce_scatter_sum(self, array: Array, counts: list[int], *, name: str) -> Array:
        """As of the communicator."""
        with self._metered(name, array.nbytes):
            return self._comm.reduce_scatter_sum(array, counts, name=name)

    def work_array(self, size: int) -> Array:
        """As of the communicator; not counted."""
        return self._comm.work_array(size)

    def common_array(self, counts: list[int], dtype: Any) -> CommonArray:
        """As of the communicator; what this rank publishes is counted, whether it is copied or not."""
        return MeteredArray(self._comm.common_array(counts, dtype), self._metered)

    def broadcast(self, array: Array, *, root: int = 0, name: str) -> None:
        """As of the communicator."""
        with self._metered(name, array.nbytes):
            self._comm.broadcast(array, root=root, name=name)

    def allgather(self, array: Array, *, name: str) -> list[Array]:
        """As of the communicator."""
        with self._metered(name, array.nbytes):
            return self._comm.allgather(array, name=name)

    def stack(self, array: Array, *, name: str) -> Array:
        """As of the communicator."""
        with self._metered(name, array.nbytes):
            return self._comm.stack(array, name=name)

    def alltoall(self, arrays: list[Array], *, name: str) -> list[Array]:
        """As of the communicator."""
        with self._metered(name, sum(array.nbytes for array in arrays)):
            return self._comm.alltoall(arrays, name=name)

    def gather_objects(self, value: Any, *, name: str) -> list[Any]:
        """As of the communicator; its bytes are not counted."""
        with self._metered(name, 0):
            return self._comm.gather_objects(value, name=name)

    def barrier(self, *, name: str) -> None:
        """As of the communicator."""
        with self._metered(name, 0):
            self._comm.barrier(name=name)

    def renumbered(self, order: Sequence[int]) -> MeteredComm:
        """As of the communicator; on the same account."""
        other = MeteredComm(self._comm.renumbered(order))
        other.account = self.account
        return other

    def _metered(self, name: str, n_bytes: int) -> Exchange:
        entry = self.account.get(name)
        if entry is None:
            entry = self.account[name] = {"calls": 0, "bytes": 0, "seconds": 0.0}
        return Exchange(entry, n_bytes)


class Exchange:
    """One exchange, counted when it ends; not a generator, which takes longer than some exchanges."""

    __slots__ = ("_began", "_entry", "_n_bytes")

    def __init__(self, entry: dict[str, float], n_bytes: int) -> None:
        self._entry, self._n_bytes = entry, n_bytes
        self._began = time.perf_counter()

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        entry = self._entry
        entry["calls"] += 1
        entry["bytes"] += self._n_bytes
        entry["seconds"] += time.perf_counter() - self._began


class MeteredArray:
    """A common array whose publishing is counted."""

    def __init__(self, array: CommonArray, metered: Callable[[str, int], Exchange]) -> None:
        self._array, self._metered = array, metered
        self.whole, self.mine = array.whole, array.mine

    def publish(self, *, name: str) -> None:
        """As of the array."""
        with self._metered(name, self.mine.nbytes):
            self._array.publish(name=name)

    def close(self) -> None:
        """As of the array."""
        self._array.close()
