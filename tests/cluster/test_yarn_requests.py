"""What YARN is asked for, and what becomes of it: queue, label, tags, packages, ports, nodes beside the data; and what cannot be had."""

import json
import pathlib
import re
import socket
import time
import zipfile

import pytest

import engine
import samesum as gl
from engine import storage
from engine.errors import OptionError, StorageError
from engine.working_dir import WorkingDir
from launch.processes import find_processes
from tests.cluster.conftest import leaving_none, new_folder
from tests.cluster.daemons import free_ports
from tests.cluster.test_yarn import SLEEP, application_of, assert_nothing_runs, make_cluster, program, wait_for_state

SHOW = """
import sys, time
import greeting_of_{tag}
from mpi4py import MPI
MPI.COMM_WORLD.barrier()
print(greeting_of_{tag}.WORDS, flush=True)
while not __import__("pathlib").Path(sys.argv[1]).exists():
    time.sleep(0.1)
"""


@pytest.fixture
def home(hdfs, yarn):
    return new_folder(hdfs)


@pytest.fixture
def fast_node(yarn):
    """The second node, which alone has the label ``fast`` meanwhile."""
    node = next(each["id"] for each in yarn.ask("nodes")["nodes"]["node"] if each["id"].startswith(yarn.hosts[1]))
    yarn.ask("add-node-labels", {"nodeLabelInfo": [{"name": "fast", "exclusivity": "false"}]})
    yarn.ask(f"nodes/{node}/replace-labels?labels=fast", {})
    with leaving_none(yarn):  # YARN takes what a container had from the label of its node when it ends: usage would be wrong from then on
        yield yarn.hosts[1]
    yarn.ask(f"nodes/{node}/replace-labels?labels=", {})


