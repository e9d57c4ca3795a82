"""A column's type is decided by all its values, whatever the cuts; the naive classifier below says what each value accepts."""

from __future__ import annotations

import datetime
import re

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.data.csv_parse import ColumnPlan, parse_piece
from engine.data.csv_text import CsvFile, CsvFormat, Piece
from engine.data.dataset import Dataset
from engine.data.text_types import ALL_TYPES, STRING, TYPES, accepted_types, convert_text, first_misfit, type_of_mask
from engine.errors import OptionError
from tests.mpi_jobs import run_python
from tests.reading import joined, read_everywhere, read_on, use_small_pieces

INT, FLOAT, STR, BOOL, NULL, DATE = pa.int64(), pa.float64(), pa.string(), pa.bool_(), pa.null(), pa.date32()
STAMP, FINE_STAMP, ZONED = pa.timestamp("s"), pa.timestamp("ns"), pa.timestamp("s", "UTC")


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    use_small_pieces(monkeypatch)


def column_of(folder, values, **options):
    """Type and values of a column as every number of ranks reads it. A second column keeps empty values from being blank lines."""
    path = folder / "data.csv"
    path.write_text("x,end\n" + "".join(f"{value},e\n" for value in values))
    column = read_everywhere(lambda: Dataset(path, **options)).column("x")
    return column.type, column.to_pylist()


CASES = {
    "01,NA,3": (INT, [1, None, 3]),
    "01,NA,x": (STR, ["01", None, "x"]),
    "1,2.50,3": (FLOAT, [1.0, 2.5, 3.0]),
    "1.0,2.50,x": (STR, ["1.0", "2.50", "x"]),
    "true,False,TRUE": (BOOL, [True, False, True]),
    "0,1,1": (INT, [0, 1, 1]),
    "true,1,0": (INT, [1, 1, 0]),
    "true,0.5,false": (FLOAT, [1.0, 0.5, 0.0]),
    "true,x": (STR, ["true", "x"]),
    "tRUE,false": (STR, ["tRUE", "false"]),
    ",NA,null": (NULL, [None, None, None]),
    "9223372036854775807,-9223372036854775808": (INT, [2**63 - 1, -(2**63)]),
    "1,9223372036854775808": (FLOAT, [1.0, 2.0**63]),
    "1,nan,inf": (FLOAT, [1.0, float("nan"), float("inf")]),
    "+1,2": (INT, [1, 2]),
    "+1,+2.5": (FLOAT, [1.0, 2.5]),
    "+-1,2": (STR, ["+-1", "2"]),
    "0x10,3": (INT, [16, 3]),
    "0x10,1.5": (FLOAT, [16.0, 1.5]),
    " 1,2 ": (INT, [1, 2]),
    " true,false\t": (BOOL, [True, False]),
    " true,1": (INT, [1, 1]),
    " NA,1": (STR, [" NA", "1"]),
    "2020-01-31,NA,1999-12-01": (DATE, [datetime.date(2020, 1, 31), None, datetime.date(1999, 12, 1)]),
    "2020-01-31,2020-01-31 12:00:00": (STAMP, [datetime.datetime(2020, 1, 31), datetime.datetime(2020, 1, 31, 12)]),
    "2020-01-31,5": (STR, ["2020-01-31", "5"]),
    "2020-02-30,2020-01-01": (STR, ["2020-02-30", "2020-01-01"]),
    "2020-01-31,2020-01-31T12:00:00Z": (STR, ["2020-01-31", "2020-01-31T12:00:00Z"]),
    "2020-01-31T12:00:00+02:00": (ZONED, [datetime.datetime(2020, 1, 31, 10, tzinfo=datetime.timezone.utc)]),
    "9999-12-31 00:00:00,2020-01-01 00:00:00.123456789": (STR, ["9999-12-31 00:00:00", "2020-01-01 00:00:00.123456789"]),
}


@pytest.mark.parametrize("values", CASES)
@pytest.mark.parametrize("turned", [False, True], ids=["as written", "backwards"])
def test_types_by_the_whole_column(tmp_path, values, turned):
    expected, parsed = CASES[values]
    step = -1 if turned else 1
    given_type, given_values = column_of(tmp_path, values.split(",")[::step])
    assert given_type == expected
    assert [*map(str, given_values)] == [*map(str, parsed[::step])]


@pytest.mark.parametrize("odd", ["x", "2.5", "true", "+7", "0x1f", "99999999999999999999", ""])
@pytest.mark.parametrize("where", [0, 150, 299])
def test_one_odd_value_decides_wherever_it_is(tmp_path, odd, where):
    values = [f"{number:03}" for number in range(300)]
    values[where] = odd
    expected = accepted_types(pa.array([value or None for value in values]))
    given_type, given_values = column_of(tmp_path, values)
    assert given_type == type_of_mask(expected)
    assert given_values == convert_text(pa.array([value or None for value in values]), given_type).to_pylist()
    assert given_values[-2] == ("298" if odd == "x" else 298)


# --- any values, any cuts ---

PARTS = [
    "1",
    "0",
    "-7",
    "01",
    "2.5",
    "1e3",
    ".5",
    "true",
    "False",
    "NA",
    "",
    "null",
    "+3",
    "+-3",
    "0x1F",
    "0xg",
    " 4",
    "4 ",
    "nan",
    "-inf",
    "x",
    " true",
]
PARTS += ["9223372036854775808", "2020-01-31", "2020-13-01", "2020-01-31 10:20:30", "2020-01-31 10:20:30.5", "2020-01-31T10:20:30Z", "1-1"]
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf|infinity)", re.IGNORECASE)


