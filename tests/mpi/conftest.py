"""Tests that every rank runs: ``mpiexec -n N python -m pytest --with-mpi tests/mpi``.

Ranks agree on the outcome of every test: one that fails on some ranks fails on all. A rank that fails in the middle of a test, while
the others wait in a collective, ends the whole run after printing why; nothing hangs.
"""

from __future__ import annotations

import pathlib
import time

import numpy as np
import pytest
from mpi4py import MPI

from engine.collectives import mpi

pytest.register_assert_rewrite("tests.collectives.contract")

PATIENCE = 20.0  # seconds a failed rank waits for the others to finish the test
_REPORTS = MPI.COMM_WORLD.Dup()


@pytest.fixture(scope="session")
def comm():
    """All ranks, also if there is only one."""
    return mpi.wrap(MPI.COMM_WORLD)


@pytest.fixture
def folder(comm, tmp_path):
    """A folder that all ranks see: rank 0's."""
    return pathlib.Path(comm.gather_objects(str(tmp_path), name="folder")[0])


@pytest.fixture
def collective_assert(comm):
    """``collective_assert(condition, message='')`` in the middle of a test: fails on every rank if the condition is false on any."""

    def check(condition: object, message: str = "") -> None:
        failed = [rank for rank, held in enumerate(comm.gather_objects(bool(condition), name="assertion")) if not held]
        assert not failed, f"{message or 'the condition'} does not hold on ranks {failed} of {comm.size}"

    return check


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Make a test's outcome the same on every rank; collective, once per phase of a test."""
    report = yield
    failed_ranks = np.zeros(MPI.COMM_WORLD.size, dtype=np.int64)
    failed_ranks[MPI.COMM_WORLD.rank] = report.failed
    request = _REPORTS.Iallreduce(MPI.IN_PLACE, failed_ranks, MPI.SUM)
    started = time.monotonic()
    while not request.Test():
        time.sleep(0.0 if time.monotonic() - started < 0.01 else 0.001)
        if report.failed and time.monotonic() - started > PATIENCE:
            print(f"\nrank {MPI.COMM_WORLD.rank} failed in {item.nodeid} while other ranks went on:\n{report.longreprtext}", flush=True)
            MPI.COMM_WORLD.Abort(1)
    if failed_ranks.any() and not report.failed:
        report.outcome = "failed"
        report.longrepr = f"failed on ranks {np.flatnonzero(failed_ranks).tolist()} of {failed_ranks.size}, not on this one"
    return report
