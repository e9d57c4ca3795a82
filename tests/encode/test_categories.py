"""Fitting encodings: the same categories, keys and lengths however rows are dealt to ranks."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.collectives.serial import SerialComm
from engine.encode import categories
from engine.encode.categories import all_missing, fit_encoding
from engine.errors import DataError
from tests.threads_comm import collect_ranks, run_ranks

SCHEMA = pa.schema(
    {
        "s": pa.string(),
        "v": pa.list_(pa.float64()),
        "m": pa.map_(pa.string(), pa.int64()),
        "tags": pa.list_(pa.string()),
        "x": pa.float64(),
    }
)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
row = st.fixed_dictionaries(
    {
        "s": st.none() | text,
        "v": st.none() | st.lists(st.none() | st.floats(-1, 1), min_size=2, max_size=2),
        "m": st.none() | st.dictionaries(text, st.none() | st.integers(-5, 5), max_size=3).map(lambda d: list(d.items())),
        "tags": st.none() | st.lists(st.none() | text, max_size=3),
        "x": st.none() | st.floats(),
    }
)


@settings(max_examples=30)
@given(st.lists(row, max_size=8), st.lists(st.integers(0, 8), min_size=1, max_size=6))
def test_any_deal_of_the_rows_gives_the_same_encoding(rows: list[dict], cuts: list[int]) -> None:
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    alone = fit_encoding(table, SCHEMA.names, SerialComm())
    bounds = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]

    def fit(comm):
        return fit_encoding(table.slice(bounds[comm.rank], bounds[comm.rank + 1] - bounds[comm.rank]), SCHEMA.names, comm)

    assert run_ranks(len(bounds) - 1, fit) == [alone] * (len(bounds) - 1)
    words = next(c for c in alone.columns if c.source == "s").categories
    assert words == (*sorted({r["s"] for r in rows} - {None}, key=str.encode), *([None] if any(r["s"] is None for r in rows) else []))
    assert {c.item for c in alone.columns if c.source == "m"} == {k for r in rows for k, value in r["m"] or [] if value is not None}
    assert {c.item for c in alone.columns if c.source == "tags"} == {t for r in rows for t in r["tags"] or [] if t is not None}
    assert len(alone.matrix(table)) == len(rows)


def test_vectors_of_different_lengths_on_different_ranks_are_refused_on_all() -> None:
    tables = [pa.table({"v": [[1.0, 2.0]]}), pa.table({"v": pa.array([], type=pa.list_(pa.float64()))}), pa.table({"v": [[1.0]]})]
    _, errors = collect_ranks(3, lambda comm: fit_encoding(tables[comm.rank], ["v"], comm))
    assert {str(error) for error in errors} == {"column 'v': expected vectors of one length, got lengths 1, 2"}
    assert {type(error) for error in errors} == {DataError}


def test_too_many_categories_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(categories, "MAX_CATEGORIES", 2)
    with pytest.raises(DataError, match=r"column 's' has 3 different values, expected at most 2; leave it out of features"):
        fit_encoding(pa.table({"s": ["a", "b", None]}), ["s"], SerialComm())
    assert len(fit_encoding(pa.table({"s": ["a", "b"]}), ["s"], SerialComm()).columns) == 1


def test_as_many_categories_as_fit_sixteen_bits() -> None:
    words = [f"{i:05}" for i in range(65_534)]
    table = pa.table({"s": [*words, None]})
    encoding = fit_encoding(table, ["s"], SerialComm())
    assert encoding.matrix(table)[:, 0].tolist() == list(range(65_535))
    with pytest.raises(DataError, match="65536 different values"):
        fit_encoding(pa.table({"s": [*words, None, "more"]}), ["s"], SerialComm())


def test_columns_that_hold_nothing_on_any_rank() -> None:
    columns = {"none": [None, None], "some": [None, 1.0], "nan": [np.nan, np.nan]}
    table = pa.table({name: pa.array(values, type=pa.float64()) for name, values in columns.items()})
    assert all_missing(table, list(columns), SerialComm()) == ["none"]
    assert run_ranks(3, lambda comm: all_missing(table.slice(comm.rank, 1), list(columns), comm)) == [["none"]] * 3
