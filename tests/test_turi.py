"""Frames, columns and graphs under the names of GraphLab Create: lazy, and for toolkits the same as what they are made of."""

import array
import contextlib
import datetime
import io
import math
import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import engine
import launch
import samesum as gl
from engine import storage
from engine.data.shard import read_shard
from engine.errors import DataError, MissingFileError, OptionError
from engine.spec import JobSpec
from tests.launch.fake_backend import FakeBackend
from tests.threads_comm import run_ranks
from tests.training import MUSHROOM

FILES = ("model.json", "arrays.safetensors")
NAMES = {"größe": [1.5, None, 3.0, math.nan], "日本": ["ä", "b\nc", None, ""], "n": [1, 2, 3, 4], "ok": [True, None, False, True]}


@pytest.fixture
def frame():
    return gl.SFrame(NAMES)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("id,größe,text\n" + "".join(f"{i},{'' if i % 5 == 0 else i / 4},t{i % 3}\n" for i in range(300)), encoding="utf-8")
    return str(path)


def rows(given):
    """The rows of a frame; NaN as None, which it is for this API."""
    return [{name: None if value != value else value for name, value in row.items()} for row in given]


def saved(model, folder):
    model.save(folder)
    return [(folder / name).read_bytes() for name in FILES]


def test_making_a_frame_opens_nothing(monkeypatch):
    for name in ("list_files", "open_file", "read_bytes", "file_size"):
        monkeypatch.setattr(storage, name, lambda *_: pytest.fail("a file was looked at"))
    for address in ("hdfs:///no/such/path", "s3://bucket/key.csv", "http://127.0.0.1:9/x.csv", "no.csv", ["a.parquet", "b.parquet"]):
        first, second = gl.SFrame(address)[["a", "ö"]].random_split(0.8, seed=3)
        assert first.as_dataset().as_spec().paths == second.as_dataset().as_spec().paths
        assert isinstance(first["a"], gl.SArray)
    assert gl.SFrame.read_csv("no.txt", skiprows=2, column_type_hints={"a": str}).as_dataset().as_spec().skip_lines == 2
    graph = gl.SGraph(gl.SFrame("v.csv"), gl.SFrame("hdfs:///edges"), vid_field="id", src_field="from", dst_field="to")
    assert repr(graph) == "SGraph(vertices=Dataset('v.csv'), edges=Dataset('hdfs:///edges'))"


@pytest.mark.parametrize(
    "data",
    [NAMES, pd.DataFrame(NAMES), pl.DataFrame(NAMES), pa.table(NAMES), engine.Dataset(NAMES), gl.SFrame(NAMES)],
    ids=lambda data: type(data).__module__ + "." + type(data).__name__,
)
def test_a_frame_of_anything(data):
    made = gl.SFrame(data)
    assert (made.column_names(), made.num_rows(), made.num_columns(), len(made), made.shape) == (list(NAMES), 4, 4, 4, (4, 4))
    assert made["日本"].to_arrow().to_pylist() == NAMES["日本"]
    assert made["n"].to_numpy().tolist() == [1, 2, 3, 4]
    assert pa.table(made).num_rows == pl.DataFrame(made).height == len(made.to_dataframe()) == 4


def test_what_is_no_frame():
    for wrong in (7, [1, 2], b"x", {"a": [1, "x"]}, {"a": [1], "b": [1, 2]}):
        with pytest.raises(DataError):
            gl.SFrame(wrong)
    with pytest.raises(OptionError, match="format: expected one of 'auto'"):
        gl.SFrame("a.csv", format="excel")
    with pytest.raises(MissingFileError):
        gl.SFrame("no.csv").num_rows()


def test_types(frame, path):
    assert frame.column_types() == [float, str, int, bool]
    assert gl.SFrame(path).column_types() == [int, float, str]
    day = datetime.date(2020, 2, 29)
    others = pa.table({"v": pa.array([[1.0, 2.0]], pa.list_(pa.float64(), 2)), "d": [day], "m": [{"a": 1.5}], "none": [None], "l": [["x"]]})
    assert gl.SFrame(others).column_types() == [array.array, datetime.datetime, dict, type(None), list]


