"""Graphs from files and memory: the same on any number of ranks, and one line for what cannot be a graph."""

import gzip
import json

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import engine
from engine.errors import DataError, MissingFileError, ModelFileError, OptionError, StorageError
from tests.reading import use_small_pieces
from tests.threads_comm import collect_ranks, run_ranks

SIZES = (1, 2, 3, 4, 7)
PAIRS = [(7, 3), (3, 3), (-2, 7), (7, 3), (2**63 - 1, -(2**63)), (3, -2)]
TEXTS = [("b", "ä"), ("ä", "ä"), ("", "b"), ("b", "ä"), ("z" * 70_000, "日本"), ("ä", "")]


def load(make, size, threads=None):
    """The whole graph as ``make(comm)`` loads it on ``size`` ranks: ids, edges and vertices."""

    def load_part(comm):
        graph = make(comm)
        return graph.summary(), graph.edges, graph.vertices

    parts = run_ranks(size, load_part)
    edges, vertices = (pa.concat_tables([part[which] for part in parts]).combine_chunks() for which in (1, 2))
    assert all(part[0] == {"num_vertices": vertices.num_rows, "num_edges": edges.num_rows} for part in parts)
    return edges, vertices


def load_everywhere(make):
    """The graph, after checking that every number of ranks has the same one."""
    edges, vertices = load(make, 1)
    for size in SIZES[1:]:
        others = load(make, size)
        assert edges.equals(others[0])
        assert vertices.equals(others[1])
    return edges, vertices


def key(value):
    return value.encode() if isinstance(value, str) else value


def check(make, pairs, extra=()):
    """The graph has these edges, sorted, and these vertices beside their ends."""
    edges, vertices = load_everywhere(make)
    expected = sorted(pairs, key=lambda pair: (key(pair[1]), key(pair[0])))
    assert list(zip(*edges.select(["__src_id", "__dst_id"]).to_pydict().values(), strict=True)) == expected
    assert vertices.column("__id").to_pylist() == sorted({*extra, *(end for pair in pairs for end in pair)}, key=key)
    return edges, vertices


def failure(make, size=2):
    """The message of the one error that all ranks raise."""
    errors = collect_ranks(size, make)[1]
    assert len({str(error) for error in errors}) == 1, errors
    assert isinstance(errors[0], engine.errors.EngineError), errors[0]
    return type(errors[0]), str(errors[0])


