"""Clusters: what they are made of, how they print, and that they are kept by name."""

import json
import os
import subprocess
import sys

import pytest

import launch
import samesum
from engine.errors import OptionError, StorageError
from launch.clusters import find_cluster
from launch.states import FinalState, State


@pytest.fixture(autouse=True)
def settings(tmp_path, monkeypatch):
    """A folder of settings of its own."""
    monkeypatch.setenv("SAMESUM_CONFIG_DIR", str(tmp_path / "config"))
    return tmp_path / "config"


def create(name="laptop", **settings):
    return launch.local_cluster.create(
        name, **{"num_workers": 4, "worker_memory": 4096, "num_threads": 4, "working_dir": "/srv/jobs", "node_tmp_dir": "/tmp", **settings}
    )


def test_it_prints_its_settings():
    cluster = create("my-first-cluster")
    cluster.hdfs_tmp_dir = "hdfs:///tmp"
    assert (
        str(cluster)
        == """\
Local Cluster:
        Name:                    : my-first-cluster
        Working directory        : /srv/jobs

        Number of Workers:       : 4
        Worker Memory (in mb)    : 4096
        Worker num of threads    : 4
        Node temp directory      : /tmp
        HDFS temp directory      : hdfs:///tmp

        Restarts at most         : 3
        Hang timeout (in s)      : 600.0"""
    )
    assert repr(cluster) == str(cluster)


def test_defaults_are_this_machine():
    cluster = launch.local_cluster.create("all of it")
    assert (cluster.num_workers, cluster.num_threads) == (1, len(os.sched_getaffinity(0)))
    assert cluster.worker_memory > 100
    assert cluster.working_dir == os.path.expanduser("~/.samesum/jobs")
    halves = launch.local_cluster.create("halves", num_workers=2)
    assert halves.worker_memory == pytest.approx(cluster.worker_memory / 2, abs=2)
    assert halves.get_num_workers() == 2


def test_it_is_kept_by_name_for_other_processes(settings):
    cluster = create("Wörk/station № 1 " + 300 * "x", environment={"LANG": "C"})
    assert launch.environments[cluster.name] == cluster
    code = "import launch, sys; c = launch.environments[sys.argv[1]]; print(c.num_workers, c.environment, len(launch.environments))"
    done = subprocess.run([sys.executable, "-c", code, cluster.name], capture_output=True, text=True, check=True)
    assert done.stdout == "4 {'LANG': 'C'} 1\n"
    assert find_cluster(cluster.name) == cluster
    assert list(launch.environments) == [cluster.name]
    del launch.environments[cluster.name]
    assert list(launch.environments) == []
    with pytest.raises(KeyError, match="no cluster"):
        launch.environments[cluster.name]
    with pytest.raises(KeyError, match="no cluster"):
        del launch.environments[cluster.name]


def test_names_that_look_alike_are_kept_apart():
    for number, name in enumerate(("a/b", "a_b", "a b", "A_b"), 1):
        create(name, num_workers=number)
    assert [launch.environments[name].num_workers for name in ("a/b", "a_b", "a b", "A_b")] == [1, 2, 3, 4]


def test_a_name_used_twice_means_the_last_one():
    first = create("c", num_workers=1)
    create("c", num_workers=2)
    assert launch.environments["c"].num_workers == 2
    assert first.num_workers == 1


def test_setting_a_field_keeps_it():
    cluster = create()
    cluster.num_workers = 2
    assert launch.environments["laptop"].num_workers == 2
    with pytest.raises(OptionError, match="num_workers must be an integer of 1 or more, got 0"):
        cluster.num_workers = 0
    with pytest.raises(OptionError, match="no setting 'num_wokers'"):
        cluster.num_wokers = 2
    with pytest.raises(OptionError, match="keeps its name 'laptop'"):
        cluster.name = "desktop"
    assert launch.environments["laptop"].num_workers == cluster.num_workers == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": ""}, "name must be text of one line, got ''"),
        ({"name": "two\nlines"}, "name must be text of one line"),
        ({"num_workers": True}, "num_workers must be an integer of 1 or more, got True"),
        ({"num_threads": 0}, "num_threads must be an integer of 1 or more, got 0"),
        ({"worker_memory": 3}, "worker_memory must be an integer of 16 or more, got 3"),
        ({"worker_memory": "4GB"}, "worker_memory must be an integer of 16 or more, got '4GB'"),
        ({"max_restarts": -1}, "max_restarts must be an integer of 0 or more, got -1"),
        ({"hang_timeout": float("nan")}, "hang_timeout must be a number of seconds, 0 or more, got nan"),
        ({"working_dir": ""}, "working_dir must be a path or an address, got ''"),
        ({"environment": {"A": 1}}, "environment must be a dict of text"),
        ({"environment": {"AWS_SECRET_ACCESS_KEY": "x"}}, "looks like a secret"),
    ],
)
def test_settings_that_cannot_be_meant(settings, message):
    with pytest.raises(OptionError, match=message):
        create(**settings)
    assert len(launch.environments) == 0


def test_folders_are_absolute_and_addresses_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cluster = create(working_dir="jobs", node_tmp_dir="~/tmp", hdfs_tmp_dir="s3://bucket/tmp/")
    assert cluster.working_dir == str(tmp_path / "jobs")
    assert cluster.node_tmp_dir == os.path.expanduser("~/tmp")
    assert cluster.hdfs_tmp_dir == "s3://bucket/tmp"


def test_files_that_are_no_cluster(settings):
    create()
    file = next((settings / "clusters").glob("*.json"))
    said = json.loads(file.read_text())
    file.write_text(json.dumps({**said, "kind": "quantum", "of": "later"}))
    with pytest.raises(OptionError, match="install a newer samesum"):
        launch.environments["laptop"]
    file.write_text(json.dumps({**said, "setting": "of a later release"}))
    assert launch.environments["laptop"].num_workers == 4
    file.write_text("{")
    with pytest.raises(StorageError, match="create the cluster anew"):
        launch.environments["laptop"]


def test_what_is_no_cluster_is_refused():
    create("here")
    with pytest.raises(OptionError, match="got 'ther'; there is 'here'"):
        find_cluster("ther")
    with pytest.raises(OptionError, match="env must be a cluster"):
        find_cluster(4)


def test_states_are_the_strings_that_they_print_as():
    assert str(State.COMPLETED) == f"{State.COMPLETED}" == State.COMPLETED == "STATE.COMPLETED"
    assert [str(state) for state in State] == ["STATE.PENDING", "STATE.RUNNING", "STATE.COMPLETED"]
    assert [str(state) for state in FinalState] == ["FINAL_STATE.SUCCESS", "FINAL_STATE.FAILURE", "FINAL_STATE.KILLED"]
    assert FinalState.SUCCESS != "FINAL_STATE.FAILURE"


def test_the_old_names_lead_here():
    import engine

    assert isinstance(samesum.SFrame({}).as_dataset(), engine.Dataset)
    assert samesum.deploy.local_cluster is launch.local_cluster is samesum.local_cluster
    assert samesum.deploy.environments is launch.environments
    for toolkit in samesum.distributed.__all__:
        assert getattr(samesum.distributed, toolkit) is getattr(launch, toolkit)
    assert {"SFrame", "deploy", "distributed", "load_job", "Dataset"} <= set(dir(samesum))
    with pytest.raises(AttributeError, match="has no attribute 'boosted_tree'"):
        samesum.distributed.boosted_tree  # noqa: B018
