"""What the environment says to the ranks of a job. Nothing in it is secret."""

from __future__ import annotations

import os
import pathlib

from engine.spec import JobSpec

MEMORY_SHARE, FILE_CACHE_SHARE = 0.8, 0.2  # of a worker's memory


def rank_environment(spec: JobSpec, address: str, attempt: int, gang: str, scratch: pathlib.Path) -> dict[str, str]:
    """The variables that the supervisor adds for the ranks of an attempt."""
    assert spec.resources is not None
    resources = spec.resources
    threads = str(threads_of(spec))
    variables = {
        "SAMESUM_NUM_THREADS": threads,
        "OMP_NUM_THREADS": threads,
        "TMPDIR": str(scratch / "tmp"),
        "SAMESUM_CACHE_DIR": str(scratch / "cache"),
        "SAMESUM_WATCHDOG_SECONDS": "0",  # the agent watches
        # Open MPI: as many ranks as asked for, also as root, as in a container
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    }
    if resources.worker_memory is not None:
        memory = resources.worker_memory << 20
        variables["SAMESUM_MEMORY_LIMIT"] = str(int(MEMORY_SHARE * memory))
        variables["SAMESUM_FILE_CACHE"] = str(int(FILE_CACHE_SHARE * memory))
    own = {
        "SAMESUM_JOB": address,
        "SAMESUM_ATTEMPT": str(attempt),
        "SAMESUM_GANG": gang,
        "SAMESUM_SCRATCH": str(scratch),
        "SAMESUM_HEARTBEAT_DIR": str(scratch / "heartbeat"),
    }
    return {**variables, **resources.environment, **own}


def threads_of(spec: JobSpec) -> int:
    """Threads of each rank: what the job says, else a share of this machine's cores."""
    assert spec.resources is not None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return spec.num_threads or spec.resources.num_threads or max(1, cores // spec.resources.num_workers)
