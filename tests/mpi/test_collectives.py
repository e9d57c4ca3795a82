"""The MPI communicator: the contract on several groups, whole and in pieces, and what is special to MPI."""

from __future__ import annotations

import os
import pathlib
import sys

import numpy as np
import pytest
from mpi4py import MPI

from engine.collectives import excepthook, mpi
from engine.collectives.agree import agree, agree_on_value
from engine.collectives.communicator import Communicator
from engine.collectives.default import resolve
from engine.collectives.heartbeat import read_board
from engine.collectives.serial import SerialComm
from engine.errors import CommunicationError, DataError, MissingFileError, OptionError
from tests.collectives.contract import CommunicatorContract, bytes_as


def make_group(kind: str) -> MPI.Intracomm:
    world = MPI.COMM_WORLD
    if kind == "alone":
        return MPI.COMM_SELF
    if kind == "halves":
        return world.Split(world.rank % 2, world.rank)
    return world.Split(0, -world.rank) if kind == "reversed" else world


_groups: dict[str, MPI.Intracomm] = {}


@pytest.fixture(params=["world", "alone", "halves", "reversed"])
def group(request):
    """A communicator of users, made once, as every one that is wrapped lives to the end."""
    if request.param not in _groups:
        _groups[request.param] = make_group(request.param)
    return mpi.wrap(_groups[request.param])


class TestMpiComm(CommunicatorContract):
    @pytest.fixture
    def comm(self, group):
        return group


def test_no_shared_memory_of_mpich_has_a_name(group):
    """So that ranks which are killed leave nothing behind."""
    mapped = pathlib.Path("/proc/self/maps").read_text()
    assert not [line for line in mapped.splitlines() if "/mpich_shm_" in line and not line.endswith(" (deleted)")]


class TestMpiCommInPieces(CommunicatorContract):
    """With messages cut after 3 elements, as they are after 2**31 - 1 elsewhere."""

    @pytest.fixture
    def comm(self, comm, monkeypatch):
        monkeypatch.setattr(mpi, "LARGEST_COUNT", 3)
        return comm


class TestMpiCommOnACrowdedNode(CommunicatorContract):
    """With ranks that meet before they exchange, as they do where there are more ranks than cores."""

    @pytest.fixture
    def comm(self, comm, monkeypatch):
        monkeypatch.setattr(comm, "_crowded", True)
        monkeypatch.setattr(mpi, "ASK_FOR", 0.0)
        return comm


class RecordingComm:
    """Passes everything on to an MPI communicator and notes how many elements go into each message."""

    def __init__(self, comm):
        self.comm, self.counts = comm, []

    def __getattr__(self, name):
        return getattr(self.comm, name)

    def Bcast(self, message, root):
        self.counts.append(message[1])
        self.comm.Bcast(message, root)


def test_no_message_is_longer_than_the_limit(comm, monkeypatch):
    recording = RecordingComm(comm._comm)
    monkeypatch.setattr(comm, "_comm", recording)
    monkeypatch.setattr(mpi, "LARGEST_COUNT", 4)
    array = bytes_as("i8", 10, seed=comm.rank)
    comm.broadcast(array, root=comm.size - 1, name="broadcast")
    assert recording.counts == [4, 4, 2]
    assert array.tobytes() == bytes_as("i8", 10, seed=comm.size - 1).tobytes()


def test_the_limit_is_what_mpi_counts_hold():
    assert np.iinfo(np.int32).max == mpi.LARGEST_COUNT


def test_a_communicator_is_wrapped_once(comm):
    assert isinstance(comm, Communicator)
    assert mpi.wrap(MPI.COMM_WORLD) is comm
    assert resolve(MPI.COMM_WORLD) is comm
    assert resolve(comm) is comm


def test_messages_of_users_do_not_mix_with_ours(comm):
    neighbour, token = (comm.rank + 1) % comm.size, np.array([comm.rank])
    request = MPI.COMM_WORLD.Irecv(received := np.array([-1]), source=MPI.ANY_SOURCE, tag=MPI.ANY_TAG)
    numbers = np.ones(5, dtype=np.int64)
    comm.allreduce_sum(numbers, name="ours")
    comm.alltoall([token] * comm.size, name="ours too")
    MPI.COMM_WORLD.Send(token, neighbour)
    request.Wait()
    assert received[0] == (comm.rank - 1) % comm.size
    assert numbers.tolist() == [comm.size] * 5


def test_default_is_mpi_once_it_runs(comm):
    default = resolve(None)
    assert default is comm if comm.size > 1 else isinstance(default, SerialComm)


def test_what_is_no_group_is_refused():
    for wrong in (MPI.COMM_NULL, "MPI_COMM_WORLD", 4):
        with pytest.raises(TypeError, match="expected a Communicator"):
            resolve(wrong)