def test_rows_columns_masks_and_slices(frame, path):
    assert rows(frame) == [dict(zip(NAMES, row, strict=True)) for row in zip(*[[None if v != v else v for v in c] for c in NAMES.values()])]  # noqa: B905
    assert frame[["n", "größe"]].column_names() == ["n", "größe"]
    assert rows(frame[frame["n"] > 2]["n", "日本"]) == [{"n": 3, "日本": None}, {"n": 4, "日本": ""}]
    assert frame[frame["ok"]]["n"].to_arrow().to_pylist() == [1, 4]
    assert frame[[True, False, None, True]].num_rows() == 2
    assert (frame[0]["日本"], frame[-1]["n"], frame[np.int64(1)]["n"]) == ("ä", 4, 2)
    many = gl.SFrame(path)
    assert [each["id"].to_arrow().to_pylist() for each in (many[2:8:3], many[-2:], many[:2], many[5:2])] == [[2, 5], [298, 299], [0, 1], []]
    assert many.head(3)["id"].to_arrow().to_pylist() == [0, 1, 2]
    assert many.tail(3)["id"].to_arrow().to_pylist() == [297, 298, 299]
    assert many.tail(1000).num_rows() == 300
    assert sum(row["id"] for row in many) == sum(range(300))
    with pytest.raises(DataError, match="got 'grösse'; did you mean 'größe'"):
        frame["grösse"].to_arrow()
    with pytest.raises(IndexError):
        frame[4]
    with pytest.raises(DataError, match="a column of 4 values to choose rows by, got one of 2"):
        frame[[True, False]]
    with pytest.raises(DataError, match="true or false"):
        frame[frame["größe"]]
    with pytest.raises(OptionError, match="a place, a slice or a column"):
        frame[{"n": 1}]


def test_columns_that_are_set(frame, path):
    frame["twice"] = frame["n"] * 2
    frame["same"] = "é"
    frame["n"] = [9, 8, None, 6]
    assert frame.column_names() == [*NAMES, "twice", "same"]
    assert [frame[name].to_arrow().to_pylist() for name in ("n", "twice", "same")] == [[9, 8, None, 6], [2, 4, 6, 8], ["é"] * 4]
    del frame["日本"]
    assert "日本" not in frame.column_names()
    with pytest.raises(DataError, match="expected 4 values for column 'x', got 2"):
        frame["x"] = [1, 2]
    with pytest.raises(DataError, match="got 'twise'; did you mean 'twice'"):
        del frame["twise"]
    made = gl.SFrame()
    made["a"] = gl.SArray([1, 2])
    assert rows(made) == [{"a": 1}, {"a": 2}]
    del made["a"]
    assert made.shape == (0, 0)
    lazy = gl.SFrame(path)
    del lazy["text"]
    assert lazy.as_dataset().as_spec().columns == ("id", "größe")


def test_missing_values(frame, path):
    assert [row["n"] for row in frame.dropna()] == [1]
    assert [row["n"] for row in frame.dropna("größe")] == [1, 3]
    assert [row["n"] for row in frame.dropna(["größe", "日本"], how="all")] == [1, 2, 3, 4]
    assert [row["n"] for row in frame.dropna(["größe", "ok"], how="all")] == [1, 3, 4]
    assert gl.SFrame(path).dropna().num_rows() == 240
    assert frame.fillna("größe", 0.0)["größe"].to_arrow().to_pylist()[:3] == [1.5, 0.0, 3.0]
    assert (frame["größe"].num_missing(), len(frame["größe"].dropna())) == (2, 2)
    assert gl.SFrame({"x": np.array([1.0, math.nan])}).dropna().num_rows() == 1
    everything = gl.SFrame({"x": [None, None], "y": [1, 2]})
    assert (everything.dropna("x").num_rows(), everything.dropna("x").column_names()) == (0, ["x", "y"])
    with pytest.raises(OptionError, match="how must be 'any' or 'all', got 'some'"):
        frame.dropna(how="some")
    with pytest.raises(DataError, match="got 'x'"):
        frame.dropna("x")


