"""How the command line meets the engine: it becomes a rank of it, or starts several."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from engine.errors import OptionError
from engine.spec import JobSpec
from launch.commands import find_mpiexec, module_command

# Who this process is, as launchers say it: what is wrong with a command line is said once, by rank 0.
_RANK_VARIABLES = (
    "OMPI_COMM_WORLD_RANK",
    "MV2_COMM_WORLD_RANK",
    "PMI_RANK",
    "PMIX_RANK",
    "PALS_RANKID",
    "JSM_NAMESPACE_RANK",
    "FLUX_TASK_RANK",
    "SLURM_PROCID",
)
# Linux takes no longer argument than 128 KiB.
_LONGEST_ARGUMENT = 100_000


def launched_rank() -> int:
    """Number of this process among those that a launcher started; 0 if none did."""
    values = (os.environ.get(variable, "") for variable in _RANK_VARIABLES)
    return next((int(value) for value in values if value.isdigit()), 0)


def become_rank(job: JobSpec, ranks: int | None = None) -> NoReturn:
    """Replace this process by ``python -m engine JOB``, with its open files, environment and place among the ranks.

    With ``ranks`` it is replaced by an ``mpiexec`` that starts so many of them. Raises :class:`OptionError` where a launcher has done so.
    """
    command = module_command("engine", _as_argument(job.to_json()))
    if ranks is not None:
        check_ranks(ranks)
        command = [find_mpiexec(), "-n", str(ranks), *command]
    sys.stdout.flush()
    os.execv(command[0], command)


def check_ranks(ranks: int) -> None:
    """Refuse fewer ranks than one, and ranks below ranks."""
    if ranks < 1:
        raise OptionError(f"expected --ranks to be 1 or more, got {ranks!r}")
    if any(os.environ.get(variable) for variable in _RANK_VARIABLES if variable != "SLURM_PROCID"):  # Slurm's batch script has that one
        raise OptionError("--ranks starts ranks of its own, but a launcher has started this command: leave one of them out")


def _as_argument(text: str) -> str:
    """The job itself, or a file in memory that holds it if it is too long for an argument."""
    if len(text.encode()) < _LONGEST_ARGUMENT:
        return text
    descriptor = os.memfd_create("samesum-job", 0)
    with open(descriptor, "w", encoding="utf-8", closefd=False) as file:
        file.write(text)
    return f"/proc/{os.getpid()}/fd/{descriptor}"