def test_heartbeat_says_where_every_rank_of_the_node_is(comm):
    comm.barrier(name="before looking")
    board = excepthook._installed[0].farewells[0].board if comm.size > 1 else comm._heartbeat._board
    pulses = read_board(board)
    comm.barrier(name="after looking")
    assert [pulse.rank for pulse in pulses] == comm.gather_objects(comm.rank, name="ranks")
    assert [pulse.pid for pulse in pulses] == comm.gather_objects(os.getpid(), name="pids")
    mine = pulses[comm.rank]
    assert (mine.name, mine.waiting, mine.number) == ("before looking", False, comm._heartbeat.number - 3)


def test_hooks_are_installed_for_several_ranks(comm):
    assert (sys.excepthook.__module__ == "engine.collectives.excepthook") == (comm.size > 1)


def fail_if(comm, error):
    with agree(comm, "reading"):
        if error is not None:
            raise error


@pytest.mark.parametrize("failing", ["first", "last", "all"])
@pytest.mark.parametrize("error", [DataError("line 3: expected 2 fields, got 3"), MissingFileError("no such file: 'x.csv'")])
def test_an_error_of_some_ranks_is_raised_on_all(comm, failing, error):
    fails = {"first": comm.rank == 0, "last": comm.rank == comm.size - 1, "all": True}[failing]
    with pytest.raises(type(error)) as raised:
        fail_if(comm, type(error)(str(error)) if fails else None)
    where = "" if failing == "all" or comm.size == 1 else f" (on rank {0 if failing == 'first' else comm.size - 1})"
    assert str(raised.value) == str(error) + where
    assert type(raised.value) is type(error)
    assert raised.value.found_by_all == (comm.size > 1)
    assert raised.value.prints_here == (comm.rank == 0)


def test_the_lowest_rank_that_failed_is_heard(comm):
    with pytest.raises(OptionError) as raised:
        fail_if(comm, OptionError(f"bad option on {comm.rank}") if comm.rank > 0 or comm.size == 1 else None)
    assert str(raised.value) == ("bad option on 0" if comm.size == 1 else "bad option on 1 (on rank 1)")


def test_ranks_with_the_same_error_are_named_together(comm):
    with pytest.raises(DataError) as raised:
        fail_if(comm, DataError("no rows") if comm.rank != 1 else None)
    ranks = {1: "", 2: " (on rank 0)", 3: " (on ranks 0, 2)"}.get(comm.size, f" (on ranks 0, 2-{comm.size - 1})")
    assert str(raised.value) == "no rows" + ranks


def test_a_mistake_in_the_program_keeps_its_traceback_and_stops_the_others(comm):
    last = comm.size - 1
    with pytest.raises(ZeroDivisionError if comm.rank == last else CommunicationError) as raised:
        fail_if(comm, ZeroDivisionError("division by zero") if comm.rank == last else None)
    if comm.rank != last:
        assert str(raised.value) == f"reading failed on rank {last} with ZeroDivisionError: division by zero"
    assert not (comm.rank == last and getattr(raised.value, "found_by_all", False))


def test_an_error_class_from_elsewhere_becomes_its_nearest_known_base(comm):
    class LocalError(DataError):
        pass

    with pytest.raises(DataError) as raised:
        fail_if(comm, LocalError("odd"))
    assert type(raised.value) is (LocalError if comm.size == 1 else DataError)


def test_ranks_go_on_where_none_failed(comm):
    with agree(comm, "reading"):
        rank = comm.rank
    assert comm.gather_objects(rank, name="after") == list(range(comm.size))


def test_ranks_agree_on_options(comm):
    agree_on_value(comm, {"max_depth": 6, "features": ["a", "b"], "seed": None}, "options")
    agree_on_value(comm, 3.5, "fraction")
    assert comm.gather_objects(comm.rank, name="after") == list(range(comm.size)), "nobody was left behind"


def test_options_that_differ_are_named(comm):
    options = {"a": 1, "max_depth": 6 if comm.rank == 0 else 7, "z": comm.rank}
    if comm.size == 1:
        agree_on_value(comm, options, "options")
        return
    with pytest.raises(CommunicationError) as raised:
        agree_on_value(comm, options, "options")
    others = "rank 1" if comm.size == 2 else f"ranks 1-{comm.size - 1}"
    assert f"the same options['max_depth'] on every rank, got 6 on rank 0, 7 on {others}; " in str(raised.value)
    assert raised.value.found_by_all


def test_values_and_options_that_some_lack_are_named(comm):
    if comm.size == 1:
        return
    with pytest.raises(CommunicationError, match="the same fraction on every rank, got 0 on rank 0, 1 on rank 1"):
        agree_on_value(comm, comm.rank, "fraction")
    with pytest.raises(CommunicationError, match=r"options\['seed'\] on every rank, got 1 on rank 0, nothing on rank"):
        agree_on_value(comm, {"seed": 1} if comm.rank == 0 else {}, "options")


def test_collective_assert_holds_on_all_or_fails_on_all(comm, collective_assert):
    collective_assert(comm.rank >= 0)
    with pytest.raises(AssertionError, match=rf"ranks \[{comm.size - 1}\] of {comm.size}"):
        collective_assert(comm.rank != comm.size - 1, "being another rank")
