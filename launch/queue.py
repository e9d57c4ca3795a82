"""The queue of this machine: the jobs of an array one after the other, or so many at a time.

``python -m launch.queue STEM COUNT AT_ONCE``. Jobs wait as long as this process lives; each that runs has a supervisor of its own, which
goes on whatever becomes of the queue.
"""

from __future__ import annotations

import sys
import time
from collections import deque

from engine import storage
from engine.errors import EngineError
from engine.working_dir import WorkingDir
from launch.array import Array
from launch.backends.local import BACKEND

LOCAL_POLL, REMOTE_POLL = 0.1, 1.5  # seconds between looks at the jobs


def main() -> int:
    """Start each job when its turn has come, and wait for their ends."""
    stem, count, at_once = sys.argv[1:]
    waiting = deque(map(WorkingDir, Array(stem, int(count)).addresses))
    for wd in waiting:
        BACKEND.wait_in(wd)
    running: list[WorkingDir] = []
    while waiting or running:
        running = [wd for wd in running if not has_ended(wd)]
        while waiting and len(running) < int(at_once):
            wd = waiting.popleft()
            if start(wd):
                running.append(wd)
        time.sleep(LOCAL_POLL if storage.is_local(stem) else REMOTE_POLL)
    return 0


def start(wd: WorkingDir) -> bool:
    """Start a job; False if there is nothing to wait for: it was cancelled, or it could not be started."""
    if wd.result() is not None:
        return False
    try:
        BACKEND.submit(wd)
    except (OSError, EngineError) as error:
        wd.publish("FAILURE", attempt=0, summary=f"it could not be started: {error}", time=time.time())
        return False
    return True


def has_ended(wd: WorkingDir) -> bool:
    """Whether the next one may start."""
    try:
        status = BACKEND.status(wd)
        if status == "gone":
            BACKEND.make_sure_it_ended(wd)
    except EngineError:  # a storage that does not answer now
        return False
    return status in ("gone", "ended")


if __name__ == "__main__":
    code = main()
    sys.exit(code)
