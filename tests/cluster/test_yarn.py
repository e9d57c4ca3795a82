"""Jobs on a real ResourceManager and two NodeManagers: what users see when all goes well, and when it does not."""

import json
import pathlib
import re
import sys
import time

import pytest

import engine
import samesum as gl
from engine import storage
from engine.errors import OptionError, StorageError
from engine.working_dir import WorkingDir
from launch.processes import find_processes
from tests.cluster import test_toolkits as toolkits
from tests.cluster.conftest import new_folder

MUSHROOM = pathlib.Path(__file__).resolve().parents[2] / "examples" / "data" / "mushroom.csv"
FILES = ("model.json", "arrays.safetensors")
HOG = """
import time
import numpy as np
from mpi4py import MPI
comm = MPI.COMM_WORLD
comm.barrier()
if comm.rank == 1:
    held = np.empty(900 << 20, dtype=np.int8)
    for part in np.array_split(held, 9):
        part[:] = 1
        time.sleep(0.7)
comm.barrier()
"""
SLEEP = "import time\nprint('began', flush=True)\ntime.sleep(120)\n"


local = toolkits.local  # the data, and what one process makes of it


@pytest.fixture
def home(hdfs, yarn):
    return new_folder(hdfs)


def make_cluster(home, **settings):
    said = {"num_containers": 2, "container_size": 1024, "num_vcores": 1, "python": sys.executable, **settings}
    cluster = gl.hadoop_cluster.create("test", home, **said)
    cluster.hdfs_tmp_dir = f"{home}/tmp"
    return cluster


def program(tmp_path, text):
    path = tmp_path / "program.py"
    path.write_text(text)
    return path


def wait_for_state(job, state, seconds=90.0):
    deadline = time.monotonic() + seconds
    while job.get_state() != state:
        assert time.monotonic() < deadline, (job.get_state(), str(job))
        time.sleep(0.2)


def processes_of(job):
    return find_processes("SAMESUM_JOB", job.working_dir)


def assert_nothing_runs(job, within=20.0):
    """A job's result is there a moment before its last process has gone."""
    deadline = time.monotonic() + within
    while processes_of(job) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not processes_of(job)


def same_bytes(model, tmp_path, expected):
    """Whether two models are saved as the same files."""
    folders = [tmp_path / "got", tmp_path / "expected"]
    for each, folder in zip((model, expected), folders, strict=True):
        each.save(str(folder))
    return all((folders[0] / name).read_bytes() == (folders[1] / name).read_bytes() for name in FILES)


def test_three_jobs_at_once_give_the_models_of_a_laptop(home, tmp_path, local):
    """A linear model of a file on HDFS, a graph model of a file of this machine, and a program that trains with all nine toolkits."""
    cluster = make_cluster(home, num_vcores=2)
    storage.put_file(f"{home}/mushroom.csv", MUSHROOM)
    toolkits.upload(local, f"{home}/data")
    edges = tmp_path / "edges.csv"
    edges.write_text("src,dst\n" + "".join(f"{i % 17},{i * 7 % 23}\n" for i in range(200)))
    linear = gl.distributed.logistic_classifier.submit_training_job(env=cluster, dataset=f"{home}/mushroom.csv", target="label")
    ranks = gl.distributed.pagerank.submit_training_job(env=cluster, graph=engine.Graph.source(str(edges), src="src", dst="dst"))
    staged = WorkingDir(ranks.working_dir).spec().staged
    assert storage.exists(staged)
    cluster.num_containers = 3
    nine = gl.run_script(cluster, program(tmp_path, toolkits.TRAIN), [f"{home}/data", f"{home}/models", "{}"])
    assert same_bytes(linear.get_results(), tmp_path / "1", engine.logistic_classifier.create(str(MUSHROOM), target="label", verbose=False))
    graph = engine.Graph(str(edges), src="src", dst="dst")
    assert same_bytes(ranks.get_results(), tmp_path / "2", engine.pagerank.create(graph, verbose=False))
    assert nine.wait(150) == nine.FINAL_STATE.SUCCESS, nine.summary()
    toolkits.check(local, f"{home}/models")
    for job in (linear, ranks, nine):
        assert_nothing_runs(job)
    assert not storage.exists(staged)


def test_a_container_over_its_memory(home, tmp_path):
    """YARN ends it, the job fails at once, and the summary says what would do."""
    job = gl.run_script(make_cluster(home, container_size=512), program(tmp_path, HOG))
    assert job.wait(120) == job.FINAL_STATE.FAILURE
    summary = job.summary()
    assert WorkingDir(job.working_dir).attempts() == [1]
    blocks = summary.split("\n\n")[1].splitlines()
    assert blocks[1] == "  Application Master"
    assert blocks[3] == "  Report not found in log."
    assert blocks[5] == "  Container terminated due to exceeding allocated physical memory. (-104)"
    assert "rank 1 was lost" in summary
    assert "give container_size=" in summary
    assert " MB asked for: give container_size=" in summary
    size = int(summary.partition("give container_size=")[2].split()[0])
    assert 900 < size < 1600
    assert_nothing_runs(job)
    enough = gl.run_script(make_cluster(home, container_size=size), program(tmp_path, HOG))
    assert enough.wait(240) == enough.FINAL_STATE.SUCCESS, enough.summary()


def test_cancel(home, tmp_path):
    """KILLED within ten seconds, with nothing left."""
    options = {"target": "label", "max_iterations": 100_000}
    job = gl.distributed.boosted_trees_classifier.submit_training_job(env=make_cluster(home), dataset=str(MUSHROOM), **options)
    staged = WorkingDir(job.working_dir).spec().staged
    assert storage.exists(staged)
    wait_for_state(job, job.STATE.RUNNING)
    began = time.monotonic()
    job.cancel()
    assert job.get_final_state() == job.FINAL_STATE.KILLED
    assert time.monotonic() - began < 10
    assert_nothing_runs(job, 10.0)
    assert staged.startswith(f"{home}/tmp/")
    assert storage.list_folder(storage.parent(staged)) == []


