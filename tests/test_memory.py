"""The memory of a rank: sizes, limits, plans, arrays in files, and what a process with a limit really uses."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from engine.collectives.serial import SerialComm
from engine.data.dataset import Dataset
from engine.errors import OptionError, StorageError
from engine.memory import Memory, used_memory
from engine.sizes import format_size, machine_memory, parse_size
from tests.threads_comm import collect_ranks, run_ranks
from tests.training import cut_rows, fingerprint, mixed_table, train, with_target

MB = 10**6


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (None, None),
        (2_000_000_000, 2 * 10**9),
        (np.int64(7), 7),
        ("2GB", 2 * 10**9),
        ("512MB", 512 * MB),
        (" 1.5 gb ", 15 * 10**8),
        ("2GiB", 2**31),
        ("10k", 10**4),
        ("1_000", 1000),
        ("1T", 10**12),
    ],
)
def test_sizes(value: object, size: int | None) -> None:
    assert parse_size("memory_limit", value) == size


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "", "GB", "2 GBs", "-2GB", "0", [1]])
def test_what_is_no_size(value: object) -> None:
    with pytest.raises(OptionError, match=r"memory_limit: expected a number of bytes, or text like '2GB' or '512MB', got "):
        parse_size("memory_limit", value)


@pytest.mark.parametrize("size", [1, 999, 1000, 1234567, 5 * 10**9 + 1, 2**40])
def test_written_sizes_are_enough_when_given_back(size: int) -> None:
    assert size <= parse_size("memory_limit", format_size(size)) <= 1.011 * size


def test_the_limit_comes_from_the_option_or_the_environment_or_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SAMESUM_MEMORY_LIMIT", raising=False)
    alone = Memory(None, None, SerialComm()).limit
    assert alone == int(0.8 * machine_memory())
    assert run_ranks(2, lambda comm: Memory(None, None, comm).limit) == [int(0.8 * machine_memory() / 2)] * 2
    monkeypatch.setenv("SAMESUM_MEMORY_LIMIT", "3GB")
    assert Memory(None, None, SerialComm()).limit == 3 * 10**9
    assert Memory("1GB", None, SerialComm()).limit == 10**9
    monkeypatch.setenv("SAMESUM_MEMORY_LIMIT", "much")
    with pytest.raises(OptionError, match="environment variable SAMESUM_MEMORY_LIMIT: expected"):
        Memory(None, None, SerialComm())


def planned(limit: int, cache_dir: pathlib.Path, bins: int, rest: int) -> Memory:
    memory = Memory(limit, cache_dir, SerialComm())
    memory.plan({"bins": bins, "rest": rest}, mappable=["bins"], n_rows=5, n_bins=9, comm=SerialComm())
    return memory


def test_what_does_not_fit_goes_to_files_without_a_name(tmp_path: pathlib.Path) -> None:
    used = used_memory()
    folder = tmp_path / "new"
    memory = planned(used + 50 * MB, folder, 40 * MB, 1 * MB)
    assert not isinstance(memory.allocate("bins", (4, 2), np.uint16).base, np.ndarray)
    assert memory.report()["bytes_per_rank"][0]["in_files"] == []
    memory = planned(used + 50 * MB, folder, 60 * MB, 1 * MB)
    report = memory.report()
    assert (report["memory_limit"], report["bins"]) == (used + 50 * MB, 9)
    assert report["bytes_per_rank"][0].items() >= {"bins": 60 * MB, "rest": 1 * MB, "in_files": ["bins"], "rows": 5}.items()
    array = memory.allocate("bins", (3, 1000), np.uint16)
    array[:] = np.arange(3000).reshape(3, 1000)
    assert array.sum() == 3000 * 2999 // 2
    assert memory.allocate("bins", (0, 4), np.uint8).shape == (0, 4)
    assert list(folder.iterdir()) == []
    assert any(str(folder) in line for line in pathlib.Path("/proc/self/maps").read_text().splitlines())
    del array
    assert not any(str(folder) in line for line in pathlib.Path("/proc/self/maps").read_text().splitlines())


def test_an_impossible_plan_is_refused_with_what_would_do(tmp_path: pathlib.Path) -> None:
    with pytest.raises(OptionError, match="memory_limit: expected at least ") as caught:
        planned(used_memory() + 50 * MB, tmp_path, 10 * MB, 900 * MB)
    text = str(caught.value)
    least, total = (
        parse_size("", text.split(before)[1].split(after, maxsplit=1)[0]) for before, after in (("least ", " a rank"), (" or ", " to keep"))
    )
    assert least >= used_memory() + 800 * MB
    assert 5 * MB < total - least < 30 * MB
    assert "rest 900 MB" in text
    planned(least + 50 * MB, tmp_path, 10 * MB, 900 * MB)

    def plan(comm):
        memory = Memory(used_memory() + 500 * MB, tmp_path, comm)
        memory.plan({"bins": 0, "rest": 10**9 * comm.rank}, mappable=["bins"], n_rows=1, n_bins=1, comm=comm)

    _, errors = collect_ranks(3, plan)
    assert {type(error) for error in errors} == {OptionError}


def test_a_folder_that_cannot_hold_them(tmp_path: pathlib.Path) -> None:
    with pytest.raises(StorageError, match=r"cache_dir: expected 1e\+08 GB free in '.*', got .* GB; name another"):
        planned(used_memory() + 50 * MB, tmp_path, 10**17, 1)
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cache_dir: expected a folder to write to, got "):
        planned(used_memory() + 50 * MB, tmp_path / "file", 60 * MB, 1)


def test_bins_in_files_give_the_same_model(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = with_target(mixed_table(1, 500), "amount")
    expected = fingerprint(train(table, task="regression"))
    monkeypatch.setattr(Memory, "_fits", lambda self, total: False)

    def train_in_files(comm):
        data = Dataset(cut_rows(table, comm.size)[comm.rank], sharded=True)
        return train(data, task="regression", num_threads=2, comm=comm, memory=Memory("8GB", tmp_path, comm))

    for size in (1, 3):
        for trained in run_ranks(size, train_in_files):
            assert fingerprint(trained) == expected
            parts = trained.run["memory"]["bytes_per_rank"]
            assert [part["in_files"] for part in parts] == [["narrow bins", "panels of bins", "wide bins"]] * size


PROGRAM = """
import json, sys, threading, time
import numpy, pyarrow.parquet
from engine import boosted_trees_regression
from engine.memory import used_memory