def test_splits_are_those_of_datasets(path):
    first, second = gl.SFrame(path).random_split(0.7, seed=5)
    others = engine.Dataset(path).random_split(0.7, seed=5)
    assert [each.to_table() for each in (first, second)] == [each.to_table() for each in others]
    assert gl.SFrame(path).random_split(0.5)[0].to_table() == gl.SFrame(path).random_split(0.5, seed=0)[0].to_table()
    assert first.append(second).num_rows() == 300
    with pytest.raises(DataError, match="expected the columns"):
        first.append(first[["id"]])
    joined = gl.SFrame({"a": [1], "b": ["x"]}).append(gl.SFrame({"b": ["y"], "a": [0.5]}))
    assert rows(joined) == [{"a": 1.0, "b": "x"}, {"a": 0.5, "b": "y"}]


def test_small_and_empty_frames(tmp_path):
    (tmp_path / "header.csv").write_text("ä,b\n")
    for empty in (gl.SFrame(tmp_path / "header.csv"), gl.SFrame({"ä": [], "b": []})):
        assert (empty.shape, empty.column_names(), list(empty), len(empty.dropna()), len(empty.tail())) == ((0, 2), ["ä", "b"], [], 0, 0)
        assert len(empty["b"]) == len(empty["b"] == 1) == empty.random_split(0.5)[0].num_rows() == 0
        assert str(empty) == "+---+---+\n| ä | b |\n+---+---+\n+---+---+\n[0 rows x 2 columns]"
    assert (str(gl.SFrame()), gl.SFrame().shape) == ("[0 rows x 0 columns]", (0, 0))
    assert str(gl.SFrame({"a": [1]})) == "+---+\n| a |\n+---+\n| 1 |\n+---+\n[1 rows x 1 columns]"


def test_what_is_printed(frame, path):
    assert str(frame).splitlines() == [
        "+-------+------+---+-------+",
        "| größe | 日本 | n |  ok   |",
        "+-------+------+---+-------+",
        "|  1.5  |  ä   | 1 | True  |",
        "| None  | b\\nc | 2 | None  |",
        "|  3.0  | None | 3 | False |",
        "| None  |      | 4 | True  |",
        "+-------+------+---+-------+",
        "[4 rows x 4 columns]",
    ]
    many = gl.SFrame(path)
    assert str(many).splitlines()[4 + 10 :] == [
        "[? rows x 3 columns]",
        "Note: Only the head of the SFrame is printed.",
        "You can use print_rows(num_rows=m, num_columns=n) to print more rows and columns.",
    ]
    assert many.num_rows() == 300
    assert "[300 rows x 3 columns]" in str(many)
    wide = gl.SFrame({f"column {i}": ["x" * 50, "[red]y[/red]"] for i in range(6)})
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        wide.print_rows(num_rows=1, num_columns=4, max_column_width=12, max_row_width=40)
    assert max(map(len, printed.getvalue().splitlines()[:-4])) <= 40
    assert printed.getvalue().count("+--------------+--------------+\n| column 0 ") == 0
    assert "column 3" in printed.getvalue()
    assert "column 4" not in printed.getvalue()
    assert "xxxxxxxx ..." in printed.getvalue()
    assert "[red]y[/red]" in str(wide)
    assert "größe" in frame._repr_html_()


