"""The handle, member by member, on a working directory whose files the test writes: what it says and what it refuses."""

import os
import pathlib
import pickle
import threading
import time

import pytest

import launch
from engine.errors import DataError, JobError, JobKindError, MissingFileError, OptionError
from engine.working_dir import WorkingDir
from launch.job import Job
from tests.launch.fake_backend import FakeBackend

ROOT = pathlib.Path(__file__).resolve().parents[2]
MUSHROOM = str(ROOT / "examples" / "data" / "mushroom.csv")


@pytest.fixture(autouse=True)
def backend(tmp_path, monkeypatch):
    """Nothing is started; tests say what becomes of a job."""
    monkeypatch.setenv("SAMESUM_CONFIG_DIR", str(tmp_path / "config"))
    return FakeBackend.installed(monkeypatch)


@pytest.fixture
def cluster(tmp_path):
    return launch.local_cluster.create("here", num_workers=2, working_dir=tmp_path / "jobs")


@pytest.fixture
def job(cluster):
    return launch.boosted_trees_classifier.submit_training_job(cluster, MUSHROOM, "label")


def end(job, state="SUCCESS", summary="ended well", **more):
    assert WorkingDir(job.working_dir).publish(state, attempt=1, summary=summary, time=2.0, **more)


def test_states_follow_each_other(job, backend):
    assert job.get_state() == job.STATE.PENDING == "STATE.PENDING"
    with pytest.raises(RuntimeError, match="no final state yet, it is STATE.PENDING"):
        job.get_final_state()
    backend.says = "running"
    assert str(job.get_state()) == "STATE.RUNNING"
    end(job)
    assert job.get_state() == job.STATE.COMPLETED
    assert job.get_final_state() == job.FINAL_STATE.SUCCESS == "FINAL_STATE.SUCCESS"
    assert job.wait() == job.FINAL_STATE.SUCCESS


def test_who_sees_a_lost_job_first_ends_it(job, backend):
    backend.says = "gone"
    assert job.get_state() == job.STATE.COMPLETED
    assert job.get_final_state() == job.FINAL_STATE.FAILURE
    assert str(job) == f"Job {job.job_id}: its supervisor is gone"


def test_waiting_ends_with_the_job_or_its_time(job):
    began = time.monotonic()
    assert job.wait(0) is None
    assert job.wait(timeout=0.3) is None
    assert 0.3 <= time.monotonic() - began < 5
    threading.Timer(0.2, end, (job, "KILLED", "cancelled by its user")).start()
    assert job.wait(60) == job.FINAL_STATE.KILLED
    for wrong in (-1, "soon", True, float("nan")):
        with pytest.raises(OptionError, match="timeout must be seconds"):
            job.wait(wrong)


def test_a_failure_raises_with_the_error_of_the_workers(job):
    end(job, "FAILURE", "expected the column 'label'", error={"class": "DataError", "message": "expected the column 'label'"})
    with pytest.raises(RuntimeError, match=f"job {job.job_id} failed: expected the column 'label' .more in its summary") as caught:
        job.get_results()
    assert isinstance(caught.value, JobError)
    assert isinstance(caught.value.__cause__, DataError)
    assert str(caught.value.__cause__) == "expected the column 'label'"


@pytest.mark.parametrize("name", ["ZeroDivisionError", "warn", "annotations", None])
def test_an_error_of_another_class_is_an_error_too(job, name):
    end(job, "FAILURE", "it failed", error={"class": name, "message": "ZeroDivisionError: division by zero"})
    with pytest.raises(JobError) as caught:
        job.get_results()
    assert type(caught.value.__cause__) is RuntimeError


def test_a_killed_job_says_so(job):
    job.cancel()
    assert job.get_final_state() == job.FINAL_STATE.KILLED
    job.cancel()
    with pytest.raises(JobError, match="was killed: cancelled by its user"):
        job.get_results()
    assert str(job).endswith("cancelled by its user")


def test_a_job_that_ended_is_not_cancelled(job):
    end(job)
    job.cancel()
    assert job.get_final_state() == job.FINAL_STATE.SUCCESS
    assert str(job) == f"Job submitted with job_id: {job.job_id}"


def test_checkpoints_that_are_not_there(job, cluster):
    with pytest.raises(RuntimeError, match="no checkpoint yet"):
        job.last_checkpoint()
    without = launch.boosted_trees_classifier.submit_training_job(cluster, MUSHROOM, "label", model_checkpoint_path=None)
    with pytest.raises(TypeError, match="no checkpoints: it was told to write none") as caught:
        without.last_checkpoint()
    assert isinstance(caught.value, JobKindError)
    script = launch.run_script(cluster, __file__)
    with pytest.raises(TypeError, match="no checkpoints: it is a job to script"):
        script.last_checkpoint()


