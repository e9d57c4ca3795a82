"""Submitting: the signatures are those of ``create``, what is wrong is refused at once, and a job says what was asked for."""

import contextlib
import importlib
import inspect
import json
import os
import pathlib
import pty
import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import parquet

import engine
import launch
from engine.errors import DataError, MissingFileError, OptionError, StorageError
from engine.spec import GRAPH_TOOLKITS, TOOLKITS, JobSpec
from tests.launch.fake_backend import FakeBackend

ROOT = pathlib.Path(__file__).resolve().parents[2]
MUSHROOM = str(ROOT / "examples" / "data" / "mushroom.csv")
# Arguments of `create` that a job does not take: its cluster decides, and no function can be sent.
CLUSTERS = {"verbose", "num_threads", "memory_limit", "cache_dir", "comm", "callback"}
# Arguments of a submission that `create` does not have.
OWN = {"env", "working_dir", "_single_precision"}
# The order of the distributed API that came before: what follows are options of `create` that it did not have.
LINEAR = "solver feature_rescaling convergence_threshold"
STEPS = "step_size lbfgs_memory_level max_iterations"
TREES = "max_iterations validation_set"
ORDER = {
    "linear_regression": f"dataset target features l2_penalty l1_penalty {LINEAR} {STEPS} validation_set",
    "logistic_classifier": "dataset target features l2_penalty l1_penalty " + f"{LINEAR} {STEPS} class_weights validation_set",
    "svm_classifier": f"dataset target features penalty {LINEAR} lbfgs_memory_level max_iterations class_weights validation_set",
    "boosted_trees_classifier": f"dataset target features {TREES} class_weights max_depth step_size min_loss_reduction min_child_weight "
    "row_subsample column_subsample random_seed metric model_checkpoint_path",
    "boosted_trees_regression": f"dataset target features {TREES} max_depth step_size min_loss_reduction min_child_weight "
    "row_subsample column_subsample random_seed metric model_checkpoint_path",
    "random_forest_classifier": f"dataset target features {TREES} class_weights random_seed metric model_checkpoint_path",
    "random_forest_regression": f"dataset target features {TREES} random_seed metric model_checkpoint_path",
    "pagerank": "graph reset_probability threshold max_iterations _single_precision",
    "label_propagation": "graph label_field threshold weight_field self_weight undirected max_iterations _single_precision",
}


@pytest.fixture(autouse=True)
def backend(tmp_path, monkeypatch):
    """Nothing is started."""
    monkeypatch.setenv("SAMESUM_CONFIG_DIR", str(tmp_path / "config"))
    return FakeBackend.installed(monkeypatch)


@pytest.fixture
def cluster(tmp_path):
    return launch.local_cluster.create("here", num_workers=2, worker_memory=512, num_threads=1, working_dir=tmp_path / "jobs")


def spec_of(job):
    return JobSpec.from_json(pathlib.Path(job.working_dir, "job.json").read_text())


def boosted(cluster, dataset=MUSHROOM, **options):
    return launch.boosted_trees_classifier.submit_training_job(cluster, dataset, "label", **options)


@pytest.mark.parametrize("toolkit", [*TOOLKITS, *GRAPH_TOOLKITS])
def test_the_options_are_those_of_create(toolkit):
    submit = inspect.signature(getattr(launch, toolkit).submit_training_job).parameters
    create = inspect.signature(importlib.import_module(f"engine.models.{toolkit}").create).parameters
    assert set(submit) - OWN == set(create) - CLUSTERS
    differing = {
        name for name in set(submit) & set(create) if (submit[name].default, submit[name].kind) != (create[name].default, create[name].kind)
    }
    expected = {"model_checkpoint_path", "weight_field"} if toolkit == "label_propagation" else {"model_checkpoint_path"}
    assert differing == expected
    assert submit["model_checkpoint_path"].default == "auto"
    assert all(submit[name].annotation == create[name].annotation for name in set(submit) & set(create) - {"weight_field"})
    assert list(submit)[: len(ORDER[toolkit].split()) + 1] == ["env", *ORDER[toolkit].split()]


