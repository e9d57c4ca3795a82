"""Jobs whose directory, data, model and results are on a real storage; their handle is the same as for local ones."""

import pathlib

import pyarrow as pa
import pytest

import engine
import launch
from engine import storage

ROOT = pathlib.Path(__file__).resolve().parents[2]
MUSHROOM = str(ROOT / "examples" / "data" / "mushroom.csv")
WITHIN = 180  # seconds


@pytest.fixture
def cluster(remote, tmp_path, monkeypatch):
    """Two workers of one thread, everything else far away; no job of a test outlives it."""
    monkeypatch.setenv("SAMESUM_CONFIG_DIR", str(tmp_path))
    cluster = launch.local_cluster.create("far", 2, num_threads=1, working_dir=f"{remote}/jobs", hdfs_tmp_dir=f"{remote}/tmp")
    yield cluster
    for job in launch.list_jobs(cluster):
        job.cancel()


def files_under(address):
    return [entry.name for entry in storage.list_folder(address)] if storage.exists(address) else []


def test_a_table_in_memory_goes_there_and_back(cluster, remote, capfd):
    """Staged, trained on, cleared; the model is written there and predicts there."""
    table = pa.table({"x": [0.25 * k for k in range(40)], "wörd": ["a", "ß"] * 20, "y": [3.0 * k + k % 3 for k in range(40)]})
    job = launch.boosted_trees_regression.submit_training_job(cluster, table, "y", max_iterations=6)
    assert "Staged dataset: 40 rows" in capfd.readouterr().err
    assert job.wait(WITHIN) == job.FINAL_STATE.SUCCESS, job.summary()
    assert files_under(f"{remote}/tmp/{storage.name_of(storage.parent(staged_of(job)))}") == []
    model = job.get_results()
    assert (
        model.predict(table).to_pylist()
        == engine.boosted_trees_regression.create(table, "y", max_iterations=6, verbose=False).predict(table).to_pylist()
    )
    assert job.last_checkpoint() == f"{job.working_dir}/checkpoints/model_checkpoint_5"
    assert f"PROGRESS: HDFS cache file locations: {remote}/tmp" in job.get_progress().splitlines()
    assert [event["number"] for event in job.events() if event["event"] == "row"] == [1, 2, 3, 4, 5, 6]
    assert "rank-1.log" in pathlib.Path(job.get_log_file_path()).read_text()
    model.save(f"{remote}/model")
    predicting = launch.submit_prediction_job(cluster, f"{remote}/model", table.slice(0, 10), output=f"{remote}/p.parquet")
    assert predicting.get_results() == f"{remote}/p.parquet"
    assert engine.Dataset(f"{remote}/p.parquet").num_rows == 10
    assert [each.job_id for each in launch.list_jobs(cluster)] == [predicting.job_id, job.job_id]
    assert launch.load_job(job.working_dir).get_final_state() == job.FINAL_STATE.SUCCESS


def staged_of(job):
    return job._spec.staged


def test_data_that_is_there_is_not_copied(cluster, remote, capfd):
    storage.put_file(f"{remote}/mushroom.csv", MUSHROOM)
    job = launch.logistic_classifier.submit_training_job(cluster, f"{remote}/mushroom.csv", "label", features=["odor"])
    assert capfd.readouterr().err == ""
    assert staged_of(job) is None
    assert job.get_results().num_examples == 8124
    assert not storage.exists(f"{remote}/tmp")


def test_cancelling_from_afar(cluster):
    job = launch.boosted_trees_classifier.submit_training_job(cluster, MUSHROOM, "label", max_iterations=5000, model_checkpoint_interval=0)
    next(event for event in job.events() if event["event"] == "row")
    launch.load_job(job.working_dir).cancel()
    assert job.get_final_state() == job.FINAL_STATE.KILLED
