"""Streams whose blocks of rows lie whole on one rank."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data.blocks import align_stream, align_to_blocks
from engine.data.dataset import Dataset
from engine.data.shard import read_shard
from engine.data.stream import open_stream
from tests.threads_comm import run_ranks

steady = settings(deadline=None, max_examples=60)
EMPTY = pa.table({"id": [0], "s": [""]}).slice(0, 0)


@steady
@given(st.lists(st.integers(0, 12), min_size=1, max_size=6), st.integers(1, 7))
def test_a_stream_is_aligned_like_a_table(counts, block_rows):
    first = np.cumsum([0, *counts])

    def align(comm):
        part = {"id": np.arange(first[comm.rank], first[comm.rank + 1]), "s": [f"row {i}" for i in range(counts[comm.rank])]}
        data = Dataset(part if counts[comm.rank] else EMPTY, sharded=True)
        stream = align_stream(open_stream(data, comm), comm, block_rows)
        shard = align_to_blocks(read_shard(data, comm), comm, block_rows)
        batches = list(stream.batches(["s", "id"]))
        assert pa.Table.from_batches(batches, schema=pa.schema([("s", pa.string()), ("id", pa.int64())])).select(["id", "s"]) == shard.table
        assert (stream.first_row, stream.n_rows, stream.n_rows_local) == (shard.first_row, shard.n_rows, shard.table.num_rows)
        return [each for batch in stream.batches(["id"]) for each in batch.column(0).to_pylist()]

    assert [each for part in run_ranks(len(counts), align) for each in part] == list(range(sum(counts)))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_files_are_aligned_and_read_again(tmp_path, size):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "".join(f"{i},{i / 8}\n" for i in range(1000)))

    def align(comm):
        stream = align_stream(open_stream(Dataset(str(path)), comm), comm, 64)
        passes = [[each for batch in stream.batches(["b"]) for each in batch.column(0).to_pylist()] for _ in range(2)]
        assert passes[0] == passes[1]
        assert stream.first_row % 64 == 0 or stream.n_rows_local == 0
        return passes[0]

    assert [each for part in run_ranks(size, align) for each in part] == [i / 8 for i in range(1000)]
