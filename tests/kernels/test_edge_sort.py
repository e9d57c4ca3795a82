"""Edges into rows: every kernel beside NumPy's sort."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine._kernels import edge_sort
from engine.encode import edge_rows
from engine.encode.edge_rows import EdgeBlock, build_rows


def read_only(values, kind):
    array = np.array(values, dtype=kind)
    array.flags.writeable = False
    return array


def test_by_hand():
    block = EdgeBlock(read_only([3, 1, 1, 0], np.uint32), read_only([2, 2, 0, 2], np.uint32))
    rows = build_rows([block], 0, 4, 4, num_threads=1, keep_order=True)
    assert rows.indptr.tolist() == [0, 1, 1, 4, 4]
    assert rows.neighbours.tolist() == [1, 0, 1, 3]
    assert rows.order.tolist() == [2, 3, 1, 0]


edges = st.integers(1, 300).flatmap(
    lambda n: st.tuples(st.just(n), st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=200))
)


@pytest.mark.parametrize("wide", [False, True])
@given(graph=edges, cut=st.integers(0, 200), threads=st.integers(1, 3), bucket=st.sampled_from([1, 4, 1 << 15]))
@settings(max_examples=60, deadline=None)
def test_any_blocks_give_the_rows_of_a_stable_sort(monkeypatch_module, wide, graph, cut, threads, bucket):
    n, pairs = graph
    monkeypatch_module.setattr(edge_rows, "BUCKET_EDGES", bucket)
    monkeypatch_module.setattr(edge_rows, "number_type", lambda _: np.uint64 if wide else np.uint32)
    source, destination = np.array(pairs, dtype=np.uint64 if wide else np.uint32).reshape(-1, 2).T
    expected = np.lexsort((source, destination))
    for keep_order in (False, True):
        blocks = [EdgeBlock(source[:cut].copy(), destination[:cut].copy()), EdgeBlock(source[cut:].copy(), destination[cut:].copy())]
        rows = build_rows(blocks, 0, n, n, num_threads=threads, keep_order=keep_order)
        assert blocks == []
        np.testing.assert_array_equal(rows.neighbours, source[expected])
        np.testing.assert_array_equal(np.diff(rows.indptr), np.bincount(destination.astype(np.int64), minlength=n))
        if keep_order:
            np.testing.assert_array_equal(rows.order, expected)


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def test_one_row_takes_all_edges():
    n = 100_000
    source = np.random.default_rng(0).integers(0, n, n).astype(np.uint32)
    rows = build_rows([EdgeBlock(source, np.full(n, 7, dtype=np.uint32))], 0, 8, n, num_threads=2)
    np.testing.assert_array_equal(rows.neighbours, np.sort(source))
    assert rows.indptr.tolist() == [0] * 8 + [n]


def test_no_rows_and_no_edges():
    empty = np.empty(0, dtype=np.uint32)
    assert build_rows([], 0, 0, 0, num_threads=1).indptr.tolist() == [0]
    assert build_rows([EdgeBlock(empty, empty)], 5, 3, 9, num_threads=2, keep_order=True).indptr.tolist() == [0, 0, 0, 0]


@given(st.lists(st.integers(0, 2**64 - 1), max_size=200), st.sampled_from([8, 20, 33, 64]))
@settings(max_examples=60, deadline=None)
def test_keys_are_sorted_by_their_lower_bits(values, bits):
    above = np.uint64((0xABCDEF << bits) & (2**64 - 1))
    keys = np.array(values, dtype=np.uint64) & np.uint64((1 << bits) - 1) | above
    pairs = np.stack([keys, np.arange(len(keys), dtype=np.uint64)], axis=1)
    edge_sort.sort_pairs(pairs, np.empty_like(pairs), bits)
    np.testing.assert_array_equal(pairs[:, 1], np.argsort(keys, kind="stable"))
    expected = np.sort(keys)
    edge_sort.sort_keys(keys, np.empty_like(keys), bits)
    np.testing.assert_array_equal(keys, expected)


def test_too_little_room_is_refused():
    with pytest.raises(ValueError, match="room for 3 keys"):
        edge_sort.sort_keys(np.zeros(3, dtype=np.uint64), np.zeros(2, dtype=np.uint64), 64)
    with pytest.raises(ValueError, match="room for 2 pairs"):
        edge_sort.sort_pairs(np.zeros((2, 2), dtype=np.uint64), np.zeros((1, 2), dtype=np.uint64), 64)


def test_weights_of_parallel_edges_are_put_in_order():
    weights = np.array([3.0, 1.0, 2.0, 9.0, 0.5, 0.25])
    neighbours = read_only([4, 4, 4, 5, 4, 4], np.uint32)
    bits = weights.view(np.uint64)
    edge_sort.order_parallel(read_only([0, 4, 6], np.int64), neighbours, bits, np.empty_like(bits))
    assert weights.tolist() == [1.0, 2.0, 3.0, 9.0, 0.25, 0.5]


@pytest.mark.parametrize("kind", [np.uint32, np.uint64])
def test_dealing_to_owners_keeps_orders(kind):
    numbers, payload = read_only([5, 0, 7, 2, 4], kind), read_only([1, 2, 3, 4, 5], kind)
    owners = read_only([0, 1, 1, 2], np.int32)  # of pairs of numbers
    counts = np.zeros(3, dtype=np.int64)
    edge_sort.count_owners(numbers, 1, owners, counts)
    assert counts.tolist() == [1, 3, 1]
    out = np.zeros(5, dtype=kind)
    edge_sort.deal_numbers(numbers, payload, 1, owners, np.cumsum(counts) - counts, out)
    assert out.tolist() == [2, 1, 4, 5, 3]
