"""CSV files: cuts, lines, headers, compression; the same rows on any number of ranks."""

from __future__ import annotations

import bz2
import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.data import csv_text
from engine.data.dataset import Dataset
from engine.data.shard import read_shard
from engine.errors import DataError, MissingFileError, OptionError, StorageError
from tests import csv_oracle
from tests.reading import joined, raised_everywhere, read_everywhere, read_on, use_small_pieces
from tests.threads_comm import run_ranks


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    use_small_pieces(monkeypatch)


def write(folder, text, name="data.csv"):
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def rows_of(folder, text, **options):
    path = write(folder, text)
    return read_everywhere(lambda: Dataset(path, **options)).to_pylist()


NASTY = {
    "records of several lines": 'a,b\n"1\n2\n3",x\n"\n\n",y\n4,"z\r\nz"\n',
    "a record longer than any range": "a,b\n" + '"' + "x\n" * 300 + '",1\n2,3\n',
    "stray quotes": 'a,b\n5" nail,6"\nx"y"z,""\n"ab"cd,"e"f"\n',
    "doubled quotes": 'a,b\n"""",""""""\n"a""b","\n""\n"\n',
    "CRLF": "a,b\r\n1,2\r\n3,4\r\n",
    "lone CR": "a,b\r1,2\r3,4\r5,6",
    "mixed line ends": "a,b\r\n1,2\r3,4\n\r\n\r\r5,6\n\n\n",
    "no final newline": "a,b\n1,2\n3,4",
    "blank lines": "\n\r\n\na,b\n\n\n1,2\n\n\n\n\n\n\n\n\n\n\n3,4\n\n\n",
    "byte order mark": b"\xef\xbb\xbfa,b\n1,2\n3,4\n",
    "byte order mark and a quoted header": b'\xef\xbb\xbf"a\nb",b\n1,2\n3,4\n',
    "byte order marks that are text": "a,b\n\ufeff1,2\n\ufeffx,\ufeff\n" * 6,
    "one column": 'a\n1\n""\n\n2\n"x\n"\n',
    "open quote at the end": 'a,b\n1,2\n3,"x\ny\n',
    "a header longer than the file": "a" * 500 + ",b\n1,2\n",
    "other alphabets": "größe,名前\nä,日本\n1,\U0001f600\n" * 5,
}


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY.keys())
def test_nasty_files_read_the_same_on_any_number_of_ranks(tmp_path, text):
    data = text if isinstance(text, bytes) else text.encode()
    header, *records = csv_oracle.records(data.removeprefix(b"\xef\xbb\xbf"))
    names = [field.decode() for field in header.fields]
    path = write(tmp_path, data)
    table = read_everywhere(lambda: Dataset(path, column_types=dict.fromkeys(names, str)))
    assert table.schema.names == names
    expected = [[None if field in (b"", b"NA", b"null") else field.decode() for field in record.fields] for record in records]
    assert [list(row.values()) for row in table.to_pylist()] == expected


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(alphabet='a1,"\r\n', min_size=1, max_size=80), st.integers(2, 6))
def test_any_text_reads_as_the_naive_reader_reads_it(tmp_path, text, size):
    data = b"x,y\n" + text.encode()
    records = csv_oracle.records(data)[1:]
    path = write(tmp_path, data)

    def make():
        return Dataset(path, column_types={"x": str, "y": str}, null_values=[])

    if records and all(len(record.fields) == 2 for record in records):
        rows = joined(read_on(size, make)).to_pylist()
        assert [[row["x"].encode(), row["y"].encode()] for row in rows] == [record.fields for record in records]
        return
    first_wrong = next((record for record in records if len(record.fields) != 2), None)
    line = csv_oracle.line_ends(data[: first_wrong.start]) + 1 if first_wrong else None
    expected = f"line {line}: expected 2 fields, got {len(first_wrong.fields)}" if first_wrong else "expected rows"
    with pytest.raises(DataError, match=expected):
        read_on(1, make)
    with pytest.raises(DataError, match="expected 2 fields" if first_wrong else "expected rows"):
        read_on(size, make)