def test_reading_csv(tmp_path):
    text = 'made by "hand\n\nid;größe;zip\n1;n/a;01\n2;2.5;02\n3;4;03\n'
    path = tmp_path / "rows.txt"
    path.write_text(text, encoding="utf-8")
    options = {"delimiter": ";", "na_values": ["n/a"], "skiprows": 2}
    read = gl.SFrame.read_csv(path, column_type_hints={"zip": str}, **options)
    assert rows(read) == [{"id": 1, "größe": None, "zip": "01"}, {"id": 2, "größe": 2.5, "zip": "02"}, {"id": 3, "größe": 4.0, "zip": "03"}]
    for size in (1, 2, 3, 7):
        parts = run_ranks(size, lambda comm: read_shard(read.as_dataset(), comm).table)
        assert pa.concat_tables(parts).equals(read.to_table())
    assert gl.SFrame.read_csv(path, column_type_hints=str, **options).column_types() == [str] * 3
    assert gl.SFrame.read_csv(path, column_type_hints=[float, float, int], **options).column_types() == [float, float, int]
    assert rows(gl.SFrame.read_csv(path, usecols=["zip"], nrows=2, **options)) == [{"zip": 1}, {"zip": 2}]
    assert gl.SFrame.read_csv(path, ";", False, skiprows=3, quote_char='"').column_names() == ["X1", "X2", "X3"]
    assert gl.SFrame.read_csv(path, skiprows=1000).as_dataset().as_spec().skip_lines == 1000
    with pytest.raises(DataError, match="expected a CSV file with a header"):
        gl.SFrame.read_csv(path, skiprows=1000).num_rows()
    with pytest.raises(OptionError, match="expected 3 types, as many as columns, got 2"):
        gl.SFrame.read_csv(path, column_type_hints=[int, int], **options)
    with pytest.raises(OptionError, match="error_bad_lines must be True, got False: lines that do not fit are errors"):
        gl.SFrame.read_csv(path, error_bad_lines=False)
    with pytest.raises(OptionError, match="read_csv has no option 'seperator'"):
        gl.SFrame.read_csv(path, seperator=";")
    with pytest.raises(OptionError, match="skip_lines: expected an integer, 0 or more, got -1"):
        gl.SFrame.read_csv(path, skiprows=-1)
    with pytest.raises(OptionError, match="expected int, float, str, bool or datetime.datetime for 'zip', got dict"):
        gl.SFrame.read_csv(path, column_type_hints={"zip": dict}, **options)


def test_saving(frame, path, tmp_path):
    frame.save(tmp_path / "folder")
    assert rows(gl.load_sframe(tmp_path / "folder")) == rows(gl.SFrame(tmp_path / "folder", format="sframe")) == rows(frame)
    lazy = gl.SFrame(path)
    lazy.save(tmp_path / "one", format="csv")
    lazy.save(tmp_path / "one.parquet")
    for name in ("one.csv", "one.parquet"):
        assert (tmp_path / name).is_file()
        assert gl.SFrame(tmp_path / name).to_table() == lazy.to_table()
    lazy[lazy["id"] < 5].save(path)
    assert gl.SFrame(path).num_rows() == 5
    with pytest.raises(OptionError, match="format: expected None, 'binary' or 'csv', got 'json'"):
        lazy.save(tmp_path / "x", format="json")


