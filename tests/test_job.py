"""An attempt as its ranks run it, in one process: checkpoints of all toolkits, restarts, and the fence around an attempt that is late."""

import json
import pathlib

import pytest

from engine import job, job_log
from engine.collectives.serial import SerialComm
from engine.errors import DataError, OptionError
from engine.job import run_attempt
from engine.job_log import JobLog
from engine.spec import GRAPH_TOOLKITS, TOOLKITS, DataSpec, GraphSpec, JobSpec, Resources
from engine.storage.traffic import count_read
from engine.working_dir import WorkingDir

COMM = SerialComm()
CLASSIFIERS = {name for name in TOOLKITS if name.endswith("classifier")}


class Killed(BaseException):
    """The end of a rank that has no time to say anything."""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "data.csv"
    rows = [f"{(7 * n) % 31},{n % 13},{'abc'[n % 3]},{(7 * n) % 31 * (n % 13) % 5 > 1},{n * n % 17}" for n in range(200)]
    path.write_text("\n".join(["x,y,word,yes,number", *rows]) + "\n")
    return str(path)


@pytest.fixture(scope="module")
def edges(tmp_path_factory):
    folder = tmp_path_factory.mktemp("edges")
    (folder / "edges.csv").write_text("from,to\n" + "".join(f"{n},{n * n % 53}\n{n},{(n + 1) % 53}\n" for n in range(53)))
    (folder / "vertices.csv").write_text("id,label\n" + "".join(f"{n},{'ab'[n % 2] if n % 5 == 0 else ''}\n" for n in range(53)))
    return folder


def training(toolkit, data, edges=None, **options):
    """A job of twelve iterations that says nothing of checkpoints."""
    given = {"task": "train", "toolkit": toolkit, "options": {"max_iterations": 12, **options}, "resources": Resources()}
    if toolkit in GRAPH_TOOLKITS:
        given |= {"data": DataSpec(paths=(str(edges / "edges.csv"),))}
        given |= {"graph": GraphSpec(vertex_data=DataSpec(paths=(str(edges / "vertices.csv"),)))}
        given["options"] |= {"threshold": 0.0, **({"label_field": "label"} if toolkit == "label_propagation" else {})}
    else:
        target = "yes" if toolkit in CLASSIFIERS else "number"
        given |= {"data": DataSpec(paths=(data,)), "target": target, "features": ("x", "y", "word")}
        if toolkit in ("linear_regression", "logistic_classifier", "svm_classifier"):
            slow = "fista" if toolkit == "linear_regression" else "lbfgs"
            given["options"] |= {"solver": slow, "convergence_threshold": 1e-10}
    return JobSpec(**given)


def run(wd):
    run_attempt(wd.address, COMM)
    return wd.result()


def model_bytes(wd):
    return [pathlib.Path(wd.path(wd.result()["model"]), name).read_bytes() for name in ("model.json", "arrays.safetensors")]


@pytest.mark.parametrize("toolkit", [*TOOLKITS, *GRAPH_TOOLKITS])
def test_every_toolkit_writes_checkpoints_and_goes_on_from_them(data, edges, tmp_path, monkeypatch, toolkit):
    spec = training(toolkit, data, edges)
    whole = WorkingDir.create(str(tmp_path / "whole"), spec)
    assert run(whole)["state"] == "SUCCESS"
    assert [name.name for name in sorted(pathlib.Path(whole.path("checkpoints")).iterdir())] == [
        "model_checkpoint_10",
        "model_checkpoint_5",
    ]
    lines = [line for line in whole.progress().splitlines() if "Checkpointing" in line]
    assert lines == [f"PROGRESS: Checkpointing to {whole.path('checkpoints', f'model_checkpoint_{n}')}" for n in (5, 10)]
    assert whole.last_checkpoint() == whole.path("checkpoints", "model_checkpoint_10")

    broken = WorkingDir.create(str(tmp_path / "broken"), spec)
    plain = JobLog.row

    def row(log, number, values):
        if number == 9:
            raise Killed
        plain(log, number, values)

    monkeypatch.setattr(JobLog, "row", row)
    with pytest.raises(Killed):
        run(broken)
    assert broken.result() is None
    monkeypatch.setattr(JobLog, "row", plain)
    assert run(broken)["attempt"] == 2
    assert model_bytes(broken) == model_bytes(whole)
    assert broken.progress().count("PROGRESS: restarted from 5\n") == 1
    same = [line.split("|")[1] for line in broken.progress().splitlines() if line.startswith("PROGRESS: | ")]
    assert same == [line.split("|")[1] for line in whole.progress().splitlines() if line.startswith("PROGRESS: | ")]


@pytest.mark.parametrize(("path", "interval", "expected"), [(None, 5, []), ("auto", 0, []), ("auto", 6, [6, 12]), ("own", 4, [8, 12])])
def test_checkpoints_as_the_job_says(data, tmp_path, path, interval, expected):
    own = str(tmp_path / "own")
    spec = training(
        "boosted_trees_classifier", data, model_checkpoint_path=own if path == "own" else path, model_checkpoint_interval=interval
    )
    wd = WorkingDir.create(str(tmp_path / "job"), spec)
    run(wd)
    folder = pathlib.Path(own if path == "own" else wd.path("checkpoints"))
    found = sorted(int(each.name.rpartition("_")[2]) for each in folder.iterdir()) if folder.exists() else []
    assert found == expected


