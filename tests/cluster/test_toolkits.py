"""All nine toolkits on HDFS and on S3: data, models, checkpoints, graphs and rows there are, byte for byte, what local files give."""

from __future__ import annotations

import json
import pathlib
import textwrap

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import engine
from engine import storage
from engine.checkpoint import list_checkpoints
from tests.mpi_jobs import run_ranks

FILES = ("rows.csv", "rows.parquet", "edges.csv", "vertices.csv")
# Ranks run this with the folders of data and of models, and what to do.
TRAIN = textwrap.dedent(
    """
    import json, sys
    import engine
    from engine.errors import EngineError

    SUPERVISED = {
        "boosted_trees_classifier": ("kind", {"row_subsample": 0.7}),
        "boosted_trees_regression": ("y", {}),
        "random_forest_classifier": ("flag", {"column_subsample": 0.6}),
        "random_forest_regression": ("y", {}),
        "linear_regression": ("y", {"solver": "lbfgs", "convergence_threshold": 1e-10}),
        "logistic_classifier": ("kind", {"solver": "lbfgs", "convergence_threshold": 1e-10}),
        "svm_classifier": ("flag", {"convergence_threshold": 1e-10}),
    }
    data, models, how = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])

    def train(toolkit, given, options):
        options = {"max_iterations": 6, "verbose": False, "num_threads": 1, **options, **how.get("options", {})}
        if how.get("checkpoints"):
            options |= {"model_checkpoint_path": f"{models}/checkpoints/{toolkit}", "model_checkpoint_interval": 2}
            options["resume_from_checkpoint"] = "auto"
        return getattr(engine, toolkit).create(given, **options)

    def graph():
        if how.get("graph") == "load":
            return engine.load_graph(f"{models}/graph")
        made = engine.Graph(f"{data}/edges.csv", f"{data}/vertices.csv", src="a", dst="b", vid="v")
        if how.get("graph") == "save":
            made.save(f"{models}/graph")
        return made

    rows = engine.Dataset(f"{data}/{how.get('rows', 'rows.csv')}").select(["x", "z", "s", "kind", "flag", "y"])
    for toolkit, (target, options) in SUPERVISED.items():
        trained = train(toolkit, rows, {"target": target, "features": ["x", "z", "s"], **options})
        trained.save(f"{models}/{toolkit}")
    edges = graph()
    train("pagerank", edges, {"threshold": 0.0}).save(f"{models}/pagerank")
    train("label_propagation", edges, {"label_field": "label", "threshold": 0.0}).save(f"{models}/label_propagation")
    if how.get("predict"):
        loaded = engine.load_model(f"{models}/boosted_trees_classifier")
        loaded.predict(rows, output=f"{models}/predicted/")
        rows.save(f"{models}/rows", how["predict"])
    """
)
TOOLKITS = [
    "boosted_trees_classifier",
    "boosted_trees_regression",
    "random_forest_classifier",
    "random_forest_regression",
    "linear_regression",
    "logistic_classifier",
    "svm_classifier",
    "pagerank",
    "label_propagation",
]


@pytest.fixture(scope="module")
def local(tmp_path_factory) -> pathlib.Path:
    """A folder of data, and in ``models`` what one rank makes of it."""
    folder = tmp_path_factory.mktemp("local")
    rng = np.random.default_rng(3)
    n = 400
    x, z = rng.normal(size=n).round(3), rng.integers(0, 9, n)
    kinds = np.array(["a", "b", "ü"])[(x > 0).astype(int) + (z > 5)]
    columns = {"x": x, "z": z, "s": np.array(["one", "two", "three"])[z % 3], "kind": kinds, "flag": (x > z / 9).astype(int)}
    table = pa.table({**columns, "y": (2 * x - z).round(4)})
    pq.write_table(table, folder / "rows.parquet", row_group_size=70)
    engine.Dataset(table).save(folder / "written", "csv")
    (folder / "written" / "part-00000.csv").rename(folder / "rows.csv")
    ends = rng.integers(0, 80, (2, 500))
    (folder / "edges.csv").write_text("a,b\n" + "".join(f"v{a},v{b}\n" for a, b in ends.T))
    (folder / "vertices.csv").write_text("v,label\n" + "".join(f"v{v},{v % 3}\n" for v in range(9)))
    run(1, str(folder), str(folder / "models"), {})
    return folder


def run(n_ranks: int, data: str, models: str, how: dict) -> None:
    job = run_ranks(n_ranks, ["-c", TRAIN, data, models, json.dumps(how)], timeout=120.0)
    assert job.code == 0, job.out + job.err


def upload(local: pathlib.Path, remote: str) -> None:
    for name in FILES:
        storage.put_file(storage.join(remote, name), local / name)