def test_a_job_says_what_was_asked_for(cluster, backend, monkeypatch):
    monkeypatch.chdir(ROOT)
    job = boosted(
        cluster,
        "examples/data/mushroom.csv",
        class_weights={"e": np.float32(2), "p": 1},
        features=["odor", "bruises"],
        max_depth=np.int64(3),
    )
    spec = spec_of(job)
    assert backend.submitted == [job.working_dir]
    assert (spec.task, spec.toolkit, spec.target, spec.features) == ("train", "boosted_trees_classifier", "label", ("odor", "bruises"))
    assert spec.data.paths == (MUSHROOM,)
    assert spec.options["class_weights"] == {"e": 2.0, "p": 1}
    assert (spec.options["max_depth"], spec.options["max_bins"], spec.options["model_checkpoint_path"]) == (3, 256, "auto")
    assert (spec.resources.num_workers, spec.resources.worker_memory, spec.resources.num_threads) == (2, 512, 1)
    assert spec.staged is None
    assert job.job_id.startswith("dml_job_")
    assert pathlib.Path(job.working_dir).parent == pathlib.Path(cluster.working_dir)
    assert pathlib.Path(job.working_dir).stat().st_mode & 0o777 == 0o700
    assert str(job) == f"Job submitted with job_id: {job.job_id}"


def test_a_cluster_may_be_called_by_its_name(cluster):
    assert spec_of(boosted("here")).resources.worker_memory == 512
    with pytest.raises(OptionError, match="got 'there'; there is 'here'"):
        boosted("there")


def test_descriptions_of_data_are_kept(cluster):
    data = engine.Dataset(MUSHROOM, null_values=["?"], column_types={"label": str}).select(["label", "odor"])
    first, second = data.random_split(0.75, seed=5)
    spec = spec_of(boosted(cluster, first, validation_set=second))
    assert spec.data.columns == ("label", "odor")
    assert (spec.data.splits, spec.validation.splits) == (((0.75, 5, True),), ((0.75, 5, False),))
    assert (spec.data.null_values, spec.data.column_types) == (("?",), {"label": "string"})
    assert spec.staged is None
    assert spec_of(boosted(cluster, validation_set="auto")).options["validation_set"] == "auto"


TABLES = {
    "a dict": {"x": np.arange(6.0), "ß": ["a", "b", None] * 2},
    "Arrow": pa.table({"x": np.arange(6.0), "ß": ["a", "b", None] * 2}),
    "pandas": pd.DataFrame({"x": np.arange(6.0), "ß": ["a", "b", None] * 2}),
    "polars": pl.DataFrame({"x": np.arange(6.0), "ß": ["a", "b", None] * 2}),
    "a dataset": engine.Dataset({"x": np.arange(12.0), "ß": ["a", "b", None] * 4}),
}


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("has_tmp", [False, True])
def test_tables_in_memory_are_staged(cluster, tmp_path, capfd, kind, has_tmp):
    if has_tmp:
        cluster.hdfs_tmp_dir = tmp_path / "tmp"
    job = launch.linear_regression.submit_training_job(cluster, TABLES[kind], "x")
    spec = spec_of(job)
    folder = pathlib.Path(spec.data.paths[0])
    assert folder.name == "dataset"
    assert spec.staged == str(folder.parent)
    assert folder.is_relative_to(tmp_path / "tmp" if has_tmp else job.working_dir)
    if has_tmp:
        assert folder.parent.name == job.job_id
    read = engine.Dataset(str(folder)).to_table()
    assert read.equals(engine.Dataset(TABLES[kind]).to_table() if kind != "a dataset" else TABLES[kind].to_table())
    size = (folder / "part-00000.parquet").stat().st_size
    assert capfd.readouterr().err == f"Staged dataset: {read.num_rows} rows, {size:,} bytes of Parquet in {folder}\n"


def test_large_tables_are_staged_in_parts(cluster, monkeypatch):
    monkeypatch.setattr("launch.staging.PART_BYTES", 1 << 20)
    table = pa.table({"x": np.arange(1_000_000), "y": np.arange(1_000_000) % 7})
    folder = pathlib.Path(spec_of(launch.linear_regression.submit_training_job(cluster, table, "y")).data.paths[0])
    assert len(list(folder.iterdir())) > 4
    assert engine.Dataset(str(folder)).to_table().equals(table)


