"""How the command line meets the engine: it becomes a rank of it, or starts several."""

from __future__ import annotations

import os
import pathlib
import shutil
import sys
from typing import NoReturn

from engine.errors import MissingFileError, OptionError
from engine.spec import JobSpec

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
    command = [*_engine_command(), _as_argument(job.to_json())]
    if ranks is not None:
        command = [*_launcher(ranks), *command]
    sys.stdout.flush()
    os.execv(command[0], command)


def _engine_command() -> list[str]:
    # Without -P, a file named engine.py where the user stands would be run instead.
    safe_path = ["-P"] if sys.version_info >= (3, 11) else []
    return [sys.executable, *safe_path, "-m", "engine"]


def _launcher(ranks: int) -> list[str]:
    """The words that start so many ranks: the ``mpiexec`` that was installed with this Python, else the first one there is."""
    if ranks < 1:
        raise OptionError(f"expected --ranks to be 1 or more, got {ranks!r}")
    if any(os.environ.get(variable) for variable in _RANK_VARIABLES if variable != "SLURM_PROCID"):  # Slurm's batch script has that one
        raise OptionError("--ranks starts ranks of its own, but a launcher has started this command: leave one of them out")
    beside = pathlib.Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None:
        raise MissingFileError("expected an mpiexec for --ranks, found none: pip install 'samesum[mpich]', or load an MPI of the cluster")
    return [found, "-n", str(ranks)]


def _as_argument(text: str) -> str:
    """The job itself, or a file in memory that holds it if it is too long for an argument."""
    if len(text.encode()) < _LONGEST_ARGUMENT:
        return text
    descriptor = os.memfd_create("samesum-job", 0)
    with open(descriptor, "w", encoding="utf-8", closefd=False) as file:
        file.write(text)
    return f"/proc/{os.getpid()}/fd/{descriptor}"
