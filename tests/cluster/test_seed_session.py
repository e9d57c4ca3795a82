"""The session of the guide that this API comes from, against a cluster of this machine, with data on HDFS and behind http."""

import pathlib
import re

import pytest

import samesum as gl
from engine import storage
from launch.staging import staging_folder
from tests.cluster import session as runner
from tests.cluster.conftest import enter, new_folder

CLUSTER = """
c = gl.deploy.local_cluster.create('my-first-cluster', num_workers=4, worker_memory=4096, num_threads=4, working_dir=INSTALLATION)
c.hdfs_tmp_dir = 'hdfs:///tmp'
print(c)
"""


@pytest.fixture(scope="module")
def session(hdfs_server, tmp_path_factory):
    """The session after its last cell, in a folder of its own; and where the data are on HDFS."""
    folder = tmp_path_factory.mktemp("session")
    with pytest.MonkeyPatch.context() as patch, runner.serve(runner.MUSHROOM.parent) as web:
        enter(hdfs_server, patch)
        for name in ("config", "cache"):
            patch.setenv(f"SAMESUM_{name.upper()}_DIR", str(folder / name))
        patch.setenv("TMPDIR", "/tmp")
        patch.chdir(folder)
        home = new_folder(hdfs_server)
        gl.SFrame(runner.MUSHROOM).save(f"{home}/mushroom")
        patch.setattr("sys.argv", ["session", f"{web}/mushroom.csv", f"{home}/jobs", f"{home}/mushroom"])
        yield runner.run_session({"a cluster": CLUSTER}), f"{home}/mushroom"


def test_what_is_printed(session):
    runner.check_printed(session[0], "seed_session.txt")


def test_models(session):
    runner.check_models(session[0])


def test_data_locality(session):
    runner.check_locality(*session)


def test_failure(session):
    """The summary lists the workers and says what to do, the log file is there; nothing that was staged is left."""
    printed = session[0].printed
    names = [f"container_01_{rank:06d}" for rank in range(4)]
    assert printed["its summary"].startswith(f"Container list: {names}\n\n{names[0]}:\n  ")
    assert re.search(r"no column 'lable'.*'label'|'lable'.*label", printed["its summary"])
    assert "'lable'" in pathlib.Path(printed["the location of its logs"]).read_text()
    staged = {entry.name for entry in storage.list_folder(staging_folder("hdfs:///tmp"))}
    assert not staged & {each.job_id for each in session[0].jobs.values() if each is not None}
