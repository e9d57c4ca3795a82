"""The files of a job: what is there, what decides, and what is left of half-written ones."""

import json
import os
import pathlib
import threading

import pytest

from engine.errors import MissingFileError, OptionError, StorageError
from engine.spec import DataSpec, JobSpec, Resources
from engine.working_dir import WorkingDir


def job(**changes):
    given = {"task": "train", "toolkit": "linear_regression", "target": "y", "data": DataSpec(paths=("a.csv",)), "resources": Resources()}
    return JobSpec(**{**given, **changes})


@pytest.fixture
def wd(tmp_path):
    return WorkingDir.create(str(tmp_path / "jobs" / "dml_job_1"), job())


def test_a_job_survives_its_trip(wd):
    again = WorkingDir(wd.address)
    assert again.job_id == "dml_job_1"
    assert again.spec() == job()
    assert (again.attempts(), again.result(), again.progress(), again.containers(), again.logs()) == ([], None, "", [], [])
    assert os.stat(wd.address).st_mode & 0o777 == 0o700


def test_no_job(tmp_path):
    with pytest.raises(MissingFileError, match=r"it has no job\.json"):
        WorkingDir(str(tmp_path)).spec()
    with pytest.raises(OptionError, match="expected 'resources'"):
        WorkingDir.create(str(tmp_path / "x"), job(resources=None, output="m"))


def test_each_attempt_is_taken_once(wd):
    taken = []
    threads = [threading.Thread(target=lambda k=k: taken.append(wd.take_attempt({"pid": k}))) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(1, 9)) == wd.attempts()
    assert sorted(wd.attempt(number)["pid"] for number in wd.attempts()) == list(range(8))
    pathlib.Path(wd.attempt_path(9)).mkdir()
    assert wd.attempts() == list(range(1, 9)), "a folder alone is no attempt"


def test_only_the_latest_attempt_may_publish_and_only_until_there_is_a_result(wd):
    first = wd.take_attempt({})
    assert wd.may_publish(first)
    second = wd.take_attempt({})
    assert not wd.may_publish(first)
    assert wd.may_publish(second)
    assert wd.publish("FAILURE", attempt=second, summary="why", time=1.0)
    assert not wd.may_publish(second)
    assert not wd.publish("SUCCESS", attempt=first, summary="too late", time=2.0)
    assert wd.result() == {"state": "FAILURE", "attempt": 2, "summary": "why", "time": 1.0}


def test_events_have_each_iteration_once(wd):
    lines = {
        1: [
            {"event": "row", "number": 1},
            {"event": "row", "number": 2},
            {"event": "checkpoint", "path": "c"},
            {"event": "row", "number": 3},
        ],
        2: [{"event": "restart", "iteration": 2}, {"event": "row", "number": 3}, {"event": "row", "number": 4}],
    }
    for number, events in lines.items():
        assert wd.take_attempt({"time": float(number)}) == number
        text = "".join(json.dumps(event) + "\n" for event in events)
        pathlib.Path(wd.attempt_path(number, "events.jsonl")).write_text(text + '{"event": "ro')
    found = [(event["event"], event.get("number")) for event in wd.events()]
    rows = [("row", 1), ("row", 2), ("checkpoint", None), ("row", 3)]
    assert found == [("attempt", None), *rows, ("attempt", None), ("restart", None), ("row", 4)]
    wd.publish("SUCCESS", attempt=2, summary="", time=3.0)
    assert wd.events()[-1] == {"event": "end", "state": "SUCCESS", "attempt": 2, "time": 3.0}


def test_what_is_damaged_is_named(wd):
    pathlib.Path(wd.path("result.json")).write_text("{")
    with pytest.raises(StorageError, match=r"result\.json' is damaged"):
        wd.result()


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, "{}/checkpoints"), ({"model_checkpoint_path": "auto"}, "{}/checkpoints"), ({"model_checkpoint_path": None}, None)],
)
def test_where_checkpoints_are(wd, options, expected):
    found = wd.checkpoint_folder(job(options=options))
    assert found == (None if expected is None else expected.format(wd.address))
    assert wd.checkpoint_folder(job(options={"model_checkpoint_path": "s3://b/c"})) == "s3://b/c"
    assert wd.last_checkpoint() is None


def test_logs_are_in_order(wd):
    for name in ("logs/10/rank-0.log", "logs/2/rank-1.log", "logs/2/rank-0.log", "logs/supervisor.log"):
        path = pathlib.Path(wd.path(*name.split("/")))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    assert [path.removeprefix(wd.address) for path in wd.logs()] == [
        "/logs/supervisor.log",
        "/logs/2/rank-0.log",
        "/logs/2/rank-1.log",
        "/logs/10/rank-0.log",
    ]
