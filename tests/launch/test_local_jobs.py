"""Jobs for real, on the local cluster: submitted, watched, found again, cancelled, failing."""

import importlib
import json
import pathlib
import re
import subprocess
import sys
import time

import pyarrow as pa
import pytest
from pyarrow import csv, parquet

import engine
import launch
from engine.errors import DataError, JobError
from engine.spec import GRAPH_TOOLKITS, TOOLKITS, JobSpec, Resources, ScriptSpec
from engine.working_dir import WorkingDir

ROOT = pathlib.Path(__file__).resolve().parents[2]
MUSHROOM = str(ROOT / "examples" / "data" / "mushroom.csv")
WITHIN = 120  # seconds


@pytest.fixture(autouse=True)
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMESUM_CONFIG_DIR", str(tmp_path / "config"))


@pytest.fixture
def cluster(tmp_path):
    """Two workers of one thread; no job of a test outlives it."""
    cluster = launch.local_cluster.create("Rechner № 1", num_workers=2, num_threads=1, working_dir=tmp_path / "jøbs")
    yield cluster
    for job in launch.list_jobs(cluster):
        job.cancel()


def boosted(cluster, dataset=MUSHROOM, **options):
    return launch.boosted_trees_classifier.submit_training_job(cluster, dataset, "label", **options)


def model_bytes(folder):
    return [pathlib.Path(folder, name).read_bytes() for name in ("model.json", "arrays.safetensors")]


def trained_here(tmp_path, toolkit, *data, **options):
    """The saved files of what `create` makes of the same."""
    model = importlib.import_module(f"engine.models.{toolkit}").create(*data, verbose=False, **options)
    model.save(tmp_path / "here")
    return model_bytes(tmp_path / "here")


def test_a_job_from_submission_to_model(cluster, tmp_path):
    job = boosted(cluster, max_iterations=6)
    states = [job.get_state()]
    while states[-1] != job.STATE.COMPLETED:
        time.sleep(0.02)
        states.append(job.get_state())
    assert list(dict.fromkeys(states))[-2:] == [job.STATE.RUNNING, job.STATE.COMPLETED]
    assert job.get_final_state() == job.FINAL_STATE.SUCCESS
    model = job.get_results()
    assert model is job.get_results()
    model.save(tmp_path / "there")
    assert model_bytes(tmp_path / "there") == trained_here(tmp_path, "boosted_trees_classifier", MUSHROOM, "label", max_iterations=6)
    assert job.last_checkpoint() == f"{job.working_dir}/checkpoints/model_checkpoint_5"
    progress = job.get_progress().splitlines()
    assert all(line.startswith("PROGRESS: ") for line in progress)
    assert progress[0] == "PROGRESS: Number of workers: 2"
    assert f"PROGRESS: Checkpointing to {job.last_checkpoint()}" in progress
    assert [event["number"] for event in job.events() if event["event"] == "row"] == [1, 2, 3, 4, 5, 6]
    assert job.summary().startswith("Container list: ['container_01_000000', 'container_01_000001']\n\ncontainer_01_000000:\n  ")
    assert "rank-1.log" in pathlib.Path(job.get_log_file_path()).read_text()


def test_progress_is_live(cluster):
    job = boosted(cluster, max_iterations=2000, max_depth=12, min_child_weight=0, model_checkpoint_interval=0)
    row = next(event for event in job.events() if event["event"] == "row" and event["number"] == 3)
    assert job.get_state() == job.STATE.RUNNING
    assert row["values"]["Iteration"] == 3
    assert "PROGRESS: | 3         |" in job.get_progress()
    with pytest.raises(JobError, match="it is STATE.RUNNING"):
        job.get_final_state()
    job.cancel()
    assert job.get_final_state() == job.FINAL_STATE.KILLED
    assert processes_of(job) == []
    with pytest.raises(JobError, match="was killed"):
        job.get_results()


def processes_of(job):
    """Command lines that name the job."""
    lines = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in lines if job.job_id in line]


def test_two_jobs_at_once_and_another_process_finds_them(cluster):
    jobs = [boosted(cluster, max_iterations=n) for n in (2, 3)]
    code = "import launch, sys\nfor path in sys.argv[1:]: print(launch.load_job(path).get_results().num_trees)\n"
    code += "print(len(launch.list_jobs(launch.environments['Rechner № 1'])))"
    done = subprocess.run(
        [sys.executable, "-c", code, *(job.working_dir for job in jobs)],
        capture_output=True,
        text=True,
        timeout=WITHIN,
        check=False,
        cwd=ROOT,
    )
    assert (done.stdout, done.stderr) == ("2\n3\n2\n", "")
    assert [job.get_results().num_trees for job in jobs] == [2, 3]


def test_the_job_outlives_who_submitted_it(cluster):
    code = "import launch, sys; print(launch.boosted_trees_classifier.submit_training_job(*sys.argv[1:]).working_dir)"
    done = subprocess.run(
        [sys.executable, "-c", code, cluster.name, MUSHROOM, "label"], capture_output=True, text=True, timeout=WITHIN, check=False, cwd=ROOT
    )
    assert done.stderr == ""
    assert launch.load_job(done.stdout.strip()).wait(WITHIN) == "FINAL_STATE.SUCCESS"