def test_columns(path):
    column, other = gl.SArray([1, None, 3]), gl.SArray(np.array([2.0, 5.0, 0.5]))
    values = {
        "+": column + other,
        "r+": 10 + column,
        "-": column - 1,
        "r-": 1 - column,
        "*": 2 * column,
        "/": column / 2,
        "r/": 6 / column,
        "neg": -column,
        "abs": abs(-column),
        "==": column == 3,
        "!=": column != 3,
        "<": column < other,
        ">=": column >= 2,
        "&": (column > 0) & [True, True, False],
        "|": (column > 1) | (other > 1),
        "~": ~(column > 1),
        "text": gl.SArray(["a", None]) + "é",
        "apply": column.apply(lambda value: f"{value}!"),
        "fillna": column.fillna(7),
        "str": column.astype(str),
        "int": gl.SArray([1.7, -1.7]).astype(int),
        "bool": gl.SArray([True, None], str),
    }
    assert {name: each.to_arrow().to_pylist() for name, each in values.items()} == {
        "+": [3.0, None, 3.5],
        "r+": [11, None, 13],
        "-": [0, None, 2],
        "r-": [0, None, -2],
        "*": [2, None, 6],
        "/": [0.5, None, 1.5],
        "r/": [6.0, None, 2.0],
        "neg": [-1, None, -3],
        "abs": [1, None, 3],
        "==": [False, None, True],
        "!=": [True, None, False],
        "<": [True, None, False],
        ">=": [False, None, True],
        "&": [True, None, False],
        "|": [True, True, True],
        "~": [True, None, False],
        "text": ["aé", None],
        "apply": ["1!", None, "3!"],
        "fillna": [1, 7, 3],
        "str": ["1", None, "3"],
        "int": [1, -1],
        "bool": ["true", None],
    }
    assert (column.sum(), column.mean(), column.min(), column.max(), column.std(), gl.SArray([]).sum()) == (4, 2.0, 1, 3, 1.0, None)
    assert (column[0], column[-1], list(column[1:]), list(column[column > 1]), column.dtype) == (1, 3, [None, 3], [3], int)
    assert list(gl.SArray(["b", "a", "b", None]).unique()) == ["b", "a", None]
    lazy = gl.SFrame(path)["größe"]
    assert (lazy.dtype, len(lazy), list(lazy.head(3)), lazy.num_missing()) == (float, 300, [None, 0.25, 0.5], 60)
    assert repr(gl.SFrame(path)["text"]).startswith("dtype: str\nRows: ?\n['t0', 't1', 't2'")
    assert repr(column) == "dtype: int\nRows: 3\n[1, None, 3]"
    for wrong in (lambda: column + "a", lambda: column < [1], lambda: gl.SArray(["x"]).astype(int), lambda: gl.SArray([2**63 - 1]) + 1):
        with pytest.raises(DataError):
            wrong()
    with pytest.raises(OptionError, match="combine columns with & and"):
        bool(column == 1)
    with pytest.raises(IndexError):
        column[3]


TRAINED = {
    "boosted_trees_classifier": {"target": "label", "max_iterations": 2},
    "boosted_trees_regression": {"target": "n", "max_iterations": 2},
    "random_forest_classifier": {"target": "label", "max_iterations": 2},
    "random_forest_regression": {"target": "n", "max_iterations": 2},
    "linear_regression": {"target": "n"},
    "logistic_classifier": {"target": "label"},
    "svm_classifier": {"target": "label"},
}
TREES = {"predict", "evaluate", "get_feature_importance", "extract_features", "dump_to_text", "dump_to_json"}
ANY = {"get", "list_fields", "get_current_options", "summary", "save"}
PROBABLE = {"classify", "predict_topk"}
ASKED = {
    "boosted_trees_classifier": TREES | PROBABLE,
    "boosted_trees_regression": TREES,
    "random_forest_classifier": TREES | PROBABLE,
    "random_forest_regression": TREES,
    "linear_regression": {"predict", "evaluate"},
    "logistic_classifier": {"predict", "evaluate", *PROBABLE},
    "svm_classifier": {"predict", "evaluate", "classify"},
}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Rows for all toolkits that learn from rows, as a file."""
    path = tmp_path_factory.mktemp("table") / "rows.csv"
    lines = [f"{'pe'[i * 7 % 5 > 2]},{i * 37 % 11},{i * 13 % 7 / 4},{'äöü'[i % 3]}" for i in range(120)]
    path.write_text("label,n,x,s\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("toolkit", TRAINED)
def test_a_frame_trains_as_its_path_does(toolkit, table, tmp_path):
    """On any number of ranks; and the model answers what users of this API ask, about frames."""
    create = getattr(gl, toolkit).create
    options = {"verbose": False, **TRAINED[toolkit]}
    expected = saved(create(table, **options), tmp_path / "path")
    model = create(gl.SFrame(table), **options)
    assert saved(model, tmp_path / "frame") == expected
    assert saved(create(gl.SFrame(gl.SFrame(table).to_table()), **options), tmp_path / "memory") == expected
    assert saved(run_ranks(3, lambda comm: create(gl.SFrame(table), comm=comm, **options))[0], tmp_path / "ranks") == expected
    assert not {name for name in ASKED[toolkit] | ANY if not callable(getattr(model, name, None))}
    frame, target = gl.SFrame(table), options["target"]
    assert model.predict(frame) == model.predict(table)
    assert model.evaluate(frame).keys() == model.evaluate(table).keys()
    assert (model["target"], model.get("target"), model.target) == (target,) * 3
    chosen = model.get_current_options()
    assert chosen["max_iterations"] == options.get("max_iterations", 10)
    assert set(chosen) <= set(model.list_fields())
    if "classify" in ASKED[toolkit]:
        assert model.classify(frame).num_rows == 120
        right = (frame[target] == model.predict(frame)).sum() / 120
        assert right == (model.predict(frame) == frame[target]).mean() == pytest.approx(model.evaluate(frame)["accuracy"])
    train, test = frame.random_split(0.8, seed=1)
    tracked = create(train, validation_set=test, **options)
    assert tracked["num_validation_examples"] == test.num_rows()
    with pytest.raises(DataError, match="did you mean"):
        create(gl.SFrame(table), **{**options, "target": "lable"})


def test_a_frame_of_shards(table):
    """A dataset of parts stays one: each rank's rows are its own."""
    rows = engine.Dataset(table).to_table()
    options = {"target": "label", "max_iterations": 2, "verbose": False}

    def train(comm):
        part = engine.Dataset(rows.slice(comm.rank * 60, 60), sharded=True)
        return gl.boosted_trees_classifier.create(gl.SFrame(part), comm=comm, **options)["trees_json"]

    assert run_ranks(2, train)[0] == gl.boosted_trees_classifier.create(table, **options)["trees_json"]


