"""The scripts of jobs, as a person would write them."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable

from engine.spec import BatchResources, JobSpec, Resources
from engine.working_dir import WorkingDir

OVERHEAD = 512  # MB on each node for supervisor, agent and launcher


def slurm_script(wd: WorkingDir, spec: JobSpec) -> str:
    """What ``sbatch`` takes."""
    resources, batch, per_node = _asked(spec)
    directives = [
        f"--job-name={wd.job_id}",
        f"--output={shlex.quote(wd.path('logs', 'supervisor.log').replace('%', '%%'))}",
        "--open-mode=append",
        "--requeue",
        f"--nodes={batch.nodes}",
        f"--ntasks-per-node={per_node}",
        f"--cpus-per-task={resources.num_threads or 1}",
    ]
    if resources.worker_memory is not None:
        directives.append(f"--mem={per_node * resources.worker_memory + OVERHEAD}M")
    if batch.time_limit is not None:
        directives += [f"--time={_clock(batch.time_limit)}", f"--signal=B:USR1@{batch.warning}"]
    if batch.queue is not None:
        directives.append(f"--partition={batch.queue}")
    if batch.account is not None:
        directives.append(f"--account={batch.account}")
    return _script("#SBATCH", [*directives, *batch.directives], batch, _supervisor(wd, batch))


def pbs_script(wd: WorkingDir, spec: JobSpec) -> str:
    """What ``qsub`` takes. PBS gives no warning before a time limit, so the supervisor has a clock of its own."""
    resources, batch, per_node = _asked(spec)
    threads = resources.num_threads or 1
    select = f"select={batch.nodes}:ncpus={per_node * threads}:mpiprocs={per_node}:ompthreads={threads}"
    if resources.worker_memory is not None:
        select += f":mem={per_node * resources.worker_memory + OVERHEAD}mb"
    directives = [
        f"-N {wd.job_id[:15]}",
        "-j oe",
        f"-o {shlex.quote(wd.path('logs', 'pbs.log'))}",
        "-r y",
        f"-l {select}",
        "-l place=scatter",
    ]
    if batch.time_limit is not None:
        directives.append(f"-l walltime={_clock(batch.time_limit)}")
    if batch.queue is not None:
        directives.append(f"-q {batch.queue}")
    if batch.account is not None:
        directives.append(f"-A {batch.account}")
    command = _supervisor(wd, batch)
    if batch.time_limit is not None:
        command += f" --seconds {max(1, 60 * batch.time_limit - batch.warning)}"
    log = shlex.quote(wd.path("logs", "supervisor.log"))
    return _script("#PBS", [*directives, *batch.directives], batch, 'cd "$PBS_O_WORKDIR"', f"{command} >> {log} 2>&1")


SCRIPTS: dict[str, Callable[[WorkingDir, JobSpec], str]] = {"slurm": slurm_script, "pbs": pbs_script}


def _asked(spec: JobSpec) -> tuple[Resources, BatchResources, int]:
    """What the job asks for, and how many workers there are on a node."""
    resources = spec.resources or Resources()
    batch = resources.batch or BatchResources()
    return resources, batch, resources.num_workers // batch.nodes


def _script(word: str, directives: list[str], batch: BatchResources, *commands: str) -> str:
    head = ["#!/bin/bash", *(f"{word} {directive}" for directive in directives), ""]
    modules = [f"module load {shlex.quote(module)}" for module in batch.modules]
    return "\n".join([*head, *modules, *commands[:-1], f"exec {commands[-1]}", ""])


def _supervisor(wd: WorkingDir, batch: BatchResources) -> str:
    return f"{shlex.quote(batch.python or sys.executable)} -m launch.batch.supervisor {shlex.quote(wd.address)}"


def _clock(minutes: int) -> str:
    """Minutes as both systems write them."""
    return f"{minutes // 60:02d}:{minutes % 60:02d}:00"
