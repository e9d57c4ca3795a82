"""A cluster with OpenPBS or PBS Professional: jobs are batch scripts, and their directories are in a folder that all nodes share."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from launch import clusters
from launch.batch.cluster import BatchCluster, check_mpiexec, check_optional_name, lines_of, settings_of
from launch.clusters import environments


@dataclass(kw_only=True, repr=False)
class PbsCluster(BatchCluster):
    """Workers in allocations of OpenPBS or PBS Professional; made by :func:`create`."""

    kind: ClassVar[str] = "pbs"
    title: ClassVar[str] = "PBS Cluster"
    queue_setting: ClassVar[str] = "queue"
    lines: ClassVar[tuple[tuple[str, str], ...]] = lines_of("Queue", "queue")
    checks: ClassVar[Mapping[str, clusters.Check]] = {
        **BatchCluster.checks,
        "queue": check_optional_name,
        "mpi": check_mpiexec,
    }

    queue: str | None = None


CLUSTER = PbsCluster


def create(
    name: str,
    working_dir: str | os.PathLike[str],
    *,
    nodes: int = 1,
    ranks_per_node: int = 1,
    num_threads: int = 1,
    worker_memory: int | None = None,
    time_limit: int | str | None = None,
    queue: str | None = None,
    account: str | None = None,
    modules: Sequence[str] = (),
    directives: Sequence[str] = (),
    python: str | None = None,
    warning: int | None = None,
    node_tmp_dir: str | os.PathLike[str] | None = None,
    hdfs_tmp_dir: str | os.PathLike[str] | None = None,
    max_restarts: int = 3,
    hang_timeout: float = 600.0,
    environment: Mapping[str, str] | None = None,
) -> PbsCluster:
    """Describe a cluster with OpenPBS or PBS Professional, and keep the description under ``name``, in place of another one of that name.

    Args:
        name: What it is called in :data:`launch.environments`.
        working_dir: Folder that this machine and all nodes share, under which every job gets its directory.
        nodes: Nodes of a job.
        ranks_per_node: Workers on each node; each is one rank, a process.
        num_threads: Threads of each worker, and cores that are asked for.
        worker_memory: Memory limit of each worker in MB; a worker over it ends its job. None: 2048.
        time_limit: Minutes, or text such as ``'12:00:00'`` or ``'2-00:00:00'``. A job that needs longer goes on from its last checkpoint
            when it is scheduled anew, by itself. None: the queue's own.
        queue: The queue. None: the default one.
        account: The account that pays.
        modules: Modules that the script loads, such as ``'openmpi/4.1'``.
        directives: Further directives for the script, such as ``'-P project'``.
        python: An interpreter with samesum that all nodes have. None: the one at hand.
        warning: How many seconds before its time limit a job is to end. None: 120, less for limits below 8 minutes.
        node_tmp_dir: Folder of each node for caches and what does not fit in memory. None: the system's temporary folder.
        hdfs_tmp_dir: Folder or address for data that is staged for jobs. None: the job's directory.
        max_restarts: How often a job is started anew from its last checkpoint after a worker was lost, in one allocation.
        hang_timeout: Seconds without any progress after which a job counts as hung and is started anew; 0 for never.
        environment: Variables for the workers' environment. They are written down with the cluster and its jobs: no place for secrets.

    Raises:
        OptionError: A setting is not what it must be.
        StorageError: The description could not be written.
    """
    settings = settings_of(
        name=name,
        working_dir=working_dir,
        nodes=nodes,
        ranks_per_node=ranks_per_node,
        num_threads=num_threads,
        worker_memory=worker_memory,
        time_limit=time_limit,
        queue=queue,
        account=account,
        modules=modules,
        directives=directives,
        python=python,
        warning=warning,
        node_tmp_dir=node_tmp_dir,
        hdfs_tmp_dir=hdfs_tmp_dir,
        max_restarts=max_restarts,
        hang_timeout=hang_timeout,
        environment=environment,
    )
    cluster = PbsCluster(**settings)
    environments.keep(cluster)
    return cluster