@pytest.fixture
def wheel(tmp_path):
    """A package that no environment has; its name is its own, as installed packages are kept for others."""
    tag = tmp_path.name.lower().replace("-", "_")
    path = tmp_path / f"greeting_of_{tag}-1.0-py3-none-any.whl"
    about = f"greeting_of_{tag}-1.0.dist-info"
    files = {
        f"greeting_of_{tag}.py": 'WORDS = "hello from a package"\n',
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: greeting_of_{tag}\nVersion: 1.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in [*files, f"{about}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in {**files, f"{about}/RECORD": record}.items():
            archive.writestr(name, text)
    return path, tag


def listeners(pids):
    """The addresses, as the kernel writes them, and TCP ports that processes listen at; a port may be taken at several addresses."""
    sockets = set()
    for pid in pids:
        for link in pathlib.Path(f"/proc/{pid}/fd").glob("*"):
            try:
                sockets.add(link.readlink().name)
            except OSError:
                continue
    rows = [line.split() for name in ("tcp", "tcp6") for line in pathlib.Path("/proc/net", name).read_text().splitlines()[1:]]
    found = (row[1].split(":") for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets)
    return {(address, int(port, 16)) for address, port in found}


def test_a_request_arrives_whole(home, yarn, fast_node, wheel, tmp_path):
    """Queue, label and tags reach YARN, packages the containers; all processes listen within the ports; the page has an address."""
    path, tag = wheel
    first = free_ports(1)[0] // 100 * 100
    cluster = make_cluster(
        home, queue="default", node_label="fast", tags=["Quarterly"], additional_packages=[str(path)], start_port=first, end_port=first + 40
    )
    go_on = tmp_path / "go on"
    job = gl.run_script(cluster, program(tmp_path, SHOW.format(tag=tag)), [str(go_on)])
    wait_for_state(job, job.STATE.RUNNING, 300)
    about = yarn.ask(f"apps/{application_of(job)}")["app"]
    assert about["queue"].rpartition(".")[2] == "default"
    assert (about["appNodeLabelExpression"], about["applicationTags"]) == ("fast", "quarterly,samesum,script")
    assert application_of(job) in job.tracking_url
    deadline = time.monotonic() + 120
    wanted = 3 + 1 + 2 * 2  # the application master's and the page's, mpiexec's, and two of each rank
    while len(found := listeners(pids_of(job))) < wanted:
        assert time.monotonic() < deadline, f"{sorted(found)}\n{job.get_progress()}\n{job.summary()}"
        time.sleep(0.2)
    assert {port for _, port in found} <= set(range(first, first + 41))
    go_on.touch()
    assert job.wait(300) == job.FINAL_STATE.SUCCESS, job.summary()
    assert pathlib.Path(job.get_log_file_path()).read_text().count("hello from a package") >= 2
    assert set(hosts_of(job)) == {fast_node}


def hosts_of(job):
    """Where the ranks of a job that has ended were; the supervisor says so a moment after the result."""
    deadline = time.monotonic() + 60
    while not (found := [each["host"] for each in WorkingDir(job.working_dir).containers() if each["rank"] is not None]):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return found


def pids_of(job):
    named = [("SKEIN_APPLICATION_ID", application_of(job)), ("SAMESUM_JOB", job.working_dir)]
    return {process.pid for variable, value in named for process in find_processes(variable, value)}


def test_containers_are_beside_the_data(home, hdfs, yarn):
    """A file is on one of two hosts; both workers of its job are there, whichever it is."""
    table = {"x": [float(k) for k in range(64)], "y": [k % 7 + 0.5 for k in range(64)]}
    files = {}
    for number in range(60):
        if len(files) == 2:
            break
        address = f"{home}/data/{number}.csv"
        storage.put_bytes(address, ("x,y\n" + "".join(f"{x},{y}\n" for x, y in zip(*table.values(), strict=True))).encode())
        files.setdefault(storage.block_hosts(address)[0].hosts[0], address)
    assert sorted(files) == hdfs.hosts
    cluster = make_cluster(home, container_size=512)
    jobs = {
        host: gl.distributed.linear_regression.submit_training_job(env=cluster, dataset=address, target="y")
        for host, address in files.items()
    }
    for host, job in jobs.items():
        model = job.get_results()
        assert model.coefficients.num_rows == 2
        assert [socket.gethostbyname(each) for each in hosts_of(job)] == [host, host]


def test_ports_that_others_have(home, tmp_path, monkeypatch):
    """Neither the application master nor ranks take others: the job says which ports to free, or to give."""
    first = free_ports(1)[0] // 100 * 100
    taken = [take(port) for port in range(first, first + 9)]
    left = [take(port) for port in range(first + 50, first + 55)]  # of 9: 3 for the application master, 1 for mpiexec, none for ranks
    path = program(tmp_path, SLEEP)
    monkeypatch.setattr("launch.yarn.description.ATTEMPTS", 1)  # another node might have free ports; here there is none
    try:
        none = gl.run_script(make_cluster(home, container_size=512, start_port=first, end_port=first + 8), path)
        few = gl.run_script(make_cluster(home, container_size=512, start_port=first + 50, end_port=first + 58), path)
        assert none.wait(300) == none.FINAL_STATE.FAILURE
        assert few.wait(300) == few.FINAL_STATE.FAILURE
    finally:
        for each in [*taken, *left]:
            each.close()
    assert f"no port from {first} to {first + 8} is free on this node: give the cluster other ports by start_port and end_port" in str(none)
    assert re.search(rf"rank \d: no port from {first + 50} to {first + 58} is free on \S+, and a rank needs 2: give the cluster", str(few))
    assert_nothing_runs(few)


def take(port):
    holder = socket.socket()
    holder.bind(("", port))
    holder.listen()
    return holder


def test_a_queue_that_starts_nothing(home, tmp_path):
    """An application that waits for its first container is taken back in time, and the job says what the queue has."""
    cluster = make_cluster(home, queue="narrow", num_containers=1, container_size=256)
    first = gl.run_script(cluster, program(tmp_path, SLEEP))
    wait_for_state(first, first.STATE.RUNNING, 300)
    cluster.start_within = 3
    second = gl.run_script(cluster, program(tmp_path, SLEEP))
    assert second.wait(120) == second.FINAL_STATE.FAILURE
    said = str(second)
    assert "the application master's container of 1024 MB did not come within 3 s in queue 'narrow'" in said
    assert re.search(r"queue 'narrow' uses \d+ of at most 2048 MB and \d+ of at most 3 vcores; 2 nodes have \d+ of 20480 MB", said)
    assert "AM resource limit exceeded" in said
    first.cancel()
    assert_nothing_runs(first)


class TestRefusals:
    """What is refused before anything is asked of YARN."""

    def test_a_queue_that_is_not_there(self, home, tmp_path):
        with pytest.raises(OptionError, match=r"queue must be one of YARN's, got 'wide'; there is '\w+', '\w+'"):
            gl.run_script(make_cluster(home, queue="wide"), program(tmp_path, SLEEP))

    def test_more_than_a_queue_may_have(self, home, tmp_path):
        with pytest.raises(OptionError, match=r"more than queue 'narrow' may have of 2 nodes: 2048 MB and 3.2 vcores"):
            gl.run_script(make_cluster(home, queue="narrow"), program(tmp_path, SLEEP))

    def test_ports_too_few_later(self, home, tmp_path):
        cluster = make_cluster(home, start_port=9100, end_port=9107)
        cluster.num_containers = 3
        with pytest.raises(OptionError, match="ports 9100 - 9107 are too few for 3 containers"):
            gl.run_script(cluster, program(tmp_path, SLEEP))

    def test_no_installation(self, home):
        with pytest.raises(OptionError, match=r"num_vcores must be given: '.*/nowhere/samesum.json' does not say it"):
            gl.hadoop_cluster.create("test", f"{home}/nowhere", num_containers=1, container_size=1024)
        with pytest.raises(OptionError, match=r"samesum is not installed in '.*/nowhere': run `samesum cluster install .*/nowhere`"):
            gl.hadoop_cluster.create("test", f"{home}/nowhere", num_containers=1, container_size=1024, num_vcores=1)

    def test_an_installation_of_another_release(self, home, tmp_path, monkeypatch):
        """Also for a cluster that was described before this release was installed here; one that has been installed since is used."""
        install(home, "0.0.9")
        with pytest.raises(OptionError, match=r"samesum 0.0.9 is installed in '.*', and this is samesum .*: run `samesum cluster install"):
            make_cluster(home, python=None)
        install(home, engine.__version__)
        made = make_cluster(home, python=None)
        monkeypatch.setattr(engine, "__version__", "99.0")
        with pytest.raises(OptionError, match="and this is samesum 99.0: run `samesum cluster install"):
            gl.run_script(made, program(tmp_path, SLEEP))
        install(home, "99.0")
        assert made.find_archive().endswith("environment-99.0-0.tar.gz")

    def test_an_installation_that_was_removed(self, home, tmp_path):
        install(home, engine.__version__)
        made = make_cluster(home, python=None)
        storage.remove(f"{home}/environments")
        with pytest.raises(OptionError, match=r"environment-.*' is not there any more: run `samesum cluster install`"):
            gl.run_script(made, program(tmp_path, SLEEP))

    def test_a_package_that_pip_cannot_install(self, home, tmp_path):
        cluster = make_cluster(home, additional_packages=[str(tmp_path / "no-1.0-py3-none-any.whl")])
        with pytest.raises(OptionError, match=r"additional_packages \[.*no-1.0-py3-none-any.whl'\] could not be installed: ERROR: \w+"):
            gl.run_script(cluster, program(tmp_path, SLEEP))

    def test_checkpoints_that_cannot_be_written(self, home, hdfs):
        hdfs.as_superuser("MKDIRS", "/forbidden", permission="700")
        with pytest.raises(StorageError, match="model_checkpoint_path must be a folder that 'samesum' can write"):
            gl.distributed.boosted_trees_classifier.submit_training_job(
                env=make_cluster(home), dataset=f"{home}/x.csv", target="label", model_checkpoint_path="hdfs:///forbidden/c"
            )


def install(home, version):
    """An installation as far as a description of the cluster looks at it."""
    name = f"{home}/environments/environment-{version}-0.tar.gz"
    storage.put_bytes(name, b"")
    storage.put_bytes(f"{home}/samesum.json", json.dumps({"version": version, "archive": name}).encode())


def test_who_may_read_an_archive(home, hdfs):
    """An archive is everybody's only if every folder above it is."""
    address = f"{home}/environment.tar.gz"
    storage.put_bytes(address, b"")
    assert not storage.is_public(address)  # the folder is its owner's alone
    path = "/" + home.partition("://")[2].partition("/")[2]
    hdfs.as_superuser("SETPERMISSION", path, permission="711")
    assert storage.is_public(address)
    hdfs.as_superuser("SETPERMISSION", f"{path}/environment.tar.gz", permission="640")
    assert not storage.is_public(address)