def test_resumed_by_hand_to_more_iterations(data, tmp_path, monkeypatch):
    first = WorkingDir.create(str(tmp_path / "first"), training("boosted_trees_classifier", data, max_iterations=10))
    run(first)
    whole = WorkingDir.create(str(tmp_path / "whole"), training("boosted_trees_classifier", data))
    run(whole)
    spec = training("boosted_trees_classifier", data, resume_from_checkpoint=first.last_checkpoint(), model_checkpoint_interval=4)
    again = WorkingDir.create(str(tmp_path / "again"), spec)
    with monkeypatch.context() as patch:
        patch.setattr(job, "publish", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            run(again)
    assert "PROGRESS: Resumed training from checkpoint at iteration 10\n" in again.progress()
    assert run(again)["attempt"] == 2
    assert "PROGRESS: restarted from 12\n" in again.progress()
    assert model_bytes(again) == model_bytes(whole)


@pytest.mark.parametrize("overtaken", ["by an attempt", "by a result"])
@pytest.mark.parametrize("iteration", [3, 7, 12])
def test_an_attempt_that_is_out_of_date_writes_nothing_more(data, tmp_path, monkeypatch, overtaken, iteration):
    wd = WorkingDir.create(str(tmp_path / "job"), training("boosted_trees_classifier", data))
    plain = JobLog.row

    def row(log, number, values):
        plain(log, number, values)
        if number == iteration:
            if overtaken == "by an attempt":
                wd.take_attempt({})
            else:
                wd.publish("KILLED", attempt=1, summary="", time=1.0)

    monkeypatch.setattr(JobLog, "row", row)
    result = run(wd)
    assert (result or {}).get("state") == (None if overtaken == "by an attempt" else "KILLED")
    found = sorted(int(each.name.rpartition("_")[2]) for each in pathlib.Path(wd.path("checkpoints")).glob("*"))
    assert found == [n for n in (5, 10) if n < iteration]
    assert wd.error(1) is None


def test_a_job_that_has_ended_is_left_alone(data, tmp_path):
    wd = WorkingDir.create(str(tmp_path / "job"), training("boosted_trees_classifier", data))
    wd.publish("KILLED", attempt=0, summary="", time=1.0)
    run(wd)
    assert not pathlib.Path(wd.path("attempts", "1", "progress.log")).exists()
    assert wd.result()["state"] == "KILLED"


def test_an_error_is_kept_for_the_supervisor(data, tmp_path, monkeypatch):
    monkeypatch.setenv("SAMESUM_SCRATCH", str(tmp_path))
    (tmp_path / "errors").mkdir()
    wd = WorkingDir.create(str(tmp_path / "job"), training("boosted_trees_classifier", data, max_depth=0))
    with pytest.raises(OptionError):
        run(wd)
    assert wd.result() is None, "ending the job is for the supervisor"
    assert wd.error(1) == {"class": "OptionError", "message": "max_depth must be an integer in [1, 64], got 0"}
    monkeypatch.setattr(job, "run_job", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(wd)
    assert json.loads((tmp_path / "errors" / "0.json").read_text())["message"] == "ZeroDivisionError: division by zero"
    assert wd.error(2) is None


def test_validation_rows_and_columns_of_their_own(data, tmp_path):
    rows = DataSpec(paths=(data,), columns=("x", "word", "yes"), splits=((0.7, 1, True),))
    checking = DataSpec(paths=(data,), splits=((0.7, 1, False),))
    spec = JobSpec(task="train", toolkit="boosted_trees_classifier", target="yes", data=rows, validation=checking, resources=Resources())
    wd = WorkingDir.create(str(tmp_path / "job"), spec)
    assert run(wd)["state"] == "SUCCESS"
    model = json.loads(pathlib.Path(wd.path(wd.result()["model"], "model.json")).read_text())["document"]
    assert 100 < model["num_examples"] < 180
    assert [name for name, _ in model["encoding"]["sources"]] == ["x", "word"]
    assert "Validation-accuracy" in wd.progress()


def test_data_that_is_not_there(tmp_path):
    wd = WorkingDir.create(str(tmp_path / "job"), training("boosted_trees_classifier", str(tmp_path / "none.csv")))
    with pytest.raises((DataError, OSError)):
        run(wd)
    assert "none.csv" in wd.error(1)["message"]


def test_the_log_is_whole_when_the_result_is_there(data, tmp_path, monkeypatch):
    monkeypatch.setattr(job_log, "_LocalFile", job_log._RemoteFile)  # written by a thread, at most once a second
    wd = WorkingDir.create(str(tmp_path / "job"), training("boosted_trees_classifier", data))
    seen = []

    def publish(self, *args, **more):
        seen.append((self.progress(), self.events()))
        return publish_plain(self, *args, **more)

    publish_plain = WorkingDir.publish
    monkeypatch.setattr(WorkingDir, "publish", publish)
    assert run(wd)["state"] == "SUCCESS"
    progress, events = seen[0]
    assert progress.count("| 12 ") == 1
    assert progress.splitlines()[-1].startswith("PROGRESS: +--")
    assert [event["number"] for event in events if event["event"] == "row"] == list(range(1, 13))


def test_what_was_read_before_the_job_is_not_the_jobs(data, tmp_path):
    count_read(1000, None)
    wd = WorkingDir.create(str(tmp_path / "job"), training("boosted_trees_classifier", data))
    run(wd)
    assert "Read " not in wd.progress()
    assert json.loads(pathlib.Path(wd.attempt_path(1, "run.json")).read_text())["bytes_read"] == 0
