"""One rank: every collective is done before it starts. Needs no MPI."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

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


class SerialComm:
    """The group of this process alone. It makes the checks that every communicator makes, so that mistakes show on one rank too."""

    rank = 0
    size = 1
    ranks_on_node = 1

    def __init__(self) -> None:
        self._work = np.empty(0, dtype=np.int64)

    def allreduce_sum(self, array: Array, *, name: str) -> None:
        """Leave ``array`` as it is."""
        check_summable(array)

    def allreduce_max(self, array: Array, *, name: str) -> None:
        """Leave ``array`` as it is."""
        check_comparable(array)

    def reduce_scatter_sum(self, array: Array, counts: list[int], *, name: str) -> Array:
        """Return ``array``, whole."""
        check_summable(array)
        check_counts(array, counts, self.size)
        return array

    def work_array(self, size: int) -> Array:
        """An array like any other, kept from call to call: fresh memory costs more than what is done with it."""
        if len(self._work) < size:
            self._work = np.empty(size, dtype=np.int64)
        return self._work[:size]

    def common_array(self, counts: list[int], dtype: Any) -> CommonArray:
        """An array of this rank alone."""
        check_common(counts, dtype, self.size)
        return PrivateArray(counts, self.rank, dtype, lambda whole, counts, name: None)

    def broadcast(self, array: Array, *, root: int = 0, name: str) -> None:
        """Leave ``array`` as it is."""
        check_in_place(array)
        check_root(root, self.size)

    def allgather(self, array: Array, *, name: str) -> list[Array]:
        """Return ``[array]``."""
        check_vector(array)
        return [array]

    def stack(self, array: Array, *, name: str) -> Array:
        """A view of ``array``."""
        check_stackable(array)
        return array[np.newaxis]

    def alltoall(self, arrays: list[Array], *, name: str) -> list[Array]:
        """Return ``arrays`` as a new list."""
        check_parts(arrays, self.size)
        return list(arrays)

    def gather_objects(self, value: Any, *, name: str) -> list[Any]:
        """Return ``[value]`` as another rank would see it: after a trip through JSON."""
        return [json.loads(json.dumps(value))]

    def barrier(self, *, name: str) -> None:
        """Return at once."""

    def renumbered(self, order: Sequence[int]) -> SerialComm:
        """Return itself."""
        check_order(order, self.size)
        return self
