"""How a gang comes by its containers: all of them within a limit, or they are given back, and tried for again a while later.

YARN gives containers one by one, and keeps none back for those that need all. Two jobs that hold half of a queue each would wait for
each other for ever; so neither holds what it has for longer than the limit, and each is away for a random while.
"""

from __future__ import annotations

import pathlib
import random
import time
from collections.abc import Callable

from engine.errors import JobError
from engine.spec import Resources, YarnResources
from launch.yarn.agents import Member
from launch.yarn.room import ask, say_room
from launch.yarn.wire import Wire

POLL = 0.3  # seconds between looks for workers
LOOK_AT_RESULT = 3.0  # seconds between looks whether the job was cancelled, or a container was lost
TRIES = 3
AWAY = 0.5  # of the limit: the longest while until the next try


class Gathering:
    """Gathers the members of a gang. ``must_leave`` says whether nobody needs them any more, ``say`` notes what happens."""

    def __init__(self, wire: Wire, resources: Resources, *, must_leave: Callable[[], bool], say: Callable[[str], None]) -> None:
        self.wire, self.resources = wire, resources
        self.yarn = resources.yarn or YarnResources()
        self.must_leave, self.say = must_leave, say

    def members(self) -> list[Member] | None:
        """A worker for every rank, in the order in which they were asked for; None if they are not needed any more.

        They may be fewer than asked for, where the job says so. Raises :class:`JobError` once all tries have failed.
        """
        wanted = self.resources.num_workers
        least = min(self.yarn.min_containers or wanted, wanted)
        most, facts = 0, ""
        for number in range(TRIES):
            if number and not self._stay_away(most):
                return None
            found = self._wait_for(wanted)
            if found is None:
                return None
            if len(found) >= least:
                if len(found) < wanted:
                    self.say(f"going on with {len(found)} of {wanted} containers (min_containers={least})")
                    self._give_back_but({member.key for member in found})
                return found[:wanted]
            most = max(most, len(found))
            facts = say_room(*ask(pathlib.Path.cwd(), self.yarn.queue))  # the settings came along with this container
            self._give_back_but(set())
        raise JobError(self._too_few(most, facts))

    def _wait_for(self, wanted: int) -> list[Member] | None:
        """Ask for what is missing, and again for what is lost meanwhile, at most until the limit; who is there then."""
        until, next_look = time.monotonic() + self.yarn.start_within, 0.0
        while len(workers := self.wire.workers()) < wanted:
            now = time.monotonic()
            if now > next_look:
                next_look = now + LOOK_AT_RESULT
                if self.must_leave():
                    return None
                live = [each for each in self.wire.containers() if not each.is_over]
                self.wire.ask_for(max(0, wanted - len(live)))
            if now > until:
                break
            time.sleep(POLL)
        found = [Member(key, about["name"], about["host"]) for key, about in workers.items()]
        return sorted(found, key=lambda member: int(member.key.split("_")[-1]))

    def _stay_away(self, most: int) -> bool:
        """Let others have the room for a random while; False if there is no reason to come back."""
        pause = random.SystemRandom().uniform(0.0, AWAY * self.yarn.start_within)
        said = f"only {most} of {self.resources.num_workers} containers came within {self.yarn.start_within:.0f} s"
        self.say(f"{said}: given back, asked for again in {pause:.0f} s")
        until = time.monotonic() + pause
        while (left := until - time.monotonic()) > 0:
            if self.must_leave():
                return False
            time.sleep(min(left, LOOK_AT_RESULT))
        return True

    def _give_back_but(self, kept: set[str]) -> None:
        """Give all other containers back, those too that have not come yet."""
        self.wire.give_back(each.key for each in self.wire.containers() if not each.is_over and each.key not in kept)

    def _too_few(self, there: int, facts: str) -> str:
        resources = self.resources
        least = f", and min_containers is {self.yarn.min_containers}" if self.yarn.min_containers else ""
        return (
            f"only {there} of {resources.num_workers} containers of {resources.worker_memory} MB and {resources.num_threads} vcores came "
            f"within {self.yarn.start_within:.0f} s in queue {self.yarn.queue!r}, in {TRIES} tries{least}: it is full or too small"
            f"{facts and f' ({facts})'}; they were given back. Ask for fewer or smaller containers, use another queue, or wait longer by "
            "start_within"
        )
