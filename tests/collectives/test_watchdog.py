"""The heartbeat board and the words of the watchdog, without processes."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import time

import pytest

from engine.collectives.heartbeat import NAME_BYTES, SLOT_BYTES, Heartbeat, Pulse, late_ranks, read_board
from engine.collectives.watchdog import Watch, describe, watchdog_seconds
from engine.errors import OptionError


def pulse(rank: int, number: int, *, waiting: bool, since: float, name: str = "histograms", pid: int | None = None) -> Pulse:
    return Pulse(pid or os.getpid(), rank, number, name, waiting, since)


def test_a_heartbeat_is_read_as_it_was_written():
    board = mmap.mmap(-1, 3 * SLOT_BYTES)
    first, last = Heartbeat(board, 2, 0), Heartbeat(board, 0, 5)
    began = time.monotonic()
    with first.entered("bins"):
        inside = read_board(board)
    after = read_board(board)
    assert [(p.rank, p.number, p.name, p.waiting) for p in inside] == [(0, 1, "bins", True), (5, 0, "", False)]
    assert [(p.rank, p.number, p.name, p.waiting) for p in after] == [(0, 1, "bins", False), (5, 0, "", False)]
    assert all(p.pid == os.getpid() for p in after)
    assert began <= inside[0].since <= after[0].since <= time.monotonic()
    assert (first.number, last.number) == (1, 0)


def test_a_name_that_is_too_long_is_cut_and_the_next_slot_is_left_alone():
    board = mmap.mmap(-1, 2 * SLOT_BYTES)
    heartbeat, _ = Heartbeat(board, 0, 0), Heartbeat(board, 1, 1)
    with heartbeat.entered("é" * NAME_BYTES):
        pulses = read_board(board)
    assert pulses[0].name == "é" * (NAME_BYTES // 2)
    assert pulses[1] == Pulse(os.getpid(), 1, 0, "", False, pulses[1].since)


def test_what_was_said_is_added_up():
    board = mmap.mmap(-1, 2 * SLOT_BYTES)
    first, last = Heartbeat(board, 0, 0), Heartbeat(board, 1, 1, knows_waiting=True)
    for n_bytes in (100, 11):
        with first.entered("bins"):
            first.bytes += n_bytes
            time.sleep(0.01)
    with last.entered("bins"):
        last.waited += 0.25
    pulses = read_board(board)
    assert [pulse.talk for pulse in pulses] == [first.talk, last.talk]
    assert (first.talk.collectives, first.talk.bytes, first.talk.waited) == (2, 111, None)
    assert first.talk.seconds >= 0.02
    assert (last.talk.collectives, last.talk.waited) == (1, 0.25)


def test_an_exception_inside_a_collective_ends_the_wait():
    board = mmap.mmap(-1, SLOT_BYTES)
    with pytest.raises(ValueError, match="inside"), Heartbeat(board, 0, 0).entered("bins"):
        raise ValueError("inside")
    assert not read_board(board)[0].waiting


def test_late_ranks_are_those_before_the_latest_collective_in_which_any_waits():
    ahead, left = pulse(0, 7, waiting=True, since=1.0), pulse(1, 7, waiting=False, since=2.0)
    behind, computing = pulse(2, 6, waiting=True, since=1.0), pulse(3, 6, waiting=False, since=1.0)
    assert late_ranks([ahead, left, behind, computing]) == ([ahead], [behind, computing])
    assert late_ranks([left, computing]) == ([], [])


def test_it_warns_once_and_again_when_the_wait_has_doubled():
    watch, pulses = Watch(2, 60.0), [pulse(0, 4, waiting=True, since=100.0), pulse(1, 3, waiting=False, since=90.0)]
    moments = [now for now in range(100, 800, 10) if watch.look(pulses, float(now))]
    assert moments == [160, 220, 340, 580]


def test_it_warns_of_each_collective_anew():
    watch = Watch(2, 60.0)
    for number in (4, 9):
        pulses = [pulse(0, number, waiting=True, since=100.0), pulse(1, number - 1, waiting=False, since=90.0)]
        assert watch.look(pulses, 161.0)
        assert not watch.look(pulses, 162.0)


def test_it_is_silent_while_all_compute_or_all_are_inside():
    watch = Watch(2, 60.0)
    assert watch.look([pulse(0, 4, waiting=False, since=0.0), pulse(1, 3, waiting=False, since=0.0)], 1e6) is None
    assert watch.look([pulse(0, 4, waiting=True, since=0.0), pulse(1, 4, waiting=True, since=0.0)], 1e6) is None


def test_it_says_what_the_missing_do():
    waiting = [pulse(0, 12, waiting=True, since=40.0), pulse(2, 12, waiting=True, since=50.0)]
    late = [
        pulse(1, 11, waiting=False, since=30.0, name="splits"),
        pulse(3, 10, waiting=True, since=20.0, name="bounds"),
        pulse(4, 0, waiting=False, since=5.0),
    ]
    assert describe(waiting, late, size=5, now=100.0) == (
        "samesum: ranks 0, 2 have waited 60 s in collective 12, 'histograms', for "
        f"rank 1, computing (process {os.getpid()}) since collective 11, 'splits', 70 s ago; "
        "rank 3, still in collective 10, 'bounds', since 80 s; "
        f"rank 4, computing (process {os.getpid()}) since its start, 95 s ago"
    )


def test_it_tells_when_the_missing_are_on_other_nodes():
    waiting = [pulse(4, 12, waiting=True, since=40.0)]
    assert describe(waiting, [], size=8, now=100.0) == (
        "samesum: rank 4 has waited 60 s in collective 12, 'histograms'"
        " (the ranks of this node alone are seen here; the missing ones are on other nodes)"
    )
    assert Watch(8, 60.0).look(waiting, 100.0)
    both = describe(waiting, [pulse(5, 11, waiting=False, since=0.0)], size=8, now=100.0)
    assert both.endswith("(the ranks of this node alone are seen here; others may be missing too)")


def test_it_sees_processes_that_have_ended_or_are_stopped():
    waiting = [pulse(0, 2, waiting=True, since=0.0)]
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        late = [pulse(1, 1, waiting=False, since=0.0, pid=process.pid)]
        process.send_signal(19)
        deadline = time.monotonic() + 5
        while "is stopped after" not in describe(waiting, late, size=2, now=1.0) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert f"rank 1, whose process {process.pid} is stopped after collective 1" in describe(waiting, late, size=2, now=1.0)
        process.kill()
    assert f"rank 1, whose process {process.pid} has ended after collective 1" in describe(waiting, late, size=2, now=1.0)


@pytest.mark.parametrize(("text", "seconds"), [("", 60.0), ("0", 0.0), ("2.5", 2.5), ("inf", float("inf"))])
def test_seconds_come_from_the_environment(monkeypatch, text, seconds):
    monkeypatch.setenv("SAMESUM_WATCHDOG_SECONDS", text)
    assert watchdog_seconds() == seconds


@pytest.mark.parametrize("text", ["-1", "nan", "one minute"])
def test_what_is_no_number_of_seconds_is_refused(monkeypatch, text):
    monkeypatch.setenv("SAMESUM_WATCHDOG_SECONDS", text)
    with pytest.raises(OptionError, match="expected seconds"):
        watchdog_seconds()