@pytest.fixture
def write(tmp_path):
    def write_file(text, name="edges.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write_file


def lines(pairs, delimiter=",", end="\n"):
    return "".join(f"{source}{delimiter}{destination}{end}" for source, destination in pairs)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("pairs", [PAIRS, [pair for pair in TEXTS if "" not in pair]])
def test_csv(write, monkeypatch, pairs, end):
    path = write("from,to" + end + lines(pairs, end=end))
    check(lambda comm: engine.Graph(path, src="from", dst="to", comm=comm), pairs)
    check(lambda comm: engine.Graph(path, src="to", dst="from", comm=comm), [pair[::-1] for pair in pairs])
    use_small_pieces(monkeypatch)
    check(lambda comm: engine.Graph(path, comm=comm, num_threads=2), pairs)


def test_tables_in_memory():
    table = pa.table({"a": [a for a, _ in PAIRS], "b": [b for _, b in PAIRS]})
    columns = table.to_pydict()
    forms = [table, columns, {name: np.array(values) for name, values in columns.items()}, pd.DataFrame(columns), pl.DataFrame(columns)]
    for edges in forms:
        check(lambda comm, edges=edges: engine.Graph(edges, comm=comm), PAIRS)
    texts = {"a": [a for a, _ in TEXTS], "b": [b for _, b in TEXTS]}
    for edges in (texts, pl.DataFrame(texts), pd.DataFrame(texts, dtype="category")):
        check(lambda comm, edges=edges: engine.Graph(edges, comm=comm), TEXTS)


def test_parquet_and_arrow(tmp_path):
    table = pa.table({"x": np.arange(900.0), "a": np.arange(900) * 7919 % 500, "b": np.arange(900) * 104729 % 300})
    pairs = list(zip(table["a"].to_pylist(), table["b"].to_pylist(), strict=True))
    pq.write_table(table, tmp_path / "e.parquet", row_group_size=77)
    with pa.ipc.new_file(tmp_path / "e.arrow", table.schema) as sink:
        sink.write_table(table, max_chunksize=50)
    for name in ("e.parquet", "e.arrow"):
        edges, _ = check(lambda comm, name=name: engine.Graph(str(tmp_path / name), src="a", dst=2, comm=comm), pairs)
        order = np.lexsort((np.arange(900), table["a"], table["b"]))
        assert edges.column("x").to_pylist() == order.tolist()


def test_tabs_and_many_files(write, tmp_path):
    for number, part in enumerate((PAIRS[:2], PAIRS[2:])):
        write("from\tto\r\n" + lines(part, "\t", "\r\n"), f"e{number}.tsv")
    check(lambda comm: engine.Graph(str(tmp_path / "*.tsv"), comm=comm), PAIRS)


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ('# a graph\n# a\tb\n1\t2\n3\t1\n# in the middle "\n2\t2', [(1, 2), (3, 1), (2, 2)]),
        ("1 2\n\n#\n3 1\n", [(1, 2), (3, 1)]),
        ("#c\r\nx\ty\r\n# one more\r\ny\tz\r\n", [("x", "y"), ("y", "z")]),
        ("5,6\n6,5", [(5, 6), (6, 5)]),
        ('"a\tb\n"a\tc"\n', [('"a', "b"), ('"a', 'c"')]),
    ],
)
def test_edge_lists_of_archives(write, monkeypatch, text, pairs):
    path = write(text, "graph.txt")
    check(lambda comm: engine.Graph(path, format="snap", comm=comm), pairs)
    packed = write(gzip.compress(text.encode()), "graph.txt.gz")
    check(lambda comm: engine.Graph(packed, format="snap", comm=comm), pairs)
    use_small_pieces(monkeypatch)
    check(lambda comm: engine.Graph(path, format="snap", comm=comm), pairs)


def test_comments_beside_a_header_and_attributes(write):
    path = write("# made by hand\nto;from;w;t\n1;2;0.5;x\n# 9;9;9;9\n3;1;2;y\n1;2;0.25;z")

    def make(comm):
        return engine.Graph(path, src="from", dst="to", delimiter=";", comment="#", comm=comm)

    edges, _ = check(make, [(2, 1), (1, 3), (2, 1)])
    assert edges.column("w").to_pylist() == [0.5, 0.25, 2.0]
    assert edges.column("t").to_pylist() == ["x", "z", "y"]
    assert load(lambda comm: engine.Graph(path, delimiter=";", comment="#", edge_fields=["t"], comm=comm), 2)[0].schema.names[2:] == ["t"]


def test_attributes_and_isolated_vertices(write):
    edges = write("s,d,w\n" + "".join(f"{a},{b},{a}\n" for a, b in PAIRS[:4]))
    vertices = write("name,id\n" + "n9,9\nn7,7\nn8,8\nn7,7\n", "v.csv")

    def make(comm):
        return engine.Graph(edges, vertices, vid="id", comm=comm)

    _, found = check(make, PAIRS[:4], extra=(8, 9))
    assert found.column("name").to_pylist() == [None, None, "n7", "n8", "n9"]


def test_quoted_ids_and_other_spellings_of_integers(write):
    quoted = write('a,b\n"x, y",z\nz,"say ""hi"""\n')
    check(lambda comm: engine.Graph(quoted, comm=comm), [("x, y", "z"), ("z", 'say "hi"')])
    spelt = write('a,b\n+1, 2\n"3",0004\n-9223372036854775808,9223372036854775807\n', "spelt.csv")
    check(lambda comm: engine.Graph(spelt, comm=comm), [(1, 2), (3, 4), (-(2**63), 2**63 - 1)])