def test_no_rank_reads_it_all(tmp_path):
    path = write(tmp_path, "a,b\n" + "1,2\n" * 1000)
    heard: list[list[int]] = [[] for _ in range(4)]
    run_ranks(4, lambda comm: read_shard(Dataset(path), comm, on_bytes=heard[comm.rank].append))
    total = Dataset(path).input_bytes
    assert all(sum(each) < total // 3 for each in heard)
    assert total - 10 <= sum(map(sum, heard)) <= total


def test_more_ranks_than_rows(tmp_path):
    path = write(tmp_path, "a\n1\n2\n")
    shards = read_on(7, lambda: Dataset(path))
    assert joined(shards).to_pydict() == {"a": [1, 2]}
    assert sum(shard.table.num_rows == 0 for shard in shards) >= 5


def test_the_number_of_threads_changes_nothing(tmp_path, monkeypatch):
    path = write(tmp_path, "a,b\n" + "".join(f"0{i},{i / 8}\n" for i in range(300)) + "x,1\n" + "1,y\n" * 20)
    tables = []
    for threads in ("1", "4"):
        monkeypatch.setenv("SAMESUM_NUM_THREADS", threads)
        tables.append(joined(read_on(2, lambda: Dataset(path))).combine_chunks())
    assert tables[0].equals(tables[1])
    assert tables[0].schema.types == [pa.string(), pa.string()]
    monkeypatch.setenv("SAMESUM_NUM_THREADS", "many")
    raised_everywhere(lambda: Dataset(path), OptionError, "SAMESUM_NUM_THREADS", "'many'")


def test_files_lie_end_to_end_in_listed_order(tmp_path):
    later = write(tmp_path, "b,a\nx,1\n", "1.csv")
    first = write(tmp_path, "a,b\n2.5,y", "2.csv")
    write(tmp_path, "", "3.csv")
    header_only = write(tmp_path, "a,b\n", "4.csv")
    assert read_everywhere(lambda: Dataset([first, later, header_only])).to_pydict() == {"a": [2.5, 1.0], "b": ["y", "x"]}
    assert read_everywhere(lambda: Dataset(str(tmp_path))).to_pydict() == {"b": ["x", "y"], "a": [1.0, 2.5]}


def test_one_file_or_several_are_the_same_rows(tmp_path):
    lines = [f'{i},"text\n{i}"\n' for i in range(50)]
    whole = write(tmp_path, "a,b\n" + "".join(lines))
    parts = [write(tmp_path, "a,b\n" + "".join(lines[i : i + 7]), f"part-{i:02}.csv") for i in range(0, 50, 7)]
    assert read_everywhere(lambda: Dataset(parts)).equals(read_everywhere(lambda: Dataset(whole)).combine_chunks())


@pytest.mark.parametrize("suffix", [".csv.gz", ".csv.bz2", ".csv.zst"])
def test_compressed_files_belong_to_one_rank_each(tmp_path, suffix):
    rows = [f"{i},{i * i}\n" for i in range(900)]
    compress = {".csv.gz": gzip.compress, ".csv.bz2": bz2.compress, ".csv.zst": lambda data: pa.compress(data, "zstd", asbytes=True)}[
        suffix
    ]
    for part in range(4):
        text = "a,b\n" + "".join(rows[part * 200 : (part + 1) * 200 if part < 3 else None])
        write(tmp_path, compress(text.encode()), f"part{part}{suffix}")
    table = read_everywhere(lambda: Dataset(str(tmp_path)))
    assert table.column("a").to_pylist() == list(range(900))
    assert len([shard for shard in read_on(4, lambda: Dataset(str(tmp_path))) if shard.table.num_rows]) >= 3
    assert Dataset(str(tmp_path)).head(2).to_pydict() == {"a": [0, 1], "b": [0, 1]}


def test_a_compressed_file_of_two_members_among_plain_ones(tmp_path):
    first = write(tmp_path, "a\n1\n2\n", "1.csv")
    second = write(tmp_path, gzip.compress(b"a\n3\n4") + gzip.compress(b"4\n5\n"), "2.csv.gz")
    third = write(tmp_path, "a\n6\n" + "7\n" * 200, "3.csv")
    assert read_everywhere(lambda: Dataset([first, second, third])).column("a").to_pylist() == [1, 2, 3, 44, 5, 6] + [7] * 200


def test_damaged_compression_names_the_file(tmp_path):
    path = write(tmp_path, gzip.compress(b"a\n" + np.random.default_rng(0).bytes(5000).hex().encode())[:2000], "cut.csv.gz")
    with pytest.raises((StorageError, DataError), match=r"cut\.csv\.gz"):
        read_on(2, lambda: Dataset(path))
    raised_everywhere(lambda: Dataset(write(tmp_path, "a\n1\n", "plain.csv.gz")), StorageError, "plain.csv.gz")


def test_without_header(tmp_path):
    assert rows_of(tmp_path, '1,x\n"2\n",y\n', header=False) == [{"X1": "1", "X2": "x"}, {"X1": "2\n", "X2": "y"}]


def test_nameless_columns_are_named_by_place(tmp_path):
    assert rows_of(tmp_path, ",b,\n0,1,2\n") == [{"X1": 0, "b": 1, "X3": 2}]


def test_delimiters(tmp_path):
    assert rows_of(tmp_path, 'a;b\n"1;2";3,4\n', delimiter=";") == [{"a": "1;2", "b": "3,4"}]
    path = write(tmp_path, "a\tb\n1\t2\n", "data.tsv")
    assert read_everywhere(lambda: Dataset(path)).to_pylist() == [{"a": 1, "b": 2}]
    for delimiter in ("", ";;", '"', "\n", "é"):
        with pytest.raises(OptionError, match="delimiter: expected one ASCII character"):
            Dataset("x.csv", delimiter=delimiter)


def test_header_is_a_bool():
    with pytest.raises(OptionError, match="header: expected True or False, got 'infer'"):
        Dataset("x.csv", header="infer")


def test_only_asked_columns_are_parsed(tmp_path):
    path = write(tmp_path, b"a,b,c\n1,\xff,3\n4,\xff,6\n")
    assert read_everywhere(lambda: Dataset(path), ["c", "a"]).to_pydict() == {"c": [3, 6], "a": [1, 4]}


def test_what_python_writes_is_what_is_read(tmp_path):
    rng = np.random.default_rng(3)
    table = pa.table(
        {"x": rng.standard_normal(150), "n": rng.integers(-(2**63), 2**63 - 1, 150), "s": [json.dumps({"i": i}) for i in range(150)]}
    )
    pyarrow.csv.write_csv(table, tmp_path / "data.csv")
    assert read_everywhere(lambda: Dataset(tmp_path / "data.csv")).equals(table)


# --- bad input: one clear error on every rank ---


def test_missing_files(tmp_path):
    raised_everywhere(lambda: Dataset(str(tmp_path / "no.csv")), MissingFileError, "no.csv", "no such file")
    raised_everywhere(lambda: Dataset(str(tmp_path / "*.csv")), MissingFileError, "*.csv", "nothing matches")
    raised_everywhere(lambda: Dataset(str(tmp_path)), MissingFileError, "without data files")


def test_empty_files(tmp_path):
    raised_everywhere(lambda: Dataset(write(tmp_path, "")), DataError, "data.csv", "is empty")
    raised_everywhere(lambda: Dataset(write(tmp_path, "\n\r\n\n")), DataError, "data.csv", "no line but blank ones")
    raised_everywhere(lambda: Dataset(write(tmp_path, "a,b\n\n")), DataError, "data.csv", "expected rows", "header only")


@pytest.mark.parametrize(("bad", "got"), [("1\n", 1), ("1,2,3\n", 3)])
def test_ragged_rows_are_named_by_file_and_physical_line(tmp_path, bad, got):
    path = write(tmp_path, 'a,b\r\n"1\n1",2\r\n\r\n' + "3,4\r\n" * 40 + bad + "5,6\n" * 60)
    raised_everywhere(lambda: Dataset(path), DataError, f"{path}, line 45: expected 2 fields, got {got}: ")


def test_ragged_rows_in_compressed_files(tmp_path):
    path = write(tmp_path, gzip.compress(b"a,b\n" + b"1,2\n" * 100 + b"3\n"), "data.csv.gz")
    raised_everywhere(lambda: Dataset(path), DataError, f"{path}, line 102: expected 2 fields, got 1")


def test_an_open_quote_is_suspected(tmp_path):
    path = write(tmp_path, 'a,b\n1,2\n"3,4\n5,6\n')
    raised_everywhere(lambda: Dataset(path), DataError, "line 3: expected 2 fields, got 1", "a quote may have been left open")


def test_endless_records_are_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_text, "LONGEST_RECORD", 2000)
    path = write(tmp_path, 'a,b\n1,2\n"3' + ",4\n" * 1500)
    raised_everywhere(lambda: Dataset(path), DataError, f"{path}, line 3: expected records under 2 GiB; is a quote left open?")
    raised_everywhere(lambda: Dataset(write(tmp_path, '"' + "a,b\n" * 5000)), DataError, "expected a header line, got none in the first")


