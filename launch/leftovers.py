"""What jobs may have left where their data were staged: a job that was killed clears nothing, so whoever comes next does.

Each folder of staged data says whose it is. It goes once that job has ended, or will never be submitted.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

from engine import storage
from engine.errors import EngineError, MissingFileError
from launch.clusters import Cluster
from launch.job import load_job
from launch.processes import Process
from launch.staging import OWNER_FILE, staging_folder
from launch.states import State

SUBMITTED_WITHIN = 86400.0  # seconds for a process on another machine to stage its data


def clear_staged(cluster: Cluster) -> Iterator[str]:
    """Remove what this user's jobs have staged and do not need any more; each folder that is removed. Nobody's trouble stops the others."""
    base = staging_folder(cluster.hdfs_tmp_dir) if cluster.hdfs_tmp_dir is not None else None
    try:
        entries = [] if base is None else storage.list_folder(base)
    except EngineError:
        return
    for entry in entries:
        folder = storage.join(str(base), entry.name)
        try:
            if entry.is_folder and is_left(json.loads(storage.read_bytes(storage.join(folder, OWNER_FILE)))):
                storage.remove(folder)
                yield folder
        except (EngineError, ValueError, LookupError):
            continue  # not a job's, or nobody can say now


def is_left(owner: dict[str, Any]) -> bool:
    """Whether the job that something was staged for has ended, or will never be submitted."""
    try:
        return load_job(owner["working_dir"]).get_state() == State.COMPLETED
    except MissingFileError:
        return not _is_being_submitted(owner)


def _is_being_submitted(owner: dict[str, Any]) -> bool:
    if owner["host"] == socket.gethostname():
        return Process(owner["pid"], owner["started"]).is_alive
    return bool(time.time() - owner["time"] < SUBMITTED_WITHIN)
