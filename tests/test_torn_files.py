"""Killed at every single write, on storage with and without renames: what is read is the old, the new, or a clear error, nothing torn."""

from __future__ import annotations

import warnings

import numpy as np
import pyarrow as pa
import pytest

import engine
from engine import storage
from engine.checkpoint import Checkpoint, find_checkpoint, list_checkpoints, publishing_while, read_checkpoint, write_checkpoint
from engine.errors import ModelFileError, StorageError, SupersededError
from engine.model_io import read_model, write_model
from tests.memory_store import KilledError, MemoryStore
from tests.threads_comm import collect_ranks, run_ranks

ROOT = "memory://here/folder"
TARGET = f"{ROOT}/target"
TOOLKIT = "pagerank"


@pytest.fixture(params=[True, False], ids=["renames", "no renames"])
def store(request, monkeypatch) -> MemoryStore:
    made, others = MemoryStore(renames=request.param), storage._store
    monkeypatch.setitem(storage._STORES, "memory", "memory")
    monkeypatch.setattr(storage, "_store", lambda name: made if name == "memory" else others(name))
    return made


def read_or_none(read):
    """What ``read`` gives, None for an error that says where and what is missing."""
    try:
        return read()
    except (ModelFileError, StorageError) as found:
        error = str(found)
    assert TARGET in error
    assert any(word in error for word in ("missing", "no model", "no graph", "no such file", "whole folder")), error
    return None


def survivors(store, write, read, *, n_ranks=1):
    """What ``read`` gives after a kill at each change of ``write``, None for a clear error; each time, writing again makes it whole."""
    before, found = dict(store.files), []
    for moment in range(1, 200):
        store.restart(before, moment)
        errors = collect_ranks(n_ranks, write)[1]
        was_killed = store.is_dead
        assert was_killed == any(isinstance(error, KilledError) for error in errors), errors
        if not was_killed:
            return found, read()
        store.restart(store.files, None)
        found.append(read_or_none(read))
        run_ranks(n_ranks, write)
        assert read() is not None
        left = [name for name in store.files if not name.startswith(f"{TARGET}/")]
        assert n_ranks == 1 or not left, left
    raise AssertionError("it never ended")


def check(store, write, read, old, new, *, n_ranks=1):
    """``read`` gives ``old`` (None: nothing is there), then ``new``; where there are renames, it is gone for a moment at most."""
    found, at_the_end = survivors(store, write, read, n_ranks=n_ranks)
    assert at_the_end == new
    changes = [value for at, value in enumerate(found) if at == 0 or found[at - 1] != value]
    expected = [old, new] if old is None else [old, None, new]
    assert changes in (expected, expected[:-1]), found
    if store.renames:
        assert found.count(None) <= (1 if old is not None else len(found))


@pytest.mark.parametrize("replaces", [True, False])
def test_models(store, replaces):
    def content(number):
        return {"toolkit": "t", "number": number}, {"a": np.full(3, number)}, {"seconds": number}

    def read():
        document, arrays, run = read_model(TARGET)
        assert (arrays["a"] == document["number"]).all()
        assert run is None or run["seconds"] == document["number"]
        return document["number"]

    if replaces:
        write_model(TARGET, *content(1))
    check(store, lambda comm: write_model(TARGET, *content(2)), read, 1 if replaces else None, 2)


@pytest.mark.parametrize("n_ranks", [1, 2])
@pytest.mark.parametrize("replaces", [True, False])
def test_graphs(store, replaces, n_ranks):
    edges = {"a": [f"v{n}" for n in range(40)], "b": [f"v{n * 7 % 40}" for n in range(40)], "w": np.arange(40.0)}

    def save(comm, n_edges):
        engine.Graph({name: values[:n_edges] for name, values in edges.items()}, comm=comm).save(TARGET)

    def read():
        graph = engine.load_graph(TARGET)
        assert sorted(graph.edges.column("w").to_pylist()) == list(range(graph.num_edges))
        return graph.num_edges

    if replaces:
        run_ranks(3, lambda comm: save(comm, 30))
    check(store, lambda comm: save(comm, 40), read, 30 if replaces else None, 40, n_ranks=n_ranks)


@pytest.mark.parametrize("format", ["parquet", "csv"])
@pytest.mark.parametrize("n_ranks", [1, 2])
@pytest.mark.parametrize("replaces", [True, False])
def test_rows(store, replaces, n_ranks, format):
    def save(comm, n_rows, form):
        engine.Dataset({"x": np.arange(n_rows)}).save(TARGET, form, comm=comm)

    def read():
        return engine.Dataset(TARGET).to_table()["x"].to_pylist()

    if replaces:
        run_ranks(3, lambda comm: save(comm, 7, "csv"))
    old = list(range(7)) if replaces else None
    check(store, lambda comm: save(comm, 5, format), read, old, list(range(5)), n_ranks=n_ranks)