@pytest.mark.parametrize(("age", "state", "final"), [(0, "STATE.PENDING", None), (60, "STATE.COMPLETED", "FINAL_STATE.FAILURE")])
def test_a_job_whose_supervisor_nobody_has_seen(cluster, age, state, final):
    """Right after the job is written it may still be started; later nobody will."""
    spec = JobSpec(
        task="script",
        script=ScriptSpec(path=__file__),
        resources=Resources(**cluster.resources()),
        submitted=time.time() - age,
    )
    job = launch.load_job(WorkingDir.create(f"{cluster.working_dir}/lost", spec).address)
    assert job.get_state() == state
    if final is not None:
        assert job.get_final_state() == final
        assert "its supervisor is gone" in job.summary()


def rows(tmp_path):
    """A table of two columns of features, of which `classes` and `numbers` may be learnt."""
    n = 60
    columns = {"x": [0.5 * k for k in range(n)], "wörd": ["a", "b", "ç"] * (n // 3), "numbers": [3.0 * k + k % 3 for k in range(n)]}
    table = pa.table({**columns, "classes": ["no", "yes"] * (n // 2)})
    csv.write_csv(table, tmp_path / "dåta.csv")
    return table, str(tmp_path / "dåta.csv")


def edges(tmp_path):
    table = pa.table({"from": [f"v{k * k % 29}" for k in range(120)], "to": [f"v{k % 31}" for k in range(120)]})
    csv.write_csv(table, tmp_path / "edges.csv")
    vertices = pa.table({"id": [f"v{k}" for k in range(31)], "kind": [k % 3 if k % 2 else None for k in range(31)]})
    return str(tmp_path / "edges.csv"), vertices


@pytest.mark.parametrize(("toolkit", "where"), [*((toolkit, "file") for toolkit in TOOLKITS), ("logistic_classifier", "memory")])
def test_toolkits_of_rows_train_what_they_train_here(cluster, tmp_path, toolkit, where):
    table, path = rows(tmp_path)
    target = "numbers" if toolkit.endswith("regression") else "classes"
    train, test = engine.Dataset(table if where == "memory" else path).random_split(0.8, seed=3)
    submit = getattr(launch, toolkit).submit_training_job
    job = submit(cluster, train, target, features=["x", "wörd"], max_iterations=6, validation_set=test)
    assert job.wait(WITHIN) == job.FINAL_STATE.SUCCESS, job.summary()
    expected = trained_here(tmp_path, toolkit, train, target, features=["x", "wörd"], max_iterations=6, validation_set=test)
    job.get_results().save(tmp_path / "there")
    assert model_bytes(tmp_path / "there") == expected
    assert not list(pathlib.Path(job.working_dir).rglob("staged"))


@pytest.mark.parametrize("toolkit", GRAPH_TOOLKITS)
def test_toolkits_of_graphs_train_what_they_train_here(cluster, tmp_path, toolkit):
    path, vertices = edges(tmp_path)
    source = engine.Graph.source(path, vertices, src="from", dst="to", vid="id")
    labels = {"label_field": "kind"} if toolkit == "label_propagation" else {}
    job = getattr(launch, toolkit).submit_training_job(cluster, graph=source, max_iterations=7, **labels)
    assert job.wait(WITHIN) == job.FINAL_STATE.SUCCESS, job.summary()
    graph = engine.Graph(path, vertices, src="from", dst="to", vid="id")
    expected = trained_here(tmp_path, toolkit, graph, max_iterations=7, **labels)
    job.get_results().save(tmp_path / "there")
    assert model_bytes(tmp_path / "there") == expected
    assert job.last_checkpoint().endswith("model_checkpoint_5")


def test_a_graph_that_is_loaded_is_staged(cluster, tmp_path):
    path, vertices = edges(tmp_path)
    graph = engine.Graph(path, vertices, src="from", dst="to", vid="id")
    job = launch.pagerank.submit_training_job(cluster, graph)
    job.get_results().save(tmp_path / "there")
    assert model_bytes(tmp_path / "there") == trained_here(tmp_path, "pagerank", graph)


def test_resuming_by_hand(cluster, tmp_path):
    job = boosted(cluster)
    job.wait(WITHIN)
    again = boosted(cluster, max_iterations=12, resume_from_checkpoint=job.last_checkpoint())
    again.get_results().save(tmp_path / "there")
    assert model_bytes(tmp_path / "there") == trained_here(tmp_path, "boosted_trees_classifier", MUSHROOM, "label", max_iterations=12)
    assert [event["number"] for event in again.events() if event["event"] == "row"] == [11, 12]


def test_checkpoints_in_a_place_of_ones_own(cluster, tmp_path):
    job = boosted(cluster, max_iterations=5, model_checkpoint_path=tmp_path / "mine", model_checkpoint_interval=2)
    assert job.wait(WITHIN) == job.FINAL_STATE.SUCCESS
    assert job.last_checkpoint() == str(tmp_path / "mine" / "model_checkpoint_4")


@pytest.mark.parametrize("output", [None, "p.csv"])
def test_predictions(cluster, tmp_path, output):
    model = engine.boosted_trees_classifier.create(MUSHROOM, "label", max_iterations=2, verbose=False)
    place = None if output is None else tmp_path / output
    job = launch.submit_prediction_job(cluster, model, MUSHROOM, output_type="probability", output=place)
    address = job.get_results()
    expected = model.predict(MUSHROOM, output_type="probability").to_pylist()
    if output is None:
        assert address.startswith(job.working_dir)
        assert parquet.read_table(address).column("probability").to_pylist() == expected
    else:
        assert address == str(place)
        assert csv.read_csv(address).column("probability").to_pylist() == expected


def test_predictions_by_every_worker(cluster, tmp_path):
    model = engine.boosted_trees_classifier.create(MUSHROOM, "label", max_iterations=2, verbose=False)
    job = launch.submit_prediction_job(cluster, model, MUSHROOM, output=f"{tmp_path}/parts/")
    assert job.get_results() == f"{tmp_path}/parts/"
    assert len(list((tmp_path / "parts").glob("part-*.parquet"))) == 2
    assert engine.Dataset(tmp_path / "parts").to_table().column(0).to_pylist() == model.predict(MUSHROOM).to_pylist()


@pytest.mark.parametrize("output", [None, "metrics.json"])
def test_metrics_are_those_of_evaluate(cluster, tmp_path, output):
    training = boosted(cluster, max_iterations=2)
    place = None if output is None else tmp_path / output
    job = launch.submit_prediction_job(cluster, training, MUSHROOM, task="evaluate", output=place)
    expected = training.get_results().evaluate(MUSHROOM)
    metrics = job.get_results()
    assert metrics.keys() == expected.keys()
    for name, value in expected.items():
        assert metrics[name] == value or metrics[name].equals(value), name
    if place is not None:
        assert json.loads(place.read_text())["accuracy"] == expected["accuracy"]


SCRIPT = """
import sys
from mpi4py import MPI
total = MPI.COMM_WORLD.allreduce(MPI.COMM_WORLD.Get_rank() + 1)
print("rank", MPI.COMM_WORLD.Get_rank(), "of", MPI.COMM_WORLD.Get_size(), "total", total, sys.argv[1:])
if "fail" in sys.argv and MPI.COMM_WORLD.Get_rank() == 1:
    raise ValueError("as asked for")
if "leave" in sys.argv:
    sys.exit(7)
"""


def test_a_script_on_all_ranks(cluster, tmp_path):
    (tmp_path / "prögram.py").write_text(SCRIPT)
    job = launch.run_script(cluster, tmp_path / "prögram.py", args=["one", 2])
    assert job.get_results() == 0
    log = pathlib.Path(job.get_log_file_path()).read_text()
    for rank in (0, 1):
        assert f"rank {rank} of 2 total 3 ['one', '2']" in log


@pytest.mark.parametrize(("word", "said"), [("fail", "rank 1: ValueError: as asked for"), ("leave", "ended with exit code 7")])
def test_a_script_that_fails(cluster, tmp_path, word, said):
    (tmp_path / "program.py").write_text(SCRIPT)
    job = launch.run_script(cluster, tmp_path / "program.py", args=[word])
    assert job.wait(WITHIN) == job.FINAL_STATE.FAILURE
    assert said in job.summary()
    if word == "fail":
        assert "ValueError: as asked for" in pathlib.Path(job.get_log_file_path()).read_text()


def test_a_job_that_fails_says_why(cluster):
    job = launch.boosted_trees_classifier.submit_training_job(cluster, MUSHROOM, "lable")
    assert job.wait(WITHIN) == job.FINAL_STATE.FAILURE
    assert re.search(r"'lable'.*label", job.summary())
    assert job.summary().startswith("Container list: ['container_01_000000', 'container_01_000001']")
    with pytest.raises(JobError, match="'lable'") as caught:
        job.get_results()
    assert isinstance(caught.value.__cause__, DataError)
    assert "'lable'" in pathlib.Path(job.get_log_file_path()).read_text()
    assert "'lable'" in str(job)
    assert json.loads(pathlib.Path(job.working_dir, "result.json").read_text())["state"] == "FAILURE"


def test_memory_that_does_not_do(cluster, tmp_path):
    (tmp_path / "program.py").write_text(
        "import time\nheld = bytearray(400 << 20)\nfor n in range(0, len(held), 4096): held[n] = 1\ntime.sleep(60)\n"
    )
    cluster.worker_memory = 200
    job = launch.run_script(cluster, tmp_path / "program.py")
    assert job.wait(WITHIN) == job.FINAL_STATE.FAILURE
    assert "(-104)" in job.summary()
    assert "worker_memory" in job.summary()