def application_of(job):
    return json.loads(storage.read_bytes(f"{job.working_dir}/submitted.json"))["application"]


def test_a_cluster_too_full(home, tmp_path):
    """The containers that came are given back, and the job says what the queue has not."""
    job = gl.run_script(make_cluster(home, num_containers=3, container_size=6144, start_within=5), program(tmp_path, SLEEP))
    assert job.wait(180) == job.FINAL_STATE.FAILURE
    assert re.search(r"only [0-2] of 3 containers of 6144 MB and 1 vcores came within 5 s in queue 'default', in 3 tries", str(job))
    assert re.search(r"\(queue 'default' uses \d+ of at most 20480 MB and \d+ of at most 32 vcores; 2 nodes have \d+ of 20480 MB", str(job))


def test_what_no_cluster_could_do(home, tmp_path):
    """A container larger than any node is refused at once."""
    with pytest.raises(OptionError, match=r"container_size=20480 .*10240 MB"):
        gl.run_script(make_cluster(home, container_size=20480), program(tmp_path, SLEEP))


class TestSettings:
    def test_no_settings(self, home, monkeypatch):
        monkeypatch.delenv("HADOOP_CONF_DIR")
        with pytest.raises(OptionError, match="set HADOOP_CONF_DIR to the folder"):
            make_cluster(home)

    def test_no_yarn_site(self, home, tmp_path):
        (tmp_path / "core-site.xml").write_text("<configuration/>")
        with pytest.raises(OptionError, match=r"no yarn-site.xml in"):
            make_cluster(home, hadoop_conf_dir=tmp_path)

    def test_a_yarn_site_without_resource_manager(self, home, tmp_path):
        for name in ("core-site.xml", "yarn-site.xml"):
            (tmp_path / name).write_text("<configuration/>")
        with pytest.raises(OptionError, match="names no ResourceManager"):
            make_cluster(home, hadoop_conf_dir=tmp_path)

    def test_a_wrong_resource_manager(self, home, yarn, tmp_path):
        conf = tmp_path / "conf"
        conf.mkdir()
        for path in yarn.hadoop.conf.glob("*-site.xml"):
            (conf / path.name).write_text(path.read_text().replace(yarn.rpc, "127.0.0.1:1"))
        cluster = make_cluster(home, hadoop_conf_dir=conf)
        with pytest.raises(OptionError, match="no ResourceManager answers at 127.0.0.1:1"):
            gl.run_script(cluster, program(tmp_path, SLEEP))

    def test_no_yarn_command(self, home, yarn, tmp_path, monkeypatch):
        cluster = make_cluster(home, hadoop_conf_dir=copy_of(yarn, tmp_path))
        monkeypatch.setenv("PATH", "/usr/bin:/bin")
        with pytest.raises(OptionError, match="no 'yarn' command on the PATH"):
            gl.run_script(cluster, program(tmp_path, SLEEP))

    def test_no_java(self, home, yarn, tmp_path, monkeypatch):
        cluster = make_cluster(home, hadoop_conf_dir=copy_of(yarn, tmp_path))
        monkeypatch.setenv("JAVA_HOME", str(tmp_path))
        with pytest.raises(OptionError, match="where there is no bin/java"):
            gl.run_script(cluster, program(tmp_path, SLEEP))

    def test_nothing_installed(self, home):
        with pytest.raises(OptionError, match="run `samesum cluster install"):
            gl.hadoop_cluster.create("test", home, num_containers=1, container_size=1024, num_vcores=1)
        with pytest.raises(OptionError, match="num_vcores must be given"):
            gl.hadoop_cluster.create("test", home, num_containers=1, container_size=1024, python=sys.executable)
        with pytest.raises(OptionError, match="dist_path"):
            gl.hadoop_cluster.create("test")

    def test_too_few_ports(self, home):
        with pytest.raises(OptionError, match="ports 9100 - 9103 are too few for 2 containers"):
            make_cluster(home, start_port=9100, end_port=9103)

    def test_a_folder_that_cannot_be_written(self, home, yarn, tmp_path):
        yarn.hdfs.as_superuser("MKDIRS", "/forbidden", permission="700")
        cluster = make_cluster(home)
        cluster.hdfs_tmp_dir = "hdfs:///forbidden"
        with pytest.raises(StorageError, match="hdfs_tmp_dir must be a folder that 'samesum' can write"):
            gl.run_script(cluster, program(tmp_path, SLEEP))

    def test_a_checkpoint_path_of_this_machine(self, home, tmp_path):
        with pytest.raises(OptionError, match="model_checkpoint_path must be where the cluster can read it"):
            gl.distributed.boosted_trees_classifier.submit_training_job(
                env=make_cluster(home), dataset=f"{home}/x.csv", target="label", model_checkpoint_path=str(tmp_path)
            )

    def test_it_is_kept(self, home):
        made = make_cluster(home, queue="default", additional_packages=None)
        found = gl.environments["test"]
        assert found == made
        assert found.get_num_workers() == 2
        found.num_containers = 3
        assert gl.environments["test"].num_workers == 3


def copy_of(yarn, tmp_path):
    """The same settings in a folder of their own, for which no driver runs yet."""
    conf = tmp_path / "conf"
    conf.mkdir()
    for path in yarn.hadoop.conf.glob("*-site.xml"):
        (conf / path.name).write_text(path.read_text())
    return conf