@pytest.mark.parametrize("as_text", [False, True])
def test_graphs(as_text):
    """Vertices and edges one by one, as frames, and from several; ids of one kind."""

    def name(number):
        return f"ä{number}" if as_text else number

    graph = gl.SGraph().add_vertices([gl.Vertex(name(1), {"label": "x"}), gl.Vertex(name(9))])
    graph = graph.add_edges([gl.Edge(name(1), name(2)), gl.Edge(name(2), name(3), {"w": 0.5}), gl.Edge(name(1), name(2))])
    assert graph.summary() == {"num_vertices": 4, "num_edges": 3}
    more = graph.add_edges(gl.SFrame({"to": [name(4)], "from": [name(9)], "w": [2]}), "from", "to")
    more = more.add_vertices(pd.DataFrame({"id": [name(1), name(4)], "size": [1.5, 2.5]}), vid_field="id").add_vertices(gl.Vertex(name(7)))
    assert graph.summary() == {"num_vertices": 4, "num_edges": 3}
    assert more.summary() == {"num_vertices": 6, "num_edges": 4}
    found = {row["__id"]: (row["label"], row["size"]) for row in more.vertices}
    assert found == {name(1): (None, 1.5), name(4): (None, 2.5), **{name(i): (None, None) for i in (2, 3, 7, 9)}}
    assert sorted(tuple(row.values()) for row in more.edges if row["w"] is not None) == [
        (name(2), name(3), 0.5),
        (name(9), name(4), 2.0),
    ]
    assert more.get_fields() == ["__id", "label", "size", "__src_id", "__dst_id", "w"]
    assert repr(more).splitlines()[0] == "SGraph({'num_vertices': 6, 'num_edges': 4})"
    with pytest.raises(DataError, match="ids of one kind"):
        more.add_edges(gl.Edge(1.5, 2.5) if as_text else gl.Edge("a", "b")).summary()
    with pytest.raises(DataError, match="a list of Vertex"):
        more.add_vertices([gl.Vertex(1), gl.Edge(1, 2)])


