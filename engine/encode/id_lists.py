"""Lists of vertex ids, int64 or text, as Arrow arrays: sorting, merging and sending them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine._kernels.edge_sort import sort_pairs
from engine._kernels.vertex_numbers import sort_texts
from engine.collectives.communicator import Communicator

INT = pa.int64()
TEXT = pa.large_string()


def int_ids(values: NDArray[np.int64]) -> pa.Array:
    """Integers as a list of ids, without a copy."""
    return pa.Array.from_buffers(INT, len(values), [None, pa.py_buffer(np.ascontiguousarray(values))])


def text_ids(offsets: NDArray[np.int64], data: NDArray[np.uint8]) -> pa.Array:
    """Texts ``data[offsets[i]:offsets[i + 1]]`` as a list of ids, without a copy, and without looking whether they are UTF-8."""
    return pa.Array.from_buffers(TEXT, len(offsets) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(data)])


def ints_of(ids: pa.Array) -> NDArray[np.int64]:
    """The values of a list of integers."""
    return np.asarray(ids.to_numpy(zero_copy_only=True))


def texts_of(ids: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Offsets and bytes of a list of texts: text i is ``data[offsets[i]:offsets[i + 1]]``."""
    _, offsets, data = ids.buffers()
    if offsets is None or len(ids) == 0:
        return np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.uint8)
    starts = np.frombuffer(offsets, dtype=np.int64)[ids.offset : ids.offset + len(ids) + 1]
    return starts, np.frombuffer(data, dtype=np.uint8) if data is not None and data.size else np.zeros(0, dtype=np.uint8)


def sorted_order(ids: pa.Array) -> NDArray[np.int64]:
    """Positions of the ids in ascending order, texts by their UTF-8 bytes; equal ones in their order."""
    order = np.empty(len(ids), dtype=np.int64)
    pairs, scratch = np.empty((2, len(ids), 2), dtype=np.uint64)
    if ids.type == INT:
        pairs[:, 0] = ints_of(ids).view(np.uint64) ^ np.uint64(1 << 63)
        pairs[:, 1] = np.arange(len(ids), dtype=np.uint64)
        sort_pairs(pairs, scratch, 64)
        order[:] = pairs[:, 1]
    else:
        offsets, data = texts_of(ids)
        sort_texts(data, offsets, pairs, scratch, order)
    return order


def merge(ids: pa.Array) -> tuple[pa.Array, NDArray[np.int64]]:
    """The distinct ids, ascending, and the place of each given one among them."""
    order = sorted_order(ids)
    ordered = ids.take(pa.array(order))
    is_new = np.ones(len(ids), dtype=bool)
    if ids.type == INT:
        is_new[1:] = np.diff(ints_of(ordered)) != 0
    elif len(ids):
        is_new[1:] = pc.not_equal(ordered[1:], ordered[:-1]).to_numpy(zero_copy_only=False)
    places = np.empty(len(ids), dtype=np.int64)
    places[order] = np.cumsum(is_new) - 1
    return ordered.filter(pa.array(is_new)), places


def cut_at(ids: pa.Array, splitters: pa.Array) -> list[pa.Array]:
    """Sorted ids cut before each of the splitters, which are sorted too: one part more than there are splitters."""
    if ids.type == INT:
        cuts = np.searchsorted(ints_of(ids), ints_of(splitters)).tolist()
    else:
        cuts = [_first_from(ids, splitter.as_buffer().to_pybytes()) for splitter in splitters]
    return cut_at_places(ids, cuts)


def cut_at_places(ids: pa.Array, places: Iterable[int]) -> list[pa.Array]:
    """Ids cut before each of the ascending ``places``: one part more than there are places."""
    return [ids.slice(begin, end - begin) for begin, end in pairwise([0, *map(int, places), len(ids)])]


def _first_from(ids: pa.Array, text: bytes) -> int:
    low, high = 0, len(ids)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if ids[middle].as_buffer().to_pybytes() < text else (low, middle)
    return low


def exchange(comm: Communicator, parts: list[pa.Array], *, name: str) -> list[pa.Array]:
    """Send ``parts[r]`` to rank r; what each rank sent here. Collective."""
    if parts[0].type == INT:
        return [int_ids(part) for part in comm.alltoall([np.array(ints_of(part)) for part in parts], name=name)]
    texts = [texts_of(part) for part in parts]
    lengths = comm.alltoall([np.diff(offsets) for offsets, _ in texts], name=f"{name}: lengths")
    data = comm.alltoall([bytes_of[offsets[0] : offsets[-1]] for offsets, bytes_of in texts], name=name)
    return [text_ids(_offsets(own), part) for own, part in zip(lengths, data, strict=True)]


def gather(comm: Communicator, ids: pa.Array, *, name: str) -> pa.Array:
    """All ranks' ids, in rank order, on every rank. Collective."""
    if ids.type == INT:
        return int_ids(np.concatenate(comm.allgather(np.array(ints_of(ids)), name=name)))
    offsets, data = texts_of(ids)
    lengths = np.concatenate(comm.allgather(np.diff(offsets), name=f"{name}: lengths"))
    return text_ids(_offsets(lengths), np.concatenate(comm.allgather(data[offsets[0] : offsets[-1]], name=name)))


def _offsets(lengths: NDArray[Any]) -> NDArray[np.int64]:
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets
