"""What a job on YARN makes of losses: of containers, nodes, managers, of the ResourceManager and of HDFS, as clusters really have them.

Every job trains the same trees. It ends with the bytes of one process that nobody disturbed, or says why it could not.
"""

import html
import json
import pathlib
import re
import signal

import pytest

import engine
import samesum as gl
from engine import storage
from engine.checkpoint import read_checkpoint
from engine.errors import OptionError
from engine.working_dir import WorkingDir
from launch.hadoop_cluster import HadoopCluster
from launch.processes import find_processes
from tests.cluster.conftest import new_folder
from tests.cluster.processes import command_of, is_java, variable_of
from tests.cluster.test_yarn import MUSHROOM, SLEEP, application_of, make_cluster, program, same_bytes, wait_for_state
from tests.launch.supervised import wait_until

SLOW = pathlib.Path(__file__).with_name("slow")
OPTIONS = {"target": "label", "max_iterations": 16, "max_depth": 3}
RESTARTED = re.compile(r"^PROGRESS: restarted from \d+$", re.MULTILINE)
PATIENCE = 180.0


@pytest.fixture(scope="module")
def expected():
    return engine.boosted_trees_classifier.create(str(MUSHROOM), verbose=False, **OPTIONS)


@pytest.fixture
def home(hdfs, yarn):
    """A folder with the data; what a test has lost is repaired after it."""
    folder = new_folder(hdfs)
    storage.put_file(f"{folder}/mushroom.csv", MUSHROOM)
    yield folder
    hdfs.repair()
    yarn.repair()


@pytest.fixture
def hold(tmp_path):
    """As long as this file is there, a training stands still after its first checkpoint."""
    path = tmp_path / "hold"
    path.touch()
    yield path
    path.unlink(missing_ok=True)


@pytest.fixture
def submit(home, hold, monkeypatch, tmp_path):
    """Submit a training, with a checkpoint every other iteration unless a test says otherwise."""
    plain = HadoopCluster.resources

    def run(*, options=OPTIONS, every=2, **settings):
        variables = {"PYTHONPATH": str(SLOW), "TEST_HOLD": str(hold)}
        own = {"environment": variables, "node_tmp_dir": str(tmp_path / "node")}
        monkeypatch.setattr(HadoopCluster, "resources", lambda self: {**plain(self), **own})
        said = {"env": make_cluster(home, **settings), "dataset": f"{home}/mushroom.csv", **options}
        return gl.distributed.boosted_trees_classifier.submit_training_job(model_checkpoint_interval=every, **said)

    return run


def processes(job, word=""):
    """The processes of the application, those whose command has a word."""
    found = find_processes("SKEIN_APPLICATION_ID", application_of(job))
    return [each for each in found if word in command_of(each)]


def master_of(job):
    return next(each for each in processes(job) if is_java(each))


def wait_for_checkpoint(job, iteration=2):
    wait_until(lambda: (WorkingDir(job.working_dir).last_checkpoint() or "").endswith(f"model_checkpoint_{iteration}"), PATIENCE)


def assert_the_same(job, expected, tmp_path, *, attempts, restarted=True):
    """It succeeded, with the same bytes, after so many attempts, and nothing of it runs anywhere."""
    assert job.wait(PATIENCE) == job.FINAL_STATE.SUCCESS, job.summary()
    assert WorkingDir(job.working_dir).attempts() == attempts, job.summary()
    assert bool(RESTARTED.search(job.get_progress())) == restarted
    assert same_bytes(job.get_results(), tmp_path, expected)
    assert_nothing_runs(job)
    page = page_of(job)
    assert "SUCCESS" in page
    assert all(each["diagnosis"] in page for each in WorkingDir(job.working_dir).containers() if each.get("diagnosis"))


def assert_nothing_runs(job):
    wait_until(lambda: not find_processes("SAMESUM_JOB", job.working_dir) and not processes(job))