def test_bytes_that_are_not_utf8(tmp_path):
    path = write(tmp_path, b"a,b\n" + b"x,y\n" * 50 + b"caf\xe9,y\n" + b"x,y\n" * 50)
    raised_everywhere(lambda: Dataset(path), DataError, f"{path}, line 52: expected UTF-8 text, got the byte b'\\xe9'")
    raised_everywhere(lambda: Dataset(write(tmp_path, b"a,\xe9\n1,2\n")), DataError, "data.csv, line 1: expected a header")


def test_column_names(tmp_path):
    raised_everywhere(lambda: Dataset(write(tmp_path, "a,b,a\n1,2,3\n")), DataError, "data.csv", "'a' more than once")
    path = write(tmp_path, "label,odor,color\n1,2,3\n")
    for size in (1, 3):
        with pytest.raises(DataError, match=r"got 'odour'; did you mean 'odor'"):
            read_on(size, lambda: Dataset(path), ["label", "odour"])
        with pytest.raises(DataError, match=r"'odour'; did you mean 'odor'"):
            read_on(size, lambda: Dataset(path, column_types={"odour": str}))


def test_files_with_other_columns_are_named(tmp_path):
    first = write(tmp_path, "a,b\n1,2\n" * 1, "1.csv")
    second = write(tmp_path, "a,c\n1,2\n", "2.csv")
    raised_everywhere(lambda: Dataset([first, second]), DataError, f"{second}: expected the columns of {first}", "['b']", "['c']")


