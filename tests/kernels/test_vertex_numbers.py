"""Ids and their numbers: bitmaps, tables, the order of text."""

import threading

import numpy as np
import pyarrow as pa
import pytest
from engine._kernels.id_table import SHARD_BITS, IntTable, TextTable
from hypothesis import given, settings
from hypothesis import strategies as st

from engine._kernels import vertex_numbers
from engine.encode import vertex_ids
from engine.encode.id_lists import ints_of, merge, sorted_order
from engine.encode.vertex_ids import IntCollector, TextCollector, add_column


def test_marks_by_hand():
    ids = np.array([3, 64, 3, 70], dtype=np.uint32)
    marks, before = np.zeros(2, dtype=np.uint64), np.empty(2, dtype=np.uint32)
    vertex_numbers.mark_ids(ids, marks)
    assert vertex_numbers.count_marks(marks, before) == 3
    out = np.empty(3, dtype=np.int64)
    vertex_numbers.list_marks(marks, out)
    assert out.tolist() == [3, 64, 70]
    vertex_numbers.rank_marked(ids, marks, before)
    assert ids.tolist() == [0, 1, 0, 2]


@pytest.mark.parametrize(
    ("ids", "top"), [([], -1), ([0], 0), ([5, 2], 5), ([2**32 - 1], 2**32 - 1), ([1, 2**32], -2), ([-1], -2), ([-(2**63), 1], -2)]
)
def test_narrow_ids(ids, top):
    values = np.array(ids, dtype=np.int64)
    values.flags.writeable = False
    assert vertex_numbers.narrow_ids(values, np.empty(len(ids), dtype=np.uint32)) == top


int_ids = st.lists(st.one_of(st.integers(0, 50), st.integers(-(2**63), 2**63 - 1), st.just(2**63 - 1), st.just(2**32)), max_size=60)


@given(st.lists(int_ids, max_size=4), st.integers(1, 3))
@settings(max_examples=80, deadline=None)
def test_integers_get_their_places(blocks, threads):
    check_places(IntCollector(), [pa.array(block, pa.int64()) for block in blocks], threads)


@given(st.lists(st.lists(st.integers(0, 2**31), max_size=30), max_size=3))
@settings(max_examples=40, deadline=None)
def test_small_integers_far_apart_go_through_the_table(blocks):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vertex_ids, "LEAST_BITMAP", 64)
        check_places(IntCollector(), [pa.array(block, pa.int64()) for block in blocks], 2)


SPECIAL = ["", "a", "a\0", "a\0b", "a" * 8, "a" * 9, "a" * 40, "a" * 40 + "b", "é" * 30, "ﬀ"]
texts = st.one_of(st.text(max_size=20), st.sampled_from(SPECIAL))


@given(st.lists(st.lists(texts, max_size=60), max_size=4), st.integers(1, 3))
@settings(max_examples=100, deadline=None)
def test_texts_get_their_places(blocks, threads):
    check_places(TextCollector(), [pa.array(block, pa.string()) for block in blocks], threads)


def check_places(collector, blocks, threads):
    numbered = [add_column(collector, block) for block in blocks]
    ids = collector.settle(threads)
    found = sorted({value for block in blocks for value in block.to_pylist()}, key=lambda v: v.encode() if isinstance(v, str) else v)
    assert ids.to_pylist() == found
    for block, numbers in zip(blocks, numbered, strict=True):
        assert [found[number] for number in numbers] == block.to_pylist()


def test_threads_fill_one_table():
    blocks = [np.random.default_rng(seed).integers(-(2**62), 2**62, 20_000) for seed in range(2)] * 4
    collector = IntCollector()
    numbered = [None] * len(blocks)

    def add(index):
        numbered[index] = collector.add(blocks[index])

    threads = [threading.Thread(target=add, args=(index,)) for index in range(len(blocks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ids = ints_of(collector.settle(2))
    np.testing.assert_array_equal(ids, np.unique(np.concatenate(blocks)))
    for block, numbers in zip(blocks, numbered, strict=True):
        np.testing.assert_array_equal(ids[numbers], block)


def test_numbers_are_index_and_shard():
    table, numbers = IntTable(), np.empty(4, dtype=np.uint32)
    ids = np.array([7, -1, 7, 2**63 - 1], dtype=np.int64)
    ids.flags.writeable = False
    table.add(ids, np.empty(4, dtype=np.uint64), np.empty(4, dtype=np.int64), numbers)
    assert numbers[0] == numbers[2]
    counts = table.counts()
    assert sum(counts) == 3
    firsts = np.cumsum(counts) - counts
    kept = np.empty(3, dtype=np.int64)
    table.copy_ids(kept)
    places = firsts[numbers & ((1 << SHARD_BITS) - 1)] + (numbers >> SHARD_BITS)
    assert kept[places].tolist() == ids.tolist()


def test_too_little_room_is_refused():
    none, ids = np.empty(0, dtype=np.uint64), np.arange(3)
    with pytest.raises(ValueError, match="room for 3 ids"):
        IntTable().add(ids, none, np.empty(3, dtype=np.int64), np.empty(3, dtype=np.uint32))
    table = TextTable()
    room = np.empty(1, dtype=np.uint64), np.empty(1, dtype=np.int64), np.empty(1, dtype=np.uint32)
    table.add(np.frombuffer(b"ab", dtype=np.uint8), ids[:1], ids[1:2], *room)
    with pytest.raises(ValueError, match="room for all"):
        table.copy_ids(np.empty(1, dtype=np.int64), np.empty(9, dtype=np.uint8))


@given(st.lists(texts, max_size=200))
@settings(max_examples=100, deadline=None)
def test_text_is_ordered_by_its_bytes(values):
    order = sorted_order(pa.array(values, pa.large_string()))
    assert order.tolist() == sorted(range(len(values)), key=lambda i: values[i].encode())
    distinct, places = merge(pa.array(values, pa.large_string()))
    assert distinct.to_pylist() == sorted(set(values), key=str.encode)
    assert [distinct[int(place)].as_py() for place in places] == values


def test_long_common_beginnings():
    values = ["x" * 100_000 + end for end in ("b", "", "a", "b", "aa", "\0")]
    assert sorted_order(pa.array(values, pa.large_string())).tolist() == [1, 5, 2, 4, 0, 3]
    many = ["y" * (8 * n) for n in range(400, 0, -1)]
    assert sorted_order(pa.array(many, pa.large_string())).tolist() == list(range(399, -1, -1))


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=100))
@settings(max_examples=50, deadline=None)
def test_integers_are_ordered_by_value(values):
    assert sorted_order(pa.array(values, pa.int64())).tolist() == np.argsort(np.array(values, dtype=np.int64), kind="stable").tolist()