def page_of(job):
    """The page that a job leaves, once its last process has ended."""
    assert job.page_url == f"{job.working_dir}/report.html"
    return html.unescape(storage.read_bytes(job.page_url).decode())


def ends_of(job):
    """Why each attempt but the last ended."""
    wd = WorkingDir(job.working_dir)
    return [wd.attempt_end(number) for number in wd.attempts()[:-1]]


def test_a_container_is_killed(submit, hold, expected, tmp_path):
    """A failure as any other: it counts. What it left on its node goes with the next one there."""
    job = submit()
    wait_for_checkpoint(job)
    processes(job, "launch.yarn.worker")[0].kill(signal.SIGKILL)
    hold.unlink()
    assert_the_same(job, expected, tmp_path, attempts=[1, 2])
    assert not list((tmp_path / "node").iterdir())
    (end,) = ends_of(job)
    assert end["cause"] == "lost"
    assert not end["is_free"]


def test_a_container_is_preempted(submit, hold, home, yarn, expected, tmp_path):
    """Another queue takes back what is its own; the summary has YARN's words, for the container that YARN's log names."""
    job = submit(max_restarts=0, num_containers=4, container_size=4096, num_vcores=7)
    wait_for_checkpoint(job)
    urgent = make_cluster(home, queue="urgent", num_containers=1, container_size=4096, num_vcores=4)
    other = gl.run_script(urgent, program(tmp_path, "import time\ntime.sleep(1)\n"))
    wait_until(lambda: preempted(yarn, job), PATIENCE, lambda: f"{other.summary()}\n{job.summary()}\n{yarn.describe()}")
    hold.unlink()
    assert other.wait(PATIENCE) == other.FINAL_STATE.SUCCESS
    assert_the_same(job, expected, tmp_path, attempts=[1, 2])
    lost = [each for each in WorkingDir(job.working_dir).containers() if each.get("diagnosis") == "Container was preempted. (-102)"]
    assert len(lost) == 1
    assert "preempted by scheduler" in lost[0]["said"]
    assert f"containerId={lost[0]['container']}" in preempted(yarn, job)
    assert ends_of(job)[0]["is_free"]
    assert f"{lost[0]['container']}:\n  Container was preempted. (-102)" in job.summary()
    assert "Container was preempted. (-102)" in page_of(job)


def preempted(yarn, job):
    """What the ResourceManager says of containers that it has preempted."""
    application = application_of(job).removeprefix("application_")
    lines = yarn.resource_manager.log.read_text(errors="replace").splitlines()
    return "\n".join(line for line in lines if "container preempted" in line and application in line)


def test_the_application_master_is_killed(submit, hold, expected, tmp_path):
    """YARN starts another one, whose supervisor goes on from the last checkpoint with containers of its own."""
    job = submit(max_restarts=0)
    wait_for_checkpoint(job)
    master_of(job).kill(signal.SIGKILL)
    hold.unlink()
    assert_the_same(job, expected, tmp_path, attempts=[1, 2])


def place_of_workers(yarn, job):
    """A node with workers that the application master is not on, or one with it if there is no other; its workers' ranks."""
    of_master = yarn.node_of(master_of(job))
    nodes = sorted({yarn.node_of(each) for each in processes(job, "launch.yarn.worker")}, key=lambda node: node == of_master)
    return nodes[0], nodes[0] == of_master


def test_a_node_is_lost(submit, hold, yarn, expected, tmp_path):
    """With all its processes, as when its power fails. It does not count: no restart is allowed here."""
    job = submit(max_restarts=0, num_containers=3, container_size=4096)
    wait_for_checkpoint(job)
    node, has_master = place_of_workers(yarn, job)
    assert not has_master
    yarn.lose_node(node)
    hold.unlink()
    yarn.repair()
    assert_the_same(job, expected, tmp_path, attempts=[1, 2])
    assert ends_of(job)[0]["is_free"]


