"""What a worker leaves that is killed: its scratch folder and shared memory of MPI. The next worker on the node clears them away.

Each scratch folder has a file that its worker keeps locked: the kernel lets go of it when the worker ends, however it does.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import shutil
from collections.abc import Iterator

from launch.gang import SEGMENTS_FILE

PREFIX = "samesum-"
LOCK_FILE = "worker.lock"


@contextlib.contextmanager
def scratch_folder(path: pathlib.Path) -> Iterator[None]:
    """A folder that is there, and known to be in use, until the block is left."""
    making = path.with_name(f".{path.name}")  # nobody looks there: without its lock it would be cleared away
    making.mkdir(mode=0o700, parents=True)
    descriptor = os.open(making / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        making.rename(path)
        yield
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def clear_leftovers(base: pathlib.Path) -> None:
    """Remove what this user's workers have left in ``base`` that were killed."""
    for lock in base.glob(f"{PREFIX}*/{LOCK_FILE}"):
        with contextlib.suppress(OSError):
            if lock.stat().st_uid == os.getuid() and _is_free(lock):
                remove_segments(lock.parent)
                shutil.rmtree(lock.parent, ignore_errors=True)


def remove_segments(scratch: pathlib.Path) -> None:
    """Shared memory that the ranks had there; their agent has noted its names."""
    with contextlib.suppress(OSError):
        for name in (scratch / SEGMENTS_FILE).read_text().splitlines():
            if name.startswith("/dev/shm/"):
                with contextlib.suppress(OSError):
                    os.unlink(name)


def _is_free(lock: pathlib.Path) -> bool:
    """Whether nobody holds a lock."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