def test_files_that_the_cluster_cannot_read_are_staged(cluster, monkeypatch, tmp_path):
    monkeypatch.setattr(type(cluster), "can_read", lambda self, address: address.startswith(str(tmp_path)))
    spec = spec_of(boosted(cluster, engine.Dataset(MUSHROOM).select(["label", "odor"])))
    read = parquet.read_table(spec.data.paths[0])
    assert (read.num_rows, read.column_names) == (8124, ["label", "odor"])
    with pytest.raises(OptionError, match="resume_from_checkpoint must be where the cluster can read it, got '/elsewhere/c'"):
        boosted(cluster, resume_from_checkpoint="/elsewhere/c")
    assert not [path for path in tmp_path.rglob("staged") if path.parent != pathlib.Path(spec.staged).parent]


def test_models_are_staged_or_found(cluster, tmp_path):
    model = engine.boosted_trees_classifier.create(MUSHROOM, "label", max_iterations=1, verbose=False)
    spec = spec_of(boosted(cluster, initial_model=model))
    assert engine.load_model(spec.options["initial_model"]).num_trees == 1
    assert spec.options["initial_model"].startswith(spec.staged)
    spec = spec_of(launch.submit_prediction_job(cluster, model, MUSHROOM, output_type="probability"))
    assert (spec.task, spec.output_type, spec.output) == ("predict", "probability", None)
    assert engine.load_model(spec.model).num_trees == 1
    model.save(tmp_path / "m")
    spec = spec_of(launch.submit_prediction_job(cluster, tmp_path / "m", MUSHROOM, task="evaluate", output=tmp_path / "metrics.json"))
    assert (spec.task, spec.model, spec.output, spec.staged) == ("evaluate", str(tmp_path / "m"), str(tmp_path / "metrics.json"), None)
    with pytest.raises(OptionError, match="task must be 'predict' or 'evaluate', got 'guess'"):
        launch.submit_prediction_job(cluster, model, MUSHROOM, task="guess")
    for task, output in (("predict", "p.txt"), ("predict", "p"), ("evaluate", "m.csv"), ("evaluate", "m/")):
        with pytest.raises(OptionError, match="output must end with "):
            launch.submit_prediction_job(cluster, tmp_path / "m", MUSHROOM, task=task, output=output)
    with pytest.raises(OptionError, match="model must be a model"):
        launch.submit_prediction_job(cluster, 3, MUSHROOM)
    with pytest.raises(OptionError, match="initial_model"):
        boosted(cluster, initial_model=engine.linear_regression.create({"x": [1.0, 2, 3], "y": [1.0, 2, 4]}, "y", verbose=False))


def test_graphs_are_described_or_staged(cluster, tmp_path):
    (tmp_path / "e.txt").write_text("# edges\na\tb\nb\tc\n")
    source = engine.Graph.source(
        str(tmp_path / "e.txt"), {"id": ["a", "d"], "kind": [0, 1]}, vid="id", vertex_fields=["kind"], format="snap"
    )
    spec = spec_of(launch.label_propagation.submit_training_job(cluster, graph=source, label_field="kind"))
    assert (spec.data.paths, spec.data.format) == ((str(tmp_path / "e.txt"),), "snap")
    assert (spec.graph.src, spec.graph.vid, spec.graph.vertex_fields) == (0, "id", ("kind",))
    assert engine.Dataset(spec.graph.vertex_data.paths[0]).columns == ["id", "kind"]
    assert (spec.options["label_field"], spec.options["weight_field"]) == ("kind", "")
    graph = engine.Graph(source.edges, source.vertices, vid="id")
    spec = spec_of(launch.pagerank.submit_training_job(cluster, graph=graph))
    assert (spec.graph.src, spec.graph.dst, spec.graph.vid) == ("__src_id", "__dst_id", "__id")
    assert parquet.read_table(spec.graph.vertex_data.paths[0]).column("__id").to_pylist() == ["a", "d", "b", "c"]
    with pytest.raises(OptionError, match=r"graph must be engine.Graph.source"):
        launch.pagerank.submit_training_job(cluster, graph="edges.csv")
    assert not hasattr(source, "partition")


