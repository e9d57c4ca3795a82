"""``samesum cluster slurm``, ``samesum cluster pbs`` and ``samesum script``: clusters of batch systems, and the scripts of their jobs."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

import typer

from engine import storage
from engine.errors import OptionError
from engine.spec import JobSpec, Resources
from engine.working_dir import JOB_FILE, WorkingDir
from launch.cli import words
from launch.cli.answers import say
from launch.cli.finding import find_cluster

SharedFolder = Annotated[
    str, typer.Argument(metavar="FOLDER", help="Folder that this machine and all nodes share; every job gets its directory in it.")
]
Nodes = Annotated[int, typer.Option(help="Nodes of a job.", rich_help_panel=words.CLUSTER)]
PerNode = Annotated[int, typer.Option(help="Workers on each node, each one rank.", rich_help_panel=words.CLUSTER)]
Threads = Annotated[int, typer.Option("--num-threads", help="Threads and cores of each worker.", rich_help_panel=words.CLUSTER)]
Memory = Annotated[int | None, typer.Option(help="Memory of each worker in MB. Default: 2048.", rich_help_panel=words.CLUSTER)]
TimeLimit = Annotated[
    str | None,
    typer.Option(help="Minutes, HH:MM:SS or D-HH:MM:SS. A job that needs longer goes on by itself.", rich_help_panel=words.CLUSTER),
]
Warning_ = Annotated[
    int | None, typer.Option("--warning", help="Seconds before its limit at which a job is to end.", rich_help_panel=words.CLUSTER)
]
Account = Annotated[str | None, typer.Option(help="The account that pays.", rich_help_panel=words.CLUSTER)]
Modules = Annotated[list[str] | None, typer.Option("--module", help="A module to load; may be repeated.", rich_help_panel=words.CLUSTER)]
Directives = Annotated[
    list[str] | None,
    typer.Option("--directive", help="A further directive of the script, as it is; may be repeated.", rich_help_panel=words.CLUSTER),
]
Interpreter = Annotated[str | None, typer.Option(help="A Python with samesum that all nodes have.", rich_help_panel=words.CLUSTER)]
Partition = Annotated[str | None, typer.Option(help="Slurm's partition.", rich_help_panel=words.CLUSTER)]
Queue = Annotated[str | None, typer.Option(help="PBS's queue.", rich_help_panel=words.CLUSTER)]
Mpi = Annotated[str, typer.Option(help="What `srun --mpi=list` shows, or mpiexec.", rich_help_panel=words.CLUSTER)]
System = Annotated[str, typer.Argument(metavar="SYSTEM", help="slurm or pbs.")]
JobFile = Annotated[str, typer.Argument(metavar="JOB", help="A job.json, or the working directory of a job.")]
OfCluster = Annotated[
    str | None, typer.Option("--cluster", help="The cluster it is for. Default: what the job says.", rich_help_panel=words.CLUSTER)
]


@dataclass(frozen=True, kw_only=True)
class Asking:
    """What jobs of both systems ask for."""

    nodes: Nodes = 1
    ranks_per_node: PerNode = 1
    num_threads: Threads = 1
    worker_memory: Memory = None
    time_limit: TimeLimit = None
    warning: Warning_ = None
    account: Account = None
    module: Modules = None
    directive: Directives = None
    python: Interpreter = None
    node_tmp_dir: words.NodeFolder = None
    hdfs_tmp_dir: words.StagingFolder = None
    max_restarts: words.MaxRestarts = 3
    hang_timeout: words.HangTimeout = 600.0

    def settings(self) -> dict[str, Any]:
        """The arguments of ``create``."""
        said = asdict(self)
        limit = self.time_limit
        said["time_limit"] = int(limit) if limit is not None and limit.isdecimal() else limit
        lists = {"modules": said.pop("module") or [], "directives": said.pop("directive") or []}
        return {**said, **lists}


def describe_slurm(name: words.NewCluster, folder: SharedFolder, *, partition: Partition = None, mpi: Mpi = "pmi2", asking: Asking) -> None:
    """Describe a cluster with Slurm and keep the description by its name."""
    from launch import slurm_cluster

    _say(slurm_cluster.create(name, folder, partition=partition, mpi=mpi, **asking.settings()))


def describe_pbs(name: words.NewCluster, folder: SharedFolder, *, queue: Queue = None, asking: Asking) -> None:
    """Describe a cluster with OpenPBS or PBS Professional and keep the description by its name."""
    from launch import pbs_cluster

    _say(pbs_cluster.create(name, folder, queue=queue, **asking.settings()))


def script(system: System, job: JobFile, *, cluster: OfCluster = None) -> None:
    """Print the batch script of a job."""
    from launch.batch.script import SCRIPTS

    if system not in SCRIPTS:
        raise OptionError(f"SYSTEM must be {' or '.join(SCRIPTS)}, got {system!r}")
    wd, spec = _read(job)
    if cluster is not None:
        kept = find_cluster(cluster)
        if kept.kind != system:
            raise OptionError(f"cluster {cluster!r} is one of kind {kept.kind!r}, not {system!r}")
        spec = replace(spec, resources=Resources(**kept.resources()))
    sys.stdout.write(SCRIPTS[system](wd, spec))


def _read(job: str) -> tuple[WorkingDir, JobSpec]:
    """The job in a file, or in a directory."""
    if not job.endswith(".json"):
        wd = WorkingDir(os.path.abspath(job))
        return wd, wd.spec()
    path = os.path.abspath(storage.local_path(job))
    folder, name = os.path.split(path)
    return WorkingDir(folder if name == JOB_FILE else path.removesuffix(".json")), JobSpec.from_json(storage.read_bytes(path).decode())


def _say(cluster: Any) -> None:
    say(
        f"{cluster.name}: {cluster.nodes} nodes with {cluster.ranks_per_node} workers of {cluster.num_threads} threads and "
        f"{cluster.worker_memory} MB each"
    )
