"""A training for every set of parameters."""

import json
import os
import signal

import pytest

import engine
import launch
from engine import storage
from engine.errors import MissingFileError, OptionError
from engine.models._metrics import tracked
from engine.working_dir import WorkingDir
from launch.states import FinalState, State
from launch.sweep import GREATER_IS_BETTER, combinations
from tests.launch.supervised import processes_of, wait_until, write_data


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMESUM_CONFIG_DIR", str(tmp_path / "config"))
    return launch.local_cluster.create("here", working_dir=tmp_path / "jobs", num_threads=1)


def test_a_grid_of_two_by_two(cluster, tmp_path):
    data = write_data(tmp_path / "data.csv")
    grid = {"max_depth": [2, 4], "step_size": [0.1, 0.3]}
    sweep = launch.submit_sweep(cluster, launch.boosted_trees_classifier, data, "label", parameters=grid, max_iterations=3)
    assert sweep.wait(60) == [FinalState.SUCCESS] * 4
    table = sweep.table()
    order = table["job"].to_pylist()
    assert [(sweep.parameters[number]["max_depth"], sweep.parameters[number]["step_size"]) for number in order] == list(
        zip(table["max_depth"].to_pylist(), table["step_size"].to_pylist(), strict=True)
    )
    assert sweep.parameters == [{"max_depth": depth, "step_size": step} for depth in (2, 4) for step in (0.1, 0.3)]
    assert set(table["state"].to_pylist()) == {"SUCCESS"}
    losses = table["training_log_loss"].to_pylist()
    assert losses == sorted(losses)
    assert losses == [sweep.jobs[number].get_results().training_log_loss for number in order]
    assert table["working_dir"].to_pylist() == [sweep.jobs[number].working_dir for number in order]
    assert sweep.best() is sweep.jobs[order[0]]
    assert table.to_pandas()["max_depth"][0] == 4
    accuracies = sweep.table(by="training_accuracy")["training_accuracy"].to_pylist()
    assert accuracies == sorted(accuracies, reverse=True)
    with pytest.raises(OptionError, match="by must be one of iteration, "):
        sweep.table(by="beauty")
    again = launch.load_sweep(sweep.working_dir)
    assert again.table().equals(table)
    assert {job.working_dir for job in launch.list_jobs(cluster)} == {job.working_dir for job in sweep.jobs}


def test_the_kept_model_counts_not_the_last_iteration(cluster, tmp_path):
    data = write_data(tmp_path / "data.csv")
    more = {"validation_set": str(data), "early_stopping_rounds": 2, "max_iterations": 30, "step_size": 1.0, "random_seed": 1}
    sweep = launch.submit_sweep(cluster, "boosted_trees_classifier", data, "label", parameters=[{"max_depth": 2}], **more)
    assert sweep.wait(60) == [FinalState.SUCCESS]
    assert sweep.table()["validation_log_loss"].to_pylist() == [sweep.jobs[0].get_results().validation_log_loss]


def test_jobs_take_turns_on_one_machine(cluster, tmp_path):
    data = write_data(tmp_path / "data.csv")
    sets = [{"max_depth": depth} for depth in (1, 2, 3, 4)]
    sweep = launch.submit_sweep(cluster, "boosted_trees_classifier", data, "label", parameters=sets, max_at_once=2, max_iterations=3)
    assert sweep.wait(60) == [FinalState.SUCCESS] * 4
    times = [(WorkingDir(job.working_dir).attempt(1)["time"], WorkingDir(job.working_dir).result()["time"]) for job in sweep.jobs]
    for began, _ in times:
        assert sum(other <= began < ended for other, ended in times) <= 2


def test_a_queue_goes_on_without_one_that_is_cancelled_or_killed(cluster, tmp_path):
    data = write_data(tmp_path / "data.csv")
    sets = [{"max_iterations": 100_000}, {"max_iterations": 100_000}, {"max_iterations": 2}]
    sweep = launch.submit_sweep(cluster, "boosted_trees_classifier", data, "label", parameters=sets)
    first, second, third = sweep.jobs
    assert wait_until(lambda: first.get_state() == State.RUNNING)
    assert (second.get_state(), third.get_state()) == (State.PENDING, State.PENDING)
    second.cancel()
    assert second.get_final_state() == FinalState.KILLED
    assert "cancelled by its user" in second.summary()
    os.kill(WorkingDir(first.working_dir).attempt(1)["pid"], signal.SIGKILL)
    assert sweep.wait(90) == [FinalState.FAILURE, FinalState.KILLED, FinalState.SUCCESS]
    assert sweep.best() is third