def test_given_types_that_do_not_fit_name_the_line(tmp_path):
    path = write(tmp_path, "a,b\n" + '1,"x\n"\n' * 30 + "oops,y\n" + "2,z\n" * 30)
    raised_everywhere(
        lambda: Dataset(path, column_types={"a": int}), DataError, f"{path}, line 62: column 'a': expected 'int64'", "got 'oops'"
    )
    raised_everywhere(lambda: Dataset(path, column_types={"a": pa.float64()}), DataError, "line 62: column 'a': expected 'double'")


def test_formats_must_be_known(tmp_path):
    raised_everywhere(lambda: Dataset(write(tmp_path, "a\n1\n", "data")), DataError, "ending in one of .csv")
    raised_everywhere(lambda: Dataset([write(tmp_path, "a\n1\n"), write(tmp_path, "", "b.parquet")]), DataError, "files of one format")
    assert read_everywhere(lambda: Dataset(write(tmp_path, "a\n1\n", "data"), format="csv")).to_pydict() == {"a": [1]}
    with pytest.raises(OptionError, match="format: expected one of 'csv', 'parquet', 'arrow', 'snap', got 'xls'"):
        Dataset("x", format="xls")


SKIPPED = {
    "nothing of them is looked at": (3, b'made by "hand\na,a,a,a\n\xff\xfe\n'),
    "CRLF": (2, b"one\r\ntwo\r\n"),
    "lone CR": (2, b"one\rtwo\r"),
    "blank lines count": (3, b"\n\nx\n"),
    "after a byte order mark": (1, b"\xef\xbb\xbfone\n"),
    "longer than the file": (2, b"x" * 700 + b"\n" + b'"' * 301 + b"\n"),
    "none": (0, b""),
}


@pytest.mark.parametrize("case", SKIPPED)
def test_lines_that_are_skipped(tmp_path, case):
    """Of every file, packed or not, with and without a header; errors still name the line of the file."""
    skip_lines, before = SKIPPED[case]
    end = "\r" if case == "lone CR" else "\n"
    text = f'größe,b{end}1,"x{end}y"{end}2,z{end}'.encode()
    write(tmp_path, before + text, "0.csv")
    write(tmp_path, gzip.compress(before + text), "1.csv.gz")
    expected = Dataset(write(tmp_path, text + text.partition(end.encode())[2], "plain.csv")).to_table()
    files = [str(tmp_path / name) for name in ("0.csv", "1.csv.gz")]
    assert read_everywhere(lambda: Dataset(files, skip_lines=skip_lines)) == expected
    assert Dataset(files, skip_lines=skip_lines).head(1).column_names == ["größe", "b"]
    without = Dataset(files, header=False, skip_lines=skip_lines + 1)
    assert read_everywhere(lambda: without).rename_columns(["größe", "b"]) == expected
    ragged = write(tmp_path, before + text + b"3\n", "ragged.csv")
    line = skip_lines + text.count(end.encode()) + 1
    raised_everywhere(lambda: Dataset(ragged, skip_lines=skip_lines), DataError, f"line {line}")


def test_files_of_fewer_lines_than_are_skipped(tmp_path):
    path = write(tmp_path, "a,b\n1,2\n")
    for skip_lines in (2, 3, 1000):
        raised_everywhere(lambda skip=skip_lines: Dataset(path, skip_lines=skip), DataError, "expected a CSV file with a header")
    for wrong in (-1, 1.0, True, "1"):
        with pytest.raises(OptionError, match="skip_lines: expected an integer, 0 or more"):
            Dataset(path, skip_lines=wrong)


def test_skipped_lines_of_an_edge_list(tmp_path):
    path = write(tmp_path, "graph, of 2\n# a\n1\t2\n2\t1\n", "edges.txt")
    assert read_everywhere(lambda: Dataset(path, format="snap", skip_lines=1)).to_pydict() == {"X1": [1, 2], "X2": [2, 1]}