def test_a_node_manager_alone_is_lost(submit, hold, yarn, expected, tmp_path):
    """Its containers run on without anyone who would end them: their ranks write into nothing, and end."""
    job = submit(max_restarts=0, num_containers=3, container_size=4096)
    wait_for_checkpoint(job)
    node, has_master = place_of_workers(yarn, job)
    assert not has_master
    workers = [each for each in processes(job, "launch.yarn.worker") if yarn.node_of(each) == node]
    yarn.node_managers[node].stop(signal.SIGKILL)
    wait_until(lambda: not any(each.is_alive for each in workers), PATIENCE)  # by themselves
    hold.unlink()
    yarn.repair()
    assert_the_same(job, expected, tmp_path, attempts=[1, 2])
    assert ends_of(job)[0]["is_free"]
    assert "(-100)" in ends_of(job)[0]["message"]


def submit_away_from_master(submit, yarn):
    """A job of one container, which is not on the application master's node, and the node; YARN places it as it likes."""
    for _ in range(8):
        job = submit(max_restarts=0, num_containers=1, container_size=6144)
        wait_for_checkpoint(job)
        node, has_master = place_of_workers(yarn, job)
        if not has_master:
            return job, node
        job.cancel()
        assert_nothing_runs(job)
    raise AssertionError("always on the application master's node")


def test_a_zombie_writes_into_nothing(submit, hold, yarn, expected, tmp_path):
    """A rank on a node without its manager, whom nobody tells that another attempt goes on, trains to its end and leaves no trace."""
    job, node = submit_away_from_master(submit, yarn)
    there = [each for each in processes(job) if yarn.node_of(each) == node]
    keepers = [each for each in there if any(word in command_of(each) for word in ("launch.yarn.worker", "launch.agent"))]
    (rank,) = [each for each in there if "-m engine" in command_of(each) and "leash.py" not in command_of(each)]
    record = pathlib.Path(variable_of(rank, "SAMESUM_SCRATCH"), "ranks", "0.json")
    for each in keepers:
        each.kill(signal.SIGSTOP)
    yarn.node_managers[node].stop(signal.SIGKILL)
    wd = WorkingDir(job.working_dir)
    wait_for_checkpoint(job, 4)  # where the other attempt stands still
    assert rank.is_alive
    hold.unlink()
    wait_until(lambda: not rank.is_alive, PATIENCE)
    wait_until(lambda: "exit_code" in json.loads(record.read_text()))  # by itself
    for each in keepers:
        each.kill(signal.SIGCONT)
    yarn.repair()
    assert_the_same(job, expected, tmp_path, attempts=[1, 2])
    assert ends_of(job)[0]["is_free"]
    assert wd.error(1) is None
    assert not storage.exists(wd.attempt_path(1, "model"))
    assert wd.result()["attempt"] == 2


def test_the_resource_manager_is_restarted(submit, hold, yarn, expected, tmp_path):
    """It remembers the application, which goes on as if nothing had happened."""
    job = submit()
    wait_for_checkpoint(job)
    yarn.resource_manager.stop(signal.SIGKILL)
    assert job.get_state() == job.STATE.RUNNING
    yarn.repair()
    hold.unlink()
    assert_the_same(job, expected, tmp_path, attempts=[1], restarted=False)


def test_the_resource_manager_has_forgotten(submit, yarn):
    """The job has failed, says so, and its last checkpoint is good."""
    job = submit()
    wait_for_checkpoint(job)
    yarn.resource_manager.stop(signal.SIGKILL)
    yarn.forget_applications()
    yarn.repair()
    assert job.wait(PATIENCE) == job.FINAL_STATE.FAILURE
    assert f"the resource manager lost the application, {application_of(job)}" in job.summary()
    assert f"resume_from_checkpoint={job.last_checkpoint()!r}" in job.summary()
    read_checkpoint(job.last_checkpoint())
    assert_nothing_runs(job)


