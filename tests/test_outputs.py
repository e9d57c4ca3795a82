"""What jobs leave beside models: tables and metrics, whole or not there."""

from __future__ import annotations

import json
import math
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import engine
from engine.collectives.serial import SerialComm
from engine.errors import DataError, OptionError, StorageError
from engine.outputs import TABLES, check_output, metrics_as_json, put_metrics, put_table, put_written
from engine.run import run_job
from engine.spec import DataSpec, JobSpec

TABLE = pa.table({"x": [1.5, None], "s": ["ü", None]})


def test_tables(tmp_path):
    for name in ("a.csv", "deep/b.PARQUET"):
        put_table(TABLE, str(tmp_path / name))
        put_table(TABLE, str(tmp_path / name))
    assert (tmp_path / "a.csv").read_text() == '"x","s"\n1.5,"ü"\n,\n'
    assert pq.read_table(tmp_path / "deep" / "b.PARQUET").equals(TABLE)
    assert sorted(os.listdir(tmp_path)) == ["a.csv", "deep"]


def test_metrics(tmp_path):
    values = {"auc": math.nan, "n": 3, "table": pa.table({"p": [0.5, math.inf]})}
    put_metrics(metrics_as_json(values), str(tmp_path / "m.json"))
    assert json.loads((tmp_path / "m.json").read_text()) == {"auc": None, "n": 3, "table": {"p": [0.5, None]}}


@pytest.mark.parametrize(
    ("output", "error", "words"),
    [
        ("x.txt", OptionError, "extension .csv or .parquet, got 'x.txt'"),
        ("folder.csv", OptionError, "expected an output file, got the folder"),
        ("https://localhost/x.csv", StorageError, "read only"),
        ("ftp://localhost/x.csv", StorageError, "expected a local path or one of"),
    ],
)
def test_refused_before_the_work(tmp_path, monkeypatch, output, error, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(error, match=words):
        check_output(output, TABLES)


def test_a_failure_leaves_what_was_there(tmp_path):
    target = str(tmp_path / "a.csv")
    put_table(TABLE, target)
    with pytest.raises(DataError, match="that csv can"):
        put_table(pa.table({"l": [[1], []]}), target)

    def fail(path):
        raise OSError(28, "No space left on device")

    with pytest.raises(StorageError, match=r"could not write .*a.csv': No space left on device"):
        put_written(target, fail)
    assert os.listdir(tmp_path) == ["a.csv"]
    assert (tmp_path / "a.csv").read_text().startswith('"x","s"')


def test_a_job_predicts_into_a_folder(tmp_path):
    table = pa.table({"x": [0.0, 1.0, 2.0], "y": [0.0, 2.0, 4.0]})
    pq.write_table(table, tmp_path / "rows.parquet")
    model = engine.linear_regression.create(table, target="y", verbose=False)
    model.save(tmp_path / "model")
    data = DataSpec(paths=(str(tmp_path / "rows.parquet"),))
    spec = JobSpec(task="predict", data=data, model=str(tmp_path / "model"), output=f"{tmp_path}/out/")
    run_job(spec, SerialComm())
    assert sorted(os.listdir(tmp_path / "out")) == ["_SUCCESS", "part-00000.parquet"]
    assert engine.Dataset(tmp_path / "out").to_table()["prediction"].to_pylist() == model.predict(table).to_pylist()