def test_the_summary_names_the_workers(job, capsys):
    assert job.summary() == "Container list: []"
    directory = WorkingDir(job.working_dir)
    directory.put_containers(
        [
            {"attempt": 1, "rank": 0, "diagnosis": "ended with the others"},
            {"attempt": 1, "rank": 1, "diagnosis": "Container terminated due to exceeding allocated physical memory. (-104)"},
            {"attempt": 2, "rank": 0, "diagnosis": None},
        ]
    )
    end(job, "FAILURE", "rank 1 used 600 MB of 512 MB; worker_memory=700 would do")
    assert (
        job.summary()
        == """\
Container list: ['container_01_000000', 'container_01_000001', 'container_02_000000']

container_01_000000:
  ended with the others
container_01_000001:
  Container terminated due to exceeding allocated physical memory. (-104)
container_02_000000:
  Report not found in log.

rank 1 used 600 MB of 512 MB; worker_memory=700 would do"""
    )
    assert capsys.readouterr().out == ""


def test_the_log_file_goes_with_the_handle(job):
    with pytest.raises(RuntimeError, match="no logs yet, it is STATE.PENDING"):
        job.get_log_file_path()
    for name, text in (("rank-0.log", "one\n"), ("rank-1.log", "two")):
        path = pathlib.Path(job.working_dir, "logs", "1", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    path = job.get_log_file_path()
    assert pathlib.Path(path).read_text() == "===== logs/1/rank-0.log =====\none\n===== logs/1/rank-1.log =====\ntwo\n"
    assert os.path.exists(path)
    other = launch.load_job(job.working_dir)
    second = other.get_log_file_path()
    del other
    assert not os.path.exists(second)
    assert os.path.exists(path)


def test_events_are_given_as_they_come(job):
    directory = WorkingDir(job.working_dir)
    seen = []
    thread = threading.Thread(target=lambda: seen.extend(job.events()))
    thread.start()
    number = directory.take_attempt({"time": 1.0})
    path = pathlib.Path(directory.attempt_path(number, "events.jsonl"))
    path.write_text('{"event": "row", "time": 1.5, "number": 1}\n{"event": "ro')
    until = time.monotonic() + 30
    while len(seen) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    assert [event["event"] for event in seen] == ["attempt", "row"]
    assert thread.is_alive()
    end(job)
    thread.join(30)
    assert [event["event"] for event in seen] == ["attempt", "row", "end"]
    assert [event["event"] for event in job.events()] == ["attempt", "row", "end"]


def test_staged_data_go_when_the_job_has_ended(cluster, tmp_path):
    cluster.hdfs_tmp_dir = tmp_path / "tmp"
    job = launch.linear_regression.submit_training_job(cluster, {"x": [1.0, 2, 3], "y": [1.0, 2, 4]}, "y")
    assert list((tmp_path / "tmp").rglob("*.parquet"))
    assert job.get_state() == job.STATE.PENDING
    end(job)
    assert launch.load_job(job.working_dir).get_state() == job.STATE.COMPLETED
    assert not list((tmp_path / "tmp").rglob("*.parquet"))


def test_other_processes_find_jobs(job, cluster, tmp_path):
    same = launch.load_job(pathlib.Path(job.working_dir))
    assert (same.job_id, same.working_dir, repr(same)) == (job.job_id, job.working_dir, repr(job))
    with pytest.raises(MissingFileError, match="expected the working directory of a job, got .*nothing"):
        launch.load_job(tmp_path / "nothing")
    with pytest.raises(MissingFileError, match="it has no job.json"):
        launch.load_job(tmp_path)


def test_jobs_are_listed_the_newest_first(cluster):
    assert launch.list_jobs("here") == []
    jobs = [launch.run_script(cluster, __file__) for _ in range(3)]
    pathlib.Path(cluster.working_dir, "not a job").mkdir()
    pathlib.Path(cluster.working_dir, "a file").write_text("")
    listed = launch.list_jobs(cluster)
    assert [each.job_id for each in listed] == [each.job_id for each in reversed(jobs)]
    assert all(isinstance(each, Job) for each in listed)
    assert listed[0].submitted <= time.time()


def test_a_handle_is_an_address(job):
    with pytest.raises(AttributeError):
        job.no_such_member  # noqa: B018
    assert pickle.loads(pickle.dumps(job.working_dir)) == job.working_dir
