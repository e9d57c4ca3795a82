"""The session of the guide that this API comes from, cell by cell, on a real YARN: containers, states, progress, checkpoints, a failure."""

import pathlib
import re

import samesum as gl
from engine import storage
from launch.yarn.installing import install
from tests.cluster import test_seed_session as local
from tests.cluster.conftest import new_folder

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


def test_the_session(hdfs, yarn, tmp_path, monkeypatch):
    """Every cell runs in the environment that was installed, and prints what the guide shows."""
    home = new_folder(hdfs)
    installed = install(f"{home}/samesum", {"num_containers": 4})
    assert installed["is_new"]
    assert 50e6 < installed["bytes"] < 250e6
    storage.put_file(f"{home}/mushroom.csv", local.ROOT / "examples" / "data" / "mushroom.csv")
    for name, value in {"MUSHROOM_HDFS": f"{home}/mushroom.csv", "JOBS_HDFS": f"{home}/samesum"}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "examples").symlink_to(local.ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    session = tmp_path / "session.py"
    text = local.SESSION.read_text()
    session.write_text(re.sub(r"# %% a cluster\n.*?(?=# %% submit)", lambda _: CLUSTER, text, flags=re.DOTALL))
    monkeypatch.setattr(local, "SESSION", session)
    monkeypatch.setattr(local, "GOLDEN", GOLDEN)
    printed, names = local.run_cells()
    masks, expected = local.read_golden()
    assert {title: local.masked(text, masks) for title, text in printed.items() if title in expected} == {
        title: local.masked(text, masks) for title, text in expected.items()
    }
    local.check_results(names)
    check_failure(printed)
    assert not install(f"{home}/samesum", {})["is_new"]
    assert gl.environments["my-first-hadoop-cluster"] == names["c"]


def check_failure(printed):
    """The summary begins with the application master's container; the log has what each of them said."""
    summary = printed["# %% its summary"]
    found = re.fullmatch(r"Container list: \[(.*)\]", summary.splitlines()[0])
    names = [name.strip("'") for name in found[1].split(", ")]
    assert len(names) == 5
    assert names[0].endswith("_000001")
    assert summary.split("\n\n")[1].splitlines()[:2] == [f"{names[0]}:", "  Application Master"]
    assert re.search(r"'lable'.*'label'|no column 'lable'", summary)
    log = pathlib.Path(printed["# %% the location of its logs"])
    assert "'lable'" in log.read_text()
    assert not [entry for entry in storage.list_folder("hdfs:///tmp") if entry.name == "samesum"]