def naive_rank(value):
    """How high a value is in null < bool < int64 < float64 < string."""
    value = value.strip(" \t")
    if value in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return 1
    if re.fullmatch(r"[+-]?\d+", value):
        return 2 if -(2**63) <= int(value) < 2**63 else 3
    if re.fullmatch(r"0[xX][0-9a-fA-F]{1,16}", value):
        return 2
    return 3 if NUMBER.fullmatch(value) else 4


steady = settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])


@steady
@given(st.lists(st.sampled_from([part for part in PARTS if "-0" not in part]), min_size=1, max_size=30), st.integers(2, 5))
def test_the_join_is_the_naive_one_on_any_number_of_ranks(tmp_path, values, size):
    path = tmp_path / "data.csv"
    path.write_text("x,end\n" + "".join(f"{value},e\n" for value in values))
    column = joined(read_on(size, lambda: Dataset(path))).column("x")
    seen = [value for value in values if value not in ("", "NA", "null")]
    assert column.type == (NULL, BOOL, INT, FLOAT, STR)[max(map(naive_rank, seen), default=0)]
    nulls = [None if value in ("", "NA", "null") else value for value in values]
    assert repr(column.to_pylist()) == repr(convert_text(pa.array(nulls, STR), column.type).to_pylist())
    if column.type == STR:
        assert column.to_pylist() == nulls


@steady
@given(st.lists(st.sampled_from(PARTS), max_size=12))
def test_a_column_accepts_what_all_values_accept(values):
    each = [accepted_types(pa.array([value])) for value in values]
    mask = ALL_TYPES & ~1 if values else ALL_TYPES
    for one in each:
        mask &= one
    assert accepted_types(pa.array(values, STR)) == mask


@steady
@given(st.lists(st.sampled_from(PARTS), min_size=1, max_size=6), st.sampled_from(TYPES))
def test_the_fast_parser_gives_no_other_values(values, target):
    """Whatever pyarrow's converters take, the definition takes, with the same values."""
    text = "".join(f'"{value}"\n' for value in values).encode()
    file = CsvFile("data.csv", len(text), ["x"], 0, True)
    form = CsvFormat(header=False, null_values=("NA",))
    parsed = parse_piece(Piece(file, 0, memoryview(text), True), {"x": ColumnPlan(1 << TYPES.index(target) | 1 << STRING)}, form)
    column = pa.array([None if value == "NA" else value for value in values], STR)
    if "x" in parsed.masks:
        assert first_misfit(column, target) >= 0
    else:
        assert parsed.columns["x"].type == target
        assert repr(parsed.columns["x"].to_pylist()) == repr(convert_text(column, target).to_pylist())


# --- options ---


def test_null_values(tmp_path):
    assert column_of(tmp_path, ["-", "", "3"], null_values=["-"]) == (STR, [None, "", "3"])
    assert column_of(tmp_path, ["-", "", "3"], null_values=["-", ""]) == (INT, [None, None, 3])
    assert column_of(tmp_path, ["NA", ""], null_values=[]) == (STR, ["NA", ""])
    with pytest.raises(OptionError, match="null_values: expected a list of strings, got 'NA'"):
        Dataset("x.csv", null_values="NA")


@pytest.mark.parametrize(
    ("given", "expected"),
    [(str, ["01", "2"]), (float, [1.0, 2.0]), ("int", [1, 2]), ("string", ["01", "2"]), (pa.float32(), [1.0, 2.0]), ("int8", [1, 2])],
)
def test_column_types_decide(tmp_path, given, expected):
    given_type, values = column_of(tmp_path, ["01", "2"], column_types={"x": given})
    assert repr(values) == repr(expected)
    assert given_type in (INT, FLOAT, STR)


def test_unknown_column_types_are_refused():
    for wrong in ("integer-ish", complex, pa.list_(pa.int64())):
        with pytest.raises(OptionError, match="column_types: expected .* for 'x', got"):
            Dataset("x.csv", column_types={"x": wrong})


def test_first_misfit():
    assert first_misfit(pa.array(["1", "2", "x", "y"]), INT) == 2
    assert first_misfit(pa.array(["1", None]), INT) == -1
    assert first_misfit(pa.array(["x"]), INT) == 0


def test_telling_types_does_not_import_pandas():
    source = "; ".join(
        [
            "import sys, pyarrow as pa",
            "from engine.data.text_types import accepted_types",
            "offsets = b''.join(each.to_bytes(4, 'little') for each in (0, 2, 4, 8))",
            "text = pa.StringArray.from_buffers(3, pa.py_buffer(offsets), pa.py_buffer(b'+1abtrue'))",
            "[accepted_types(text.slice(place, 1)) for place in range(3)]",
            "print('pandas' in sys.modules)",
        ]
    )
    assert run_python(source).out.strip() == "False"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["true", "FALSE", None], [True, False, None]),
        ([" True\t", "false"], [True, False]),
        ([None, None], [None, None]),
        ([], []),
        (["tru"], None),
        (["true\n"], None),
        (["trueFALSE"], None),
        (["tRUE"], None),
        (["1"], None),
    ],
)
def test_words_are_whole_words(words, expected):
    text = pa.array(words, pa.string())
    if expected is None:
        with pytest.raises(pa.ArrowInvalid, match="expected one of"):
            convert_text(text, pa.bool_())
    else:
        assert convert_text(text, pa.bool_()).to_pylist() == expected
