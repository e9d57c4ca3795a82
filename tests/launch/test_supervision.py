"""A job whose processes are killed ends all the same: with the bytes of one that was not disturbed, or with a summary that says why."""

import os
import pathlib
import random
import re
import signal
import time

import pytest

import engine
from launch.processes import process_of
from tests.launch.supervised import (
    finish,
    folder_bytes,
    model_bytes,
    pids,
    processes_of,
    read_logs,
    submit,
    training,
    wait_until,
    write_data,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data") / "data.csv")


@pytest.fixture(scope="module")
def expected(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "model"
    options = training(data).options
    engine.boosted_trees_classifier.create(data, target="label", verbose=False, **options).save(folder)
    return folder_bytes(folder)


@pytest.mark.parametrize("ranks", [1, 3])
def test_undisturbed(data, expected, tmp_path, ranks):
    wd = submit(tmp_path, training(data, ranks=ranks))
    result = finish(wd)
    assert (result["state"], result["attempt"]) == ("SUCCESS", 1), read_logs(wd)
    assert model_bytes(wd) == expected
    assert wd.last_checkpoint() == wd.path("checkpoints", "model_checkpoint_10")
    assert [(each["attempt"], each["rank"], each["exit_code"], each["diagnosis"]) for each in wd.containers()] == [
        (1, rank, 0, "ended well") for rank in range(ranks)
    ]
    assert all(each["peak_memory"] > 1 << 20 for each in wd.containers())
    assert wd.progress().count("PROGRESS: Checkpointing to ") == 5
    assert wd.progress() == pathlib.Path(wd.path("progress.log")).read_text()
    assert os.stat(wd.address).st_mode & 0o777 == 0o700


KILLED = [
    ("before checkpoint", "rank", 1),
    ("before checkpoint", "all", 2),
    ("after checkpoint", "rank", 1),
    ("after checkpoint", "all", 3),
    ("before model", "launcher", 1),
    ("before result", "rank", 1),
    ("before result", "agent", 1),
    ("in a collective", "rank", 40),
    ("in a collective", "all", 60),
    ("in a collective", "launcher", 50),
    ("after checkpoint", "agent", 2),
]


@pytest.mark.parametrize(("point", "victim", "time"), KILLED)
def test_killed_at_a_named_point(data, expected, tmp_path, point, victim, time):
    rank = 1 if point == "in a collective" else 0
    fault = {"point": point, "victim": victim, "time": time, "rank": rank, "then_sleep": 5.0}
    wd = submit(tmp_path, training(data, fault=fault))
    result = finish(wd)
    assert (result["state"], result["attempt"]) == ("SUCCESS", 2), read_logs(wd)
    assert model_bytes(wd) == expected
    check_progress(wd.progress())
    assert [(each["attempt"], each["rank"]) for each in wd.containers()] == [(1, 0), (1, 1), (2, 0), (2, 1)]


def check_progress(text):
    """Each iteration is shown once, in order, and where the training went on."""
    rows = [int(number) for number in re.findall(r"^PROGRESS: \| (\d+) ", text, re.MULTILINE)]
    assert rows == [1, 2, 3, 4, 5, 6, 10]
    assert len(re.findall(r"restarted from (\d+|the beginning)", text)) == 1
    for once in ("Number of workers", "Number of examples", "| Iteration |", "model_checkpoint_4\n", "model_checkpoint_10\n"):
        assert text.count(once) == 1, text
    assert text.splitlines()[-1].startswith("PROGRESS: +---")


def test_after_the_result_nothing_can_change_it(data, expected, tmp_path):
    wd = submit(tmp_path, training(data, fault={"point": "after result", "victim": "all"}))
    result = finish(wd)
    assert (result["state"], result["attempt"]) == ("SUCCESS", 1)
    assert model_bytes(wd) == expected
    assert wd.attempts() == [1]


@pytest.mark.parametrize(("point", "number"), [("after checkpoint", 2), ("before result", 1), ("in a collective", 30)])
def test_without_its_supervisor_a_job_fails_and_a_new_handle_says_why(data, tmp_path, point, number):
    fault = {"point": point, "victim": "supervisor", "time": number, "then_sleep": 5.0}
    wd = submit(tmp_path, training(data, fault=fault))
    result = finish(wd)
    assert (result["state"], result["attempt"]) == ("FAILURE", 1)
    assert re.search(r"its supervisor \(process \d+ on .+\) is gone and left no result", result["summary"])
    if point != "in a collective":
        assert f"resume_from_checkpoint={wd.last_checkpoint()!r}" in result["summary"]


def test_too_many_restarts(data, tmp_path):
    fault = {"point": "after checkpoint", "victim": "rank", "attempts": 99}
    wd = submit(tmp_path, training(data, fault=fault, max_restarts=1))
    result = finish(wd)
    assert (result["state"], result["attempt"], result["cause"]) == ("FAILURE", 2, "lost")
    assert result["summary"].startswith("rank 0 ended by SIGKILL (attempt 2); resume with resume_from_checkpoint=")
    lost = [each for each in wd.containers() if each["rank"] == 0]
    assert [(each["attempt"], each["signal"], each["diagnosis"]) for each in lost] == [
        (1, 9, "rank 0 ended by SIGKILL"),
        (2, 9, "rank 0 ended by SIGKILL"),
    ]


def test_killed_at_random_moments(data, expected, tmp_path):
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(3):
        wd = submit(tmp_path, training(data))
        wait_until(lambda wd=wd: wd.attempts())
        time.sleep(chance.uniform(0.0, 2.5))
        kind = chance.choice(["rank", "ranks", "supervisor"])
        ranks, supervisor = pids(wd)
        victims = {"rank": list(ranks.values())[:1], "ranks": list(ranks.values()), "supervisor": [supervisor]}[kind]
        for process in filter(None, map(process_of, victims)):
            process.kill(signal.SIGKILL)
        result = finish(wd)
        if kind != "supervisor":
            assert result["state"] == "SUCCESS", read_logs(wd)
        if result["state"] == "SUCCESS":
            assert model_bytes(wd) == expected
        else:
            assert "is gone and left no result" in result["summary"]
        assert processes_of(wd) == []
