"""What a job runs on, as the first lines of its progress log say it: each line is the value in force on rank 0."""

from __future__ import annotations

import os

from engine import storage
from engine.collectives.communicator import Communicator
from engine.collectives.threads import resolve_threads
from engine.errors import EngineError
from engine.memory import Memory
from engine.spec import JobSpec
from engine.working_dir import WorkingDir

MB = 1 << 20


def first_lines(wd: WorkingDir, spec: JobSpec, comm: Communicator) -> list[str]:
    """The first lines of the progress log."""
    memory = Memory(spec.options.get("memory_limit"), spec.options.get("cache_dir"), comm)
    staged = spec.resources.hdfs_tmp_dir if spec.resources is not None else None
    return [
        f"Number of workers: {comm.size}",
        f"CPUs per worker : {resolve_threads(spec.num_threads, comm)}",
        f"Memory limit: {memory.limit / MB:.6g}MB",
        f"Local cache file locations: {local_cache(spec)}",
        f"HDFS access: {'yes' if reaches_hdfs(wd, spec) else 'no'}",
        f"HDFS cache file locations: {staged or wd.address}",
        f"Max fileio cache capacity: {int(os.environ.get('SAMESUM_FILE_CACHE', '0')) / MB:.6g}MB",
    ]


def local_cache(spec: JobSpec) -> str:
    """The folder on this machine below which files are cached and bins are kept."""
    given = spec.options.get("cache_dir")
    scratch = os.environ.get("SAMESUM_SCRATCH")
    return str(given or (os.path.dirname(scratch) if scratch else storage.cache_dir()))


def reaches_hdfs(wd: WorkingDir, spec: JobSpec) -> bool:
    """Whether HDFS answers, asked for an address of the job's there."""
    paths = [*(spec.data.paths if spec.data else ()), spec.model or "", spec.output or "", wd.address]
    staged = spec.resources.hdfs_tmp_dir if spec.resources is not None else None
    for address in (staged or "", *paths):
        if address.startswith("hdfs://"):
            try:
                storage.exists(address)
            except EngineError:
                return False
            return True
    return False
