"""What the engine asks of a group of ranks: ten operations on arrays, in place where that can be.

``name`` says what is being exchanged; the watchdog shows it when a rank does not arrive. Sums are over integers only: they commute,
so the result cannot depend on the number of ranks or on who adds first.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@runtime_checkable
class Communicator(Protocol):
    """A group of ranks that call the same operations in the same order."""

    @property
    def rank(self) -> int:
        """Number of this rank, 0 to ``size - 1``."""

    @property
    def size(self) -> int:
        """Number of ranks."""

    @property
    def ranks_on_node(self) -> int:
        """Number of ranks of this group that share this rank's node."""

    def allreduce_sum(self, array: Array, *, name: str) -> None:
        """Replace a C-contiguous int64 or uint64 ``array`` by its sum over ranks; floats raise ``TypeError``."""

    def allreduce_max(self, array: Array, *, name: str) -> None:
        """Replace a C-contiguous integer or float64 ``array`` by its maximum over ranks (no NaN allowed)."""

    def reduce_scatter_sum(self, array: Array, counts: list[int], *, name: str) -> Array:
        """Sum a 1-d int64 ``array`` over ranks and return this rank's part, ``counts[rank]`` elements from ``sum(counts[:rank])``.

        ``array`` may be overwritten; the result may be a view of it.
        """

    def broadcast(self, array: Array, *, root: int = 0, name: str) -> None:
        """Replace ``array`` on every rank by ``root``'s bytes; shape and dtype must agree."""

    def allgather(self, array: Array, *, name: str) -> list[Array]:
        """Every rank's 1-d ``array`` (one dtype, any lengths), in rank order, on every rank."""

    def alltoall(self, arrays: list[Array], *, name: str) -> list[Array]:
        """Send ``arrays[r]`` (1-d, one dtype, any lengths) to rank r; return what each rank sent here, in rank order."""

    def gather_objects(self, value: Any, *, name: str) -> list[Any]:
        """Every rank's small JSON-able ``value``, in rank order, on every rank."""

    def barrier(self, *, name: str) -> None:
        """Wait for every rank."""
