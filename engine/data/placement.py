"""Which rank reads which share: ranks are numbered so that their shares lie on disks of their own hosts.

Rows keep their order, and rank r reads the r-th share of them, whatever happens here: it is the processes that get other numbers. So no
byte of a model can depend on where blocks lie.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine import storage
from engine.collectives.communicator import Communicator
from engine.data.csv_text import is_compressed
from engine.data.dataset import Dataset, as_dataset
from engine.data.pool import map_ordered
from engine.data.shard_plan import plan_segments, share_from_root
from engine.errors import EngineError

_ASKED_AT_ONCE = 8  # files


class FileBlocks(NamedTuple):
    """A file, as far as it matters who reads it; without ``blocks`` it counts as empty."""

    size: int
    is_whole: bool  # it cannot be cut
    blocks: Sequence[storage.Block]


def near_blocks(comm: Communicator, data: Any, *, root_stays: bool = True) -> Communicator:
    """The same ranks, so numbered that most bytes of ``data`` are read from their readers' own hosts. Collective.

    ``comm`` itself where nothing is gained: ranks of one host, data elsewhere than on HDFS or in memory. ``root_stays``: rank 0, which
    prints and writes files, keeps its number, though its share may lie elsewhere.
    """
    if comm.size == 1:
        return comm
    is_in_memory = isinstance(data, Dataset) and not data.is_from_files
    hosts = comm.gather_objects([] if is_in_memory else sorted(storage.own_hosts()), name="reading: hosts")  # names cost a resolver's time
    if all(names == hosts[0] for names in hosts):
        return comm
    order = share_from_root(comm, lambda: _order(data, hosts, root_stays=root_stays), stage="reading: where blocks are")
    return comm if order == list(range(comm.size)) else comm.renumbered(order)


def place_ranks(local_bytes: NDArray[np.int64], *, root_stays: bool = False) -> list[int]:
    """Which rank reads each share, of ``local_bytes`` [rank, share], so that their sum is the largest; unchanged if it is so already."""
    from scipy.optimize import linear_sum_assignment

    fixed = 1 if root_stays else 0
    shares, ranks = linear_sum_assignment(local_bytes.T[fixed:, fixed:], maximize=True)
    order = [*range(fixed), *(int(rank) + fixed for _, rank in sorted(zip(shares, ranks, strict=True)))]
    gained = sum(int(local_bytes[rank, share]) for share, rank in enumerate(order)) - int(np.trace(local_bytes))
    return order if gained > 0 else list(range(len(local_bytes)))


def count_local_bytes(files: Sequence[FileBlocks], hosts: Sequence[Sequence[str]]) -> NDArray[np.int64]:
    """Bytes of each share that lie on a host of each rank, [rank, share]; ``hosts``: each rank's own names of its host."""
    size = len(hosts)
    local = np.zeros((size, size), dtype=np.int64)
    for share in range(size):
        for segment in plan_segments([file.size for file in files], size, share, whole=[file.is_whole for file in files]):
            for block in files[segment.file].blocks:
                n_bytes = min(segment.end, block.offset + block.length) - max(segment.begin, block.offset)
                if n_bytes > 0:
                    names = {host.lower() for host in block.hosts}
                    local[[rank for rank in range(size) if not names.isdisjoint(hosts[rank])], share] += n_bytes
    return local


def _order(data: Any, hosts: list[list[str]], *, root_stays: bool) -> list[int]:
    """On rank 0. What is wrong with the data is for who reads it to find."""
    files: list[FileBlocks] = []
    with contextlib.suppress(EngineError):
        files = list(map_ordered(_look_up, as_dataset(data).files, _ASKED_AT_ONCE))
    if not any(file.blocks for file in files):
        return list(range(len(hosts)))
    return place_ranks(count_local_bytes(files, hosts), root_stays=root_stays)


def _look_up(file: str) -> FileBlocks:
    blocks = storage.block_hosts(file)
    return FileBlocks(sum(block.length for block in blocks), is_compressed(file), blocks)
