"""The session of the guide that this API comes from, cell by cell, on a real YARN: containers, states, progress, checkpoints, a failure."""

import contextlib
import io
import pathlib
import re

import pytest

import samesum as gl
from engine import storage
from engine.working_dir import WorkingDir
from launch.yarn.installing import install
from tests.cluster import test_seed_session as local
from tests.cluster.conftest import enter, new_folder

GOLDEN = local.GOLDEN.with_name("seed_hadoop_session.txt")
CLUSTER = '''# %% a cluster
c = gl.deploy.hadoop_cluster.create('my-first-hadoop-cluster',
                                    os.environ["JOBS_HDFS"],
                                    num_containers=4,
                                    container_size=4096,
                                    num_vcores=4)
c.hdfs_tmp_dir = "hdfs:///tmp"
print(c)

'''
TEXT = re.sub(r"# %% a cluster\n.*?(?=# %% submit)", lambda _: CLUSTER, local.SESSION.read_text(), flags=re.DOTALL)
CELLS = {cell.partition("\n")[0]: cell for cell in local.CELL.split(TEXT)[1:]}


@pytest.fixture(scope="module")
def session(hdfs_server, yarn_server, tmp_path_factory):
    """A folder to work in, an installation and the data on HDFS; the names that the cells leave, and what they print."""
    folder = tmp_path_factory.mktemp("session")
    (folder / "examples").symlink_to(local.ROOT / "examples")
    with pytest.MonkeyPatch.context() as patch:
        enter(yarn_server, patch)
        patch.setenv("SAMESUM_CONFIG_DIR", str(folder / "config"))
        home = new_folder(hdfs_server)
        installed = install(f"{home}/samesum", {"num_containers": 4})
        assert installed["is_new"]
        assert 50e6 < installed["bytes"] < 250e6
        storage.put_file(f"{home}/mushroom.csv", local.ROOT / "examples" / "data" / "mushroom.csv")
        patch.setenv("MUSHROOM_HDFS", f"{home}/mushroom.csv")
        patch.setenv("JOBS_HDFS", f"{home}/samesum")
        patch.chdir(folder)
        yield {"__name__": "session"}, {}


@pytest.mark.parametrize("title", CELLS)
def test_a_cell(session, title):
    """It runs in the environment that was installed, and prints what the guide shows."""
    names, printed = session
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(compile(CELLS[title], title, "exec"), names)
    printed[title] = output.getvalue().strip("\n")
    masks, expected = local.read_golden(GOLDEN)
    if title in expected:
        assert local.masked(printed[title], masks) == local.masked(expected[title], masks)


def test_results(session):
    """The models are those of one process; the installation is not made twice; the cluster is kept."""
    names, _ = session
    local.check_results(names)
    address = names["c"].dist_path
    assert not install(address, {})["is_new"]
    assert gl.environments["my-first-hadoop-cluster"] == names["c"]


def test_failure(session):
    """It was tried once; the summary begins with the application master's container; the log has what YARN has gathered."""
    names, printed = session
    assert WorkingDir(names["job4"].working_dir).attempts() == [1]
    summary = printed["# %% its summary"]
    found = re.fullmatch(r"Container list: \[(.*)\]", summary.splitlines()[0])
    containers = [name.strip("'") for name in found[1].split(", ")]
    assert len(containers) == 5
    assert containers[0].endswith("_000001")
    assert summary.split("\n\n")[1].splitlines()[:2] == [f"{containers[0]}:", "  Application Master"]
    assert re.search(r"'lable'.*'label'|no column 'lable'", summary)
    log = pathlib.Path(printed["# %% the location of its logs"]).read_text()
    assert "'lable'" in log
    assert "LogType:rank-0.log" in log
    assert not [entry for entry in storage.list_folder("hdfs:///tmp") if entry.name == "samesum"]
