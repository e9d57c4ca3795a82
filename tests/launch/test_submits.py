"""Jobs that are cancelled at any moment, time after time: nothing of them is left."""

import pathlib
import time

import launch
from launch.processes import shared_segments
from tests.launch.supervised import pids, processes_of, wait_until, write_data


def segments_of(wd):
    """The shared memory that the ranks under way have."""
    return {name for pid in pids(wd)[0].values() for name in shared_segments(pid)} if wd.attempts() else set()


def test_submits_and_cancels(tmp_path, monkeypatch):
    """Ten in a row, cancelled ever later, some while their ranks run."""
    monkeypatch.setenv("SAMESUM_CONFIG_DIR", str(tmp_path / "config"))
    (tmp_path / "tmp").mkdir()
    data = write_data(tmp_path / "data.csv", n_rows=5000)
    cluster = launch.local_cluster.create("x", 2, num_threads=1, working_dir=tmp_path / "jobs", node_tmp_dir=tmp_path / "tmp")
    segments, jobs = set(), []
    for turn in range(10):
        job = launch.boosted_trees_classifier.submit_training_job(cluster, data, "label", max_iterations=2000, model_checkpoint_interval=2)
        wd = job._directory
        if turn % 3 == 2:
            segments |= wait_until(lambda wd=wd: segments_of(wd))
        else:
            time.sleep(0.1 * turn)
        job.cancel()
        assert job.get_final_state() == job.FINAL_STATE.KILLED
        jobs.append(wd)
    for wd in jobs:
        assert processes_of(wd) == []
    wait_until(lambda: not list((tmp_path / "tmp").iterdir()))
    assert not [name for name in segments if pathlib.Path(name).exists()]
