"""The session of the guide that this API comes from, cell by cell, against the local cluster with data on HDFS."""

import contextlib
import io
import os
import pathlib
import re

import pytest

from engine import storage
from tests.cluster.conftest import new_folder

ROOT = pathlib.Path(__file__).resolve().parents[2]
SESSION = pathlib.Path(__file__).with_name("seed_session.py")
GOLDEN = ROOT / "tests" / "golden" / "seed_session.txt"
CELL = re.compile(r"^(?=# %% )", re.MULTILINE)


def read_golden(golden=GOLDEN):
    """What is masked, and what each cell is to print."""
    head, *cells = CELL.split(golden.read_text())
    masks = [line.split(" -> ") for line in head.splitlines() if " -> " in line]
    return masks, {cell.partition("\n")[0]: cell.partition("\n")[2].strip("\n") for cell in cells}


def masked(text, masks):
    for pattern, instead in masks:
        text = re.sub(pattern, instead.replace("(nothing)", ""), text, flags=re.MULTILINE)
    return text


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """An empty folder to work in, from which the examples can be seen."""
    folder = tmp_path_factory.mktemp("session")
    (folder / "examples").symlink_to(ROOT / "examples")
    return folder


def test_the_session(hdfs, place, monkeypatch):
    """Every cell runs, and prints what it is to print."""
    home = new_folder(hdfs)
    storage.put_file(f"{home}/mushroom.csv", ROOT / "examples" / "data" / "mushroom.csv")
    for name, value in {"MUSHROOM_HDFS": f"{home}/mushroom.csv", "JOBS_HDFS": f"{home}/jobs", "SAMESUM_CONFIG_DIR": str(place)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TMPDIR", "/tmp")
    monkeypatch.chdir(place)
    printed, names = run_cells()
    masks, expected = read_golden()
    assert {title: masked(text, masks) for title, text in printed.items() if title in expected} == {
        title: masked(text, masks) for title, text in expected.items()
    }
    check_results(names)
    check_failure(names["job4"], printed)


def run_cells():
    """What each cell prints, and the names that are there in the end."""
    printed, names = {}, {"__name__": "session"}
    for cell in CELL.split(SESSION.read_text())[1:]:
        with contextlib.redirect_stdout(io.StringIO()) as output:
            exec(compile(cell, str(SESSION), "exec"), names)
        printed[cell.partition("\n")[0]] = output.getvalue().strip("\n")
    return printed, names


def check_results(names):
    """The models are those that one process makes of a local file."""
    assert names["trained"].num_trees == 10
    for name in ("model", "resumed"):
        names[name].save(name)
    for file in ("model.json", "arrays.safetensors"):
        assert pathlib.Path("model", file).read_bytes() == pathlib.Path("resumed", file).read_bytes()
    assert names["gl"].load_model("./bst_mushroom").evaluate(names["dataset"])["accuracy"] == pytest.approx(0.999631, abs=1e-6)
    events = [event for event in names["job2"].events() if event["event"] == "row"]
    assert [event["number"] for event in events] == [11, 12]
    assert not storage.exists(f"{names['job3'].working_dir}/checkpoints")


def check_failure(job, printed):
    """The summary lists the workers and says what to do, the log file is there."""
    names = [f"container_01_{rank:06d}" for rank in range(4)]
    summary = printed["# %% its summary"]
    assert summary.startswith(f"Container list: {names}\n\n{names[0]}:\n  ")
    assert re.search(r"no column 'lable'.*'label'|'lable'.*label", summary)
    log = printed["# %% the location of its logs"]
    assert os.path.exists(log)
    assert "'lable'" in pathlib.Path(log).read_text()
    assert not [entry for entry in storage.list_folder("hdfs:///tmp") if entry.name == "samesum"]
