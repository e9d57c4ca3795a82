"""Saved rows come back as they were, from any number of ranks, and take the place of saved rows alone."""

from __future__ import annotations

import datetime
import itertools
import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import engine
from engine.data.shard import read_shard
from engine.errors import DataError, OptionError, StorageError
from tests.threads_comm import collect_ranks, run_ranks

ROWS = pa.table(
    {
        "n": pa.array([1, None, -(2**62), 7, 2**62]),
        "x": [0.1, float("nan"), float("inf"), None, -0.0],
        "s": ["ü", "", None, 'say "hi", you', "two\nlines"],
        "b": [True, None, False, True, True],
        "day": [datetime.date(2020, 1, d) for d in range(1, 6)],
        "v": pa.array([[1.0, 2.0], None, [3.0], [], [4.0, None]], pa.list_(pa.float64())),
        "m": pa.array([[("k", 1.0)], [], None, [("ä", 2.0)], []], pa.map_(pa.string(), pa.float64())),
    }
)


def save(dataset, folder, n_ranks, *more, **options):
    return run_ranks(n_ranks, lambda comm: dataset.save(folder, *more, comm=comm, **options))


@pytest.mark.parametrize("n_ranks", [1, 2, 3, 7])
def test_parquet_keeps_everything(tmp_path, n_ranks):
    dataset = engine.Dataset(ROWS)
    save(dataset, tmp_path / "rows", n_ranks)
    again = engine.Dataset(tmp_path / "rows")
    assert again.schema == dataset.schema
    assert str(again.to_table().to_pylist()) == str(dataset.to_table().to_pylist())
    names = sorted(path.name for path in (tmp_path / "rows").iterdir())
    assert names[0] == "_SUCCESS"
    assert names[1:] == [part["name"] for part in json.loads((tmp_path / "rows" / "_SUCCESS").read_text())["parts"]]
    assert len(names) - 1 in (n_ranks, ROWS.num_rows, ROWS.num_rows + 1)  # the first rank writes a part even without rows
    assert pq.read_table(tmp_path / "rows").num_rows == ROWS.num_rows  # other readers take it too


@pytest.mark.parametrize("n_ranks", [1, 3])
def test_csv_is_read_back(tmp_path, n_ranks):
    plain = ROWS.select(["n", "x", "s", "b", "day"])
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(10.0)), 2)
    save(engine.Dataset(plain.append_column("p", fixed)), tmp_path / "rows", n_ranks, "csv")
    again = engine.Dataset(tmp_path / "rows").to_table()
    assert again["s"].to_pylist() == ["ü", None, None, 'say "hi", you', "two\nlines"]  # in CSV an empty text is a missing one
    for name in ("n", "b", "day"):
        assert again[name].to_pylist() == plain[name].to_pylist()
    assert str(again["x"].to_pylist()) == str(plain["x"].to_pylist())
    assert again["p[1]"].to_pylist() == [1, 3, 5, 7, 9]