def test_all_are_cancelled_and_none_starts_in_the_place_of_another(cluster, tmp_path):
    data = write_data(tmp_path / "data.csv")
    sets = [{"max_depth": depth} for depth in (1, 2, 3)]
    sweep = launch.submit_sweep(cluster, "boosted_trees_classifier", data, "label", parameters=sets, max_iterations=100_000)
    assert wait_until(lambda: sweep.jobs[0].get_state() == State.RUNNING)
    sweep.cancel()
    assert sweep.wait(0) == [FinalState.KILLED] * 3
    assert [WorkingDir(job.working_dir).attempts() for job in sweep.jobs] == [[1], [], []]
    assert wait_until(lambda: [processes_of(WorkingDir(job.working_dir)) for job in sweep.jobs] == [[], [], []])


def test_a_queue_that_is_lost_takes_those_that_wait_along(cluster, tmp_path):
    data = write_data(tmp_path / "data.csv")
    sets = [{"max_iterations": 100_000}, {"max_iterations": 2}]
    sweep = launch.submit_sweep(cluster, "boosted_trees_classifier", data, "label", parameters=sets)
    first, second = sweep.jobs
    assert wait_until(lambda: first.get_state() == State.RUNNING)
    queue = json.loads(storage.read_bytes(WorkingDir(second.working_dir).path("submitted.json")))
    os.kill(queue["pid"], signal.SIGKILL)
    assert wait_until(lambda: second.get_state() == State.COMPLETED)
    assert "is gone and left no result" in second.summary()
    assert first.get_state() == State.RUNNING
    sweep.cancel()
    assert sweep.wait(0) == [FinalState.KILLED, FinalState.FAILURE]


def test_a_sweep_of_graphs_keeps_its_order(cluster):
    source = engine.Graph.source({"a": ["x", "y", "z"], "b": ["y", "z", "y"]}, src="a", dst="b")
    sweep = launch.submit_sweep(cluster, "pagerank", graph=source, parameters={"reset_probability": [0.3, 0.1]})
    assert sweep.wait(60) == [FinalState.SUCCESS] * 2
    assert sweep.table()["reset_probability"].to_pylist() == [0.3, 0.1]


def test_which_metrics_are_better_when_greater():
    assert GREATER_IS_BETTER == tracked.GREATER_IS_BETTER


def test_a_sweep_that_is_not_there(tmp_path):
    with pytest.raises(MissingFileError, match=r"it has no sweep\.json"):
        launch.load_sweep(tmp_path)


def test_nothing_is_submitted_unless_all_can_be(cluster, tmp_path):
    data = write_data(tmp_path / "data.csv")
    sets = [{"max_depth": 2}, {"max_depth": -1}]
    with pytest.raises(OptionError, match="max_depth"):
        launch.submit_sweep(cluster, "boosted_trees_classifier", data, "label", parameters=sets, max_iterations=100_000)
    assert launch.list_jobs(cluster) == []


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "2"])
def test_limits_that_are_none(cluster, limit):
    with pytest.raises(OptionError, match="max_at_once must be"):
        launch.submit_sweep(cluster, "boosted_trees_classifier", "data.csv", "label", parameters=[{"max_depth": 1}], max_at_once=limit)


@pytest.mark.parametrize("parameters", [[], {}, {"a": []}, {"a": 1}, {"a": "text"}, ["a"], 3, [{}]])
def test_parameters_that_are_none(parameters):
    with pytest.raises(OptionError, match="parameters must"):
        combinations(parameters)


def test_a_toolkit_that_is_none(cluster):
    with pytest.raises(OptionError, match="toolkit must be one of"):
        launch.submit_sweep(cluster, "deep_thought", "data.csv", "label", parameters=[{"a": 1}])
