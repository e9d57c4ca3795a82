"""Scratch folders: gone when nobody holds them any more, and never before."""

import mmap
import os
import pathlib
import subprocess
import sys
import time
import uuid

import pytest

from launch.scratch import YOUNG, held, note_segments, remove_left, remove_unused_segments

HOLD = """
import pathlib, sys
from launch.scratch import held
with held(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds a scratch folder."""
    folder = tmp_path / "samesum-other"
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process, folder
        process.kill()


def test_what_is_held_stays(holder, tmp_path):
    process, folder = holder
    (folder / "cache").mkdir()
    (folder / "cache" / "block").write_text("x")
    with held(tmp_path / "samesum-own"):
        assert (folder / "cache" / "block").exists()
        assert remove_left(tmp_path) == []
    process.kill()
    process.wait()
    with held(tmp_path / "samesum-third"):
        assert not folder.exists()
        assert not (tmp_path / "samesum-own").exists()  # whose holder did not clear it
    assert remove_left(tmp_path) == [tmp_path / "samesum-third"]
    assert list(tmp_path.iterdir()) == []


def test_shared_memory_goes_along(holder, tmp_path):
    """Only what lies in ``/dev/shm``, whatever the file says."""
    process, folder = holder
    segment, other = pathlib.Path("/dev/shm", f"samesum-test-{uuid.uuid4()}"), tmp_path / "other"
    segment.write_text("x")
    other.write_text("x")
    note_segments(folder, {str(segment), str(other)})
    process.kill()
    process.wait()
    assert remove_left(tmp_path) == [folder]
    assert not segment.exists()
    assert other.exists()


@pytest.fixture
def segment():
    """A function that makes shared memory of this age as MPICH names it."""
    made = []

    def make(age):
        made.append(pathlib.Path("/dev/shm", f"mpich_shm_{uuid.uuid4().hex[:8]}_0"))
        made[-1].write_bytes(bytes(mmap.PAGESIZE))
        os.utime(made[-1], (time.time() - age,) * 2)
        return made[-1]

    yield make
    for path in made:
        path.unlink(missing_ok=True)


def test_shared_memory_that_nobody_noted(segment, tmp_path, monkeypatch):
    """It goes when the next scratch folder is made, if nobody has mapped it, and it is neither young nor another user's."""
    unused, young, mapped = segment(2 * YOUNG), segment(0.0), segment(2 * YOUNG)
    with mapped.open("r+b") as file, mmap.mmap(file.fileno(), 0):
        with held(tmp_path / "samesum-own"):
            assert not unused.exists()
        assert young.exists()
        assert mapped.exists()
        os.utime(young, (0.0, 0.0))
        with monkeypatch.context() as other:
            other.setattr(os, "getuid", lambda: os.geteuid() + 1)
            assert remove_unused_segments() == []
        assert young in remove_unused_segments()
    assert mapped in remove_unused_segments()


def test_what_is_nobodys_stays(tmp_path):
    """A folder without a lock is another kind of job's; a link is never followed."""
    (tmp_path / "samesum-plain").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "lock").write_text("")
    (tmp_path / "samesum-link").symlink_to(tmp_path / "elsewhere")
    assert remove_left(tmp_path) == []
    assert remove_left(tmp_path / "not there") == []
    assert (tmp_path / "elsewhere" / "lock").exists()
