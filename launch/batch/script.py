"""The scripts of jobs, as a person would write them."""

from __future__ import annotations

import re
import shlex
import sys
from typing import Protocol

from engine import storage
from engine.spec import BatchResources, JobSpec, Resources
from engine.working_dir import WorkingDir
from launch.array import Array, element_of

OVERHEAD = 512  # MB on each node for supervisor, agent and launcher


def slurm_script(wd: WorkingDir, spec: JobSpec, array: Array | None = None) -> str:
    """What ``sbatch`` takes."""
    resources, batch, per_node = _asked(spec)
    folder = wd.address.replace("%", "%%")
    log = storage.join(folder if array is None else element_of(folder, "%a"), "logs", "supervisor.log")
    directives = [
        f"--job-name={wd.job_id}",
        *([] if array is None else [f"--array=1-{array.count}{f'%{array.at_once}' if array.at_once else ''}"]),
        f"--output={shlex.quote(log)}",
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
    command = _supervisor(_place(wd, array, "SLURM_ARRAY_TASK_ID"), batch)
    return _script("#SBATCH", [*directives, *batch.directives], batch, command)


def pbs_script(wd: WorkingDir, spec: JobSpec, array: Array | None = None) -> str:
    """What ``qsub`` takes. PBS gives no warning before a time limit, so the supervisor has a clock of its own."""
    resources, batch, per_node = _asked(spec)
    threads = resources.num_threads or 1
    select = f"select={batch.nodes}:ncpus={per_node * threads}:mpiprocs={per_node}:ompthreads={threads}"
    if resources.worker_memory is not None:
        select += f":mem={per_node * resources.worker_memory + OVERHEAD}mb"
    log = storage.join(wd.address if array is None else element_of(wd.address, "^array_index^"), "logs", "pbs.log")
    directives = [
        f"-N {wd.job_id[:15]}",
        *([] if array is None else [f"-J 1-{array.count}"]),
        *([] if array is None or array.at_once is None else [f"-W max_run_subjobs={array.at_once}"]),
        "-j oe",
        f"-o {shlex.quote(log)}",
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
    command = _supervisor(_place(wd, array, "PBS_ARRAY_INDEX"), batch)
    if batch.time_limit is not None:
        command += f" --seconds {max(1, 60 * batch.time_limit - batch.warning)}"
    own_log = _place(wd, array, "PBS_ARRAY_INDEX", "logs", "supervisor.log")
    return _script("#PBS", [*directives, *batch.directives], batch, 'cd "$PBS_O_WORKDIR"', f"{command} >> {own_log} 2>&1")


class Script(Protocol):
    """The script of the job in a working directory; of the array whose directories begin as that one's."""

    def __call__(self, wd: WorkingDir, spec: JobSpec, array: Array | None = None) -> str:
        """Its text."""


SCRIPTS: dict[str, Script] = {"slurm": slurm_script, "pbs": pbs_script}


def _asked(spec: JobSpec) -> tuple[Resources, BatchResources, int]:
    """What the job asks for, and how many workers there are on a node."""
    resources = spec.resources or Resources()
    batch = resources.batch or BatchResources()
    return resources, batch, resources.num_workers // batch.nodes


def _script(word: str, directives: list[str], batch: BatchResources, *commands: str) -> str:
    # A login shell is where sites define what loads modules.
    head = ["#!/bin/bash -l" if batch.modules else "#!/bin/bash", *(f"{word} {directive}" for directive in directives), ""]
    modules = [f"module load {shlex.quote(module)}" for module in batch.modules]
    return "\n".join([*head, *modules, *commands[:-1], f"exec {commands[-1]}", ""])


def _place(wd: WorkingDir, array: Array | None, variable: str, *names: str) -> str:
    """The job's directory, or a file in it, as a word of the shell."""
    if array is None:
        return shlex.quote(wd.path(*names))
    stem = re.sub(r'(["\\$`])', r"\\\1", wd.address)
    return f'"{storage.join(element_of(stem, f"${variable}"), *names)}"'


def _supervisor(place: str, batch: BatchResources) -> str:
    return f"{shlex.quote(batch.python or sys.executable)} -m launch.batch.supervisor {place}"


def _clock(minutes: int) -> str:
    """Minutes as both systems write them."""
    return f"{minutes // 60:02d}:{minutes % 60:02d}:00"
