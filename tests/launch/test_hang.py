"""When ranks count as hung: boards written by hand, processes that only say what they use."""

import os
import struct
import time

import pytest

from engine.collectives.heartbeat import PREFIX, SLOT_BYTES
from launch.hang import HangWatch


class Rank:
    """A process that uses what it is told."""

    def __init__(self, state="S"):
        self.cpu_seconds, self.state = 0.0, state


def board(*positions):
    """The bytes of a board: of each rank the number of its last collective and whether it waits there."""
    slots = b""
    for rank, (number, waits) in enumerate(positions):
        since = time.monotonic()
        slot = struct.pack("<II", os.getpid(), rank) + struct.pack("<Qd64s", number, since if waits else -since, b"histograms")
        slots += slot.ljust(SLOT_BYTES, b"\0")
    return slots


@pytest.fixture
def watch(tmp_path, monkeypatch):
    monkeypatch.setattr("launch.hang.LOOK_EVERY", 0.0)
    return HangWatch(0.2, tmp_path, 2)


def test_a_late_rank_that_does_nothing(watch, tmp_path):
    (tmp_path / f"{PREFIX}x").write_bytes(board((7, True), (6, False)))
    ranks = {0: Rank("R"), 1: Rank()}
    assert watch.look(ranks) is None
    time.sleep(0.25)
    ranks[0].cpu_seconds += 1.0  # it waits, and burns the processor
    cause = watch.look(ranks)
    assert (cause["cause"], cause["ranks"]) == ("hang", [1])
    assert "rank 0 has waited 0 s in collective 7, 'histograms', for rank 1, computing" in cause["message"]


def test_a_late_rank_that_computes(watch, tmp_path):
    (tmp_path / f"{PREFIX}x").write_bytes(board((7, True), (6, False)))
    ranks = {0: Rank(), 1: Rank()}
    for _ in range(4):
        assert watch.look(ranks) is None
        time.sleep(0.1)
        ranks[1].cpu_seconds += 0.1


def test_any_step_of_any_rank_is_progress(watch, tmp_path):
    for number in range(5):
        (tmp_path / f"{PREFIX}x").write_bytes(board((number, True), (number, True)))
        assert watch.look({0: Rank(), 1: Rank()}) is None
        time.sleep(0.1)


def test_a_rank_that_is_stopped_where_all_wait(watch, tmp_path):
    (tmp_path / f"{PREFIX}x").write_bytes(board((7, True), (7, True)))
    ranks = {0: Rank(), 1: Rank("T")}
    assert watch.look(ranks) is None
    time.sleep(0.25)
    cause = watch.look(ranks)
    assert cause["ranks"] == [1]
    assert cause["message"].endswith("rank 1 is stopped")


def test_without_boards(watch):
    ranks = {0: Rank(), 1: Rank()}
    assert watch.look(ranks) is None
    time.sleep(0.25)
    assert watch.look(ranks)["ranks"] == [0, 1]
    ranks[1].cpu_seconds += 1.0
    assert watch.look(ranks) is None


def test_never(tmp_path):
    watch = HangWatch(0.0, tmp_path, 1)
    time.sleep(0.05)
    assert watch.look({0: Rank("T")}) is None