def test_there_is_always_a_checkpoint(store):
    """However a job is killed while it writes its third one, 'auto' finds the second or the third."""

    def checkpoint(number):
        return Checkpoint("", number, {"options": {"x": number}}, {"a": np.full(4, number)}, {})

    def write(comm):
        write_checkpoint(ROOT, checkpoint(15), toolkit="t", named=None)

    def read():
        found = find_checkpoint("auto", ROOT, lambda found: None)
        assert (found.arrays["a"] == found.iteration).all()
        return found.iteration

    for number in (5, 10):
        write_checkpoint(ROOT, checkpoint(number), toolkit="t", named=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where nothing can be renamed, broken ones are passed over
        found, at_the_end = survivors(store, write, read)
    assert at_the_end == 15
    assert found == sorted(found)
    assert set(found) == {10, 15}
    assert [number for number, _ in list_checkpoints(ROOT)] == [15, 10]


def test_an_equal_checkpoint_is_left_as_it_is(store):
    same = Checkpoint("", 5, {"options": {}}, {"a": np.arange(3)}, {"elapsed_time": [1.0]})
    write_checkpoint(ROOT, same, toolkit="t", named=None)
    changes, files = store.changes, dict(store.files)
    write_checkpoint(ROOT, Checkpoint("", 5, {"options": {}}, {"a": np.arange(3)}, {"elapsed_time": [2.0]}), toolkit="t", named=None)
    assert (store.changes, store.files) == (changes, files)
    store.files[f"{ROOT}/model_checkpoint_5/arrays.safetensors"] += b"x"
    write_checkpoint(ROOT, same, toolkit="t", named=None)
    assert store.files == files


def test_what_is_named_stays_and_broken_ones_are_not_counted(store):
    def write(number, named=None):
        write_checkpoint(ROOT, Checkpoint("", number, {}, {}, {}), toolkit="t", named=named)

    for number in (5, 10):
        write(number)
    write(15, named=f"{ROOT}/model_checkpoint_5/")
    assert [number for number, _ in list_checkpoints(ROOT)] == [15, 10, 5]
    del store.files[f"{ROOT}/model_checkpoint_15/model.json"]
    write(20)
    assert [number for number, _ in list_checkpoints(ROOT)] == [20, 10]
    assert read_checkpoint(f"{ROOT}/model_checkpoint_10").iteration == 10


def test_a_fence(store):
    """A job that another attempt has taken over changes nothing any more, and says so on all ranks."""
    options = {"max_iterations": 5, "threshold": 0.0, "verbose": False, "model_checkpoint_path": ROOT, "model_checkpoint_interval": 1}
    asked = []

    def may_publish():
        asked.append(len(list_checkpoints(ROOT)))
        return len(asked) < 3

    def train(comm):
        with publishing_while(may_publish):
            engine.pagerank.create(engine.Graph({"a": [1, 2], "b": [2, 1]}, comm=comm), comm=comm, **options)

    errors = collect_ranks(2, train)[1]
    assert [type(error) for error in errors] == [SupersededError] * 2
    assert len(asked) == 3
    assert [number for number, _ in list_checkpoints(ROOT)] == [2, 1]
    again = Checkpoint("", 9, {}, {}, {})
    with pytest.raises(SupersededError, match="another attempt"):
        write_checkpoint(ROOT, again, toolkit="t", named=None, may_publish=lambda: False)
    assert [number for number, _ in list_checkpoints(ROOT)] == [2, 1]


@pytest.mark.parametrize("what", ["model", "graph", "rows"])
def test_other_peoples_files_are_left_alone(store, what):
    def save(address):
        if what == "model":
            write_model(address, {"toolkit": "t"}, {}, {})
        elif what == "graph":
            engine.Graph({"a": [1], "b": [2]}).save(address)
        else:
            engine.Dataset({"a": [1]}).save(address)

    storage.put_bytes(f"{ROOT}/theirs/thesis.txt", b"precious")
    storage.put_bytes(f"{ROOT}/file", b"precious")
    files = dict(store.files)
    for name in ("theirs", "file"):
        with pytest.raises(StorageError, match="cannot save .*choose another"):
            save(f"{ROOT}/{name}")
    assert store.files == files
    save(f"{ROOT}/theirs/mine/")
    save(f"{ROOT}/theirs/mine")
    assert {name: store.files[name] for name in files} == files
    assert all(name in files or name.startswith(f"{ROOT}/theirs/mine/") for name in store.files)


def test_rows_of_others_are_left_alone(store):
    storage.put_bytes(f"{TARGET}/_SUCCESS", b"")
    storage.put_bytes(f"{TARGET}/part-00000-abc.snappy.parquet", b"of another program")
    with pytest.raises(StorageError, match="no saved rows are; choose another path"):
        engine.Dataset({"a": [1]}).save(TARGET)
    engine.Dataset({"a": [1]}).save(f"{ROOT}/mine")
    storage.put_bytes(f"{ROOT}/mine/notes.txt", b"mine")
    with pytest.raises(StorageError, match="'notes.txt' is there"):
        engine.Dataset({"a": [1]}).save(f"{ROOT}/mine")


def test_exported_files(store):
    table = pa.table({"x": np.arange(20.0), "y": np.arange(20.0)})
    model = engine.boosted_trees_regression.create(table, target="y", verbose=False, max_iterations=1)
    model.export_xgboost(f"{ROOT}/xgboost.json")
    assert store.files[f"{ROOT}/xgboost.json"].startswith(b"{")
    model.save(TARGET)
    more = engine.boosted_trees_regression.create(table, target="y", verbose=False, max_iterations=1, initial_model=TARGET)
    assert more.num_trees == 2
