"""The session of the guide that this API comes from, cell by cell, on a real YARN: containers, states, progress, checkpoints, a failure."""

import pathlib
import re

import pytest

import samesum as gl
from engine import storage
from launch.staging import staging_folder
from launch.yarn.installing import install
from tests.cluster import session as runner
from tests.cluster.conftest import enter, leaving_none, new_folder


@pytest.fixture(scope="module")
def session(hdfs_server, yarn_server, tmp_path_factory):
    """The session after its last cell, run in the environment that was installed, for every user; and where the data are on HDFS."""
    folder = tmp_path_factory.mktemp("session")
    with pytest.MonkeyPatch.context() as patch, runner.serve(runner.MUSHROOM.parent) as web, leaving_none(yarn_server):
        enter(yarn_server, patch)
        for name in ("config", "cache"):
            patch.setenv(f"SAMESUM_{name.upper()}_DIR", str(folder / name))
        patch.chdir(folder)
        home = new_folder(hdfs_server)
        installed = install(f"{home}/samesum", {"num_containers": 4})
        assert installed["is_new"]
        assert 50e6 < installed["bytes"] < 250e6
        hdfs_server.as_superuser("SETPERMISSION", "/" + home.partition("://")[2].partition("/")[2], permission="711")
        gl.SFrame(runner.MUSHROOM).save(f"{home}/mushroom")
        patch.setattr("sys.argv", ["session", f"{web}/mushroom.csv", f"{home}/samesum", f"{home}/mushroom"])
        yield runner.run_session({}), f"{home}/mushroom"


def test_what_is_printed(session):
    runner.check_printed(session[0], "seed_hadoop_session.txt")


def test_models(session):
    runner.check_models(session[0])


def test_data_locality(session):
    runner.check_locality(*session)


def test_the_installation(session, yarn_server):
    """It is not made twice; the cluster is kept; each node has unpacked it once for all users, as all of them may read it."""
    cluster = session[0].names["c"]
    archive = cluster.find_archive().rpartition("/")[2]
    for number in range(yarn_server.nodes):
        folder = yarn_server.node_folder(number) / "local"
        assert len(list(folder.glob(f"filecache/*/{archive}"))) == 1
        assert not list(folder.glob(f"usercache/*/filecache/*/{archive}"))
    assert not install(cluster.dist_path, {})["is_new"]
    assert gl.environments["my-first-hadoop-cluster"] == cluster


def test_failure(session):
    """It was tried once; the summary begins with the application master's container; the log has what YARN has gathered."""
    printed, job = session[0].printed, session[0].jobs["its summary"]
    assert job._directory.attempts() == [1]
    summary = printed["its summary"]
    found = re.fullmatch(r"Container list: \[(.*)\]", summary.splitlines()[0])
    containers = [name.strip("'") for name in found[1].split(", ")]
    assert len(containers) == 5
    assert containers[0].endswith("_000001")
    assert summary.split("\n\n")[1].splitlines()[:2] == [f"{containers[0]}:", "  Application Master"]
    assert re.search(r"'lable'.*'label'|no column 'lable'", summary)
    log = pathlib.Path(printed["the location of its logs"]).read_text()
    assert "'lable'" in log
    assert all(f"LogType:rank-{number}.log" in log for number in range(4))
    assert all(f"Container: {name} on " in log for name in containers)
    staged = {entry.name for entry in storage.list_folder(staging_folder("hdfs:///tmp"))}
    assert not staged & {each.job_id for each in session[0].jobs.values() if each is not None}