REFUSED = {
    "unknown": ({"max_itertions": 3}, "unknown option 'max_itertions' .did you mean 'max_iterations'"),
    "range": ({"max_depth": 0}, "max_depth must be an integer in"),
    "metric": ({"metric": "rmse"}, "rmse"),
    "features": ({"features": "odor"}, "features must be a list"),
    "together": ({"early_stopping_rounds": 3}, "early_stopping_rounds watches a validation set"),
    "auto": ({"resume_from_checkpoint": "auto", "model_checkpoint_path": None}, "resume_from_checkpoint='auto' looks in"),
    "callback": ({"callback": print}, "callback"),
    "threads": ({"num_threads": 3}, "num_threads"),
    "verbose": ({"verbose": False}, "verbose"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_is_refused_at_once(cluster, backend, name):
    options, message = REFUSED[name]
    with pytest.raises(OptionError, match=message):
        boosted(cluster, **options)
    assert backend.submitted == []
    assert not pathlib.Path(cluster.working_dir).exists()


def test_data_that_is_not_there_is_refused_at_once(cluster, backend, tmp_path):
    with pytest.raises(MissingFileError, match=r"no-such.csv"):
        boosted(cluster, "no-such.csv")
    with pytest.raises(DataError, match="expected a path"):
        boosted(cluster, 3)
    with pytest.raises(MissingFileError, match=r"none.csv"):
        boosted(cluster, {"label": ["a", "b"], "x": [1, 2]}, validation_set=tmp_path / "none.csv")
    with pytest.raises(MissingFileError, match=r"none.py"):
        launch.run_script(cluster, tmp_path / "none.py")
    with pytest.raises(OptionError, match="args must be a list"):
        launch.run_script(cluster, __file__, "one two")
    assert backend.submitted == []
    assert not list(tmp_path.rglob("*.parquet")), "what was staged is removed"


def test_num_trees_is_an_old_name(cluster):
    with pytest.warns(UserWarning, match="num_trees is deprecated"):
        job = launch.random_forest_classifier.submit_training_job(cluster, MUSHROOM, "label", num_trees=3)
    assert spec_of(job).options["max_iterations"] == 3
    assert "num_trees" not in spec_of(job).options


def test_a_working_directory_of_its_own(cluster, tmp_path):
    (tmp_path / "mine").mkdir()
    job = boosted(cluster, working_dir=tmp_path / "mine")
    assert (job.working_dir, job.job_id) == (str(tmp_path / "mine"), "mine")
    with pytest.raises(StorageError, match="a job is in .*mine.* already"):
        boosted(cluster, working_dir=tmp_path / "mine")
    long = tmp_path / "Aufträge №1"
    assert boosted(cluster, working_dir=long).working_dir == str(long)


def test_a_job_that_cannot_be_started_has_failed(cluster, backend, tmp_path):
    backend.refuses = StorageError("no process can be started")
    with pytest.raises(StorageError, match="no process can be started"):
        launch.linear_regression.submit_training_job(cluster, {"x": [1, 2], "y": [1, 2]}, "y")
    (job,) = launch.list_jobs(cluster)
    assert str(job) == f"Job {job.job_id}: it could not be started: no process can be started"
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_script(cluster, tmp_path):
    spec = spec_of(launch.run_script(cluster, __file__, ["--n", 3, tmp_path]))
    assert (spec.task, spec.script.path, spec.script.args) == ("script", __file__, ("--n", "3", str(tmp_path)))


def test_nothing_secret_is_written(cluster, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    assert "hunter2" not in json.dumps(pathlib.Path(boosted(cluster).working_dir, "job.json").read_text())


def test_a_terminal_sees_a_bar(cluster, tmp_path):
    code = "import launch, numpy, sys\nfrom launch.staging import Staging\n"
    code += "staging = Staging(launch.environments['here'], sys.argv[1])\nstaging.data('dataset', {'x': numpy.arange(500_000)})"
    master, slave = pty.openpty()
    command = [sys.executable, "-c", code, str(tmp_path / "job")]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(command, stderr=slave, env=environment, cwd=ROOT) as process:
        os.close(slave)
        shown = b""
        with contextlib.suppress(OSError):  # Linux ends a terminal whose other end is closed with an error
            while part := os.read(master, 4096):
                shown += part
    os.close(master)
    assert process.returncode == 0
    text = shown.decode()
    assert "Staging dataset" in text
    assert "4.0/4.0 MB" in text
    assert text.rstrip().endswith(f"bytes of Parquet in {tmp_path}/job/staged/dataset")
