"""Checkpoints: what is resumed is, byte for byte, what was never interrupted; what cannot be resumed from is refused or passed over."""

from __future__ import annotations

import json
import pathlib
import shutil
import warnings
from typing import Any

import pyarrow as pa
import pytest

import engine
from engine.checkpoint import list_checkpoints
from engine.errors import DataError, MissingFileError, ModelFileError, OptionError, StorageError
from tests.models.training_helpers import create, create_parts, model_bytes, table_for
from tests.threads_comm import collect_ranks, run_ranks

EVERYTHING: dict[str, Any] = {
    "row_subsample": 0.7,
    "column_subsample": 0.6,
    "validation_set": "auto",
    "sample_weight": "w",
    "random_seed": 5,
}
CASES = {
    "boosted classifier": ("boosted_trees_classifier", "sign", {"early_stopping_rounds": 50, "class_weights": "auto"}),
    "boosted classifier of three": ("boosted_trees_classifier", "grade", {}),
    "boosted regression": ("boosted_trees_regression", "amount", {"early_stopping_rounds": 3, "step_size": 0.9}),
    "quantiles": ("boosted_trees_regression", "amount", {"objective": "quantile", "quantile": 0.25}),
    "forest of classes": ("random_forest_classifier", "grade", {}),
    "forest of probabilities": ("random_forest_classifier", "sign", {"averaging": "probability", "class_weights": "auto"}),
    "forest of numbers": ("random_forest_regression", "amount", {"averaging": "probability"}),
}


