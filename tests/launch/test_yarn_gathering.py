"""How a gang comes by its containers; YARN is made up."""

import json

import pytest

from engine.errors import JobError, OptionError
from engine.spec import Resources, YarnResources
from launch.yarn.agents import Member
from launch.yarn.gathering import TRIES, Gathering
from launch.yarn.wire import YarnContainer


class FakeWire:
    """An application whose first ``room`` containers come, of those that it has at a time."""

    def __init__(self, room):
        self.room, self.count, self.given_back = room, 0, []
        self.live = {}

    def ask_for(self, count):
        for _ in range(count):
            self.live[f"worker_{self.count}"] = {"name": f"container_{self.count}", "host": f"host{self.count}"}
            self.count += 1

    def workers(self):
        return dict(list(self.live.items())[: self.room])

    def containers(self):
        return [YarnContainer(key, about["name"], "RUNNING", "") for key, about in self.live.items()]

    def give_back(self, workers):
        for worker in list(workers):
            self.given_back.append(worker)
            del self.live[worker]


def gathering(wire, wanted, *, must_leave=lambda: False, said=None, **yarn):
    resources = Resources(backend="yarn", num_workers=wanted, worker_memory=512, yarn=YarnResources(start_within=0.05, **yarn))
    return Gathering(wire, resources, must_leave=must_leave, say=(said if said is not None else []).append)


def test_all_come():
    wire = FakeWire(room=3)
    members = gathering(wire, 3).members()
    assert members == [Member(f"worker_{n}", f"container_{n}", f"host{n}") for n in range(3)]
    wire.give_back(["worker_1"])
    assert [each.key for each in gathering(wire, 3).members()] == ["worker_0", "worker_2", "worker_3"], "one was lost, one is asked for"


def test_what_is_not_enough_is_given_back():
    """Every time; in the end it says how many came at most."""
    wire, said = FakeWire(room=2), []
    with pytest.raises(JobError, match=rf"only 2 of 3 containers .* in {TRIES} tries: .* were given back"):
        gathering(wire, 3, said=said).members()
    assert len(wire.given_back) == 3 * TRIES
    assert not wire.live
    assert len(said) == TRIES - 1
    assert "only 2 of 3 containers came" in said[0]


def test_room_that_comes_later():
    wire = FakeWire(room=1)

    def note(text):
        wire.room = 2

    found = Gathering(wire, gathering(wire, 2).resources, must_leave=lambda: False, say=note).members()
    assert [each.key for each in found] == ["worker_2", "worker_3"]


def test_a_container_that_is_lost_while_others_come(monkeypatch):
    """Another one is asked for at once; those that are there are kept."""
    monkeypatch.setattr("launch.yarn.gathering.LOOK_AT_RESULT", 0.0)
    monkeypatch.setattr("launch.yarn.gathering.POLL", 0.001)
    wire = FakeWire(room=1)

    def lose_the_first():
        wire.room += wire.live.pop("worker_0", None) is not None
        return False

    found = gathering(wire, 2, must_leave=lose_the_first).members()
    assert [each.key for each in found] == ["worker_1", "worker_2"]
    assert wire.given_back == []


def test_fewer_will_do():
    """The others are given back, also those that have not come."""
    wire = FakeWire(room=2)
    assert [each.key for each in gathering(wire, 4, min_containers=2).members()] == ["worker_0", "worker_1"]
    assert wire.given_back == ["worker_2", "worker_3"]
    with pytest.raises(JobError, match="and min_containers is 3"):
        gathering(FakeWire(room=2), 4, min_containers=3).members()


def test_a_job_that_has_ended_needs_none():
    assert gathering(FakeWire(room=0), 2, must_leave=lambda: True).members() is None


@pytest.mark.parametrize("fewest", [0, 3])
def test_more_than_all_is_refused(fewest):
    with pytest.raises(OptionError, match=rf"min_containers' from 1 to the 2 workers, got {fewest}"):
        Resources(backend="yarn", num_workers=2, yarn=YarnResources(min_containers=fewest))


def test_only_ends_that_are_somebodys_fault_count(tmp_path):
    """A supervisor that comes after another, as after the loss of an application master, knows what counted."""
    from engine.spec import JobSpec, ScriptSpec
    from engine.working_dir import WorkingDir
    from launch.supervisor import Supervisor

    wd = WorkingDir.create(str(tmp_path / "job"), JobSpec(task="script", script=ScriptSpec(path="x.py"), resources=Resources()))
    for cause in ({"cause": "lost", "message": "x"}, {"cause": "lost", "message": "preempted", "is_free": True}, None):
        number = wd.take_attempt({"time": 0.0})
        if cause is not None:
            wd.end_attempt(number, cause)
    assert Supervisor(wd, wd.spec()).failures == 1
    assert json.loads((tmp_path / "job" / "attempts" / "2" / "end.json").read_text())["is_free"]
    assert wd.attempt_end(3) == {"cause": "unknown"}
