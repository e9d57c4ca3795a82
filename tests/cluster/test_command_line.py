"""The command line where everything lies on HDFS or S3: data, models, predictions, and the working directories of jobs."""

from __future__ import annotations

import json

import pytest

from engine import storage
from tests.launch.command_line import MUSHROOM, samesum

TRAIN = ("boosted_trees_classifier", "--target", "label", "--max-iterations", 6)


@pytest.fixture
def data(remote):
    """The mushroom table, there."""
    address = storage.join(remote, "mushroom.csv")
    storage.put_file(address, MUSHROOM)
    return address


def model_bytes(address):
    return [storage.read_bytes(storage.join(address, name)) for name in ("model.json", "arrays.safetensors")]


def test_straight_from_files(remote, data, tmp_path):
    head = samesum("data", "head", data, "-n", 2, "--columns", "label")
    assert (head.returncode, head.stdout, head.stderr) == (0, "label\np\ne\n", "")
    assert json.loads(samesum("data", "schema", data, "--all", "--json").stdout)["num_rows"] == 8124
    model = storage.join(remote, "model")
    done = samesum("train", *TRAIN, data, "--output", model, "--quiet", "--ranks", 2)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert samesum("train", *TRAIN, MUSHROOM, "--output", tmp_path / "model", "--quiet").returncode == 0
    assert model_bytes(model) == model_bytes(str(tmp_path / "model"))
    assert "toolkit\tboosted_trees_classifier\n" in samesum("model", "show", model).stdout
    predictions = storage.join(remote, "p.csv")
    assert samesum("predict", model, data, "--output", predictions).returncode == 0
    assert storage.read_bytes(predictions).count(b"\n") == 8125
    assert samesum("evaluate", model, data, "--output", storage.join(remote, "m.json")).returncode == 0
    missing = samesum("data", "head", storage.join(remote, "none.csv"))
    assert (missing.returncode, missing.stdout, missing.stderr.count("\n")) == (1, "", 1)
    assert "none.csv" in missing.stderr


def test_jobs_whose_directories_are_there(remote, data, tmp_path):
    own = {"SAMESUM_CONFIG_DIR": str(tmp_path / "conf"), "HOME": str(tmp_path)}
    jobs = storage.join(remote, "jobs")
    samesum("cluster", "create", "there", "--num-workers", 2, "--worker-memory", 1024, "--working-dir", jobs, **own)
    done = samesum("submit", *TRAIN, data, "--cluster", "there", "--wait", **own)
    assert (done.returncode, done.stderr) == (0, "")
    job_id, address = done.stdout.splitlines()[0].split("\t")
    assert address == storage.join(jobs, job_id)
    assert done.stdout.count("| 6 ") == 1
    assert samesum("status", job_id[:20], **own).stdout.startswith(f"job_id\t{job_id}\nstate\tSUCCESS\n")
    assert samesum("progress", address, **own).stdout.splitlines() == done.stdout.splitlines()[1:]
    assert samesum("results", job_id, "--output", storage.join(remote, "model"), **own).returncode == 0
    assert samesum("train", *TRAIN, MUSHROOM, "--output", tmp_path / "model", "--quiet").returncode == 0
    assert model_bytes(storage.join(remote, "model")) == model_bytes(str(tmp_path / "model"))
    assert len(samesum("jobs", **own).stdout.splitlines()) == 2
    assert "rank-1.log" in samesum("logs", job_id, **own).stdout