@pytest.mark.parametrize("case", CASES)
def test_resumed_is_uninterrupted(case: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A training cut short at 5 of what should be 12 iterations, resumed on other numbers of ranks."""
    toolkit, target, more = CASES[case]
    table, options = table_for(toolkit, 300, target=target), {**EVERYTHING, **more}
    expected = model_bytes(create(toolkit, table, **options, max_iterations=12))
    kept = {"model_checkpoint_path": tmp_path, "model_checkpoint_interval": 2}
    create_parts(2, toolkit, table, **options, **kept, max_iterations=5)
    assert [number for number, _ in list_checkpoints(str(tmp_path))] == [4, 2]
    for size in (1, 3):
        folder = tmp_path / str(size)
        shutil.copytree(tmp_path / "model_checkpoint_4", folder / "model_checkpoint_4")
        for resume, path in (("auto", folder), (tmp_path / "model_checkpoint_4", None)):
            again = {"model_checkpoint_path": path, "resume_from_checkpoint": resume}
            models = create_parts(size, toolkit, table, **options, **again, max_iterations=12)
            assert model_bytes(models[0]) == expected
    assert capsys.readouterr().out == ""


def test_fewer_iterations_than_the_checkpoint_are_its_first_ones(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = table_for("regression")
    create("boosted_trees_regression", table, max_iterations=5, model_checkpoint_path=tmp_path)
    resumed = create(
        "boosted_trees_regression", table, max_iterations=3, resume_from_checkpoint=tmp_path / "model_checkpoint_5", verbose=True
    )
    assert "at iteration 5 which is greater than or equal to max_iterations 3\n" in capsys.readouterr().out
    assert model_bytes(resumed) == model_bytes(create("boosted_trees_regression", table, max_iterations=3))


def test_what_is_printed_and_kept(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = table_for("regression")
    options = {"model_checkpoint_path": tmp_path / "new" / "folder", "max_iterations": 6, "model_checkpoint_interval": 1, "verbose": True}
    model = create("boosted_trees_regression", table, **options)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "Checkpoint" in line] == [
        f"Checkpointing to {tmp_path / 'new' / 'folder' / f'model_checkpoint_{n}'}" for n in range(1, 7)
    ]
    assert [path.name for path in sorted((tmp_path / "new" / "folder").iterdir())] == ["model_checkpoint_5", "model_checkpoint_6"]
    assert (model.model_checkpoint_path, model.model_checkpoint_interval) == (str(tmp_path / "new" / "folder"), 1)
    named = tmp_path / "new" / "folder" / "model_checkpoint_5"
    create("boosted_trees_regression", table, **{**options, "max_iterations": 9}, resume_from_checkpoint=named)
    assert [number for number, _ in list_checkpoints(str(tmp_path / "new" / "folder"))] == [9, 8, 5]
    rows = [line.split("|")[1].strip() for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert rows == ["Iteration", "6", "9"]
    model.save(tmp_path / "model")
    assert str(tmp_path).encode() not in (tmp_path / "model" / "model.json").read_bytes()


@pytest.mark.parametrize("toolkit", ["boosted_trees_regression", "linear_regression", "pagerank"])
def test_what_can_only_be_read_is_refused_at_once(toolkit: str) -> None:
    data = engine.Graph({"a": [1], "b": [2]}) if toolkit == "pagerank" else {"x": [1.0, 2.0], "y": [1.0, 2.0]}
    options = {} if toolkit == "pagerank" else {"target": "y"}
    with pytest.raises(StorageError, match="https:// addresses are read only"):
        getattr(engine, toolkit).create(data, **options, model_checkpoint_path="https://localhost/checkpoints", verbose=False)


def test_an_interval_of_0_writes_none(tmp_path: pathlib.Path) -> None:
    create("boosted_trees_regression", table_for("regression"), model_checkpoint_path=tmp_path, model_checkpoint_interval=0)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_writer_left_is_removed(tmp_path: pathlib.Path) -> None:
    left = tmp_path / ".model_checkpoint_5.0123.new"
    left.mkdir()
    create("boosted_trees_regression", table_for("regression"), model_checkpoint_path=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model_checkpoint_5"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    create("boosted_trees_regression", table_for("regression"), model_checkpoint_path=folder)
    return folder / "model_checkpoint_5"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"max_depth": 5}, OptionError, "trained with max_depth=4, got 5: resume with the same options"),
        ({"metric": "rmse"}, OptionError, r"metric=\['max_error', 'rmse'\], got \['rmse'\]"),
        ({"row_subsample": 0.5}, OptionError, "row_subsample=1.0, got 0.5"),
        ({"objective": "quantile"}, OptionError, "objective='squared_error', got 'quantile'"),
        ({"validation_set": "auto"}, DataError, "is of other data: its num_examples is 400, got 387"),
        ({"features": ["x", "count"]}, DataError, "is of other data: its columns is"),
    ],
)
def test_other_options_are_refused_by_name(checkpoint: pathlib.Path, changes: dict[str, Any], error: type[Exception], message: str) -> None:
    table = table_for("regression")
    options = {"resume_from_checkpoint": checkpoint, **changes}
    _, errors = collect_ranks(2, lambda comm: create("boosted_trees_regression", table, comm=comm, **options))
    assert [type(each) for each in errors] == [error] * 2
    with pytest.raises(error, match=message):
        raise errors[0]


@pytest.mark.parametrize("change", ["value", "target", "order"])
def test_other_data_is_refused(checkpoint: pathlib.Path, change: str) -> None:
    table = table_for("regression")
    rows = list(range(400))
    if change == "order":
        rows[7], rows[8] = 8, 7
    name = {"value": "count", "target": "y", "order": "y"}[change]
    column = table[name].to_pylist()
    if change != "order":
        column[100] = 4
    table = table.set_column(table.column_names.index(name), name, pa.array(column, table[name].type)).take(pa.array(rows))
    with pytest.raises(DataError, match="is of other data"):
        create("boosted_trees_regression", table, resume_from_checkpoint=checkpoint)


def test_another_toolkit_is_refused(checkpoint: pathlib.Path) -> None:
    with pytest.raises(OptionError, match="is of toolkit 'boosted_trees_regression', expected 'random_forest_regression'"):
        create("random_forest_regression", table_for("regression"), resume_from_checkpoint=checkpoint)


def damage(folder: pathlib.Path, how: str) -> None:
    file = folder / how.rpartition(" ")[2]
    if how.startswith("cut"):
        file.write_bytes(file.read_bytes()[:-7])
    elif how.startswith("empty"):
        file.write_bytes(b"")
    elif how.startswith("without"):
        file.unlink()
    elif how.startswith("flip"):
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    else:
        for each in folder.iterdir():
            each.unlink()


DAMAGES = [f"{how} {name}" for how in ("cut", "empty", "without", "flip") for name in ("model.json", "arrays.safetensors")] + ["nothing"]


@pytest.mark.parametrize("how", DAMAGES)
def test_damaged_checkpoints_are_refused_and_auto_passes_over_them(checkpoint: pathlib.Path, how: str, tmp_path: pathlib.Path) -> None:
    table = table_for("regression")
    create("boosted_trees_regression", table, max_iterations=3, model_checkpoint_path=tmp_path, model_checkpoint_interval=3)
    broken = tmp_path / "model_checkpoint_5"
    shutil.copytree(checkpoint, broken)
    damage(broken, how)
    _, errors = collect_ranks(3, lambda comm: create("boosted_trees_regression", table, comm=comm, resume_from_checkpoint=broken))
    assert [type(each) for each in errors] == [ModelFileError] * 3
    options = {"max_iterations": 7, "model_checkpoint_path": tmp_path, "resume_from_checkpoint": "auto"}
    with pytest.warns(UserWarning, match="not resuming from .*model_checkpoint_5") as caught:
        models = run_ranks(2, lambda comm: create("boosted_trees_regression", table, comm=comm, **options))
    assert len(caught) == 1
    assert model_bytes(models[0]) == model_bytes(create("boosted_trees_regression", table, max_iterations=7))


def test_auto_starts_afresh_where_nothing_fits(tmp_path: pathlib.Path, checkpoint: pathlib.Path) -> None:
    table = table_for("regression")
    options = {"model_checkpoint_path": tmp_path / "none", "resume_from_checkpoint": "auto"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        create("boosted_trees_regression", table, **options)
    shutil.copytree(checkpoint, tmp_path / "other" / "model_checkpoint_5")
    options["model_checkpoint_path"] = tmp_path / "other"
    with pytest.warns(UserWarning, match="max_depth=4, got 3"):
        model = create("boosted_trees_regression", table, **options, max_depth=3)
    assert model.max_depth == 3


def test_a_missing_checkpoint_and_a_model_in_its_place(tmp_path: pathlib.Path, checkpoint: pathlib.Path) -> None:
    table = table_for("regression")
    with pytest.raises(MissingFileError, match="model_checkpoint_9"):
        create("boosted_trees_regression", table, resume_from_checkpoint=tmp_path / "model_checkpoint_9")
    create("boosted_trees_regression", table).save(tmp_path / "model")
    with pytest.raises(ModelFileError, match="is no checkpoint; expected a folder model_checkpoint_<N>"):
        create("boosted_trees_regression", table, resume_from_checkpoint=tmp_path / "model")
    with pytest.raises(ModelFileError, match="is a checkpoint, no model yet: pass it to create as resume_from_checkpoint"):
        engine.load_model(checkpoint)


def test_a_folder_that_cannot_be_written_is_every_ranks_error(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("")
    options = {"model_checkpoint_path": tmp_path / "file" / "folder"}
    _, errors = collect_ranks(2, lambda comm: create("boosted_trees_regression", table_for("regression"), comm=comm, **options))
    assert [type(error) for error in errors] == [StorageError] * 2


def test_what_a_checkpoint_says_does_not_depend_on_ranks(tmp_path: pathlib.Path) -> None:
    for size in (1, 2, 7):
        create_parts(
            size, "boosted_trees_classifier", table_for("classifier"), model_checkpoint_path=tmp_path / str(size), validation_set="auto"
        )
    for name in ("model.json", "arrays.safetensors"):
        assert len({(tmp_path / str(size) / "model_checkpoint_5" / name).read_bytes() for size in (1, 2, 7)}) == 1
    content = json.loads((tmp_path / "1" / "model_checkpoint_5" / "model.json").read_text())["document"]["checkpoint"]
    assert content["iteration"] == 5
    assert str(tmp_path) not in json.dumps(content)
