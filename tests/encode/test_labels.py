"""Labels: classes of every type, numbers of every type, and what is no target."""

from __future__ import annotations

import datetime
import warnings

import numpy as np
import pyarrow as pa
import pytest

from engine.collectives.serial import SerialComm
from engine.data.stream import Stream, table_stream
from engine.encode import labels
from engine.encode.labels import encode_classes, encode_numbers, read_numbers
from engine.errors import DataError
from tests.threads_comm import collect_ranks, run_ranks


def stream_of(column: pa.Array | pa.ChunkedArray, first_row: int) -> Stream:
    return table_stream(pa.table({"y": column}), first_row)


def classes_of(column: pa.Array, first_row: int = 10) -> tuple[list[int], list, list[int]]:
    found = encode_classes(stream_of(column, first_row), target="y", comm=SerialComm())
    assert found.codes.dtype == np.int32
    return found.codes.tolist(), found.classes, found.counts


def numbers_of(column: pa.Array) -> list[float]:
    return encode_numbers(stream_of(column, 10), target="y", comm=SerialComm()).tolist()


@pytest.mark.parametrize(
    ("column", "codes", "classes"),
    [
        (pa.array(["b", "a", "b"]), [1, 0, 1], ["a", "b"]),
        (pa.array(["é", "z", "\U0001f600", "\uffff"]), [1, 0, 3, 2], ["z", "é", "\uffff", "\U0001f600"]),
        (pa.array(["b", "a", "b"], type=pa.large_string()), [1, 0, 1], ["a", "b"]),
        (pa.array([True, False]), [1, 0], [False, True]),
        (pa.array([3, -2, 10], type=pa.int8()), [1, 0, 2], [-2, 3, 10]),
        (pa.array([2**64 - 1, 0], type=pa.uint64()), [1, 0], [0, 2**64 - 1]),
        (pa.array([0.5, -1.0]), [1, 0], [-1.0, 0.5]),
        (pa.array([0.5, 0.25], type=pa.float32()), [1, 0], [0.25, 0.5]),
        (pa.array(np.array([0.5, 0.25], dtype=np.float16)), [1, 0], [0.25, 0.5]),
        (pa.array([-0.0, 1.0, 0.0]), [0, 1, 0], [0.0, 1.0]),
        (pa.array([9, 1, 2, 9]).slice(1, 2), [0, 1], [1, 2]),
    ],
)
def test_classes_are_numbered_by_sorted_value(column: pa.Array, codes: list[int], classes: list) -> None:
    found = classes_of(column)
    assert found[:2] == (codes, classes)
    assert found[2] == np.bincount(codes).tolist()
    assert not any(str(c) == "-0.0" for c in found[1])


@pytest.mark.parametrize("kind", [pa.int8(), pa.int64(), pa.uint16(), pa.uint64()])
@pytest.mark.parametrize("dtype", [np.int32, np.float64])
def test_integers_near_and_far_are_classes_if_they_occur(kind: pa.DataType, dtype: type) -> None:
    for values in ([7, 3, 3, 100, 7], [0, 120, 5], [3, 4] * 50_000, [7] * 70_000 + [3] * 70_000):
        chunks = [values[:2], values[2:]]
        found = encode_classes(stream_of(pa.chunked_array(chunks, kind), 0), target="y", comm=SerialComm(), dtype=dtype)
        assert found.classes == sorted(set(values))
        assert found.codes.dtype == dtype
        assert [found.classes[int(code)] for code in found.codes] == values
        assert found.counts == [values.count(each) for each in found.classes]


def test_integers_at_both_ends_are_classes() -> None:
    codes, classes, counts = classes_of(pa.array([2**63 - 1, -(2**63), 0], pa.int64()))
    assert (codes, classes, counts) == ([2, 0, 1], [-(2**63), 0, 2**63 - 1], [1, 1, 1])


def test_classes_are_the_same_on_any_rank_count() -> None:
    column = pa.chunked_array([pa.array(["c", "a", "b", "a"])])

    def encode(comm):
        bounds = [4 * r // comm.size for r in range(comm.size + 1)]
        part = column.slice(bounds[comm.rank], bounds[comm.rank + 1] - bounds[comm.rank])
        return encode_classes(stream_of(part, bounds[comm.rank]), target="y", comm=comm)

    for size in (1, 2, 3, 7):
        parts = run_ranks(size, encode)
        assert [code for part in parts for code in part.codes.tolist()] == [2, 0, 1, 0]
        assert all(part.classes == ["a", "b", "c"] and part.counts == [2, 1, 1] for part in parts)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array(["a", None, "b", None]), r"target 'y' has a missing value in row 11: expected a value in every row; drop such rows"),
        (pa.array([1.0, 2.0, np.nan]), r"target 'y' has nan in row 12: expected a finite number; drop such rows"),
        (pa.array([1.0, -np.inf]), r"target 'y' has -inf in row 11: expected a finite number"),
        (pa.array(["a", "a"]), r"target 'y' has one class, 'a': one-class classification is not supported; expected two or more"),
        (pa.array([], type=pa.string()), r"target 'y' has no rows: expected two classes or more"),
        (pa.nulls(2), r"target 'y' has a missing value in row 10"),
        (pa.array([datetime.date(2020, 1, 1)]), r"target 'y': expected classes that are strings, .* got date32\[day\]"),
        (pa.array([[1], [2]]), r"target 'y': expected classes .* got list"),
    ],
)
def test_columns_without_classes_are_refused(column: pa.Array, message: str) -> None:
    with pytest.raises(DataError, match=message):
        classes_of(column)


