"""What a Hadoop cluster reads where it is, and what it gets a copy of."""

import pathlib

import pytest

import samesum as gl
from engine import storage
from engine.errors import MissingFileError
from launch.hadoop_cluster import HadoopCluster
from launch.staging import Staging
from tests.cluster.session import MUSHROOM, serve


@pytest.fixture
def staging(tmp_path, monkeypatch):
    """For a job whose data may be staged in a folder of this machine."""
    monkeypatch.setenv("SAMESUM_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("SAMESUM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    settings = {"num_workers": 1, "num_threads": 1, "worker_memory": 512, "node_tmp_dir": "/tmp", "hdfs_tmp_dir": str(tmp_path / "tmp")}
    cluster = HadoopCluster(name="c", working_dir="hdfs:///apps/jobs", dist_path="hdfs:///apps", **settings)
    return Staging(cluster, "hdfs:///apps/jobs/dml_job_1")


def test_data_on_hdfs_are_read_there(staging):
    for rows in ("hdfs://h:1/a.csv", gl.SFrame("hdfs://h:1/a.csv"), gl.SFrame(["hdfs:///a/*.parquet", "hdfs:///b"])[["x"]]):
        assert storage.is_local(staging.data("dataset", rows).paths[0]) is False
    assert not staging.is_used


@pytest.mark.parametrize("kind", ["local", "http", "memory", "mixed"])
def test_all_other_data_are_copied(staging, kind, tmp_path, capfd):
    here = gl.SFrame(MUSHROOM)
    with serve(MUSHROOM.parent) as web:
        rows = {
            "local": here,
            "http": gl.SFrame(f"{web}/mushroom.csv"),
            "memory": gl.SFrame(here.to_table()),
            "mixed": gl.SFrame([str(MUSHROOM), f"{web}/mushroom.csv"]),
        }[kind]
        spec = staging.data("dataset", rows)
    assert spec.paths == (storage.join(staging.folder, "dataset"),)
    assert spec.format == "parquet"
    copied = gl.SFrame(spec.paths[0])
    assert copied.to_table() == (here.append(here) if kind == "mixed" else here).to_table()
    assert "Staged dataset: " in capfd.readouterr().err
    staging.remove()
    assert not pathlib.Path(staging.folder).exists()


def test_files_that_are_not_there(staging):
    with pytest.raises(MissingFileError, match=r"no\.csv"):
        staging.data("dataset", gl.SFrame("no.csv"))
