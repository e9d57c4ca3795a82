"""Processes are found, measured and ended by what they are, not by a number that another may have by now."""

import os
import pathlib
import signal
import subprocess
import sys
import time
import uuid

import pytest

from launch.memory import MemoryWatch, describe
from launch.processes import (
    Process,
    find_processes,
    kill_all,
    process_of,
    proportional_bytes,
    resident_bytes,
    shared_segments,
    untouched_bytes,
)

LEASH = pathlib.Path(__file__).resolve().parents[2] / "launch" / "leash.py"


@pytest.fixture
def key():
    found = uuid.uuid4().hex
    yield found
    kill_all("TEST_GANG", found, 5.0)


def start(key, source, **more):
    command = [sys.executable, "-I", "-S", "-c", source]
    return subprocess.Popen(command, env={**os.environ, "TEST_GANG": key, **more}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_number_that_is_used_again_is_another_process(key):
    with start(key, "import time; time.sleep(60)") as child:
        found = process_of(child.pid)
        assert found.is_alive
        other = Process(child.pid, found.started + 1)
        assert not other.is_alive
        assert (other.state, other.cpu_seconds) == ("", 0.0)
        other.kill()
        assert found.is_alive
        found.kill()
        child.wait(5)
    assert child.returncode == -signal.SIGKILL
    assert not found.is_alive
    found.kill()


def test_one_that_waits_to_be_collected_does_not_run(key):
    with start(key, "") as child:
        found = process_of(child.pid)
        time.sleep(0.3)
        assert found is None or not found.is_alive


def test_all_of_a_gang_are_ended_and_nobody_else(key):
    forking = "import os, time\nif os.fork() == 0: os.setsid()\nprint('began', flush=True)\ntime.sleep(60)"
    with start(key, forking) as child, start(key + "x", "import time; time.sleep(60)") as other:
        child.stdout.readline()
        child.stdout.readline()
        assert len(find_processes("TEST_GANG", key)) == 2
        assert kill_all("TEST_GANG", key, 5.0) == []
        assert find_processes("TEST_GANG", key) == []
        assert other.poll() is None
        other.kill()


def test_what_processes_use(key):
    source = "held = bytearray(64 << 20)\nheld[::4096] = bytes([1]) * len(held[::4096])\nprint('began', flush=True)\nwhile True: pass"
    with start(key, source) as child:
        child.stdout.readline()
        found = process_of(child.pid)
        assert 64 << 20 < proportional_bytes(child.pid) <= resident_bytes(child.pid) < 128 << 20
        before = found.cpu_seconds
        time.sleep(0.3)
        assert found.cpu_seconds > before
        found.kill(signal.SIGSTOP)
        time.sleep(0.1)
        assert found.state == "T"
        watch = MemoryWatch(32 << 20)
        cause = watch.look({3: found})
        assert (cause["cause"], cause["ranks"]) == ("memory", [3])
        assert watch.peak[3] > 64 << 20
        found.kill()
    assert (resident_bytes(child.pid), proportional_bytes(child.pid), shared_segments(child.pid)) == (0, 0, set())


def test_a_rank_that_the_kernel_ended_was_out_of_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("launch.memory.VMSTAT", tmp_path / "vmstat")
    lost = {"cause": "lost", "ranks": [1], "message": "rank 1 ended by SIGKILL"}
    (tmp_path / "vmstat").write_text("pgfault 7\noom_kill 3\n")
    watch = MemoryWatch(None)
    assert watch.explain(lost) == lost
    (tmp_path / "vmstat").write_text("pgfault 9\noom_kill 4\n")
    assert watch.explain(lost)["cause"] == "memory"
    assert watch.explain(lost)["message"].startswith("rank 1 ended by SIGKILL, by the kernel, as this machine's memory ran out: ")
    other = {**lost, "message": "rank 1 ended by SIGSEGV"}
    assert watch.explain(other) == other


def test_what_processes_have_asked_for(key):
    """Arrays that are not filled yet count, address space without a claim to memory does not; news come once, and again after growth."""
    source = (
        "import mmap, sys, time\nflags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS\nkept = mmap.mmap(-1, 300 << 20, flags=flags)\n"
        # 0x4000 is MAP_NORESERVE
        "aside = mmap.mmap(-1, 700 << 20, flags=flags | 0x4000)\nkept[: 64 << 20] = bytes(64 << 20)\n"
        "print('began', flush=True)\nsys.stdin.readline()"
    )
    with start(key, source) as child:
        child.stdout.readline()
        assert 230 << 20 < untouched_bytes(child.pid) < 300 << 20
        watch = MemoryWatch(None)
        assert not watch.has_news()
        watch.look({0: process_of(child.pid)})
        assert 300 << 20 < watch.wanted[0] < 450 << 20
        assert watch.has_news()
        assert not watch.has_news()
        child.stdin.close()
    assert untouched_bytes(child.pid) == 0


def test_memory_in_words():
    assert describe(2, 514 << 20, 512 << 20, 1000 << 20) == (
        "rank 2 exceeded its memory: 514.0 MB of 512 MB physical memory used and 1000.0 MB asked for (-104); give worker_memory=1280 or "
        "more, or use more workers"
    )
    assert describe(2, 514 << 20, 512 << 20) == (
        "rank 2 exceeded its memory: 514.0 MB of 512 MB physical memory used (-104); give worker_memory=704 or more, or use more workers"
    )


@pytest.fixture
def leashed(key, tmp_path):
    """Starts a rank below a leash, below a parent that waits."""
    (tmp_path / "ranks").mkdir()

    def run(source, agent=None):
        own = process_of(os.getpid())
        agent = agent or f"{own.pid}:{own.started}"
        command = [sys.executable, "-I", "-S", str(LEASH), sys.executable, "-I", "-S", "-c", source]
        parent = f"import subprocess\nprint('began', flush=True)\nsubprocess.run({command!r})"
        return start(key, parent, SAMESUM_AGENT=agent, SAMESUM_SCRATCH=str(tmp_path), SAMESUM_LOGS=str(tmp_path), PMI_RANK="5")

    return run


def read(path, wanted=""):
    deadline = time.monotonic() + 10
    while not path.exists() or wanted not in path.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return path.read_text()


@pytest.mark.parametrize(
    ("source", "end"),
    [
        ("print('hello')", '"exit_code": 0'),
        ("raise SystemExit(7)", '"exit_code": 7'),
        ("import os; os.kill(os.getpid(), 11)", '"signal": 11'),
    ],
)
def test_how_a_rank_ended(leashed, tmp_path, source, end):
    with leashed(source) as parent:
        parent.wait(10)
    assert end in read(tmp_path / "ranks" / "5.json", '"ended"')
    assert (tmp_path / "rank-5.log").read_text() == ("hello\n" if "hello" in source else "")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_rank_ends_with_whoever_started_it(leashed, key, tmp_path, number):
    with leashed("import time; time.sleep(60)") as parent:
        read(tmp_path / "ranks" / "5.json")
        parent.send_signal(number)
        parent.wait(10)
    deadline = time.monotonic() + 5
    while find_processes("TEST_GANG", key):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_rank_ends_with_its_agent(leashed, key, tmp_path):
    with start(key + "agent", "import time; time.sleep(60)") as agent:
        found = process_of(agent.pid)
        with leashed("import time; time.sleep(60)", f"{found.pid}:{found.started}") as parent:
            read(tmp_path / "ranks" / "5.json")
            agent.kill()
            agent.wait()
            parent.wait(10)
    assert '"signal": 9' in read(tmp_path / "ranks" / "5.json", '"ended"')
    assert find_processes("TEST_GANG", key) == []


def test_a_leash_that_comes_too_late_starts_nothing(leashed, tmp_path):
    with leashed("print('hello')", "1:12345") as parent:
        parent.wait(10)
    assert list((tmp_path / "ranks").iterdir()) == []