def test_too_many_classes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "MAX_CLASSES", 2)
    with pytest.raises(DataError, match=r"target 'y' has 3 classes, expected at most 2; is this a regression\?"):
        classes_of(pa.array([1, 2, 3]))


def test_so_many_classes_that_they_are_not_all_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "MOST_COUNTED", 4)
    with pytest.raises(DataError, match=r"target 'y' has more than 4 classes, expected at most 65535; is this a regression\?"):
        classes_of(pa.array(np.arange(9)))


def test_the_row_of_a_missing_value_is_global_and_known_to_all_ranks() -> None:
    parts = [pa.array([1.0]), pa.array([], type=pa.float64()), pa.array([2.0, None])]
    for encode in (encode_classes, encode_numbers):
        _, errors = collect_ranks(3, lambda comm, encode=encode: encode(stream_of(parts[comm.rank], comm.rank), target="y", comm=comm))
        assert {str(e) for e in errors} == {
            "target 'y' has a missing value in row 3: expected a value in every row; drop such rows (on rank 2)"
        }


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([3, -2], type=pa.int16()), [3, -2]),
        (pa.array([True, False]), [1, 0]),
        (pa.array([0.5, 1e100], type=pa.float64()), [0.5, 1e100]),
        (pa.array([5e-324, 0.0]), [5e-324, 0]),
        (pa.array([0.5, 2.0], type=pa.float32()), [0.5, 2]),
    ],
)
def test_numbers(column: pa.Array, expected: list[float]) -> None:
    assert numbers_of(column) == expected


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array([1.0, None]), r"target 'y' has a missing value in row 11: expected a value in every row; drop such rows"),
        (pa.array([1.0, np.nan]), r"target 'y' has nan in row 11: expected a number in \[-1e\+100, 1e\+100\]; drop such rows"),
        (pa.array([np.inf, 1.0]), r"target 'y' has inf in row 10: expected a number in"),
        (pa.array([1.0, 2.0, -2e100]), r"target 'y' has -2e\+100 in row 12: expected a number in"),
        (pa.array(["1"]), r"target 'y': expected numbers for a regression, got string; use a classifier for classes"),
        (pa.array([datetime.date(2020, 1, 1)]), r"target 'y': expected numbers for a regression, got date32\[day\]"),
        (pa.array([], type=pa.float64()), r"target 'y' has no rows: expected one or more"),
    ],
)
def test_columns_without_numbers_are_refused(column: pa.Array, message: str) -> None:
    with pytest.raises(DataError, match=message):
        numbers_of(column)


def test_numbers_in_memory_are_not_copied() -> None:
    values = np.arange(200_000.0)
    found = encode_numbers(table_stream(pa.table({"y": values[7:-5]})), target="y", comm=SerialComm())
    assert np.shares_memory(found, values)
    assert np.array_equal(found, values[7:-5])
    assert not found.flags.writeable


@pytest.mark.parametrize("kept", [slice(0, 4), slice(2, 9), slice(6, 6)])
def test_numbers_in_pieces(kept: slice) -> None:
    """Pieces of one array and of others, in any order, with empty ones between."""
    whole, other = pa.array(np.arange(10.0)), pa.array(np.arange(10.0) + 20.0)
    adjacent, swapped, apart = [whole[:3], whole[3:]], [whole[3:], whole[:3]], [whole[:3], whole[4:]]
    for pieces in (adjacent, swapped, apart, [whole[:3], other[3:]], [whole[:0], whole[2:5], whole[5:5], other]):
        column = pa.chunked_array(pieces)[kept]
        assert read_numbers(stream_of(column, 0), "y", "target", most=1e9).tolist() == column.to_pylist()


def test_a_constant_target_only_warns_and_only_once() -> None:
    with pytest.warns(UserWarning, match=r"target 'y' is constant \(1.5\): the model will predict little else"):
        assert numbers_of(pa.array([1.5, 1.5])) == [1.5, 1.5]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        one = pa.chunked_array([pa.array([1.5])])
        run_ranks(3, lambda comm: encode_numbers(stream_of(one, comm.rank), target="y", comm=comm))
    assert len(caught) == 1


def test_a_target_that_is_constant_on_every_rank_alone_is_not_constant() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parts = [[1.0], [], [2.0]]
        columns = [pa.chunked_array([pa.array(part, type=pa.float64())]) for part in parts]
        found = run_ranks(3, lambda comm: encode_numbers(stream_of(columns[comm.rank], 0), target="y", comm=comm).tolist())
    assert found == parts
