"""Encodings: stored and read again, applied to other tables than those they were fitted on."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from engine.collectives.serial import SerialComm
from engine.data.stream import table_stream
from engine.encode.categories import fit_encoding
from engine.encode.encoding import Encoding
from engine.errors import DataError

TABLE = pa.table(
    {
        "word": ["b", None, "a"],
        "v": [[1.0, 2.0], [3.0, 4.0], None],
        "m": pa.array([[("k", 1)], None, [("j", 2)]], type=pa.map_(pa.string(), pa.int64())),
        "tags": [["red"], [], None],
        "n": [1, 2, 3],
        "x": [0.5, None, 1.5],
    }
)
NAMES = ["word", "v[0]", "v[1]", 'm["j"]', 'm["k"]', "tags=red", "n", "x"]


def fit(table: pa.Table = TABLE) -> Encoding:
    return fit_encoding(table_stream(table), table.column_names, SerialComm())


def test_names_and_kinds() -> None:
    encoding = fit()
    assert [column.name for column in encoding.columns] == NAMES
    assert [column.kind for column in encoding.columns] == ["category", *["float"] * 4, "indicator", "integer", "float"]
    assert encoding.sources == {"word": "str", "v": "vector", "m": "dict", "tags": "list", "n": "int", "x": "float"}


def test_json_and_back() -> None:
    encoding = fit()
    again = Encoding.from_json(json.loads(json.dumps(encoding.to_json())))
    assert again == encoding
    assert again.matrix(TABLE).tobytes() == encoding.matrix(TABLE).tobytes()


def test_other_orders_and_more_columns_do_not_matter() -> None:
    shuffled = TABLE.select([*reversed(TABLE.column_names)]).append_column("extra", pa.array([b"", b"", b""]))
    assert fit().matrix(shuffled).tobytes() == fit().matrix(TABLE).tobytes()


def test_rows_do_not_depend_on_each_other() -> None:
    encoding = fit()
    single = [encoding.matrix(TABLE.slice(i, 1)) for i in range(3)]
    assert np.concatenate(single).tobytes() == encoding.matrix(TABLE).tobytes()
    assert encoding.matrix(TABLE.slice(0, 0)).shape == (0, 8)


def test_unseen_categories_keys_and_elements() -> None:
    encoding = fit(pa.table({"word": ["b", "a"], "tags": [["red"], []]}))
    assert encoding.matrix(pa.table({"word": ["c", None, "a"], "tags": [["blue"], None, ["red", "blue"]]})).tolist()[2] == [0, 1]
    matrix = encoding.matrix(pa.table({"word": ["c", None], "tags": [["blue"], None]}))
    assert matrix[:, 0].tolist() == [-1, -1]
    assert np.isnan(matrix[:, 1]).all()


def test_numbers_meet_the_categories_that_they_spell() -> None:
    encoding = fit(pa.table({"code": ["1", "2", "true"]}))
    assert encoding.matrix(pa.table({"code": [2, 1, 3]}))[:, 0].tolist() == [1, 0, -1]
    assert encoding.matrix(pa.table({"code": [True, False]}))[:, 0].tolist() == [2, -1]
    assert encoding.matrix(pa.table({"code": pa.nulls(1)}))[:, 0].tolist() == [-1]


def test_long_and_strange_names() -> None:
    name = "ä" * 5000 + "\n[0]=\"'"
    encoding = fit(pa.table({name: [[1.0]], "": [1.0]}))
    assert [column.name for column in encoding.columns] == [f"{name}[0]", ""]
    assert Encoding.from_json(json.loads(json.dumps(encoding.to_json()))) == encoding


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ({"wort": ["a"]}, r"column 'word' was used in training and is not in the data \(did you mean 'wort'\?\); columns: 'wort'"),
        ({"word": ["a"], "v": [1.0]}, r"column 'v' was trained on vectors of length 2; expected lists of numbers, got double"),
        ({"word": ["a"], "v": [[1.0]]}, r"column 'v': expected vectors of length 2 in every row, got 1 in row 0"),
        ({"word": ["a"], "v": [["a", "b"]]}, r"column 'v': expected numbers, got string"),
        ({"word": ["a"], "v": [[1.0, 2.0]], "m": [1]}, r"column 'm' was trained on maps; expected maps of numbers, got int64"),
    ],
)
def test_data_of_another_kind_is_refused(column: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        fit().matrix(pa.table(column))


def test_text_where_numbers_were_is_refused() -> None:
    with pytest.raises(DataError, match=r"column 'n': expected numbers, got string"):
        fit(pa.table({"n": [1]})).matrix(pa.table({"n": ["1"]}))
    with pytest.raises(DataError, match=r"column 'tags' was trained on lists of strings; expected lists, got string"):
        fit(pa.table({"tags": [["a"]]})).matrix(pa.table({"tags": ["a"]}))


def test_nulls_and_numbers_of_another_width_are_welcome() -> None:
    encoding = fit(pa.table({"x": [1.5], "n": [2]}))
    assert encoding.matrix(pa.table({"x": pa.array([3], type=pa.int8()), "n": [2.5]})).tolist() == [[3, 2.5]]
    assert np.isnan(encoding.matrix(pa.table({"x": pa.nulls(1), "n": pa.nulls(1)}))).all()