def test_small_graphs():
    assert gl.SGraph().summary() == {"num_vertices": 0, "num_edges": 0}
    assert gl.SGraph().vertices.column_names() == ["__id"]
    assert gl.SGraph().add_edges(gl.Edge("a", "a")).summary() == {"num_vertices": 1, "num_edges": 1}
    assert gl.SGraph().add_vertices(gl.Vertex("日本")).vertices[0] == {"__id": "日本"}
    assert gl.SGraph(edges=gl.SFrame({"__src_id": [1], "__dst_id": [2]})).summary() == {"num_vertices": 2, "num_edges": 1}
    with pytest.raises(DataError, match="'__src_id'"):
        gl.SGraph().add_edges(gl.SFrame({"a": [1], "b": [2]})).summary()


def test_attributes_that_are_set():
    graph = gl.SGraph(edges=gl.SFrame({"a": [3, 1, 2], "b": [1, 2, 3]}), src_field="a", dst_field="b")
    graph.vertices["label"] = graph.vertices["__id"].apply(lambda number: {1: "x", 3: "y"}.get(number))
    graph.edges["w"] = graph.edges["__src_id"] / 2
    assert rows(graph.vertices) == [{"__id": 1, "label": "x"}, {"__id": 2, "label": None}, {"__id": 3, "label": "y"}]
    assert {(row["__src_id"], row["w"]) for row in graph.edges} == {(3, 1.5), (1, 0.5), (2, 1.0)}
    model = gl.label_propagation.create(graph, label_field="label", weight_field="w", verbose=False)
    assert model["labels"].column("predicted_label").to_pylist() == ["x", "x", "y"]
    del graph.edges["w"]
    assert graph.get_edge_fields() == ["__src_id", "__dst_id"]
    for view, name in ((graph.vertices, "__id"), (graph.edges, "__dst_id")):
        with pytest.raises(OptionError, match="which has the ids"):
            view[name] = 1
        with pytest.raises(OptionError, match="which has the ids"):
            del view[name]


def test_a_graph_ranks_as_its_edges_do(tmp_path):
    """Lazily, from memory, on any number of ranks, saved and loaded: the same bytes; in the order of its vertices."""
    rng = np.random.default_rng(3)
    edges = pa.table({"from": rng.integers(0, 40, 200), "to": rng.integers(0, 40, 200)})
    path = tmp_path / "edges.csv"
    pa.csv.write_csv(edges, path)
    plain = engine.Graph(str(path), src="from", dst="to")
    expected = saved(gl.pagerank.create(plain, verbose=False), tmp_path / "plain")
    graphs = {
        "file": gl.SGraph().add_edges(gl.SFrame(path), "from", "to"),
        "memory": gl.SGraph(edges=edges, src_field="from", dst_field="to"),
        "parts": gl.SGraph().add_edges(edges.slice(0, 99), "from", "to").add_edges(edges.slice(99), "from", "to"),
    }
    graphs["file"].save(tmp_path / "saved")
    graphs["loaded"] = gl.load_sgraph(tmp_path / "saved")
    for name, graph in graphs.items():
        assert saved(gl.pagerank.create(graph, verbose=False), tmp_path / name) == expected
        ranked = run_ranks(3, lambda comm, graph=graph: gl.pagerank.create(graph, verbose=False, comm=comm))
        assert saved(ranked[0], tmp_path / f"{name}3") == expected
    model = gl.pagerank.create(graphs["file"], verbose=False)
    assert model["pagerank"].column("__id").to_pylist() == list(graphs["file"].vertices["__id"])
    assert saved(gl.pagerank.create(engine.Graph.source(str(path), src="from", dst="to"), verbose=False), tmp_path / "said") == expected
    with pytest.raises(TypeError, match="expected an engine.Graph as graph"):
        gl.pagerank.create(gl.SFrame(path))
    with pytest.raises(OptionError, match="save its vertices and its edges"):
        graphs["file"].save(tmp_path / "x", format="csv")


