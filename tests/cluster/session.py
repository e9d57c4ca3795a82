"""Runs the example of a session cell by cell, with the addresses of a test, and compares what it prints with a golden file."""

from __future__ import annotations

import contextlib
import functools
import http.server
import io
import pathlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from engine import storage

ROOT = pathlib.Path(__file__).resolve().parents[2]
SESSION = ROOT / "examples" / "hadoop_session.py"
MUSHROOM = ROOT / "examples" / "data" / "mushroom.csv"
CELL = re.compile(r"^(?=# %% )", re.MULTILINE)
WAIT = "wait, and fetch the model"
OWN = "checkpoints of one's own"
LOCAL = "data of this machine, which are copied to HDFS for the job"
AGAIN = ("state", "progress")  # what shows more once the job has ended


@dataclass
class Session:
    """What cells have printed, by title; what they printed while the first job was still running; names; the job after each cell."""

    printed: dict[str, str] = field(default_factory=dict)
    early: dict[str, str] = field(default_factory=dict)
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "session"})
    jobs: dict[str, Any] = field(default_factory=dict)
    is_whole: bool = True


def run_session(instead: dict[str, str], until: str | None = None) -> Session:
    """Run all cells, or those up to one, some of them with other code."""
    session = Session()
    cells = {**split_cells(SESSION.read_text()), **instead}
    for title, code in cells.items():
        session.printed[title] = _run(title, code, session.names)
        session.jobs[title] = session.names.get("job")
        if title == WAIT:
            session.early = {each: session.printed[each] for each in AGAIN}
            session.printed.update({each: _run(each, cells[each], session.names) for each in AGAIN})
        if title == until:
            session.is_whole = False
            break
    return session


def split_cells(text: str) -> dict[str, str]:
    """Cells by title, without what stands before the first."""
    return {cell.partition("\n")[0].removeprefix("# %% "): cell.partition("\n")[2] for cell in CELL.split(text)[1:]}


def check_printed(session: Session, golden: str) -> None:
    """What is printed is what the golden file shows, but for its masks; and the first job's progress grew to what it was in the end."""
    text = (ROOT / "tests" / "golden" / golden).read_text()
    masks = [line.split(" -> ") for line in CELL.split(text)[0].splitlines() if " -> " in line]
    expected = {title: cell.strip("\n") for title, cell in split_cells(text).items()}
    if not session.is_whole:
        expected = {title: cell for title, cell in expected.items() if title in session.printed}
    assert {title: _masked(session.printed[title], masks) for title in expected} == {
        title: _masked(text, masks) for title, text in expected.items()
    }
    assert session.early["state"] in {f"STATE.{word}" for word in ("PENDING", "RUNNING", "COMPLETED")}
    assert session.printed["progress"].startswith(session.early["progress"])
    assert session.printed[WAIT].endswith("STATE.COMPLETED")


def check_models(session: Session) -> None:
    """The models are those that one process makes of the file behind http."""
    names = session.names
    assert names["model"].num_trees == 10
    here = names["gl"].boosted_trees_classifier.create(names["dataset"], target="label", max_iterations=12, verbose=False)
    here.save("here")
    names["job2"].get_results().save("resumed")
    for file in ("model.json", "arrays.safetensors"):
        assert pathlib.Path("here", file).read_bytes() == pathlib.Path("resumed", file).read_bytes()
    assert abs(names["gl"].load_model("./bst_mushroom").evaluate(names["dataset"])["accuracy"] - 0.999631) < 1e-6
    assert [event["number"] for event in names["job2"].events() if event["event"] == "row"] == [11, 12]
    assert not storage.exists(f"{session.jobs[OWN].working_dir}/checkpoints")


def check_locality(session: Session, path: str) -> None:
    """What is on HDFS is read where it is; a frame of this machine was copied to HDFS, and is gone after the job."""
    specs = {title: session.jobs[title]._directory.spec() for title in ("submit", LOCAL)}
    assert (specs["submit"].data.paths, specs["submit"].staged) == ((path,), None)
    staged = specs[LOCAL].staged
    assert staged.startswith("hdfs:///tmp/")
    assert specs[LOCAL].data.paths == (f"{staged}/dataset",)
    assert not storage.exists(staged)


def _run(title: str, code: str, names: dict[str, Any]) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(compile(code, title, "exec"), names)
    return output.getvalue().strip("\n")


def _masked(text: str, masks: list[list[str]]) -> str:
    for pattern, instead in masks:
        text = re.sub(pattern, instead.replace("(nothing)", ""), text, flags=re.MULTILINE)
    return text


@contextlib.contextmanager
def serve(folder: pathlib.Path) -> Iterator[str]:
    """The address of a web server on loopback that has the files of a folder."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=functools.partial(server.serve_forever, poll_interval=0.01))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass
