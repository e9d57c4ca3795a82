"""How many threads a rank's kernels may use. Results do not depend on it."""

from __future__ import annotations

import os
import socket

from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator
from engine.errors import OptionError
from engine.models._options import check_option

VARIABLES = ("SAMESUM_NUM_THREADS", "OMP_NUM_THREADS")


def choose_threads(comm: Communicator, num_threads: int | None) -> int:
    """``num_threads``, else what the environment says, else this rank's share of the cores that it may run on; collective.

    Ranks of a node that may run on the same cores share them evenly; a launcher that binds ranks to cores of their own leaves all to each.
    """
    with agree(comm, "choosing threads"):
        wanted = check_option("num_threads", num_threads) or threads_of_environment()
        cores = usable_cores()
    places = comm.gather_objects([socket.gethostname(), cores], name="choose threads")
    sharing = places.count([socket.gethostname(), cores])
    return int(wanted or max(1, len(cores) // sharing))


def threads_of_environment() -> int | None:
    """The first of the variables that is set; for a list, as OpenMP allows, its first number."""
    for variable in VARIABLES:
        text = os.environ.get(variable, "").split(",")[0].strip()
        if text:
            if not text.isdigit() or int(text) < 1:
                raise OptionError(f"{variable} must be an integer >= 1, got {os.environ[variable]!r}")
            return int(text)
    return None


def usable_cores() -> list[int]:
    """Numbers of the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
