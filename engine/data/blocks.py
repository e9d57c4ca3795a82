"""Moves rows so that every block of consecutive global ids lies whole on one rank: what sums in a fixed order need."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine.collectives.communicator import Communicator
from engine.data.shard import Shard

BLOCK_ROWS = 8192


def align_to_blocks(shard: Shard, comm: Communicator, block_rows: int = BLOCK_ROWS) -> Shard:
    """The same rows, each block of ``block_rows`` global ids on the rank that had its first row. Collective.

    Ranks keep their order and may end up with many blocks or none; a block may have come from several ranks.
    """
    bounds = [int(part[0]) for part in comm.allgather(np.array([shard.first_row], dtype=np.int64), name="blocks: bounds")]
    aligned = [min(-(-bound // block_rows) * block_rows, shard.n_rows) for bound in bounds] + [shard.n_rows]
    overlaps = [_overlap(shard, aligned[rank], aligned[rank + 1]) for rank in range(comm.size)]
    sent = [_encode(part if rank != comm.rank else None) for rank, part in enumerate(overlaps)]
    parts = [_decode(message) for message in comm.alltoall(sent, name="blocks: rows")]
    parts[comm.rank] = overlaps[comm.rank]
    table = pa.concat_tables([shard.table.slice(0, 0), *(part for part in parts if part is not None)])
    return Shard(table, aligned[comm.rank], shard.n_rows)


def _overlap(shard: Shard, begin: int, end: int) -> pa.Table | None:
    """This rank's rows among the global ids ``begin`` to ``end``; None if there are none."""
    first = max(begin - shard.first_row, 0)
    last = min(end - shard.first_row, shard.table.num_rows)
    return shard.table.slice(first, last - first) if first < last else None


def _encode(table: pa.Table | None) -> NDArray[np.uint8]:
    if table is None:
        return np.empty(0, dtype=np.uint8)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return np.frombuffer(sink.getvalue(), dtype=np.uint8)


def _decode(message: NDArray[np.uint8]) -> pa.Table | None:
    return pa.ipc.open_stream(pa.py_buffer(message)).read_all() if len(message) else None
