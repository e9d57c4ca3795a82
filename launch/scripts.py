"""Jobs that are programs of their users: what their progress log says, as no rank of the engine writes it."""

from __future__ import annotations

import pathlib

from engine.spec import JobSpec
from launch.environment import MEMORY_SHARE, threads_of


def script_lines(spec: JobSpec, address: str, scratch: pathlib.Path) -> list[str]:
    """The first lines of the progress log: what the ranks run on, and the program. Their output is in their logs."""
    assert spec.resources is not None
    assert spec.script is not None
    memory = spec.resources.worker_memory
    return [
        f"Number of workers: {spec.resources.num_workers}",
        f"CPUs per worker : {threads_of(spec)}",
        *([] if memory is None else [f"Memory limit: {MEMORY_SHARE * memory:.6g}MB"]),
        f"Local cache file locations: {scratch.parent}",
        f"HDFS cache file locations: {spec.resources.hdfs_tmp_dir or address}",
        f"Program: {' '.join([spec.script.path, *spec.script.args])}",
    ]
