"""Design matrices: from any columns to blocks, means and scales; what is refused; rows that training has not seen."""

from __future__ import annotations

import datetime
import tracemalloc
import warnings

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.collectives.serial import SerialComm
from engine.data.blocks import align_stream
from engine.data.dataset import Dataset
from engine.data.stream import open_stream
from engine.encode.categories import fit_encoding
from engine.encode.dense_columns import BLOCK_ROWS, DenseColumn, block_values
from engine.encode.design_encoding import DesignEncoding
from engine.encode.design_fitting import fit_design
from engine.encode.design_matrix import predict_margins
from engine.errors import DataError
from tests.models.linear_rows import FEATURES, dense_matrix, mixed_table
from tests.threads_comm import run_ranks


def fit(data, comm=None, features=None, rescale=True):
    comm = comm or SerialComm()
    dataset = data if isinstance(data, Dataset) else Dataset(data)
    stream = align_stream(open_stream(dataset, comm), comm)
    encoding = fit_encoding(stream, features or dataset.columns, comm, max_categories=1 << 30)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return fit_design(stream, encoding, comm, rescale=rescale, borrow=dataset.is_borrowed, num_threads=1)


def rows_of(design):
    """The matrix as NumPy sees it, in the model's order, column by column."""
    layout = design.layout
    one = np.ldexp(np.eye(layout.n_columns + 1), design.powers[:, None])
    out = np.empty((layout.n_columns + 1, design.n_rows_local))
    out[layout.order] = design.matvec(one, None, num_threads=1)
    return out[:-1].T


@pytest.mark.parametrize("n", [1, 100, 20_000])
def test_every_kind_of_column(n):
    table = mixed_table(n)
    design, encoding = fit(table, features=FEATURES)
    expected = dense_matrix(table)
    np.testing.assert_array_equal(rows_of(design), expected)
    np.testing.assert_allclose(encoding.means, expected.mean(axis=0), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(encoding.scales, np.maximum(np.sqrt((expected**2).mean(axis=0)), 1e-5), rtol=1e-12)
    assert (fit(table, features=FEATURES, rescale=False)[1].scales == 1.0).all()


def test_columns_are_named_and_the_first_category_is_the_reference():
    table = pa.table(
        {
            "n": [1, 2],
            "s": ["b", None],
            "ü" * 300: ["z", "a"],
            "v": pa.array([[1.0, 2.0], [3.0, 4.0]]),
            "m": pa.array([[("k", 1.0)], []], type=pa.map_(pa.string(), pa.float64())),
            "l": [["t"], []],
        }
    )
    _, encoding = fit(table)
    long = "ü" * 300
    assert encoding.coefficient_index == [("n", None), ("s", None), (long, "z"), ("v", "0"), ("v", "1"), ("m", "k"), ("l", "t")]
    again = DesignEncoding.from_json(encoding.to_json(), encoding.arrays())
    assert again.coefficient_index == encoding.coefficient_index
    np.testing.assert_array_equal(again.scales, encoding.scales)


def test_dates_booleans_and_single_precision_are_numbers():
    day = datetime.date(2020, 1, 2)
    table = pa.table({"d": [day, day + datetime.timedelta(days=1)], "b": [True, False], "f": pa.array([0.5, 0.25], pa.float32())})
    day_number = (day - datetime.date(1970, 1, 1)).days * 86_400e6
    np.testing.assert_array_equal(rows_of(fit(table)[0]), [[day_number, 1.0, 0.5], [day_number + 86_400e6, 0.0, 0.25]])


def test_the_last_of_repeated_keys_wins_and_numbers_are_keys():
    kind = pa.map_(pa.int64(), pa.float64())
    table = pa.table({"m": pa.array([[(7, 1.0), (10, 2.0), (7, 3.0)], [(10, -4.0)]], type=kind)})
    design, encoding = fit(table)
    assert encoding.coefficient_index == [("m", "10"), ("m", "7")]
    np.testing.assert_array_equal(rows_of(design), [[2.0, 3.0], [-4.0, 0.0]])


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_ranks_hold_the_same_rows_and_know_the_same(size):
    table = mixed_table(30_000)
    alone, encoding = fit(table, features=FEATURES)

    def look(comm):
        design, own = fit(table, comm, features=FEATURES)
        assert own.means.tobytes() == encoding.means.tobytes()
        assert own.scales.tobytes() == encoding.scales.tobytes()
        assert design.first_row % BLOCK_ROWS == 0 or design.n_rows_local == 0
        assert design.exponents.tolist() == alone.exponents.tolist()
        return rows_of(design)

    np.testing.assert_array_equal(np.concatenate(run_ranks(size, look)), rows_of(alone))


@pytest.mark.parametrize("rows", [None, [100, 8192, 9000]])
def test_files_give_what_memory_gives(tmp_path, rows):
    table = mixed_table(20_000).select(["a", "i", "s"])
    path = tmp_path / "t.parquet"
    pa.parquet.write_table(table, path, row_group_size=7001)
    from_file, from_memory = fit(Dataset(str(path))), fit(table)
    np.testing.assert_array_equal(rows_of(from_file[0]), rows_of(from_memory[0]))
    assert from_file[1].scales.tobytes() == from_memory[1].scales.tobytes()


def test_memory_in_place_is_not_copied():
    columns = {f"f{j}": np.random.default_rng(j).normal(size=200_000) for j in range(20)}
    size = sum(column.nbytes for column in columns.values())
    data = Dataset(columns)
    tracemalloc.start()
    design, _ = fit(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.1 * size
    assert design.addresses[0].tolist() == [column.ctypes.data for column in columns.values()]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 20_000), st.booleans()), max_size=6), st.booleans())
