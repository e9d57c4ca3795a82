"""The cluster that everybody has: this machine."""

from __future__ import annotations

import os
import pathlib
import tempfile
from dataclasses import dataclass, field
from typing import Any, ClassVar

from engine.errors import OptionError
from engine.sizes import machine_memory
from engine.spec import Resources
from launch import clusters
from launch.clusters import Cluster, environments

SMALLEST_MEMORY = 16  # MB


def check_environment(name: str, value: Any) -> dict[str, str]:
    """Variables for the workers' environment."""
    if not isinstance(value, dict) or not all(isinstance(text, str) for pair in value.items() for text in pair):
        raise OptionError(f"{name} must be a dict of text by the name of a variable, got {value!r}")
    return Resources(environment=dict(value)).environment


@dataclass(kw_only=True, repr=False)
class LocalCluster(Cluster):
    """Workers on this machine; made by :func:`create`."""

    kind: ClassVar[str] = "local"
    title: ClassVar[str] = "Local Cluster"
    lines: ClassVar[tuple[tuple[str, str], ...]] = (
        ("Name:", "name"),
        ("Working directory", "working_dir"),
        ("", ""),
        ("Number of Workers:", "num_workers"),
        ("Worker Memory (in mb)", "worker_memory"),
        ("Worker num of threads", "num_threads"),
        ("Node temp directory", "node_tmp_dir"),
        ("HDFS temp directory", "hdfs_tmp_dir"),
        ("", ""),
        ("Restarts at most", "max_restarts"),
        ("Hang timeout (in s)", "hang_timeout"),
    )
    checks: ClassVar[dict[str, clusters.Check]] = {
        "name": clusters.check_name,
        "working_dir": clusters.check_address,
        "num_workers": clusters.check_integer(1),
        "num_threads": clusters.check_integer(1),
        "worker_memory": clusters.check_integer(SMALLEST_MEMORY),
        "node_tmp_dir": clusters.check_address,
        "hdfs_tmp_dir": clusters.check_optional_address,
        "max_restarts": clusters.check_integer(0),
        "hang_timeout": clusters.check_seconds,
        "environment": check_environment,
    }

    hang_timeout: float = 600.0
    environment: dict[str, str] = field(default_factory=dict)

    def can_read(self, address: str) -> bool:
        """Workers are here and read what this process reads."""
        return True


CLUSTER = LocalCluster


def create(
    name: str,
    num_workers: int = 1,
    *,
    worker_memory: int | None = None,
    num_threads: int | None = None,
    working_dir: str | os.PathLike[str] | None = None,
    node_tmp_dir: str | os.PathLike[str] | None = None,
    hdfs_tmp_dir: str | os.PathLike[str] | None = None,
    max_restarts: int = 3,
    hang_timeout: float = 600.0,
    environment: dict[str, str] | None = None,
) -> LocalCluster:
    """Describe this machine as a cluster, and keep the description under ``name``, in place of another one of that name.

    Args:
        name: What it is called in :data:`launch.environments`.
        num_workers: Workers of a job; each is one rank, a process.
        worker_memory: Memory limit of each worker in MB; a worker over it ends its job. None: its share of the machine.
        num_threads: Threads of each worker. None: its share of the cores.
        working_dir: Folder or address (``hdfs://``, ``s3://``) under which every job gets its directory. None: ``~/.samesum/jobs``.
        node_tmp_dir: Folder for caches and what does not fit in memory. None: the system's temporary folder.
        hdfs_tmp_dir: Folder or address for data that is staged for jobs. None: the job's directory.
        max_restarts: How often a job is started anew from its last checkpoint after a worker was lost.
        hang_timeout: Seconds without any progress after which a job counts as hung and is started anew; 0 for never.
        environment: Variables for the workers' environment. They are written down with the cluster and its jobs: no place for secrets.

    Raises:
        OptionError: A setting is not what it must be.
        StorageError: The description could not be written.
    """
    workers = clusters.check_integer(1)("num_workers", num_workers)
    share = max(SMALLEST_MEMORY, machine_memory() // workers // 2**20)
    cores = len(os.sched_getaffinity(0))
    cluster = LocalCluster(
        name=name,
        working_dir=str(pathlib.Path.home() / ".samesum" / "jobs" if working_dir is None else working_dir),
        num_workers=workers,
        num_threads=max(1, cores // workers) if num_threads is None else num_threads,
        worker_memory=share if worker_memory is None else worker_memory,
        node_tmp_dir=tempfile.gettempdir() if node_tmp_dir is None else os.fspath(node_tmp_dir),
        hdfs_tmp_dir=None if hdfs_tmp_dir is None else os.fspath(hdfs_tmp_dir),
        max_restarts=max_restarts,
        hang_timeout=hang_timeout,
        environment={} if environment is None else environment,
    )
    environments.keep(cluster)
    return cluster