@pytest.mark.parametrize("last", ["x", "9223372036854775808", "1.0", "1 2", "-", "\uff10"])
def test_one_id_that_is_no_integer_makes_all_of_them_text(write, monkeypatch, last):
    use_small_pieces(monkeypatch)
    pairs = [(str(n), f"0{n}") for n in range(300)] + [("7", last)]
    path = write("a,b\n" + lines(pairs))
    check(lambda comm: engine.Graph(path, comm=comm), pairs)
    numbers = write("a,b\n1,2\n", "e.csv")
    names = write(f"id\n{last}\n", "v.csv")
    check(lambda comm: engine.Graph(numbers, names, comm=comm), [("1", "2")], extra=(last,))


def test_column_types_decide(write):
    path = write("a,b\n1,2\n")
    check(lambda comm: engine.Graph(path, column_types={"a": str, "b": str}, comm=comm), [("1", "2")])


@pytest.mark.parametrize("size", SIZES)
def test_small_graphs(write, size):
    header, one = write("a,b\n"), write("1\n", "v.csv")
    edges, vertices = load(lambda comm: engine.Graph(header, comm=comm), size)
    assert (edges.num_rows, vertices.num_rows) == (0, 0)
    edges, vertices = load(lambda comm: engine.Graph({"a": [], "b": []}, one, header=False, comm=comm), size)
    assert vertices.column("__id").to_pylist() == [1]
    edges, vertices = load(lambda comm: engine.Graph({"a": [5], "b": [5]}, comm=comm), size)
    assert edges.to_pylist() == [{"__src_id": 5, "__dst_id": 5}]


def test_all_edges_on_one_rank():
    def make(comm):
        pairs = PAIRS if comm.rank == 1 else PAIRS[:0]
        table = pa.table({"a": pa.array([a for a, _ in pairs], pa.int64()), "b": pa.array([b for _, b in pairs], pa.int64())})
        return engine.Graph(engine.Dataset(table, sharded=True), comm=comm)

    edges, vertices = load(make, 3)
    assert edges.equals(load(lambda comm: engine.Graph({"a": [a for a, _ in PAIRS], "b": [b for _, b in PAIRS]}, comm=comm), 1)[0])
    assert vertices.num_rows == 5


def test_a_side_of_a_split(write):
    path = write("a,b\n" + lines([(n, n + 1) for n in range(200)]))
    half = engine.Dataset(path).random_split(0.5, seed=3)[0]
    check(lambda comm: engine.Graph(half, comm=comm), [tuple(row.values()) for row in half.to_table().to_pylist()])


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("a,b\n1,2\n", {"src": "c"}, "expected a column of the edges, got 'c'"),
        ("a,b\n1,2\n", {"dst": 2}, "position of a column of the edges, 0 to 1, got 2"),
        ("a\n1\n", {}, "position of a column of the edges, 0 to 0, got 1"),
        ("a,b\n1,2\n\n3,\n", {}, "edges.csv, line 4: column 'b': expected the id of a vertex, got a null value in '3,'"),
        ("a,b\nx,2\nNA,y\n", {}, "edges.csv, line 3: column 'a': expected the id of a vertex, got a null value in 'NA,y'"),
        ("a,b\n1,2\n3\n", {}, "edges.csv, line 3: expected 2 fields, got 1: '3'"),
        ("a,b\nx,2\ny,z,w\n", {}, "edges.csv, line 3: expected 2 fields, got 3: 'y,z,w'"),
        (b"a,b\nx,y\n\xff,z\n", {}, "edges.csv, line 3: expected UTF-8 text"),
        ("", {}, "edges.csv: expected a CSV file with a header, but it is empty"),
        ("# only\n", {"format": "snap"}, "expected a CSV file with rows, but it holds no line but blank ones"),
        ("# c\n1\t2\n# d\n3\t4\t5\n", {"format": "snap"}, "edges.csv, line 4: expected 2 fields, got 3: '3\\t4\\t5'"),
        ("a,b\n1,2\n", {"edge_fields": ["w"]}, "expected a column of the edges, got 'w'"),
        ("a,b\n1,2\n", {"column_types": {"a": float, "b": int}}, "column 'a' of the edges: expected ids, integers or strings, got"),
        ("a,b\n1,2\n", {"column_types": {"a": str, "b": int}}, "of one type, got 'string' in column 'a' and 'int64' in column 'b'"),
    ],
)
def test_what_is_no_graph(write, text, options, words):
    path = write(text)
    kind, message = failure(lambda comm: engine.Graph(path, comm=comm, **options))
    assert kind is DataError
    assert words in message