def test_dense_columns_hold_what_they_were_given(pieces, adjacent):
    whole = np.random.default_rng(0).normal(size=sum(length for length, _ in pieces))
    column, at = DenseColumn(), 0
    for length, borrowed in pieces:
        part = whole[at : at + length]
        column.append(part if adjacent or borrowed else part.copy(), borrowed=borrowed)
        at += length
    column.close()
    n_blocks = -(-len(whole) // BLOCK_ROWS)
    assert len(column.addresses) == n_blocks
    for block, address in enumerate(column.addresses):
        part = whole[block * BLOCK_ROWS : (block + 1) * BLOCK_ROWS]
        np.testing.assert_array_equal(block_values(address, len(part)), part)


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize(
    ("column", "match"),
    [
        (np.where(np.arange(20_000) == 17_123, np.nan, 1.0), "column 'x' has a missing value in row 17123"),
        (np.where(np.arange(20_000) == 9_001, np.inf, 1.0), "column 'x' has inf in row 9001"),
        (np.where(np.arange(20_000) == 3, -1e200, 1.0), "column 'x' has values up to 1e\\+200, whose mean"),
        (pa.array([None if i == 12_345 else i for i in range(20_000)]), "column 'x' has a missing value in row 12345"),
        (pa.array([None if i == 19_999 else [("k", 1.0)] for i in range(20_000)], pa.map_(pa.string(), pa.float64())), "row 19999"),
        (pa.array([[1.0, None] if i == 15_000 else [1.0, 2.0] for i in range(20_000)]), "column 'x' has a missing value in row 15000"),
        (
            pa.array([[("k", float("inf"))] if i == 11 else [] for i in range(20_000)], pa.map_(pa.string(), pa.float64())),
            "has inf in row 11",
        ),
        (pa.array([None if i == 8_192 else ["t"] for i in range(20_000)]), "column 'x' has a missing value in row 8192"),
    ],
)
def test_what_is_refused_names_column_and_row_on_every_rank(size, column, match):
    table = pa.table({"a": np.arange(20_000.0), "x": column})

    def look(comm):
        with pytest.raises(DataError, match=match):
            fit(table, comm)
        return True

    assert run_ranks(size, look) == [True] * size


def test_all_missing_is_refused_and_constant_columns_warn():
    with pytest.raises(DataError, match="missing value in row 0"):
        fit(pa.table({"x": pa.array([None, None], pa.float64())}))
    stream = open_stream(Dataset({"c": np.full(50, 7.0), "x": np.arange(50.0)}), SerialComm())
    encoding = fit_encoding(stream, ["c", "x"], SerialComm())
    with pytest.warns(UserWarning, match="column 'c' has almost no variance"):
        fit_design(stream, encoding, SerialComm(), rescale=True, borrow=True, num_threads=1)


def test_missing_strings_are_a_category_and_one_category_is_no_column():
    design, encoding = fit(pa.table({"s": ["a", None, "a"], "o": ["x", "x", "x"]}))
    assert encoding.coefficient_index == [("s", None)]
    np.testing.assert_array_equal(rows_of(design), [[0.0], [1.0], [0.0]])


def test_new_rows_are_imputed_and_what_is_unseen_counts_as_nothing():
    kind = pa.map_(pa.string(), pa.float64())
    table = pa.table({"x": [1.0, 3.0], "s": ["a", "b"], "m": pa.array([[("k", 2.0)], [("k", 4.0)]], kind), "v": [[1.0, 2.0], [3.0, 6.0]]})
    _, encoding = fit(table)
    coefficients = np.array([[1.0, 10.0, 100.0, 1000.0, 10_000.0, 0.5]])
    new = pa.table(
        {
            "v": [[None, 1.0], None, [0.0, 0.0]],
            "x": [None, 5.0, float("nan")],
            "s": ["new", "b", None],
            "m": pa.array([None, [("other", 9.0)], [("k", 1.0)]], kind),
            "extra": [1, 2, 3],
        }
    )
    expected = [2.0 + 2000.0 + 10_000.0 + 0.5, 5.0 + 10.0 + 2000.0 + 40_000.0 + 0.5, 2.0 + 100.0 + 0.5]
    np.testing.assert_allclose(predict_margins(new, encoding, coefficients)[:, 0], expected)
    assert predict_margins(new.slice(0, 0), encoding, coefficients).shape == (0, 1)
    with pytest.raises(DataError, match="column 'x' was used in training and is not in the data"):
        predict_margins(new.drop_columns("x"), encoding, coefficients)


def test_predictions_are_those_of_the_dense_matrix():
    table = mixed_table(9000)
    _, encoding = fit(table, features=FEATURES)
    coefficients = np.random.default_rng(0).normal(size=(3, encoding.n_columns + 1))
    expected = dense_matrix(table) @ coefficients[:, :-1].T + coefficients[:, -1]
    np.testing.assert_allclose(predict_margins(table, encoding, coefficients), expected, rtol=1e-12, atol=1e-11)
