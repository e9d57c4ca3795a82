"""A training for every set of parameters."""

import pytest

import launch
from engine.errors import OptionError
from launch.states import FinalState
from launch.sweep import combinations
from tests.launch.supervised import write_data


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
    assert table.column("max_depth").to_pylist() == [2, 2, 4, 4]
    assert table.column("step_size").to_pylist() == [0.1, 0.3, 0.1, 0.3]
    assert set(table.column("state").to_pylist()) == {"SUCCESS"}
    losses = table.column("Training-log_loss").to_pylist()
    assert losses == [job.get_results().training_log_loss for job in sweep.jobs]
    assert losses[3] == min(losses)


def test_one_that_cannot_be_ends_those_before(cluster, tmp_path):
    data = write_data(tmp_path / "data.csv")
    sets = [{"max_depth": 2}, {"max_depth": -1}]
    with pytest.raises(OptionError, match="max_depth"):
        launch.submit_sweep(cluster, "boosted_trees_classifier", data, "label", parameters=sets, max_iterations=100_000)
    jobs = launch.list_jobs(cluster)
    assert [job.get_final_state() for job in jobs] == [FinalState.KILLED]


@pytest.mark.parametrize("parameters", [[], {}, {"a": []}, {"a": 1}, {"a": "text"}, ["a"], 3, [{}]])
def test_parameters_that_are_none(parameters):
    with pytest.raises(OptionError, match="parameters must"):
        combinations(parameters)


def test_a_toolkit_that_is_none(cluster):
    with pytest.raises(OptionError, match="toolkit must be one of"):
        launch.submit_sweep(cluster, "deep_thought", "data.csv", "label", parameters=[{"a": 1}])
