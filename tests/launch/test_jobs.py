"""Jobs for real: the command line under ``mpiexec``, from the words to the files."""

import json
import pathlib

import pyarrow as pa
import pytest
from pyarrow import csv, parquet

import engine
from tests.launch.command_line import MUSHROOM, samesum

TRAIN = ("train", "boosted_trees_classifier")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model of the mushroom table, trained by one process."""
    folder = tmp_path_factory.mktemp("trained") / "model"
    done = samesum(*TRAIN, MUSHROOM, "--target", "label", "--max-iterations", 3, "--output", folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "| 3         |" in done.stdout
    return folder


@pytest.mark.parametrize("ranks", [1, 3])
def test_ranks_train_the_same_model(model, tmp_path, ranks):
    words = (*TRAIN, MUSHROOM, "--target", "label", "--max-iterations", 3, "--output", tmp_path / "model", "--num-threads", 1)
    done = samesum(*words, ranks=ranks)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("| 3         |") == 1
    for name in ("model.json", "arrays.safetensors"):
        assert (tmp_path / "model" / name).read_bytes() == (model / name).read_bytes()
    assert json.loads((tmp_path / "model" / "run.json").read_text()) != json.loads((model / "run.json").read_text())


@pytest.mark.parametrize("toolkit", ["logistic_classifier", "svm_classifier", "linear_regression"])
def test_linear_models_are_trained_by_ranks_too(tmp_path, toolkit):
    target = "label"
    if toolkit == "linear_regression":
        target = "rings"
        table = pa.table({"x": [0.5 * k for k in range(40)], "word": ["a", "b"] * 20, target: [3.0 * k + (k % 3) for k in range(40)]})
        csv.write_csv(table, tmp_path / "data.csv")
    data = MUSHROOM if target == "label" else tmp_path / "data.csv"
    for ranks in (0, 3):
        words = (
            "train",
            toolkit,
            data,
            "--target",
            target,
            "--max-iterations",
            20,
            "--output",
            tmp_path / str(ranks),
            "--no-feature-rescaling",
        )
        done = samesum(*words, ranks=ranks)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.count("Starting ") == 1
    for name in ("model.json", "arrays.safetensors"):
        assert (tmp_path / "0" / name).read_bytes() == (tmp_path / "3" / name).read_bytes()
    assert samesum("evaluate", tmp_path / "3", data).returncode == 0
    assert samesum("info", tmp_path / "3").stdout.startswith(f"toolkit\t{toolkit}\n")


def test_several_files_are_one_table(model, tmp_path):
    lines = pathlib.Path(MUSHROOM).read_text().splitlines(keepends=True)
    for name, part in (("b.csv", lines[1:5000]), ("a.csv", lines[5000:])):
        (tmp_path / name).write_text("".join([lines[0], *part]))
    words = (*TRAIN, tmp_path / "b.csv", tmp_path / "a.csv", "--target", "label", "--max-iterations", 3, "--quiet")
    done = samesum(*words, "--output", tmp_path / "model", ranks=2)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "model" / "model.json").read_bytes() == (model / "model.json").read_bytes()


@pytest.mark.parametrize(("kind", "ranks"), [("probability", 0), ("class", 2), ("margin", 3), ("probability_vector", 4)])
def test_predictions_are_those_of_python_in_input_order(model, tmp_path, kind, ranks):
    done = samesum("predict", model, MUSHROOM, "--output-type", kind, "--output", tmp_path / "p.parquet", ranks=ranks)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    expected = engine.load_model(model).predict(MUSHROOM, output_type=kind)
    assert parquet.read_table(tmp_path / "p.parquet").column(kind).to_pylist() == expected.to_pylist()


def test_predictions_as_csv(model, tmp_path):
    for kind in ("class", "probability_vector"):
        done = samesum("predict", model, MUSHROOM, "--output-type", kind, "--output", tmp_path / f"{kind}.csv")
        assert (done.returncode, done.stderr) == (0, "")
    loaded = engine.load_model(model)
    assert csv.read_csv(tmp_path / "class.csv").column("class").to_pylist() == loaded.predict(MUSHROOM).to_pylist()
    vectors = csv.read_csv(tmp_path / "probability_vector.csv")
    assert vectors.column_names == ["probability_vector[0]", "probability_vector[1]"]
    columns = [column.to_pylist() for column in vectors.columns]
    assert list(map(list, zip(*columns, strict=True))) == loaded.predict(MUSHROOM, output_type="probability_vector").to_pylist()


@pytest.mark.parametrize("ranks", [0, 3])
def test_metrics_are_those_of_python(model, tmp_path, ranks):
    done = samesum("evaluate", model, MUSHROOM, "--output", tmp_path / "metrics.json", ranks=ranks)
    assert (done.returncode, done.stderr) == (0, "")
    shown, written = json.loads(done.stdout), json.loads((tmp_path / "metrics.json").read_text())
    expected = engine.load_model(model).evaluate(MUSHROOM)
    assert written.keys() == expected.keys()
    assert shown.keys() == expected.keys() - {"roc_curve"}
    for name, value in expected.items():
        assert written[name] == (value.to_pydict() if isinstance(value, pa.Table) else value)


def test_a_regression(tmp_path):
    (tmp_path / "t.csv").write_text("x,y\n" + "".join(f"{n},{n * n}\n" for n in range(40)))
    done = samesum("train", "boosted_trees_regression", tmp_path / "t.csv", "--target", "y", "--output", tmp_path / "m", "--quiet", ranks=2)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert samesum("predict", tmp_path / "m", tmp_path / "t.csv", "--output", tmp_path / "p.csv", ranks=2).returncode == 0
    done = samesum("predict", tmp_path / "m", tmp_path / "t.csv", "--output", tmp_path / "q.csv", "--output-type", "class", ranks=2)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "output_type must be one of 'value', 'contributions', got 'class'" in done.stderr
    predicted = csv.read_csv(tmp_path / "p.csv").column("prediction").to_pylist()
    assert predicted == engine.load_model(tmp_path / "m").predict(str(tmp_path / "t.csv")).to_pylist()


@pytest.mark.parametrize("toolkit", ["pagerank", "label_propagation"])
def test_graphs_are_the_same_on_any_ranks(tmp_path, toolkit):
    (tmp_path / "edges.txt").write_text("# a graph\n" + "".join(f"v{n * n % 97}\tv{n % 89}\n" for n in range(400)))
    (tmp_path / "v.csv").write_text("kind;id\n" + "".join(f"{n % 3 or ''};v{n}\n" for n in range(99, 0, -1)))
    graph = engine.Graph(engine.Dataset(tmp_path / "edges.txt", format="snap"), engine.Dataset(tmp_path / "v.csv", delimiter=";"), vid="id")
    expected = engine.pagerank.create(graph, verbose=False).pagerank
    if toolkit == "label_propagation":
        expected = engine.label_propagation.create(graph, "kind", verbose=False).labels
    (tmp_path / "v.txt").write_text("# vertices\n" + "".join(f"v{n}\t{n % 3 or ''}\n" for n in range(99, 0, -1)))
    words = ["train", toolkit, tmp_path / "edges.txt", "--vertices", tmp_path / "v.txt", "--format", "snap", "--quiet"]
    words += ["--label-field", "X2"] if toolkit == "label_propagation" else []
    models = []
    for ranks in (0, 3):
        folder = tmp_path / f"on{ranks}"
        done = samesum(*words, "--table", folder / "t.parquet", "--output", folder / "model", ranks=ranks)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        table = parquet.read_table(folder / "t.parquet")
        assert [column.to_pylist() for column in table.columns] == [column.to_pylist() for column in expected.columns]
        models.append((folder / "model" / "arrays.safetensors").read_bytes())
    assert models[0] == models[1]
    done = samesum("predict", folder / "model", MUSHROOM, "--output", tmp_path / "p.csv")
    assert done.returncode == 2
    assert f"a model of {toolkit} has no rows to predict" in done.stderr
    done = samesum("info", folder / "model")
    assert "num_vertices" in done.stdout
    assert "target" not in done.stdout


ERRORS = {
    "no file": ((*TRAIN, "no-such.csv", "--target", "label", "-o", "{}/m"), 1, "no-such.csv"),
    "no target": ((*TRAIN, MUSHROOM, "--target", "lable", "-o", "{}/m"), 1, "lable"),
    "range": ((*TRAIN, MUSHROOM, "--target", "label", "-o", "{}/m", "--max-depth", "0"), 2, "max_depth"),
    "output is a file": ((*TRAIN, MUSHROOM, "--target", "label", "-o", MUSHROOM), 1, "mushroom.csv"),
    "no feature": ((*TRAIN, MUSHROOM, "--target", "label", "-o", "{}/m", "--features", "odor,smell"), 1, "smell"),
    "no model": (("predict", "{}/none", MUSHROOM, "-o", "{}/p.csv"), 1, "none"),
    "extension": (("predict", "{}/none", MUSHROOM, "-o", "{}/p.txt"), 2, ".csv or .parquet"),
    "output type": (("predict", "{model}", MUSHROOM, "-o", "{}/p.csv", "--output-type", "odds"), 2, "odds"),
    "output is a folder": (("evaluate", "{model}", MUSHROOM, "-o", "{}"), 2, ".json"),
    "info of nothing": (("info", "{}/none"), 1, "none"),
}


@pytest.mark.parametrize(("name", "ranks"), [*((name, 0) for name in ERRORS), ("no target", 3), ("output type", 3), ("info of nothing", 3)])
def test_an_error_is_one_line_on_any_number_of_ranks(model, tmp_path, name, ranks):
    words, code, expected = ERRORS[name]
    done = samesum(*(word.format(tmp_path, model=model) for word in words), ranks=ranks)
    assert done.returncode == code
    assert expected in done.stderr
    assert done.stderr.startswith("samesum: error: ")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_debug_shows_the_traceback_once():
    done = samesum(*TRAIN, "no-such.csv", "--target", "label", "-o", "m", "--debug", ranks=3)
    assert done.returncode == 1
    assert done.stderr.count("in main\n") == 1, "the traceback of rank 0 alone, with its causes"
    assert done.stderr.splitlines()[-1].startswith("engine.errors.MissingFileError: ")


def test_a_job_in_a_file(model, tmp_path):
    job = tmp_path / "job.json"
    job.write_text(json.dumps({"task": "evaluate", "model": str(model), "data": {"paths": [MUSHROOM]}}))
    done = samesum(job, ranks=2, module="engine")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["accuracy"] > 0.99


@pytest.mark.parametrize(
    ("argument", "code", "expected"),
    [("none.json", 1, "none.json"), ("{", 2, "expected a job as JSON"), ('{"task": "train", "taks": 1}', 2, "'taks'")],
)
def test_a_job_that_cannot_be_read(argument, code, expected):
    done = samesum(argument, ranks=3, module="engine")
    assert done.returncode == code
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1
