"""A gang over several containers, from its supervisor's side: orders that pass a launcher, and why it ended; the workers are made up."""

import os
import time

import pytest

from launch.processes import find_processes
from launch.yarn.agents import Gang, Member
from launch.yarn.wire import YarnContainer

# What mpiexec does with its launcher, and nothing else: its arguments 4 and 6 are the launcher and the hosts.
FAKE_MPIEXEC = """#!/bin/sh
launcher=$4
for host in $(echo "$6" | tr ',' ' '); do
    "$launcher" "${host%:1}" '"/elsewhere/bin/hydra_pmi_proxy"' --flag 'two words' '$(touch x)' '' &
done
wait
"""
OVER = "Container is running beyond the 'PHYSICAL' memory limit. Current usage: 600.0 MB of 512 MB physical memory used"


class FakeWire:
    """What workers would say; ``orders`` is what they were told."""

    name = "container_1_000001"

    def __init__(self, size):
        self.there = {f"worker_{rank}": {} for rank in range(size)}
        self.orders, self.withdrawn, self.said, self.ends = {}, [], {}, {}

    def order(self, worker, attempt, what):
        self.orders[worker] = what

    def withdraw(self, worker, attempt):
        self.withdrawn.append(worker)
        if worker in self.there and self.said.get(worker, {}).get("event") != "ended":
            self.say(int(worker[-1]), "stopped", message="ended by the supervisor")

    def workers(self):
        return self.there

    def reports(self, attempt):
        return self.said

    def containers(self):
        return [YarnContainer(key, f"container_{key}", "FAILED", message) for key, message in self.ends.items()]

    def say(self, rank, cause, **more):
        self.said[f"worker_{rank}"] = {"event": "ended", "cause": cause, "containers": [], **more}

    def lose(self, rank, message):
        del self.there[f"worker_{rank}"]
        self.ends[f"worker_{rank}"] = message


@pytest.fixture
def wire():
    return FakeWire(3)


@pytest.fixture
def gang(wire, tmp_path):
    mpiexec = tmp_path / "mpiexec"
    mpiexec.write_text(FAKE_MPIEXEC)
    mpiexec.chmod(0o700)
    (tmp_path / "logs").mkdir()
    members = [Member(f"worker_{rank}", f"container_worker_{rank}", f"host{rank}") for rank in range(3)]
    made = Gang(
        wire,
        1,
        members,
        command=[str(mpiexec), "-n", "3", "samesum-rank"],
        order=lambda rank, command: {"rank": rank, "command": command},
        folder=tmp_path / "wire",
        environment={},
        hang_timeout=600.0,
        memory=512 << 20,
    )
    yield made
    made.end()


def wait(gang, seconds=20.0):
    deadline = time.monotonic() + seconds
    while (cause := gang.wait(0.02)) is None:
        assert time.monotonic() < deadline
    return cause


def wait_for_orders(gang, wire):
    deadline = time.monotonic() + 20
    while len(wire.orders) < 3:
        assert gang.wait(0.02) is None
        assert time.monotonic() < deadline


def test_orders_are_argument_lists(gang, wire):
    """What the launcher was given arrives as it was, whatever a shell would make of it."""
    wait_for_orders(gang, wire)
    command = ['"/elsewhere/bin/hydra_pmi_proxy"', "--flag", "two words", "$(touch x)", ""]
    assert wire.orders == {f"worker_{rank}": {"rank": rank, "command": command} for rank in range(3)}
    for rank in range(3):
        wire.say(rank, "done")
    assert wait(gang) == {"cause": "done"}
    began = time.monotonic()
    gang.end()
    assert time.monotonic() - began < 2  # the launcher was told that its workers have ended
    assert gang.is_gone()
    assert [each.get("diagnosis") for each in gang.containers] == ["Application Master", None, None, None]


def test_a_container_over_its_memory(gang, wire):
    """It explains what its peers have to say, is not retried, and the others are ended."""
    wait_for_orders(gang, wire)
    wire.lose(1, OVER)
    wire.say(0, "error", message="rank 0 ended with exit code 15", exit_code=15)
    cause = wait(gang)
    assert cause["cause"] == "memory"
    assert cause["ranks"] == [1]
    assert "give container_size=768 or more" in cause["message"]
    gang.end()
    assert gang.containers[2]["diagnosis"] == "Container terminated due to exceeding allocated physical memory. (-104)"
    assert sorted(wire.withdrawn) == ["worker_0", "worker_1", "worker_2"]


