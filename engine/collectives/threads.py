"""How many threads a rank's kernels use."""

from __future__ import annotations

import os

from engine.collectives.communicator import Communicator
from engine.errors import OptionError

WORK_PER_THREAD = 1 << 16


def resolve_threads(num_threads: int | None, comm: Communicator) -> int:
    """``num_threads``, else SAMESUM_NUM_THREADS, else OMP_NUM_THREADS, else this rank's share of its node's cores.

    Raises :class:`OptionError` where an environment variable is not a positive number.
    """
    if num_threads is not None:
        return num_threads
    for name in ("SAMESUM_NUM_THREADS", "OMP_NUM_THREADS"):
        text = os.environ.get(name, "").split(",")[0].strip()
        if text:
            if not text.isdigit() or int(text) < 1:
                raise OptionError(f"environment variable {name}: expected a positive number of threads, got {text!r}")
            return int(text)
    share = max(1, (os.cpu_count() or 1) // comm.ranks_on_node)
    return min(share, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else share)


def useful_threads(num_threads: int, work: int) -> int:
    """At most ``num_threads``, and no more than ``work`` (additions, on this rank) keeps busy: starting one costs thousands."""
    return min(num_threads, 1 + work // WORK_PER_THREAD)
