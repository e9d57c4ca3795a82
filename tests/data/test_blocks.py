"""Even cuts, shares of files, and blocks of rows that lie whole on one rank."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data.blocks import align_to_blocks
from engine.data.dataset import Dataset
from engine.data.shard import read_shard
from engine.data.shard_plan import Segment, cut, plan_segments
from tests.threads_comm import run_ranks

steady = settings(deadline=None, max_examples=60)


@steady
@given(st.integers(0, 1000), st.integers(1, 20))
def test_even_cuts_cover_everything_once(total, size):
    cuts = [cut(total, size, rank) for rank in range(size)]
    assert [begin for begin, _ in cuts] + [total] == [0] + [end for _, end in cuts]
    assert max(end - begin for begin, end in cuts) - min(end - begin for begin, end in cuts) <= 1


@steady
@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=8), st.integers(1, 9))
def test_plans_cover_every_file_once_in_order(files, size):
    sizes, whole = [length for length, _ in files], [flag for _, flag in files]
    segments = [segment for rank in range(size) for segment in plan_segments(sizes, size, rank, whole=whole)]
    covered = [(file, at) for file, begin, end in segments for at in range(begin, end)]
    assert covered == [(file, at) for file, length in enumerate(sizes) for at in range(length)]
    assert all((segment.begin, segment.end) == (0, sizes[segment.file]) for segment in segments if whole[segment.file])


def test_a_plan_computed_by_hand():
    assert plan_segments([10, 0, 10], 3, 1) == [Segment(0, 6, 10), Segment(2, 0, 3)]
    assert plan_segments([10, 0, 10], 3, 1, whole=[True, False, False]) == [Segment(2, 0, 3)]


def test_cuts_move_to_seams_that_are_near():
    def cuts(seams):
        return [plan_segments([40, 60], 4, rank, seams=seams) for rank in range(4)]

    assert cuts([0, 24, 31, 40, 70, 100]) == [
        [Segment(0, 0, 24)],
        [Segment(0, 24, 40), Segment(1, 0, 10)],
        [Segment(1, 10, 30)],
        [Segment(1, 30, 60)],
    ]
    assert cuts([0, 100]) == cuts([])


@steady
@given(st.lists(st.integers(0, 12), min_size=1, max_size=6), st.integers(1, 7))
def test_blocks_are_whole_and_rows_stay_in_order(counts, block_rows):
    first = np.cumsum([0, *counts])

    def align(comm):
        part = {"id": np.arange(first[comm.rank], first[comm.rank + 1]), "s": [f"row {i}" for i in range(counts[comm.rank])]}
        return align_to_blocks(
            read_shard(Dataset(part if counts[comm.rank] else pa.table({"id": [0], "s": [""]}).slice(0, 0), sharded=True), comm),
            comm,
            block_rows,
        )

    shards = run_ranks(len(counts), align)
    ids = [shard.table.column("id").to_pylist() for shard in shards]
    assert [i for part in ids for i in part] == list(range(sum(counts)))
    assert [s for shard in shards for s in shard.table.column("s").to_pylist()] == [f"row {i}" for count in counts for i in range(count)]
    for shard, part in zip(shards, ids, strict=True):
        assert part == list(range(shard.first_row, shard.first_row + len(part)))
        assert shard.n_rows == sum(counts)
        assert shard.table.schema == shards[0].table.schema
        assert shard.first_row % block_rows == 0 or not part
        assert (shard.first_row + len(part)) % block_rows == 0 or shard.first_row + len(part) == shard.n_rows or not part
    owners = {i: sum(1 for part in ids[:rank]) for rank, part in enumerate(ids) for i in part}
    before = [rank for rank, count in enumerate(counts) for _ in range(count)]
    assert all(owners[i] == before[i - i % block_rows] for i in owners)


def test_an_aligned_shard_stays_where_it_is():
    table = pa.table({"a": np.arange(100)})

    def align(comm):
        shard = align_to_blocks(read_shard(Dataset(table), comm), comm, 10)
        again = align_to_blocks(shard, comm, 10)
        assert again.table.equals(shard.table)
        return shard.table.num_rows

    assert run_ranks(3, align) == [40, 30, 30]
