"""Scratch folders on a node that somebody else may end at any time: each is locked by who uses it, so that what is left can be told.

A lock is the kernel's: it goes with the process, whatever ends it, and means the same in every container of the node.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pathlib
import shutil
import stat
import time
from collections.abc import Iterator

from launch.processes import used_segments

PREFIX = "samesum-"
LOCK_FILE = "lock"
SEGMENTS_FILE = "segments.json"  # the shared memory of the ranks, which outlives them
SHARED_MEMORY = pathlib.Path("/dev/shm")
OF_MPICH = "mpich_shm_*"
YOUNG = 30.0  # seconds after which every rank has mapped the memory that the first has made


@contextlib.contextmanager
def held(folder: pathlib.Path) -> Iterator[None]:
    """Make a scratch folder unless it is there, and hold it meanwhile; those beside it that nobody holds any more are removed first."""
    remove_left(folder.parent)
    remove_unused_segments()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = folder / f".{LOCK_FILE}"
    with fresh.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fresh.rename(folder / LOCK_FILE)  # never seen without being held
        yield


def remove_left(base: pathlib.Path) -> list[pathlib.Path]:
    """Remove this user's scratch folders in ``base`` that were held by processes which are gone; returns those."""
    removed = []
    for lock in base.glob(f"{PREFIX}*/{LOCK_FILE}"):
        with contextlib.suppress(OSError):
            about = os.lstat(lock.parent)
            if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid():
                continue  # never through another user's link
            with lock.open("r+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(lock.parent)
                removed.append(lock.parent)
    return removed


def note_segments(folder: pathlib.Path, segments: set[str]) -> None:
    """Write down which shared memory goes with a scratch folder."""
    partial = folder / f".{SEGMENTS_FILE}"
    with contextlib.suppress(OSError):
        partial.write_text(json.dumps(sorted(segments)))
        partial.rename(folder / SEGMENTS_FILE)


def remove_unused_segments() -> list[pathlib.Path]:
    """Remove this user's shared memory of MPICH that no process has mapped; returns what it was.

    Ranks that are killed as they make it, and their agent with them, leave it behind and no note of it. It is left alone while it is young.
    """
    left = [path for path in SHARED_MEMORY.glob(OF_MPICH) if _is_old_and_own(path)]
    used = used_segments() if left else set()
    left = [path for path in left if str(path) not in used]
    for path in left:
        path.unlink(missing_ok=True)
    return left


def _is_old_and_own(path: pathlib.Path) -> bool:
    try:
        about = path.lstat()
    except OSError:
        return False
    return about.st_uid == os.getuid() and time.time() - about.st_mtime > YOUNG


def _remove(folder: pathlib.Path) -> None:
    with contextlib.suppress(OSError, ValueError):
        for segment in json.loads((folder / SEGMENTS_FILE).read_text()):
            if os.path.dirname(segment) == str(SHARED_MEMORY):
                with contextlib.suppress(OSError):
                    os.unlink(segment)
    shutil.rmtree(folder, ignore_errors=True)
