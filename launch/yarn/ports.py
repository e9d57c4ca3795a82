"""The ports of a cluster: how many a job needs, which are free on a node, and the library that keeps the application master to them."""

from __future__ import annotations

import importlib.machinery
import pathlib
import socket

from engine.errors import OptionError

MASTER_PORTS = 4  # of the application master: its channel, its pages, the job's page, and mpiexec's
RANK_PORTS = 2  # of each rank and what starts it
LIBRARY = "ports.so"  # as the application master's container calls it


def check_enough(first: int, last: int, ranks: int) -> None:
    """See that the ports suffice for so many ranks, which may all be on one node. Raises :class:`OptionError`."""
    needed = RANK_PORTS * ranks + MASTER_PORTS
    if last - first + 1 < needed:
        raise OptionError(
            f"ports {first} - {last} are too few for {ranks} containers, which may share a node with the application master: give "
            f"start_port and end_port at least {needed} apart"
        )


def free_ports(first: int, last: int, wanted: int) -> int:
    """How many of the ports are free on this machine, counted up to ``wanted``."""
    found = 0
    for port in range(first, last + 1):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what an earlier attempt has closed is free
            try:
                probe.bind(("", port))
            except OSError:
                continue
        found += 1
        if found == wanted:
            break
    return found


def trouble_here(first: int, last: int) -> str | None:
    """What is wrong where a rank would find too few free ports on this node, and what to do."""
    found = free_ports(first, last, RANK_PORTS)
    if found == RANK_PORTS:
        return None
    return (
        f"{'no' if found == 0 else 'only one'} port from {first} to {last} is free on {socket.gethostname()}, and a rank needs "
        f"{RANK_PORTS}: give the cluster other ports by start_port and end_port, or end what listens there"
    )


def library() -> pathlib.Path:
    """The library that is preloaded. Raises :class:`OptionError` if it was not built."""
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        path = pathlib.Path(__file__).with_name(f"_ports{suffix}")
        if path.is_file():
            return path
    raise OptionError("samesum's library that keeps the application master to the cluster's ports was not built: install samesum anew")