def restart(hdfs, meanwhile=lambda: None):
    """End all daemons of HDFS, and start them again after something else."""
    for daemon in hdfs.daemons:
        daemon.stop(signal.SIGKILL)
    meanwhile()
    hdfs.repair()


def test_hdfs_is_restarted_while_a_checkpoint_is_due(submit, hold, hdfs, yarn, expected, tmp_path):
    """What is to be written is tried again until it can be."""
    job = submit()
    wait_for_checkpoint(job)
    application = application_of(job)
    waits = re.compile(r"waiting to \w+ '\S*/(?:result.json|checkpoints)\S*'")  # what is asked before and after one is written

    def write():
        hold.unlink()
        wait_until(lambda: waits.search(rank_logs(yarn, application)), PATIENCE)

    restart(hdfs, write)
    assert_the_same(job, expected, tmp_path, attempts=[1], restarted=False)


def rank_logs(yarn, application):
    """What an application's ranks have written, where they run."""
    folders = [yarn.node_folder(number) / "logs" / application for number in range(yarn.nodes)]
    return "\n".join(path.read_text() for folder in folders for path in folder.rglob("rank-*.log"))


def test_hdfs_is_restarted_while_training(submit, hold, hdfs, tmp_path):
    """Ranks compute on; what they say of it comes later."""
    hold.unlink()
    long = {**OPTIONS, "max_iterations": 4000}
    job = submit(options=long, every=3000)
    wait_until(lambda: last_row(job) > 10, PATIENCE)
    at = last_row(job)
    restart(hdfs)
    assert job.get_state() == job.STATE.RUNNING
    wait_until(lambda: last_row(job) > at, PATIENCE)
    expected = engine.boosted_trees_classifier.create(str(MUSHROOM), verbose=False, **long)
    assert_the_same(job, expected, tmp_path, attempts=[1], restarted=False)


def last_row(job):
    """The last iteration that a job has told of."""
    return max((event["number"] for event in WorkingDir(job.working_dir).events() if event["event"] == "row"), default=0)


def test_no_master_is_left(submit, hold):
    """YARN starts so many application masters and no more: the job has failed, says so, and how to go on."""
    job = submit()
    wait_for_checkpoint(job)
    killed = set()
    while job.get_state() != job.STATE.COMPLETED:
        for master in {each for each in processes(job) if is_java(each)} - killed:
            killed.add(master)
            master.kill(signal.SIGKILL)
    assert job.get_final_state() == job.FINAL_STATE.FAILURE
    assert "its application ended as FAILED without a result" in job.summary()
    assert f"resume_from_checkpoint={job.last_checkpoint()!r}" in job.summary()
    assert len(killed) >= 5
    read_checkpoint(job.last_checkpoint())
    assert_nothing_runs(job)
    assert "its application ended as FAILED" in page_of(job)


def test_fewer_containers(submit, hold, home, expected, tmp_path):
    """Two come where three are asked for, which will do: the model is the same. More than all is refused."""
    hold.unlink()
    job = submit(num_containers=3, container_size=6144, start_within=15, min_containers=2)
    assert_the_same(job, expected, tmp_path, attempts=[1], restarted=False)
    assert "Number of workers: 2" in job.get_progress()
    with pytest.raises(OptionError, match=r"min_containers must be at most num_containers, 2, got 3"):
        make_cluster(home, min_containers=3)


def test_submits_and_cancels(home, tmp_path):
    """Time after time, at any moment: nothing is left on HDFS or running."""
    for has_begun in (False, True):
        job = gl.run_script(make_cluster(home), program(tmp_path, SLEEP))
        if has_begun:
            wait_for_state(job, job.STATE.RUNNING)
        job.cancel()
        assert job.get_final_state() == job.FINAL_STATE.KILLED
        assert_nothing_runs(job)
        folder = f"{home.rpartition('/')[0]}/.skein/{application_of(job)}"
        wait_until(lambda folder=folder: not storage.exists(folder))