def test_types_of_typed_columns():
    def message(edges, vertices=None):
        return failure(lambda comm: engine.Graph(edges, vertices, comm=comm))[1]

    assert "expected ids, integers or strings, got 'double'" in message({"a": [1.0], "b": [2]})
    assert "expected ids of one type, got 'int64' in column 'a' and 'string' in column 'b'" in message({"a": [1], "b": ["x"]})
    assert "expected ids of one type, got 'int64' in ['a', 'b'] and 'string' in ['v']" in message({"a": [1], "b": [2]}, {"v": ["x"]})
    assert "row 1 (from 0) of the edges: column 'b': expected the id of a vertex, got null" in message({"a": [1, 2], "b": [2, None]})
    assert "row 0 (from 0) of the vertex table" in message({"a": ["1"], "b": ["2"]}, {"v": pa.array([None, "x"])})


def test_text_beside_integers(write):
    names = write("id\nx\n", "v.csv")
    _, message = failure(lambda comm: engine.Graph({"a": [1], "b": [2]}, names, comm=comm))
    assert "expected ids of one type, got int64 in ['a', 'b'], but" in message
    assert "v.csv: column 'id' holds 'x'" in message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"src": True}, "expected the name or position of a column of the edges, got True"),
        ({"src": "a", "dst": "a"}, "expected two columns of the edges for sources and destinations, got 'a' twice"),
        ({"num_threads": 0}, "num_threads must be an integer of 1 or more, or None, got 0"),
        ({"edge_fields": "w"}, "edge_fields must be a list of names"),
    ],
)
def test_options_that_do_not_fit(options, words):
    kind, message = failure(lambda comm: engine.Graph({"a": [1], "b": [2]}, comm=comm, **options))
    assert kind is OptionError
    assert words in message


def test_comments_that_cannot_be(write):
    with pytest.raises(OptionError, match="comment: expected one ASCII character"):
        engine.Graph(write("a,b\n"), comment=",")
    with pytest.raises(MissingFileError):
        engine.Graph("nowhere.csv")


@pytest.mark.parametrize("kind", ["int64", "text"])
def test_saved_graphs_load_on_any_ranks(tmp_path, kind):
    rng = np.random.default_rng(2)
    ids = [f"v{n}" for n in range(150)] if kind == "text" else (rng.permutation(150) - 50).tolist()
    ends = [[ids[i] for i in rng.integers(0, 120, 700)] for _ in range(2)]
    edges = {"a": ends[0], "b": ends[1], "w": rng.random(700), "t": [f"t{n % 5}" for n in range(700)]}
    vertices = {"v": ids[100:] + ids[:30], "x": np.arange(80)}

    def make(comm):
        return engine.Graph(edges, vertices, comm=comm)

    expected = load(make, 1)
    for size in (1, 2, 5):
        run_ranks(size, lambda comm, size=size: make(comm).save(tmp_path / f"g{size}"))
        for ranks in (1, 2, 3):
            found = load(lambda comm, size=size: engine.load_graph(tmp_path / f"g{size}", comm=comm), ranks)
            assert all(a.equals(b) for a, b in zip(found, expected, strict=True))


def test_an_empty_graph_is_saved_too(tmp_path):
    engine.Graph({"a": [], "b": []}).save(tmp_path / "g")
    assert load(lambda comm: engine.load_graph(tmp_path / "g", comm=comm), 2)[1].num_rows == 0


