"""Moves rows so that every block of consecutive global ids lies whole on one rank: what sums in a fixed order need."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator
from engine.data.scan import Scan
from engine.data.shard import Shard
from engine.data.stream import Stream

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


def align_stream(stream: Stream, comm: Communicator, block_rows: int = BLOCK_ROWS) -> Stream:
    """The same rows, each block on the rank that had its first row, to go through batch by batch. Collective.

    A rank keeps the few rows that it fetches, the rest of its last block; of its own it leaves out those that went to the ranks before.
    """
    bounds = [int(part[0]) for part in comm.allgather(np.array([stream.first_row], dtype=np.int64), name="blocks: bounds")]
    aligned = [min(-(-bound // block_rows) * block_rows, stream.n_rows) for bound in bounds] + [stream.n_rows]
    first, last = aligned[comm.rank], aligned[comm.rank + 1]
    end = stream.first_row + stream.n_rows_local
    skipped, kept = min(first, end) - stream.first_row, max(0, min(last, end) - first)
    head = Shard(stream.schema.empty_table(), stream.first_row, stream.n_rows)
    with agree(comm, "reading: blocks"):
        head = Shard(_read_head(stream, skipped), stream.first_row, stream.n_rows)
    others = [rank for rank in range(comm.size) if rank != comm.rank]
    sent = [_encode(_overlap(head, aligned[rank], aligned[rank + 1]) if rank in others else None) for rank in range(comm.size)]
    parts = [_decode(message) for message in comm.alltoall(sent, name="blocks: rows")]
    fetched = pa.concat_tables([stream.schema.empty_table(), *(part for part in parts if part is not None)])
    return Stream(stream.schema, kept + fetched.num_rows, first, stream.n_rows, _scan_part(stream, skipped, kept, fetched))


def _read_head(stream: Stream, n_rows: int) -> pa.Table:
    """The first rows of a stream, read no further than needed."""
    batches: list[pa.RecordBatch] = []
    missing = n_rows
    for batch in stream.batches() if n_rows else ():
        part = batch.slice(0, missing)
        columns = [column.cast(field.type) for column, field in zip(part.columns, stream.schema, strict=True)]
        batches.append(pa.record_batch(columns, schema=stream.schema))
        missing -= part.num_rows
        if missing == 0:
            break
    return pa.Table.from_batches(batches, schema=stream.schema)


def _scan_part(stream: Stream, skipped: int, kept: int, fetched: pa.Table) -> Scan:
    """Goes through ``kept`` rows after the ``skipped`` ones, and then through the fetched ones."""

    def scan(columns: list[str], most_rows: int) -> Iterator[pa.RecordBatch]:
        skip, left = skipped, kept
        for batch in stream.scan(columns, most_rows) if kept else ():
            part = batch.slice(skip, left)
            skip -= min(skip, batch.num_rows)
            left -= part.num_rows
            if part.num_rows:
                yield part
            if left == 0:
                break
        yield from fetched.select(columns).to_batches(max_chunksize=most_rows)

    return scan


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
