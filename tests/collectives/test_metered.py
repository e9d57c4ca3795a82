"""The communicator that keeps account of another one."""

from __future__ import annotations

import numpy as np
import pytest

from engine.collectives.communicator import Communicator
from engine.collectives.metered import MeteredComm
from engine.collectives.serial import SerialComm
from tests.collectives.contract import CommunicatorContract
from tests.threads_comm import run_ranks


class TestMeteredComm(CommunicatorContract):
    @pytest.fixture
    def comm(self):
        return MeteredComm(SerialComm())


def test_calls_bytes_and_seconds_are_kept_by_name():
    def talk(comm: Communicator) -> dict:
        metered = MeteredComm(comm)
        for _ in range(3):
            metered.allreduce_sum(np.zeros(10, dtype=np.int64), name="sums")
        metered.reduce_scatter_sum(metered.work_array(8), [4, 4], name="parts")
        metered.alltoall([np.zeros(2), np.zeros(3)], name="parts")
        metered.allgather(np.zeros(5, dtype=np.uint8), name="bytes")
        metered.broadcast(np.zeros(4), name="root's")
        metered.allreduce_max(np.zeros(1), name="largest")
        metered.barrier(name="wait")
        assert metered.gather_objects(metered.rank, name="wait") == [0, 1]
        return metered.account

    for account in run_ranks(2, talk):
        counted = {name: (entry["calls"], entry["bytes"]) for name, entry in account.items()}
        expected = {"sums": (3, 240), "parts": (2, 104), "bytes": (1, 5), "root's": (1, 32), "largest": (1, 8), "wait": (2, 0)}
        assert counted == expected
        assert all(entry["seconds"] > 0 for entry in account.values())


def test_it_is_a_communicator():
    assert isinstance(MeteredComm(SerialComm()), Communicator)