def test_saving_replaces_graphs_and_nothing_else(tmp_path):
    graph, target = engine.Graph({"a": [1], "b": [2]}), tmp_path / "g"
    graph.save(target)
    engine.Graph({"a": ["x"], "b": ["y"]}).save(target)
    assert engine.load_graph(target).vertices.column("__id").to_pylist() == ["x", "y"]
    assert [path.name for path in tmp_path.iterdir()] == ["g"]
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").write_text("mine")
    for name in ("file", "folder"):
        with pytest.raises(StorageError, match="choose another path"):
            graph.save(tmp_path / name)


def test_damaged_graphs(tmp_path):
    engine.Graph({"a": [1, 5], "b": [2, 1]}).save(tmp_path / "g")
    with pytest.raises(MissingFileError, match="no graph folder"):
        engine.load_graph(tmp_path / "h")
    described = tmp_path / "g" / "graph.json"
    facts = json.loads(described.read_text())
    other = {**facts["graph"], "n_edges": 3}
    changes = (({"format_version": 99}, "newer samesum"), ({"format": "x"}, "does not describe"), ({"graph": other}, "damaged"))
    for change, words in changes:
        described.write_text(json.dumps({**facts, **change}))
        assert failure(lambda comm: engine.load_graph(tmp_path / "g", comm=comm))[0] is ModelFileError
        with pytest.raises(ModelFileError, match=words):
            engine.load_graph(tmp_path / "g")
    described.write_text(json.dumps(facts))
    for file in (tmp_path / "g").glob("*-*"):
        content = file.read_bytes()
        for damage in (content[:-1], content[:-1] + bytes([content[-1] ^ 1])):
            file.write_bytes(damage)
            assert failure(lambda comm: engine.load_graph(tmp_path / "g", comm=comm))[0] is ModelFileError
        file.write_bytes(content)
    assert engine.load_graph(tmp_path / "g").num_edges == 2
    (tmp_path / "g" / "part-00000.safetensors").unlink()
    with pytest.raises(ModelFileError, match="was not copied whole"):
        engine.load_graph(tmp_path / "g")


def test_a_description_opens_nothing(tmp_path):
    source = engine.Graph.source(tmp_path / "none.csv", tmp_path / "no.csv", src="from", dst="to", vid="id", vertex_fields=["kind"])
    assert (source.src, source.dst, source.vid, source.vertex_fields, source.edge_fields) == ("from", "to", "id", ["kind"], None)
    with pytest.raises(MissingFileError):
        engine.Graph(source.edges, source.vertices)
    with pytest.raises(OptionError, match="edge_fields must be a list"):
        engine.Graph.source({"a": [1], "b": [2]}, edge_fields="a")
    with pytest.raises(TypeError, match="scr"):
        engine.Graph.source({"a": [1], "b": [2]}, scr="a")


@pytest.mark.parametrize("vertices", [None, {"id": ["z", "b", "q"], "x": [1, None, 3]}])
def test_a_graph_as_the_tables_it_could_come_from(vertices):
    edges = {"from": ["b", "a", "b", "b"], "to": ["a", "a", "c", "a"], "w": [1, 2, 3, 4]}
    graph = engine.Graph(edges, vertices, src="from", dst="to", vid=0)
    source = graph.as_source()
    again = engine.Graph(source.edges, source.vertices, src=source.src, dst=source.dst, vid=source.vid)
    assert again.edges.equals(graph.edges)
    assert again.vertices.equals(graph.vertices)
    assert engine.pagerank.create(again, verbose=False).pagerank.equals(engine.pagerank.create(graph, verbose=False).pagerank)


def test_a_part_of_a_graph_is_no_source():
    def describe(comm):
        engine.Graph({"a": [1, 2], "b": [2, 3]}, comm=comm).as_source()

    with pytest.raises(OptionError, match="a part of one on 2"):
        run_ranks(2, describe)
