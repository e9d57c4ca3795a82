"""What a job runs on, as the first lines of its progress log say it: each line is the value in force on rank 0."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from engine import storage
from engine.collectives.communicator import Communicator
from engine.collectives.threads import resolve_threads
from engine.errors import EngineError
from engine.memory import Memory
from engine.spec import DataSpec, JobSpec
from engine.storage.cache import file_cache
from engine.working_dir import WorkingDir

MB = 1 << 20
PROBE_WITHIN = 5.0  # seconds for HDFS to answer; reading data is more patient
_TIMEOUT = "SAMESUM_STORAGE_TIMEOUT"


def first_lines(wd: WorkingDir, spec: JobSpec, comm: Communicator) -> list[str]:
    """The first lines of the progress log. Asks HDFS whether it answers."""
    memory = Memory(spec.options.get("memory_limit"), spec.options.get("cache_dir"), comm)
    return [
        f"Number of workers: {comm.size}",
        f"CPUs per worker : {resolve_threads(spec.num_threads, comm)}",
        f"Memory limit: {memory.limit / MB:.6g}MB",
        f"Local cache file locations: {local_cache(spec)}",
        f"HDFS access: {'yes' if reaches_hdfs(wd, spec) else 'no'}",
        f"HDFS cache file locations: {staging_folder(wd, spec)}",
        f"Max fileio cache capacity: {file_cache().capacity / MB:.6g}MB",
    ]


def local_cache(spec: JobSpec) -> str:
    """The folder on this machine below which files are cached and bins are kept."""
    given = spec.options.get("cache_dir")
    scratch = os.environ.get("SAMESUM_SCRATCH")
    return str(given or (os.path.dirname(scratch) if scratch else storage.cache_dir()))


def staging_folder(wd: WorkingDir, spec: JobSpec) -> str:
    """The folder, on any storage, for data that is staged for jobs."""
    given = spec.resources.hdfs_tmp_dir if spec.resources is not None else None
    return given or wd.address


def reaches_hdfs(wd: WorkingDir, spec: JobSpec) -> bool:
    """Whether HDFS answers: asked for an address of the job's there, else for the root of the one that the environment names."""
    address = next((each for each in addresses_of(wd, spec) if each.startswith("hdfs://")), None)
    if address is None and any(os.environ.get(name) for name in ("SAMESUM_WEBHDFS_URL", "HADOOP_CONF_DIR")):
        address = "hdfs:///"
    if address is None:
        return False
    with impatient():
        try:
            storage.exists(address)
        except EngineError:
            return False
    return True


def addresses_of(wd: WorkingDir, spec: JobSpec) -> Iterator[str]:
    """All addresses that a job names."""
    datasets = [spec.data, spec.validation, spec.graph.vertex_data if spec.graph is not None else None]
    for data in datasets:
        if isinstance(data, DataSpec):
            yield from data.paths
    options = (spec.options.get(name) for name in ("model_checkpoint_path", "resume_from_checkpoint"))
    yield from (str(each) for each in (spec.model, spec.output, staging_folder(wd, spec), wd.address, *options) if each)


@contextlib.contextmanager
def impatient() -> Iterator[None]:
    """Try storage that does not answer for a few seconds only."""
    before = os.environ.get(_TIMEOUT)
    os.environ[_TIMEOUT] = str(PROBE_WITHIN)
    try:
        yield
    finally:
        if before is None:
            del os.environ[_TIMEOUT]
        else:
            os.environ[_TIMEOUT] = before
