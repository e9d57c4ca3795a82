"""The progress log of a job: the lines of a table, and after a restart what is new of them."""

import json
import pathlib
import threading

import pytest

from engine import storage
from engine.errors import StorageError
from engine.job_log import JobLog, _RemoteFile
from engine.progress import ProgressTable, recorded_by
from engine.spec import DataSpec, JobSpec, Resources
from engine.working_dir import WorkingDir

FIRST = ["Number of workers: 2", "CPUs per worker : 1"]
HEADER = ["PROGRESS: +-----------+----------+", "PROGRESS: | Iteration | loss     |", "PROGRESS: +-----------+----------+"]


@pytest.fixture
def wd(tmp_path):
    spec = JobSpec(task="evaluate", model="m", data=DataSpec(paths=("a",)), resources=Resources())
    return WorkingDir.create(str(tmp_path / "job"), spec)


def run(wd, *, first=1, last=6, until=None, resumed=None, ends=True):
    """An attempt that trains from one iteration to the last, or dies after ``until``; with a checkpoint after every other."""
    number = wd.take_attempt({})
    log = JobLog(wd, number)
    log.write(FIRST)
    with recorded_by(log):
        table = ProgressTable(["Iteration", "loss"])
        table.preamble(["Trees:", "Number of examples : 3"])
        if resumed is not None:
            table.head(["Iteration", "loss"], resumed)
            table.resumed(resumed)
        for iteration in range(first, last + 1):
            table.row({"Iteration": iteration, "loss": 1.0 / iteration})
            if iteration % 2 == 0:
                table.checkpoint(f"/c/{iteration}")
            if iteration == until:
                return wd.progress()
        if ends:
            table.finish()
    log.end_table()
    log.close()
    return wd.progress()


def rows(*numbers):
    return [f"PROGRESS: | {number:<9} | {1.0 / number:.6f} |" for number in numbers]


def checkpoint(number):
    return f"PROGRESS: Checkpointing to /c/{number}"


BEGIN = [*(f"PROGRESS: {line}" for line in (*FIRST, "Trees:", "Number of examples : 3"))]


def test_undisturbed(wd):
    assert run(wd).splitlines() == [
        *BEGIN,
        *HEADER,
        *rows(1, 2),
        checkpoint(2),
        *rows(3, 4),
        checkpoint(4),
        *rows(5, 6),
        checkpoint(6),
        HEADER[0],
    ]
    events = [json.loads(line) for line in pathlib.Path(wd.attempt_path(1, "events.jsonl")).read_text().splitlines()]
    assert [event["event"] for event in events] == ["row", "row", "checkpoint"] * 3
    assert events[2]["path"] == "/c/2"
    assert events[3]["values"] == {"Iteration": 3, "loss": 1 / 3}


def test_a_restart_shows_each_iteration_once(wd):
    run(wd, until=3)
    text = run(wd, first=3, resumed=2)
    middle = [*BEGIN, *HEADER, *rows(1, 2), checkpoint(2), *rows(3), "PROGRESS: restarted from 2"]
    assert text.splitlines() == [*middle, *rows(4), checkpoint(4), *rows(5, 6), checkpoint(6), HEADER[0]]


def test_from_the_beginning_and_a_second_time(wd):
    run(wd, until=1)
    run(wd, until=2)
    text = run(wd, first=3, resumed=2)
    assert [line for line in text.splitlines() if "restarted" in line] == [
        "PROGRESS: restarted from the beginning",
        "PROGRESS: restarted from 2",
    ]
    assert text.count("| Iteration") == text.count("Trees:") == text.count("workers") == 1
    assert [line for line in text.splitlines() if line.startswith("PROGRESS: | ")][1:] == rows(1, 2, 3, 4, 5, 6)


@pytest.mark.parametrize("ended", [False, True])
def test_nothing_left_to_train(wd, ended):
    run(wd, until=None if ended else 6)
    text = run(wd, first=7, resumed=6)
    assert text.splitlines()[-3:] == [checkpoint(6), "PROGRESS: restarted from 6", HEADER[0]]
    assert text.count(HEADER[0]) == 3


def test_a_line_cut_short_is_written_again(wd):
    run(wd, until=2)
    path = pathlib.Path(wd.attempt_path(1, "progress.log"))
    path.write_text(path.read_text()[:-5])
    text = run(wd, first=1)
    assert text.count("Checkpointing to /c/2") == 1
    assert [line for line in text.splitlines() if line.startswith("PROGRESS: | ")][1:] == rows(1, 2, 3, 4, 5, 6)


def test_other_resources_are_said(wd):
    run(wd, until=2)
    log = JobLog(wd, wd.take_attempt({}))
    log.write(["Number of workers: 4", "CPUs per worker : 1"])
    assert wd.progress().endswith("PROGRESS: Number of workers: 4\nPROGRESS: CPUs per worker : 1\n")


def test_a_resume_by_hand_is_said_in_words_of_its_own(wd):
    assert "PROGRESS: Resumed training from checkpoint at iteration 4\n" in run(wd, first=5, resumed=4)


def test_a_table_that_is_not_verbose_says_nothing(wd):
    log = JobLog(wd, wd.take_attempt({}))
    with recorded_by(log):
        ProgressTable(["Iteration"], verbose=False).row({"Iteration": 1})
    assert wd.progress() == ""


def test_a_remote_log_is_written_at_most_once_a_second_and_in_the_end_whole(monkeypatch):
    puts, written = [], threading.Event()

    def put(address, data):
        puts.append(data.decode())
        if len(puts) == 2:
            written.set()
            raise StorageError("busy")

    monkeypatch.setattr(storage, "put_bytes", put)
    file = _RemoteFile("hdfs://h/progress.log", "begin\n")
    for number in range(100):
        file.append(f"{number}\n")
    assert written.wait(5.0)
    file.append("end\n")
    file.close()
    assert puts[0] == "begin\n"
    assert puts[-1] == "begin\n" + "".join(f"{number}\n" for number in range(100)) + "end\n"
    assert len(puts) <= 4
