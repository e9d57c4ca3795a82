"""What an agent makes of the ends of ranks: which one came first, and what is only its consequence."""

import json
import os
import pathlib
import signal
import sys
import uuid

import pytest

from launch.agents import LocalAgent
from launch.commands import gang_command
from launch.gang import Gang
from launch.order import Order
from launch.processes import find_processes, process_of
from tests.launch.supervised import wait_until


@pytest.fixture
def gang(tmp_path):
    for name in ("ranks", "errors", "heartbeat", "logs"):
        (tmp_path / name).mkdir()
    found = Gang(Order(gang="x", command=[], ranks=2, folder="/", scratch=str(tmp_path), logs=str(tmp_path / "logs")))
    own = process_of(os.getpid())

    def add(rank, *, leash=own, **end):
        record = {"rank": rank, "host": "h", "pid": own.pid, "started": own.started, "leash": leash.pid, "leash_started": leash.started}
        (tmp_path / "ranks" / f"{rank}.json").write_text(json.dumps({**record, **end}))

    def note(rank, message, **more):
        (tmp_path / "errors" / f"{rank}.json").write_text(json.dumps({"class": "E", "message": message, **more}))

    found.add, found.note = add, note
    return found


def test_nothing_has_ended(gang):
    gang.add(0)
    gang.add(1, ended=5.0, exit_code=0)
    assert gang.look() is None


def test_the_first_end_counts(gang):
    gang.add(0, ended=6.0, exit_code=1)
    gang.add(1, ended=5.0, signal=signal.SIGSEGV.value)
    assert gang.look() == {"cause": "lost", "ranks": [1], "message": "rank 1 ended by SIGSEGV"}
    gang.records.clear()
    gang.add(0, ended=4.0, exit_code=3)
    assert gang.look() == {"cause": "error", "ranks": [0], "exit_code": 3, "message": "rank 0 ended with exit code 3"}


def test_a_note_from_before_its_rank_was_killed_with_the_others(gang):
    gang.note(1, "by hand", time=4.9, exit_code=1)
    gang.add(0, ended=5.0, signal=9)
    gang.add(1, ended=5.0, signal=9)
    cause = gang.look()
    assert (cause["cause"], cause["ranks"], cause["exit_code"], cause["message"]) == ("error", [1], 1, "rank 1: by hand")


def test_what_the_others_make_of_a_loss_is_no_error(gang):
    gang.note(0, "Exception: MPI_ERR_PROC_FAILED: process failed", time=4.0)
    gang.add(0, ended=5.0, exit_code=1)
    gang.add(1, ended=4.5, signal=9)
    assert gang.look()["message"] == "rank 1 ended by SIGKILL"


def test_an_error_of_mpi_that_is_nobodys_loss_is_one(gang):
    gang.note(0, "Exception: MPI_ERR_TRUNCATE: message truncated", time=4.0)
    gang.add(0)
    gang.add(1)
    assert gang.look()["cause"] == "error"


def test_a_leash_that_is_gone_without_a_word(gang, monkeypatch):
    own = process_of(os.getpid())
    gang.add(0)
    gang.add(1, leash=own._replace(started=1))
    assert gang.look() == {"cause": "lost", "ranks": [1], "message": "rank 1 ended with its leash, by SIGKILL"}


def test_a_last_word_that_comes_between_two_looks(gang, monkeypatch):
    own = process_of(os.getpid())
    gang.add(0)
    gang.add(1, leash=own._replace(started=1))
    gang.read_records()
    gang.add(1, leash=own._replace(started=1), ended=5.0, exit_code=0)
    assert gang.failed_rank() is None


@pytest.mark.parametrize(
    "words",
    [
        "Abort(7) on node 1 (rank 1 in comm 0): application called MPI_Abort(MPI_COMM_WORLD, 7) - process 1",
        "MPI_ABORT was invoked on rank 1 in communicator MPI_COMM_WORLD\nwith errorcode 7.",
    ],
)
def test_an_abort_is_found_in_the_log_of_the_rank_that_was_killed_with_the_others(gang, words):
    pathlib.Path(gang.order.logs, "rank-1.log").write_text(words)
    gang.add(0, ended=5.0, signal=9)
    assert gang.look() == {"cause": "error", "ranks": [1], "exit_code": 7, "message": "rank 1 ended all ranks by MPI_Abort with code 7"}


@pytest.mark.parametrize(
    ("code", "cause", "words"),
    [
        (0, "error", "the launcher ended with exit code 0, 1 of 2 ranks started: no port"),
        (-9, "lost", "the launcher ended by SIGKILL"),
        (9, "lost", "a rank ended by SIGKILL before it had begun"),
        (255, "error", "the launcher ended with exit code 255, 1 of 2 ranks started: no port"),
    ],
)
def test_ends_of_the_launcher(gang, code, cause, words):
    pathlib.Path(gang.order.logs, "launcher.log").write_text("no\nport\n")
    gang.add(0, ended=5.0, exit_code=0)
    found = gang.cause_of_end(code)
    assert (found["cause"], found["message"]) == (cause, words)
    gang.add(1, ended=6.0, exit_code=0)
    assert gang.cause_of_end(code) == {"cause": "done"}, "ranks that ended well are what counts"


def test_a_launcher_that_fails_while_its_ranks_run_was_lost(gang):
    """As a proxy of MPI fails when another node's is killed; that is retried, as every loss is."""
    pathlib.Path(gang.order.logs, "launcher.log").write_text("assert (!closed) failed")
    gang.add(0)
    gang.add(1)
    found = gang.cause_of_end(7)
    assert found["cause"] == "lost"
    assert found["message"] == "the launcher ended with exit code 7, 2 of 2 ranks started: assert (!closed) failed"


MAPPED = """
import mmap, pathlib, sys, time
path = pathlib.Path(sys.argv[1])
path.write_bytes(bytes(4096))
with path.open("r+b") as file:
    held = mmap.mmap(file.fileno(), 4096)
time.sleep(60)
"""


def test_an_agent_that_is_told_to_stop_leaves_no_shared_memory(tmp_path):
    """What its rank has is noted before that is killed, and removed after."""
    segment = pathlib.Path("/dev/shm", f"samesum-test-{uuid.uuid4()}")
    name = uuid.uuid4().hex
    order = Order(
        gang=name,
        command=gang_command(1, [sys.executable, "-c", MAPPED, str(segment)]),
        ranks=1,
        folder=str(tmp_path),
        scratch=str(tmp_path / "scratch"),
        logs=str(tmp_path / "logs"),
        hang_timeout=0.0,
        environment={"SAMESUM_GANG": name},
    )
    agent = LocalAgent(order)
    ends = []
    try:
        wait_until(lambda: segment.exists() and len(find_processes("SAMESUM_GANG", name)) == 2)
        agent.stop()
        wait_until(lambda: ends.append(agent.wait(0.1)) or ends[-1])
        assert ends[-1]["cause"] == "stopped"
        assert not segment.exists()
        assert not find_processes("SAMESUM_GANG", name)
    finally:
        agent.end()
        segment.unlink(missing_ok=True)
