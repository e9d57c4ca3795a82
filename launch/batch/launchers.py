"""What starts processes on the nodes of an allocation: Slurm's ``srun``, or the ``mpiexec`` of an MPI library.

Ranks go to nodes in blocks: node ``i`` has the ranks from ``i * per_node`` on. All else relies on that.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from launch.commands import find_mpiexec

VERSION_WITHIN = 20.0  # seconds for mpiexec to say which it is


@dataclass(frozen=True)
class Srun:
    """``srun`` with the library that it is to serve to ranks, such as ``pmi2`` or ``pmix``."""

    nodes: int
    mpi: str

    def command(self, per_node: int, command: Sequence[str], *, threads: int = 1, is_mpi: bool = True) -> list[str]:
        """So many processes on every node."""
        return [
            "srun",
            "--overlap",  # agents and ranks share the nodes
            f"--mpi={self.mpi if is_mpi else 'none'}",
            f"--nodes={self.nodes}",
            f"--ntasks={self.nodes * per_node}",
            f"--ntasks-per-node={per_node}",
            f"--cpus-per-task={threads}",
            "--distribution=block",
            "--kill-on-bad-exit=0",  # who failed first is for the agents to say
            *command,
        ]


@dataclass(frozen=True)
class Mpiexec:
    """``mpiexec``; ``hosts`` are those of the allocation where it does not find them itself, and go to ``hosts_file``."""

    nodes: int
    hosts: tuple[str, ...] = ()
    hosts_file: pathlib.Path | None = None

    def command(self, per_node: int, command: Sequence[str], *, threads: int = 1, is_mpi: bool = True) -> list[str]:
        """So many processes on every node."""
        program = find_mpiexec()
        is_open_mpi = "Open MPI" in version_of(program) or "PRRTE" in version_of(program)
        words = [program, "-n", str(self.nodes * per_node)]
        if self.hosts_file is not None:
            slots = f" slots={per_node}" if is_open_mpi else ""
            self.hosts_file.write_text("".join(f"{host}{slots}\n" for host in self.hosts))
            words += ["--hostfile" if is_open_mpi else "-f", str(self.hosts_file)]
        words += ["--map-by", f"ppr:{per_node}:node"] if is_open_mpi else ["-ppn", str(per_node)]
        return [*words, *command]


def version_of(program: str) -> str:
    """What an ``mpiexec`` says of itself."""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=VERSION_WITHIN, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr


def hosts_of_pbs() -> tuple[str, ...]:
    """The nodes of a PBS allocation, each once, in its order."""
    path = os.environ.get("PBS_NODEFILE")
    lines = [] if path is None else pathlib.Path(path).read_text().split()
    return tuple(dict.fromkeys(lines))
