"""The first lines of a progress log say what is in force: what a change of the job changes, they show."""

import os
import tempfile

import pytest

from engine import storage
from engine.collectives.serial import SerialComm
from engine.collectives.threads import resolve_threads
from engine.errors import StorageError
from engine.job_settings import first_lines
from engine.memory import Memory
from engine.spec import DataSpec, JobSpec, Resources
from engine.storage import cache
from engine.working_dir import WorkingDir
from launch.environment import rank_environment
from tests.threads_comm import run_ranks

COMM = SerialComm()


@pytest.fixture
def begin(tmp_path, monkeypatch):
    """Gives the lines of a job with these resources and options as its rank would, in the rank's environment."""
    for name in ("SAMESUM_WEBHDFS_URL", "HADOOP_CONF_DIR", "SAMESUM_MEMORY_LIMIT", "SAMESUM_FILE_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(cache, "_cache", None)
    monkeypatch.setattr(cache, "_is_limited", False)

    def run(data="a.csv", options=None, comm=COMM, **resources):
        spec = JobSpec(
            task="train",
            toolkit="linear_regression",
            target="y",
            data=DataSpec(paths=(data,)),
            options=options or {},
            resources=Resources(**resources),
        )
        scratch = tmp_path / "node" / "samesum-1" if spec.resources.node_tmp_dir is None else None
        scratch = scratch or type(tmp_path)(spec.resources.node_tmp_dir) / "samesum-1"
        (scratch / "tmp").mkdir(parents=True, exist_ok=True)
        for name, value in rank_environment(spec, str(tmp_path / "job"), 1, "key", scratch).items():
            monkeypatch.setenv(name, value)
        return dict(line.split(": ", 1) for line in first_lines(WorkingDir(str(tmp_path / "job")), spec, comm))

    return run


def test_in_the_words_of_the_first_release(begin, tmp_path):
    assert list(begin(worker_memory=4096, num_threads=4).items()) == [
        ("Number of workers", "1"),
        ("CPUs per worker ", "4"),
        ("Memory limit", "3276.8MB"),
        ("Local cache file locations", str(tmp_path / "node")),
        ("HDFS access", "no"),
        ("HDFS cache file locations", str(tmp_path / "job")),
        ("Max fileio cache capacity", "819.2MB"),
    ]


def test_workers(begin):
    found = run_ranks(3, lambda comm: begin(comm=comm, num_workers=3)["Number of workers"])
    assert found == ["3", "3", "3"]


@pytest.mark.parametrize("threads", [1, 3])
def test_threads(begin, threads):
    assert begin(num_threads=threads)["CPUs per worker "] == str(threads)
    assert resolve_threads(None, COMM) == threads


@pytest.mark.parametrize(("memory", "line"), [(1000, "800MB"), (4096, "3276.8MB")])
def test_memory(begin, memory, line):
    assert begin(worker_memory=memory)["Memory limit"] == line
    assert Memory(None, None, COMM).limit == int(0.8 * (memory << 20))


def test_the_memory_limit_of_the_options_goes_before(begin):
    assert begin(worker_memory=4096, options={"memory_limit": "64MiB"})["Memory limit"] == "64MB"


def test_local_cache(begin, tmp_path):
    (tmp_path / "disk").mkdir()
    assert begin(node_tmp_dir=str(tmp_path / "disk"))["Local cache file locations"] == str(tmp_path / "disk")
    assert tempfile.gettempdir().startswith(str(tmp_path / "disk"))
    assert str(storage.cache_dir()).startswith(str(tmp_path / "disk"))
    assert begin(options={"cache_dir": "/else"})["Local cache file locations"] == "/else"


@pytest.mark.parametrize(("memory", "line", "size"), [(1000, "200MB", 200), (4096, "819.2MB", 819.2)])
def test_file_cache(begin, memory, line, size):
    assert begin(worker_memory=memory)["Max fileio cache capacity"] == line
    assert cache.file_cache().capacity == int(size * (1 << 20))


def test_hdfs(begin, monkeypatch):
    asked = []

    def exists(address):
        asked.append((address, os.environ["SAMESUM_STORAGE_TIMEOUT"]))
        if "down" in address:
            raise StorageError("no name node answers")
        return False

    monkeypatch.setattr(storage, "exists", exists)
    assert begin("hdfs://up/a.csv")["HDFS access"] == "yes"
    assert begin("hdfs://down/a.csv")["HDFS access"] == "no"
    assert begin(hdfs_tmp_dir="hdfs://up/tmp")["HDFS access"] == "yes"
    assert asked == [("hdfs://up/a.csv", "5.0"), ("hdfs://down/a.csv", "5.0"), ("hdfs://up/tmp", "5.0")]
    assert begin()["HDFS access"] == "no"
    assert len(asked) == 3
    monkeypatch.setenv("SAMESUM_WEBHDFS_URL", "http://localhost:1")
    assert begin()["HDFS access"] == "yes"
    assert asked[-1][0] == "hdfs:///"
    assert "SAMESUM_STORAGE_TIMEOUT" not in os.environ


def test_hdfs_that_is_not_there(begin, monkeypatch):
    monkeypatch.setattr("engine.job_settings.PROBE_WITHIN", 0.2)
    assert begin("hdfs://localhost:1/a.csv")["HDFS access"] == "no"


def test_where_staged_data_go(begin, tmp_path):
    assert begin(hdfs_tmp_dir="s3://bucket/tmp")["HDFS cache file locations"] == "s3://bucket/tmp"
