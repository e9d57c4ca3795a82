"""The communicator of one process, without MPI."""

from __future__ import annotations

import numpy as np
import pytest

from engine.collectives.communicator import Communicator
from engine.collectives.serial import SerialComm
from tests.collectives.contract import CommunicatorContract


class TestSerialComm(CommunicatorContract):
    @pytest.fixture
    def comm(self):
        return SerialComm()


def test_it_is_a_communicator():
    assert isinstance(SerialComm(), Communicator)


def test_results_share_memory_where_nothing_moves():
    array = np.arange(3)
    assert SerialComm().allgather(array, name="gather")[0] is array
    assert SerialComm().reduce_scatter_sum(array, [3], name="parts") is array