def check(local: pathlib.Path, models: str) -> None:
    """The models are, byte for byte, those of local files, and nothing else is there."""
    for toolkit in TOOLKITS:
        for name in ("model.json", "arrays.safetensors"):
            assert storage.read_bytes(f"{models}/{toolkit}/{name}") == (local / "models" / toolkit / name).read_bytes(), (toolkit, name)
        assert [entry.name for entry in storage.list_folder(f"{models}/{toolkit}")] == ["arrays.safetensors", "model.json", "run.json"]
    assert not [entry.name for entry in storage.list_folder(models) if entry.name.startswith(".")]


@pytest.mark.parametrize("n_ranks", [1, 2, 3, 4])
def test_the_same_models(remote, local, n_ranks):
    upload(local, remote)
    how = {"rows": "rows.parquet" if n_ranks % 2 else "rows.csv", "graph": "save", "predict": "csv" if n_ranks == 2 else "parquet"}
    run(n_ranks, remote, f"{remote}/models", how)
    check(local, f"{remote}/models")
    rows = engine.Dataset(local / "rows.parquet")
    assert engine.Dataset(f"{remote}/models/rows").to_table().to_pydict() == rows.to_table().to_pydict()
    predicted = engine.load_model(local / "models" / "boosted_trees_classifier").predict(rows)
    assert engine.Dataset(f"{remote}/models/predicted").to_table()["class"].to_pylist() == predicted.to_pylist()
    parts = [entry.name for entry in storage.list_folder(f"{remote}/models/predicted")]
    assert parts == ["_SUCCESS", *(f"part-0000{rank}.parquet" for rank in range(n_ranks))]


def test_resumed_elsewhere(remote, local):
    """Cut short on 2 ranks after 4 of 6 iterations, resumed on 3, on the graph that the 2 had saved."""
    upload(local, remote)
    models = f"{remote}/models"
    run(2, remote, models, {"checkpoints": True, "graph": "save", "options": {"max_iterations": 4}})
    for toolkit in TOOLKITS:
        assert [number for number, _ in list_checkpoints(f"{models}/checkpoints/{toolkit}")] == [4, 2]
    storage.remove(f"{models}/checkpoints/pagerank/model_checkpoint_4/model.json")  # broken: the one before serves
    run(3, remote, models, {"checkpoints": True, "graph": "load"})
    check(local, models)
    for toolkit in TOOLKITS:
        assert [number for number, _ in list_checkpoints(f"{models}/checkpoints/{toolkit}")] == [6, 4]


def test_a_graph_of_several_parts(remote):
    """Written by 3 ranks, read by 1, 2 and 4."""
    source = textwrap.dedent(
        """
        import sys, numpy as np, engine
        rng = np.random.default_rng(4)
        edges = {name: [f"v{n}" for n in rng.integers(0, 300, 2000)] for name in "ab"} | {"w": rng.random(2000)}
        folder, saves = sys.argv[1], sys.argv[2] == "save"
        expected = engine.Graph(edges)
        if saves:
            expected.save(folder)
        found = engine.load_graph(folder)
        assert found.vertices.equals(expected.vertices) and found.edges.equals(expected.edges)
        """
    )
    for n_ranks, what in ((3, "save"), (1, "load"), (2, "load"), (4, "load")):
        job = run_ranks(n_ranks, ["-c", source, f"{remote}/graph", what], timeout=120.0)
        assert job.code == 0, job.out + job.err
    assert len([entry for entry in storage.list_folder(f"{remote}/graph") if entry.name.startswith("part-")]) == 3


def test_exports_and_outputs(remote, local):
    """Files of the command line and exported models."""
    model = str(local / "models" / "boosted_trees_regression")
    engine.load_model(model).export_xgboost(f"{remote}/xgboost.json")
    assert json.loads(storage.read_bytes(f"{remote}/xgboost.json"))["learner"]
    for task, output in (("predict", "predicted.csv"), ("predict", "predicted.parquet"), ("evaluate", "metrics.json")):
        spec = {"task": task, "data": {"paths": [str(local / "rows.csv")]}, "model": model, "output": f"{remote}/out/{output}"}
        job = run_ranks(2, ["-m", "mpi4py", "-m", "engine", json.dumps(spec)], timeout=60.0)
        assert job.code == 0, job.out + job.err
    expected = engine.load_model(model).predict(local / "rows.csv").to_pylist()
    for name in ("predicted.csv", "predicted.parquet"):
        assert engine.Dataset(f"{remote}/out/{name}").to_table()["prediction"].to_pylist() == expected
    assert set(json.loads(storage.read_bytes(f"{remote}/out/metrics.json"))) == {"max_error", "rmse"}
