"""One rank: every collective is done before it starts. Needs no MPI."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from engine.collectives.communicator import Array


class SerialComm:
    """The group of this process alone."""

    rank = 0
    size = 1
    ranks_on_node = 1

    def allreduce_sum(self, array: Array, *, name: str) -> None:
        """Leave ``array`` as it is, after the checks that every communicator makes."""
        check_summable(array)

    def allreduce_max(self, array: Array, *, name: str) -> None:
        """Leave ``array`` as it is."""

    def reduce_scatter_sum(self, array: Array, counts: list[int], *, name: str) -> Array:
        """Return ``array``, whole."""
        check_summable(array)
        return array

    def broadcast(self, array: Array, *, root: int = 0, name: str) -> None:
        """Leave ``array`` as it is."""

    def allgather(self, array: Array, *, name: str) -> list[Array]:
        """Return ``[array]``."""
        return [array]

    def alltoall(self, arrays: list[Array], *, name: str) -> list[Array]:
        """Return ``arrays``."""
        return arrays

    def gather_objects(self, value: Any, *, name: str) -> list[Any]:
        """Return ``[value]`` as another rank would see it: after a trip through JSON."""
        return [json.loads(json.dumps(value))]

    def barrier(self, *, name: str) -> None:
        """Return at once."""


def check_summable(array: Array) -> None:
    """Refuse sums that would depend on their order, or that MPI could not do in place."""
    if array.dtype not in (np.dtype(np.int64), np.dtype(np.uint64)):
        raise TypeError(f"expected int64 or uint64 for an exact sum over ranks, got {array.dtype}")
    if not array.flags.c_contiguous:
        raise TypeError("expected a C-contiguous array for a sum over ranks")
