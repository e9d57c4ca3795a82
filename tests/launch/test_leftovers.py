"""Staged data that a job could not clear away itself go with whoever comes next: a handle, a submission, or ``samesum jobs --clean``."""

import json
import pathlib
import subprocess
import sys

import pytest

import launch
from launch.leftovers import clear_staged
from launch.staging import OWNER_FILE, staging_folder
from tests.launch.command_line import samesum
from tests.launch.fake_backend import FakeBackend

TABLE = {"x": [1.0, 2.0, 3.0], "y": [1.0, 2.0, 4.0]}
# Stages a table for a job, and is killed before that is submitted.
KILLED = """
import os, signal, sys
import launch.submitting
launch.submitting.start = lambda address, spec: os.kill(os.getpid(), signal.SIGKILL)
import launch
launch.linear_regression.submit_training_job("here", {"x": [1.0, 2.0, 3.0], "y": [1.0, 2.0, 4.0]}, "y")
"""


@pytest.fixture(autouse=True)
def backend(tmp_path, monkeypatch):
    """Nothing is started; tests say what becomes of a job."""
    monkeypatch.setenv("SAMESUM_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.delenv("HADOOP_USER_NAME", raising=False)
    return FakeBackend.installed(monkeypatch)


@pytest.fixture
def cluster(tmp_path):
    return launch.local_cluster.create("here", num_workers=2, working_dir=tmp_path / "jobs", hdfs_tmp_dir=tmp_path / "tmp")


def submit(cluster):
    return launch.linear_regression.submit_training_job(cluster, TABLE, "y")


def staged(cluster):
    folder = pathlib.Path(staging_folder(cluster.hdfs_tmp_dir))
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def kill_while_submitting():
    assert subprocess.run([sys.executable, "-c", KILLED], capture_output=True, check=False).returncode == -9


def test_the_next_submission_clears_what_ended_jobs_left(cluster, backend):
    """Not what waits or runs; what is lost has failed then."""
    lost = submit(cluster)
    assert staged(cluster) == [lost.job_id]
    waiting = submit(cluster)
    assert staged(cluster) == sorted([lost.job_id, waiting.job_id])
    backend.says = "gone"  # both of them
    third = submit(cluster)
    assert staged(cluster) == [third.job_id]
    assert (pathlib.Path(lost.working_dir) / "result.json").exists()


def test_a_submission_that_was_killed(cluster):
    """What a process staged that is gone goes; what one stages that runs stays, also on another machine unless that was long ago."""
    kill_while_submitting()
    (left,) = staged(cluster)
    path = pathlib.Path(staging_folder(cluster.hdfs_tmp_dir), left, OWNER_FILE)
    owner = json.loads(path.read_text())
    path.write_text(json.dumps({**owner, "host": "elsewhere"}))
    assert list(clear_staged(cluster)) == []
    path.write_text(json.dumps({**owner, "host": "elsewhere", "time": owner["time"] - 1e6}))
    assert list(clear_staged(cluster)) == [str(path.parent)]
    kill_while_submitting()
    job = submit(cluster)
    assert staged(cluster) == [job.job_id]


def test_what_is_no_jobs_stays(cluster, backend):
    backend.says = "gone"
    folder = pathlib.Path(staging_folder(cluster.hdfs_tmp_dir))
    (folder / "mine").mkdir(parents=True)
    (folder / "damaged").mkdir()
    (folder / "damaged" / OWNER_FILE).write_text("{")
    (folder / "file").write_text("x")
    assert list(clear_staged(cluster)) == []
    assert staged(cluster) == ["damaged", "file", "mine"]


def test_without_a_folder_nothing_is_looked_for(tmp_path):
    assert list(clear_staged(launch.local_cluster.create("none", working_dir=tmp_path / "jobs"))) == []


def test_the_command(cluster, tmp_path):
    kill_while_submitting()
    (left,) = staged(cluster)
    own = {"SAMESUM_CONFIG_DIR": str(tmp_path / "config")}
    assert samesum("jobs", **own).stderr == ""
    assert staged(cluster) == [left]
    done = samesum("jobs", "--clean", **own)
    assert done.returncode == 0
    assert left in done.stderr
    assert staged(cluster) == []
