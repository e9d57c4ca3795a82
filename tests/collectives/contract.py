"""What every communicator must do, as assertions whose expectations are computed from rank and size.

Subclasses run in one process and under ``mpiexec`` with a ``comm`` fixture of their own.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest

SUMMABLE = [np.int64, np.uint64]
COMPARABLE = [np.int8, np.uint8, np.int32, np.int64, np.uint64, np.float64]
PLAIN = ["?", "u1", "i2", "f4", "i8", "f8", "c16", "M8[s]", "S5", [("id", "i8"), ("x", "f4")]]
LENGTHS = [0, 1, 7, 40]


def triangle(size: int) -> int:
    """0 + 1 + ... + (size - 1)."""
    return size * (size - 1) // 2


class CommunicatorContract:
    """Assertions on the fourteen operations; ``comm`` is a fixture."""

    def test_ranks_are_numbered_and_share_a_node(self, comm):
        assert 0 <= comm.rank < comm.size
        assert 1 <= comm.ranks_on_node <= comm.size
        assert comm.gather_objects(comm.rank, name="ranks") == list(range(comm.size))

    @pytest.mark.parametrize("dtype", SUMMABLE)
    def test_allreduce_sum(self, comm, dtype):
        for length in LENGTHS:
            array = np.arange(length, dtype=dtype) + dtype(comm.rank)
            assert comm.allreduce_sum(array, name="sum") is None
            np.testing.assert_array_equal(array, np.arange(length, dtype=dtype) * dtype(comm.size) + dtype(triangle(comm.size)))

    def test_sums_keep_shape_and_all_64_bits(self, comm):
        array = np.full((2, 3), 2**52 + 1, dtype=np.int64)
        comm.allreduce_sum(array, name="sum")
        assert array.tolist() == [[(2**52 + 1) * comm.size] * 3] * 2

    def test_unsigned_sums_wrap_as_packed_lanes_need(self, comm):
        array = np.array([2**64 - 1], dtype=np.uint64)
        comm.allreduce_sum(array, name="sum")
        assert int(array[0]) == 2**64 - comm.size

    def test_sums_of_other_types_are_refused(self, comm):
        for dtype in (np.float64, np.float32, np.int32, np.bool_):
            with pytest.raises(TypeError, match="int64 or uint64"):
                comm.allreduce_sum(np.zeros(3, dtype=dtype), name="sum")
            with pytest.raises(TypeError, match="int64 or uint64"):
                comm.reduce_scatter_sum(np.zeros(comm.size, dtype=dtype), [1] * comm.size, name="sum")

    def test_allreduce_max(self, comm):
        for dtype, length in itertools.product(COMPARABLE, LENGTHS):
            array = np.zeros(length, dtype=dtype)
            array[comm.rank :: comm.size] = comm.rank + 1
            comm.allreduce_max(array, name="max")
            assert array.dtype == dtype
            np.testing.assert_array_equal(array, np.arange(length) % comm.size + 1)

    def test_maxima_of_infinities_and_negative_numbers(self, comm):
        array = np.array([-np.inf, -1.5 - comm.rank, np.inf if comm.rank == 0 else 0.0])
        comm.allreduce_max(array, name="max")
        assert array.tolist() == [-np.inf, -1.5, np.inf]

    def test_maxima_of_other_types_are_refused(self, comm):
        for dtype in (np.float32, np.bool_, np.complex128):
            with pytest.raises(TypeError, match="integers or float64"):
                comm.allreduce_max(np.zeros(3, dtype=dtype), name="max")

    @pytest.mark.parametrize("dtype", SUMMABLE)
    @pytest.mark.parametrize("lengths", ["equal", "growing", "one rank has all", "nothing"])
    def test_reduce_scatter_sum(self, comm, dtype, lengths):
        counts = {
            "equal": [3] * comm.size,
            "growing": list(range(comm.size)),
            "one rank has all": [0] * (comm.size - 1) + [5],
            "nothing": [0] * comm.size,
        }[lengths]
        total, first = sum(counts), sum(counts[: comm.rank])
        part = comm.reduce_scatter_sum(np.arange(total, dtype=dtype) + dtype(comm.rank), counts, name="parts")
        expected = np.arange(first, first + counts[comm.rank]) * comm.size + triangle(comm.size)
        assert part.dtype == dtype
        np.testing.assert_array_equal(part, expected.astype(dtype))

    @pytest.mark.parametrize("length", [0, 1, 1000, 70_000])
    def test_reduce_scatter_sum_of_work_arrays(self, comm, length):
        """Twice each, as they are kept from call to call; the ranks' parts are of different lengths."""
        counts = [length * (rank + 1) for rank in range(comm.size)]
        first, total = sum(counts[: comm.rank]), sum(counts)
        for turn in range(2):
            array = comm.work_array(total)
            assert (array.shape, array.dtype) == ((total,), np.dtype(np.int64))
            array[:] = np.arange(total) + comm.rank + turn
            part = comm.reduce_scatter_sum(array, counts, name="parts").copy()
            comm.barrier(name="all have read")
            expected = (np.arange(first, first + counts[comm.rank]) + turn) * comm.size + triangle(comm.size)
            np.testing.assert_array_equal(part, expected)

    @pytest.mark.parametrize("dtype", PLAIN)
    @pytest.mark.parametrize("lengths", ["equal", "growing", "one rank has all", "nothing"])
    def test_common_arrays(self, comm, dtype, lengths):
        """Two of them in turn, as loops use them: what is read was published by all ranks, and zeros before."""
        counts = {
            "equal": [3] * comm.size,
            "growing": list(range(comm.size)),
            "one rank has all": [0] * (comm.size - 1) + [5],
            "nothing": [0] * comm.size,
        }[lengths]
        arrays = [comm.common_array(counts, dtype) for _ in range(2)]
        for array in arrays:
            assert (array.whole.dtype, array.whole.shape, array.mine.shape) == (np.dtype(dtype), (sum(counts),), (counts[comm.rank],))
            assert array.whole.tobytes() == bytes(array.whole.nbytes)
        comm.barrier(name="all have looked")
        for turn in range(4):
            array = arrays[turn % 2]
            array.mine[:] = bytes_as(dtype, counts[comm.rank], seed=comm.rank + turn)
            array.publish(name="values")
            expected = b"".join(bytes_as(dtype, count, seed=rank + turn).tobytes() for rank, count in enumerate(counts))
            assert array.whole.tobytes() == expected
        for array in arrays:
            array.close()

    def test_common_arrays_of_misfits_are_refused(self, comm):
        for counts in ([1] * (comm.size + 1), [-1] * comm.size):
            with pytest.raises(ValueError, match="counts"):
                comm.common_array(counts, np.float64)
        with pytest.raises(TypeError, match="object"):
            comm.common_array([1] * comm.size, object)

    def test_counts_that_do_not_fit_are_refused(self, comm):
        fitting = [2] * comm.size
        for counts in ([3, *fitting[1:]], [1, *fitting[1:]], [*fitting, 0], [2 * comm.size + 1, *[0] * (comm.size - 2), -1]):
            with pytest.raises(ValueError, match="counts"):
                comm.reduce_scatter_sum(np.zeros(2 * comm.size, dtype=np.int64), counts, name="parts")

    def test_broadcast_from_every_root(self, comm):
        for root, dtype, length in itertools.product(range(comm.size), PLAIN, LENGTHS):
            array = bytes_as(dtype, length, seed=comm.rank)
            comm.broadcast(array, root=root, name="broadcast")
            assert array.tobytes() == bytes_as(dtype, length, seed=root).tobytes()

    def test_broadcast_of_a_table_and_of_one_number(self, comm):
        table, number = np.full((2, 2), comm.rank), np.array(comm.rank + 0.5)
        comm.broadcast(table, name="table")
        comm.broadcast(number, name="number")
        assert table.tolist() == [[0, 0], [0, 0]]
        assert number == 0.5

    @pytest.mark.parametrize("root", [-1, 1000])
    def test_a_root_that_is_no_rank_is_refused(self, comm, root):
        with pytest.raises(ValueError, match="root"):
            comm.broadcast(np.zeros(1), root=root, name="broadcast")

    def test_allgather_of_any_lengths(self, comm):
        for dtype in PLAIN:
            parts = comm.allgather(bytes_as(dtype, 3 * comm.rank, seed=comm.rank), name="gather")
            assert [part.tobytes() for part in parts] == [bytes_as(dtype, 3 * rank, seed=rank).tobytes() for rank in range(comm.size)]
            assert {part.dtype for part in parts} == {np.dtype(dtype)}

    def test_allgather_of_nothing_and_of_every_second_element(self, comm):
        assert [part.size for part in comm.allgather(np.empty(0), name="nothing")] == [0] * comm.size
        parts = comm.allgather(np.arange(10)[comm.rank % 2 :: 2], name="strided")
        assert [part.tolist() for part in parts] == [list(range(rank % 2, 10, 2)) for rank in range(comm.size)]

    def test_stack_of_any_shapes(self, comm):
        for dtype, shape in itertools.product(PLAIN, [(0,), (5,), (2, 3), ()]):
            length = int(np.prod(shape))
            stacked = comm.stack(bytes_as(dtype, length, seed=comm.rank).reshape(shape), name="stack")
            assert (stacked.shape, stacked.dtype) == ((comm.size, *shape), np.dtype(dtype))
            assert stacked.tobytes() == b"".join(bytes_as(dtype, length, seed=rank).tobytes() for rank in range(comm.size))

    def test_stack_of_every_second_element_is_refused(self, comm):
        with pytest.raises(TypeError, match="C-contiguous"):
            comm.stack(np.arange(10)[::2], name="strided")

    def test_alltoall_of_any_lengths(self, comm):
        for dtype in PLAIN:
            sent = [bytes_as(dtype, comm.rank + 2 * to, seed=100 * comm.rank + to) for to in range(comm.size)]
            expected = [bytes_as(dtype, source + 2 * comm.rank, seed=100 * source + comm.rank) for source in range(comm.size)]
            received = comm.alltoall(sent, name="exchange")
            assert [part.tobytes() for part in received] == [part.tobytes() for part in expected]
            assert {part.dtype for part in received} == {np.dtype(dtype)}

    def test_alltoall_where_most_send_nothing(self, comm):
        sent = [np.full(4 if (to, comm.rank) == (0, comm.size - 1) else 0, comm.rank) for to in range(comm.size)]
        received = comm.alltoall(sent, name="exchange")
        expected = [[comm.size - 1] * 4 if (comm.rank, source) == (0, comm.size - 1) else [] for source in range(comm.size)]
        assert [part.tolist() for part in received] == expected

    def test_alltoall_takes_one_array_of_one_dtype_per_rank(self, comm):
        with pytest.raises(ValueError, match="one array per rank"):
            comm.alltoall([np.zeros(1)] * (comm.size + 1), name="exchange")
        with pytest.raises(ValueError, match="1-d"):
            comm.alltoall([np.zeros((1, 1))] * comm.size, name="exchange")

    def test_arrays_that_cannot_be_replaced_in_place_are_refused(self, comm):
        strided, read_only = np.zeros((4, 4), dtype=np.int64)[:, ::2], np.zeros(2, dtype=np.int64)
        read_only.flags.writeable = False
        for operation in (comm.allreduce_sum, comm.allreduce_max, comm.broadcast):
            with pytest.raises(TypeError, match="C-contiguous"):
                operation(strided, name="strided")
            with pytest.raises(ValueError, match="writeable"):
                operation(read_only, name="read-only")

    def test_python_objects_never_travel_as_arrays(self, comm):
        objects = np.array([None, "x"], dtype=object)
        for refused in (comm.broadcast, comm.allgather, comm.stack):
            with pytest.raises(TypeError, match="object"):
                refused(objects, name="objects")
        with pytest.raises(TypeError, match="object"):
            comm.alltoall([objects] * comm.size, name="objects")

    def test_gather_objects_gives_what_json_gives_back(self, comm):
        values = comm.gather_objects({"rank": comm.rank, "pair": (1, None), "text": "é" * comm.rank}, name="objects")
        assert values == [{"rank": rank, "pair": [1, None], "text": "é" * rank} for rank in range(comm.size)]

    def test_barrier(self, comm):
        assert comm.barrier(name="barrier") is None

    def test_ranks_under_other_numbers(self, comm):
        for order in (list(range(comm.size))[::-1], [(rank + 1) % comm.size for rank in range(comm.size)]):
            other = comm.renumbered(order)
            assert (other.size, other.ranks_on_node) == (comm.size, comm.ranks_on_node)
            assert order[other.rank] == comm.rank
            assert other.gather_objects(comm.rank, name="numbers") == order
            sent = other.alltoall([np.array([10 * other.rank + to]) for to in range(comm.size)], name="pairs")
            assert [int(part[0]) for part in sent] == [10 * source + other.rank for source in range(comm.size)]
            first = np.array([comm.rank])
            other.broadcast(first, name="first")
            assert first[0] == order[0]
            part = other.reduce_scatter_sum(other.work_array(comm.size), [1] * comm.size, name="parts")
            common = other.common_array([1] * comm.size, np.int64)
            common.mine[:] = comm.rank
            common.publish(name="common")
            assert len(part) == 1
            assert common.whole.tolist() == order
            common.close()
            assert comm.gather_objects(comm.rank, name="as before") == list(range(comm.size))

    def test_numbers_that_are_no_order_are_refused(self, comm):
        for order in ([], [0] * (comm.size + 1), [comm.size, *range(1, comm.size)]):
            with pytest.raises(ValueError, match="every rank"):
                comm.renumbered(order)


def bytes_as(dtype, length: int, *, seed: int) -> np.ndarray:
    """``length`` elements of any dtype, out of arbitrary bytes."""
    size = np.dtype(dtype).itemsize * length
    return ((np.arange(size) * 7 + seed * 31) % 2).astype(np.uint8).view(dtype) if size else np.empty(0, dtype=dtype)