def test_splits_selections_and_shards_are_saved_as_they_are_read(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text("a,b,c\n" + "".join(f"{n},0{n},{n / 4}\n" for n in range(500)))
    side = engine.Dataset(path, column_types={"b": str}).select(["b", "a"]).random_split(0.3, seed=4)[1]
    save(side, tmp_path / "side", 3)
    again = engine.Dataset(tmp_path / "side")
    assert again.columns == ["b", "a"]
    assert again.to_table() == side.to_table().combine_chunks() or again.to_table().to_pylist() == side.to_table().to_pylist()
    run_ranks(3, lambda comm: engine.Dataset({"r": np.full(comm.rank, comm.rank)}, sharded=True).save(tmp_path / "own", comm=comm))
    assert engine.Dataset(tmp_path / "own").to_table()["r"].to_pylist() == [1, 2, 2]
    shards = run_ranks(2, lambda comm: read_shard(engine.Dataset(tmp_path / "own"), comm).table["r"].to_pylist())
    assert list(itertools.chain(*shards)) == [1, 2, 2]


def test_no_rows(tmp_path):
    save(engine.Dataset(ROWS.slice(0, 0).select(["n", "s"])), tmp_path / "none", 3)
    assert sorted(os.listdir(tmp_path / "none")) == ["_SUCCESS", "part-00000.parquet"]
    assert pq.read_table(tmp_path / "none" / "part-00000.parquet").schema.names == ["n", "s"]


def test_saved_rows_are_replaced_whole(tmp_path):
    save(engine.Dataset({"x": np.arange(90)}), tmp_path / "rows", 5)
    save(engine.Dataset({"x": np.arange(3)}), tmp_path / "rows", 1, format="csv")
    assert sorted(os.listdir(tmp_path / "rows")) == ["_SUCCESS", "part-00000.csv"]
    assert os.listdir(tmp_path) == ["rows"]


def test_a_failure_is_every_ranks_and_leaves_the_old_rows(tmp_path):
    save(engine.Dataset({"x": [1]}), tmp_path / "rows", 1)
    errors = collect_ranks(3, lambda comm: engine.Dataset(ROWS).save(tmp_path / "rows", "csv", comm=comm))[1]
    assert [type(error) for error in errors] == [DataError] * 3
    assert "save as 'parquet'" in str(errors[0])
    assert engine.Dataset(tmp_path / "rows").to_table()["x"].to_pylist() == [1]
    assert os.listdir(tmp_path) == ["rows"]


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda here: engine.Dataset(ROWS).save(here / "new", "orc"), OptionError, "format: expected one of 'csv', 'parquet', got 'orc'"),
        (lambda here: engine.Dataset(ROWS).save(here / "file.csv"), StorageError, "a file is there; choose another"),
        (lambda here: engine.Dataset(ROWS).save(here / "theirs"), StorageError, "'thesis.txt' is there, which no saved rows are"),
        (lambda here: engine.Dataset(ROWS).save("https://localhost/rows"), StorageError, "read only"),
        (lambda here: engine.Dataset(here / "file.csv").save(here), OptionError, "expected another folder than that of the rows"),
        (lambda here: engine.Dataset(here / "none.csv").save(here / "new"), StorageError, "expected a file"),
    ],
)
def test_refusals(tmp_path, make, error, words):
    (tmp_path / "file.csv").write_text("a\n1\n")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "thesis.txt").write_text("precious")
    with pytest.raises(error, match=words):
        make(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file.csv", "theirs"]


TOOLKITS = {
    "boosted_trees_classifier": ("kind", ["class", "probability_vector", "contributions"]),
    "random_forest_classifier": ("kind", ["class", "probability_vector"]),
    "logistic_classifier": ("kind", ["class", "probability_vector"]),
    "svm_classifier": ("flag", ["class", "margin"]),
    "boosted_trees_regression": ("y", ["value", "contributions"]),
    "random_forest_regression": ("y", ["value"]),
    "linear_regression": ("y", ["value"]),
}


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    x = rng.normal(size=60)
    kinds = np.array(["a", "b", "c"])[(x > 0).astype(int) + (x > 1)]
    return pa.table({"x": x, "z": rng.normal(size=60), "kind": kinds, "flag": (x > 0).astype(int), "y": 2 * x})


@pytest.mark.parametrize("toolkit", TOOLKITS)
def test_predictions_are_saved_by_all_ranks(toolkit, table, tmp_path):
    target, kinds = TOOLKITS[toolkit]
    model = getattr(engine, toolkit).create(table, target=target, features=["x", "z"], verbose=False, max_iterations=2)
    for kind in kinds:
        expected = model.predict(table, output_type=kind)
        folder = str(tmp_path / kind) + "/"
        given = run_ranks(3, lambda comm, kind=kind, to=folder: model.predict(table, output_type=kind, output=to, comm=comm))
        name = "prediction" if kind == "value" else kind
        assert sorted(os.listdir(folder)) == ["_SUCCESS", *(f"part-0000{rank}.parquet" for rank in range(3))]
        for dataset in given:
            assert dataset.columns == [name]
            assert dataset.to_table()[name].to_pylist() == expected.to_pylist()
        shards = run_ranks(3, lambda comm, kind=kind: model.predict(table, output_type=kind, sharded=True, comm=comm).to_pylist())
        assert list(itertools.chain(*shards)) == expected.to_pylist()


def test_predictions_that_cannot_be_saved(table, tmp_path):
    model = engine.linear_regression.create(table, target="y", features=["x"], verbose=False)
    (tmp_path / "mine.txt").write_text("precious")
    errors = collect_ranks(2, lambda comm: model.predict(table, output=tmp_path, comm=comm))[1]
    assert [type(error) for error in errors] == [StorageError] * 2
    with pytest.raises(OptionError, match="output is for predictions of datasets"):
        model.predict({"x": 1.0}, output=tmp_path / "new")
    with pytest.raises(OptionError, match="output must be a path or None, got 3"):
        model.predict(table, output=3)
    assert os.listdir(tmp_path) == ["mine.txt"]