@pytest.mark.parametrize(
    ("text", "format", "delimiter"),
    [
        ("# a\n1\t2\n2\t1\n", "snap", "auto"),
        ("1,2\n2,1\n", "csv", "auto"),
        ("1;2\n2;1\n", "csv", ";"),
        ("1\t2\n2\t1\n", "tsv", "auto"),
    ],
)
def test_edge_lists(tmp_path, text, format, delimiter):
    (tmp_path / "edges.txt").write_text(text)
    graph = gl.load_sgraph(tmp_path / "edges.txt", format=format, delimiter=delimiter)
    assert [tuple(row.values()) for row in graph.edges] == [(2, 1), (1, 2)]
    with pytest.raises(OptionError, match="format: expected 'binary', 'snap'"):
        gl.load_sgraph(tmp_path / "edges.txt", format="dot")


def test_jobs_take_frames_and_graphs(tmp_path, monkeypatch, capfd):
    """What is far away is described; what is here is staged."""
    backend = FakeBackend()
    monkeypatch.setenv("SAMESUM_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setattr("launch.submitting.backend_of", lambda spec: backend)
    monkeypatch.setattr("launch.job.backend_of", lambda spec: backend)
    cluster = launch.local_cluster.create("here", num_workers=2, worker_memory=512, num_threads=1, working_dir=tmp_path / "jobs")

    def spec_of(job):
        return JobSpec.from_json((tmp_path / "jobs" / job.job_id / "job.json").read_text())

    far = gl.SFrame.read_csv("hdfs://h:1/data.txt", delimiter=";", skiprows=1)[["label", "ä"]].random_split(0.8, seed=2)[0]
    submit = gl.distributed.boosted_trees_classifier.submit_training_job
    spec = spec_of(submit(env=cluster, dataset=far, target="label", validation_set=gl.SFrame("s3://b/v.csv")))
    assert (spec.data.paths, spec.data.skip_lines, spec.data.columns, spec.data.splits) == (
        ("hdfs://h:1/data.txt",),
        1,
        ("label", "ä"),
        ((0.8, 2, True),),
    )
    assert (spec.validation.paths, spec.staged) == (("s3://b/v.csv",), None)
    spec = spec_of(submit(env=cluster, dataset=gl.SFrame({"label": ["a", "b"], "ä": [1, 2]}), target="label"))
    assert rows(gl.SFrame(spec.data.paths[0])) == [{"label": "a", "ä": 1}, {"label": "b", "ä": 2}]
    graph = gl.SGraph(gl.SFrame({"id": [1, 2]}), gl.SFrame("hdfs://h:1/edges.csv"), vid_field="id", src_field="from", dst_field="to")
    spec = spec_of(gl.distributed.pagerank.submit_training_job(env=cluster, graph=graph))
    assert (spec.data.paths, spec.graph.src, spec.graph.dst, spec.graph.vid) == (("hdfs://h:1/edges.csv",), "from", "to", "id")
    assert gl.SFrame(spec.graph.vertex_data.paths[0]).num_rows() == 2


def test_names():
    """Everything of the session is under one name; asking for it starts no MPI."""
    code = "import samesum as gl, sys\nassert 'pyarrow' not in sys.modules\n"
    names = ["SFrame", "SArray", "SGraph", "Vertex", "Edge", "load_sframe", "load_sgraph", "load_model", "SFrame.read_csv"]
    names += ["deploy.hadoop_cluster.create", "deploy.environments"]
    names += [f"{toolkit}.create" for toolkit in engine.spec.TOOLKITS + engine.spec.GRAPH_TOOLKITS]
    names += [f"distributed.{toolkit}.submit_training_job" for toolkit in engine.spec.TOOLKITS + engine.spec.GRAPH_TOOLKITS]
    code += "".join(f"gl.{name}\n" for name in names)
    code += "gl.SFrame('hdfs:///x')\nprint([name for name in sys.modules if name.startswith('mpi4py')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=MUSHROOM.parents[2])
    assert (done.stdout, done.stderr) == ("[]\n", "")
