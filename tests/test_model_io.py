"""Model directories: they come back as they went in, appear whole, and say what is wrong with them."""

from __future__ import annotations

import hashlib
import json
import math
import os
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import model_io
from engine.errors import MissingFileError, ModelFileError, StorageError
from engine.model_io import ARRAYS_FILE, MODEL_FILE, RUN_FILE, decode, encode, read_model, write_model

DOCUMENT = {
    "toolkit": "t",
    "scores": [0.1, -0.0, 5e-324, 1e300],
    "name": 'ü "x"',
    "none": None,
    "n": 2**60,
    "odd": {"$float": "a", "$$": 1},
}
ARRAYS = {
    "z": np.arange(5, dtype=np.int64),
    "a": np.array([[1.5, np.nan]]),
    "empty": np.empty((0, 2), np.float64),
    "b": np.ones(3, np.uint8),
}


def save(path: pathlib.Path, **changes: Any) -> pathlib.Path:
    write_model(path, {**DOCUMENT, **changes}, ARRAYS, {"seconds": 1.5})
    return path


def test_what_is_read_is_what_was_written(tmp_path: pathlib.Path) -> None:
    document, arrays, run = read_model(save(tmp_path / "deep" / "model"))
    assert document == DOCUMENT
    assert list(document) == list(DOCUMENT)
    assert math.copysign(1, document["scores"][1]) == -1
    assert run == {"seconds": 1.5}
    assert set(arrays) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        assert arrays[name].shape == array.shape
        assert arrays[name].tobytes() == array.tobytes()


def test_the_bytes_depend_on_the_model_alone(tmp_path: pathlib.Path) -> None:
    first, second = save(tmp_path / "a"), tmp_path / "b"
    write_model(second, DOCUMENT, dict(reversed(list(ARRAYS.items()))), {"seconds": 7})
    assert (first / MODEL_FILE).read_bytes() == (second / MODEL_FILE).read_bytes()
    assert (first / ARRAYS_FILE).read_bytes() == (second / ARRAYS_FILE).read_bytes()
    assert (
        hashlib.sha256((first / ARRAYS_FILE).read_bytes()).hexdigest() == "58c60ee017156e1c1c063fd095a025d3c4219d62ddb535f66f23e55f0a4d66d8"
    )
    assert sorted(file.name for file in first.iterdir()) == sorted([MODEL_FILE, ARRAYS_FILE, RUN_FILE])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.sampled_from(["$float", "$"]), inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_any_value_survives_json(value: Any) -> None:
    text = json.dumps(encode(value), allow_nan=False)
    assert repr(decode(json.loads(text))) == repr(value)


def test_keys_must_be_strings() -> None:
    with pytest.raises(TypeError, match="expected string keys"):
        encode({"a": {1: 2}})


def test_a_model_replaces_a_model_and_nothing_else(tmp_path: pathlib.Path) -> None:
    path = save(tmp_path / "model")
    save(path, name="new")
    assert read_model(path)[0]["name"] == "new"
    (tmp_path / "empty").mkdir()
    save(tmp_path / "empty")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("precious")
    with pytest.raises(StorageError, match="holds no model"):
        save(tmp_path / "other")
    with pytest.raises(StorageError, match="a file is there"):
        save(tmp_path / "other" / "thesis.txt")
    assert (tmp_path / "other" / "thesis.txt").read_text() == "precious"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "model", "other"]


def test_a_failure_leaves_the_old_model(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "model")
    with pytest.raises(TypeError):
        save(path, bad=object())
    assert read_model(path)[0]["name"] == DOCUMENT["name"]
    rename = os.rename
    calls = []

    def fail_second(source: Any, target: Any) -> None:
        calls.append(target)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        rename(source, target)

    monkeypatch.setattr(model_io.os, "rename", fail_second)
    with pytest.raises(StorageError, match=r"cannot save the model to .*: No space left on device"):
        save(path, name="new")
    assert read_model(path)[0]["name"] == DOCUMENT["name"]
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("path", ["ftp://host/model", "", b"model"])
def test_paths_that_are_no_folders(path: Any) -> None:
    with pytest.raises(StorageError, match="expected"):
        write_model(path, DOCUMENT, ARRAYS, {})


def test_no_run_file(tmp_path: pathlib.Path) -> None:
    (save(tmp_path / "model") / RUN_FILE).unlink()
    assert read_model(tmp_path / "model")[2] is None


def flip_last_byte(file: pathlib.Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def edit(file: pathlib.Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: (p / MODEL_FILE).unlink(), "model.json' is missing"),
        (lambda p: (p / ARRAYS_FILE).unlink(), "arrays.safetensors' is missing: not all of the model was copied"),
        (lambda p: (p / MODEL_FILE).write_text((p / MODEL_FILE).read_text()[:-50]), "model.json' is damaged or cut short"),
        (lambda p: (p / MODEL_FILE).write_bytes(b"\xff\xfe"), "model.json' is damaged or cut short"),
        (lambda p: (p / MODEL_FILE).write_text("[1]"), "does not describe a samesum model"),
        (lambda p: edit(p / MODEL_FILE, "1e+300", "1e+301"), "model.json' is damaged: its content does not match"),
        (
            lambda p: edit(p / MODEL_FILE, '"format_version": 1', '"format_version": 2'),
            "newer samesum: it has format 2, this release reads up to 1",
        ),
        (lambda p: flip_last_byte(p / ARRAYS_FILE), "arrays.safetensors' is damaged or belongs to another model"),
        (lambda p: (p / ARRAYS_FILE).write_bytes((p / ARRAYS_FILE).read_bytes()[:-3]), "arrays.safetensors' is damaged"),
        (lambda p: (p / RUN_FILE).write_text("{"), "run.json' is damaged .* delete run.json"),
    ],
)
def test_damage_is_named(tmp_path: pathlib.Path, damage: Any, message: str) -> None:
    path = save(tmp_path / "model")
    damage(path)
    with pytest.raises(ModelFileError, match=message):
        read_model(path)


def test_no_such_model(tmp_path: pathlib.Path) -> None:
    with pytest.raises(MissingFileError, match="no model directory"):
        read_model(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError):
        read_model(tmp_path / "nothing")


def test_reading_needs_no_mpi_and_no_kernel(tmp_path: pathlib.Path) -> None:
    path = save(tmp_path / "model")
    code = (
        "import sys; from engine.model_io import read_model; read_model(sys.argv[1]);"
        "print([m for m in sys.modules if m.startswith(('mpi4py', 'engine._kernels', 'pyarrow'))])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