path = sys.argv[1]
peak, done, before = 0, False, used_memory()
def watch():
    global peak
    while not done:
        peak = max(peak, used_memory())
        time.sleep(0.002)
watcher = threading.Thread(target=watch)
watcher.start()
model = boosted_trees_regression.create(
    path, "y", max_iterations=1, max_depth=2, verbose=False, num_threads=1)
done = True
watcher.join()
model.save(path + ".model")
print(json.dumps({"peak": peak - before, "memory": json.load(open(path + ".model/run.json"))["memory"]}))
"""


def test_a_process_keeps_to_its_limit(tmp_path: pathlib.Path) -> None:
    n, path = 1_200_000, tmp_path / "data.parquet"
    codes = np.random.default_rng(1).integers(0, 100, n).astype(np.float32)
    pyarrow.parquet.write_table(pa.table({**{f"x{j}": np.roll(codes, j) for j in range(28)}, "y": codes}), path)

    def run(limit: str) -> dict:
        environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parents[1])}
        environment |= {"SAMESUM_MEMORY_LIMIT": limit, "SAMESUM_CACHE_DIR": str(tmp_path / "cache")}
        command = [sys.executable, "-c", PROGRAM, str(path)]
        return json.loads(subprocess.run(command, env=environment, capture_output=True, check=True, text=True).stdout)

    free = run("")
    arrays = {name: size for name, size in free["memory"]["bytes_per_rank"][0].items() if name not in ("rows", "in_files")}
    bins = (28 + 32) * n + 64  # by column, and in a panel whose rows are 32 bytes long
    assert arrays["narrow bins"] + arrays["panels of bins"] == bins
    assert free["peak"] < bins + 52 * n + 200 * MB  # far less than the 8 bytes a value of a copy as float64
    limited = run(str(sum(arrays.values()) - bins // 4))
    assert limited["memory"]["bytes_per_rank"][0]["in_files"]
    assert limited["peak"] < free["peak"] - bins // 2
    assert list((tmp_path / "cache").iterdir()) == []
