"""What the engine asks of a group of ranks: fourteen operations on arrays, in place where that can be.

``name`` says what is being exchanged; the watchdog shows it when a rank does not arrive. Sums are over integers only: they commute,
so the result cannot depend on the number of ranks or on who adds first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class CommonArray(Protocol):
    """A 1-d array of which every rank writes a part and all ranks read everything, as :meth:`Communicator.common_array` makes it.

    Ranks of one node keep it once, in memory that all of them map. So a rank may write ``mine`` only while no other rank reads it: loops
    keep two arrays, and read the one that was published last while they write the other.
    """

    @property
    def whole(self) -> Array:
        """All ranks' parts, in rank order; zeros at first. Only what was published holds for others."""

    @property
    def mine(self) -> Array:
        """This rank's part, a view of ``whole``."""

    def publish(self, *, name: str) -> None:
        """Let all ranks see all parts as they are now; collective. Returns when every rank has called it."""

    def close(self) -> None:
        """Give the memory back; collective. Neither ``whole`` nor ``mine`` may be touched afterwards."""


@runtime_checkable
class Communicator(Protocol):
    """A group of ranks that call the same operations in the same order.

    Arrays that an operation replaces must be C-contiguous and writeable, of any shape; a misfit raises ``TypeError`` or
    ``ValueError`` before anything is sent. An array of no elements takes part like any other.
    """

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
        """Replace an int64 or uint64 ``array`` by its sum over ranks (modulo 2**64); floats raise ``TypeError``."""

    def allreduce_max(self, array: Array, *, name: str) -> None:
        """Replace an integer or float64 ``array`` by its maximum over ranks (no NaN allowed)."""

    def reduce_scatter_sum(self, array: Array, counts: list[int], *, name: str) -> Array:
        """Sum a 1-d int64 or uint64 ``array`` over ranks; return this rank's ``counts[rank]`` elements from ``sum(counts[:rank])``.

        ``array`` may be overwritten; the result may be a view of it.
        """

    def work_array(self, size: int) -> Array:
        """A work array of ``size`` int64 for :meth:`reduce_scatter_sum`, which is fastest on it; collective.

        It holds anything at first, lives until the next call, and after a reduction may be written again only behind another collective.
        """

    def common_array(self, counts: list[int], dtype: Any) -> CommonArray:
        """An array that rank r writes ``counts[r]`` elements of and all ranks read; collective, with the same ``counts`` on every rank."""

    def broadcast(self, array: Array, *, root: int = 0, name: str) -> None:
        """Replace ``array`` on every rank by ``root``'s bytes; shape and dtype must agree."""

    def allgather(self, array: Array, *, name: str) -> list[Array]:
        """Every rank's 1-d ``array`` (one dtype, any lengths), in rank order, on every rank; may share memory with ``array``."""

    def stack(self, array: Array, *, name: str) -> Array:
        """Every rank's C-contiguous ``array``, [size, *shape] in rank order: of one shape and dtype, which ranks do not ask each other."""

    def alltoall(self, arrays: list[Array], *, name: str) -> list[Array]:
        """Send ``arrays[r]`` (1-d, one dtype, any lengths) to rank r; return what each rank sent here, in rank order."""

    def gather_objects(self, value: Any, *, name: str) -> list[Any]:
        """Every rank's small JSON-able ``value``, in rank order, on every rank, as JSON gives it back (a tuple becomes a list)."""

    def barrier(self, *, name: str) -> None:
        """Wait for every rank."""

    def renumbered(self, order: Sequence[int]) -> Communicator:
        """The same ranks under other numbers: rank ``order[r]`` of this group is rank r of that; collective, one ``order`` on all."""


def check_summable(array: Array) -> None:
    """Refuse sums that would depend on their order, or that could not be done in place."""
    if array.dtype not in (np.dtype(np.int64), np.dtype(np.uint64)):
        raise TypeError(f"expected int64 or uint64 for an exact sum over ranks, got {array.dtype}")
    check_in_place(array)


def check_comparable(array: Array) -> None:
    """Refuse maxima of anything but integers and float64."""
    if array.dtype.kind not in "iu" and array.dtype != np.dtype(np.float64):
        raise TypeError(f"expected integers or float64 for a maximum over ranks, got {array.dtype}")
    check_in_place(array)


def check_in_place(array: Array) -> None:
    """Refuse arrays that cannot be replaced where they are, and arrays of Python objects."""
    check_stackable(array)
    if not array.flags.writeable:
        raise ValueError("expected a writeable array to exchange over ranks, got a read-only one")


def check_plain(array: Array) -> None:
    """Refuse arrays of Python objects: only bytes travel."""
    if array.dtype.hasobject:
        raise TypeError(f"expected an array of numbers to exchange over ranks, got {array.dtype}")


def check_parts(arrays: list[Array], size: int) -> None:
    """Refuse lists that are not one 1-d array per rank, all of one dtype."""
    if len(arrays) != size:
        raise ValueError(f"expected one array per rank, {size}, got {len(arrays)}")
    for array in arrays:
        check_vector(array)
        if array.dtype != arrays[0].dtype:
            raise TypeError(f"expected one dtype in a message to all ranks, got {arrays[0].dtype} and {array.dtype}")


def check_vector(array: Array) -> None:
    """Refuse anything but a 1-d array of plain numbers."""
    if array.ndim != 1:
        raise ValueError(f"expected a 1-d array to gather over ranks, got shape {array.shape}")
    check_plain(array)


def check_stackable(array: Array) -> None:
    """Refuse arrays that are not plain numbers one after the other."""
    if not array.flags.c_contiguous:
        raise TypeError(f"expected a C-contiguous array to exchange over ranks, got shape {array.shape} with strides {array.strides}")
    check_plain(array)


def check_counts(array: Array, counts: list[int], size: int) -> None:
    """Refuse counts that do not cut a 1-d array into one part per rank."""
    if array.ndim != 1 or len(counts) != size or min(counts) < 0 or sum(counts) != array.size:
        raise ValueError(f"expected {size} counts of 0 or more that add up to the array's length, got {counts!r} for shape {array.shape}")


def check_common(counts: list[int], dtype: Any, size: int) -> None:
    """Refuse anything but one count per rank and a dtype of plain numbers."""
    if len(counts) != size or min(counts) < 0:
        raise ValueError(f"expected {size} counts of 0 or more for a common array, got {counts!r}")
    check_plain(np.empty(0, dtype=dtype))


class PrivateArray:
    """A common array of which this rank keeps a copy of its own; ``gather`` replaces the other ranks' parts by what they hold there."""

    def __init__(self, counts: list[int], rank: int, dtype: Any, gather: Callable[[Array, list[int], str], None]) -> None:
        self._counts, self._gather = counts, gather
        first = sum(counts[:rank])
        self.whole: Array = np.zeros(sum(counts), dtype=dtype)
        self.mine: Array = self.whole[first : first + counts[rank]]

    def publish(self, *, name: str) -> None:
        """Fetch the other ranks' parts."""
        self._gather(self.whole, self._counts, name)

    def close(self) -> None:
        """Nothing but this object holds the memory."""


def check_order(order: Sequence[int], size: int) -> None:
    """Refuse what does not name every rank once."""
    if sorted(order) != list(range(size)):
        raise ValueError(f"expected every rank from 0 to {size - 1} once, got {list(order)!r}")


def check_root(root: int, size: int) -> None:
    """Refuse a root that is not a rank."""
    if not 0 <= root < size:
        raise ValueError(f"expected a root from 0 to {size - 1}, got {root!r}")