def test_a_container_that_control_groups_ended(gang, wire):
    """Nobody says why, but its rank had used nearly all."""
    wait_for_orders(gang, wire)
    wire.said = {"worker_1": {"event": "alive", "still": 0.0, "missing": "", "peak_memory": 500 << 20}}
    assert all(gang.wait(0.1) is None for _ in range(8))
    wire.lose(1, "Container failed during execution, see logs for more information.")
    cause = wait(gang)
    assert cause["cause"] == "memory"
    assert "give container_size=640 or more" in cause["message"]  # 500 * 1.25 = 625, in steps of 64


def test_a_preempted_container_is_free(gang, wire):
    wait_for_orders(gang, wire)
    wire.lose(2, "Container preempted by scheduler")
    wire.say(0, "stopped", message="ended by the supervisor")
    wire.say(1, "stopped", message="ended by the supervisor")
    cause = wait(gang)
    assert (cause["cause"], cause["is_free"], cause["ranks"]) == ("lost", True, [2])


def test_the_error_that_a_rank_found(gang, wire):
    """The first rank's error, not what the others made of it."""
    wait_for_orders(gang, wire)
    wire.say(2, "lost", ranks=[2], message="rank 2 ended by SIGKILL")
    error = {"class": "DataError", "message": "no column 'x'"}
    wire.say(0, "error", ranks=[0], message="no column 'x'", error=error)
    wire.say(1, "error", ranks=[1], message="rank 1 ended with exit code 1", exit_code=1)
    assert wait(gang) == {"cause": "error", "ranks": [0], "message": "no column 'x'", "error": error}


def test_a_hang(gang, wire):
    """It is one only where no rank anywhere has moved."""
    wait_for_orders(gang, wire)
    for rank, still in enumerate((700.0, 700.0, 1.0)):
        wire.said[f"worker_{rank}"] = {"event": "alive", "still": still, "missing": "is stopped" if rank == 1 else ""}
    assert all(gang.wait(0.1) is None for _ in range(8))
    wire.said = {**wire.said, "worker_2": {"event": "alive", "still": 700.5, "missing": ""}}
    cause = wait(gang)
    assert cause["cause"] == "hang"
    assert "rank 1 is stopped" in cause["message"]


def test_a_worker_that_says_nothing_any_more(gang, wire):
    """As on a node that YARN does not miss yet: it is lost, does not count, and explains what its peers have to say."""
    wait_for_orders(gang, wire)
    wire.withdraw = lambda worker, attempt: None
    wire.say(0, "error", message="rank 0 ended with exit code 15", exit_code=15)
    wire.say(2, "lost", message="rank 2 ended by SIGKILL")
    gang.stop(0.5)
    cause = wait(gang)
    assert (cause["cause"], cause["is_free"], cause["ranks"]) == ("lost", True, [1])
    assert "Container does not answer" in cause["message"]


def test_what_others_make_of_a_loss(gang, wire):
    """An error of MPI, which a rank has noted, is none where another rank was killed."""
    wait_for_orders(gang, wire)
    message = "Exception: MPI_ERR_PROC_FAILED: process failed"
    wire.say(0, "error", ranks=[0], message=message, error={"class": "Exception", "message": message})
    wire.say(1, "lost", ranks=[1], message="rank 1 ended by SIGKILL")
    wire.say(2, "stopped", message="ended by the supervisor")
    assert wait(gang) == {"cause": "lost", "ranks": [1], "message": "rank 1 ended by SIGKILL"}


def test_nothing_of_the_launcher_outlives_the_supervisor(gang, wire, tmp_path):
    """Who is killed tells nobody, but lets go of what the launcher's processes wait for."""
    wait_for_orders(gang, wire)
    waiting = find_processes("SAMESUM_WIRE", str(tmp_path / "wire"))
    assert len(waiting) >= 3
    gang._launcher.kill()
    while gang._ends:
        os.close(gang._ends.pop())
    deadline = time.monotonic() + 20
    while any(each.is_alive for each in waiting):
        assert time.monotonic() < deadline
        time.sleep(0.05)
