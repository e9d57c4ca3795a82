"""What the processes of an application say to each other, through the key-value store in its application master.

Workers register, the supervisor gives orders, workers report. An order is a lease too: a worker that no longer finds it, or the store, ends
its ranks. Keys of orders and reports carry the attempt, so that what is late is never taken for what is new. No secret goes this way.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

import skein
from skein import kv

from engine.errors import JobError

DEADLINE = 10.0  # seconds for each call
TRIES = 3  # of a call that is not answered in time: an application master that is busy is none that is gone
_Answer = TypeVar("_Answer")
_WORKER, _ORDER, _REPORT = "worker/", "order/", "report/"
_STATES = ("WAITING", "REQUESTED", "RUNNING", "SUCCEEDED", "FAILED", "KILLED")
SERVICE = "worker"
RANK_PROGRAM = "samesum-rank"  # what ranks begin with, on every worker's PATH: launchers do not know where things lie there


class YarnContainer(NamedTuple):
    """A worker's container as YARN sees it: ``key`` is what the application calls it, ``name`` what YARN does."""

    key: str
    name: str
    state: str
    message: str

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.state in ("SUCCEEDED", "FAILED", "KILLED")


class _Application(skein.ApplicationClient):  # type: ignore[misc]  # skein has no types
    """A client whose calls have a deadline."""

    def _call(self, method: str, req: Any, timeout: float | None = None) -> Any:
        return super()._call(method, req, timeout=timeout or DEADLINE)


class Wire:
    """One process's end of the wire. Its methods raise :class:`LostWireError` when the application master does not answer."""

    def __init__(self) -> None:
        self._application = _Application.from_current()
        self.key: str = skein.properties.container_id or ""
        self.name: str = os.environ.get("CONTAINER_ID", "")

    def _do(self, operation: Any) -> Any:
        return _asked(lambda: self._application.kv._apply_op(operation, timeout=DEADLINE))

    # --- workers ---

    def register(self, about: dict[str, Any]) -> None:
        """Say that a worker is there; the entry goes when its container ends."""
        self._do(kv.put(_WORKER + self.key, json.dumps(about).encode(), owner=self.key))

    def orders(self) -> dict[int, dict[str, Any]]:
        """This worker's orders by attempt."""
        prefix = f"{_ORDER}{self.key}/"
        return {int(key.removeprefix(prefix)): json.loads(value) for key, value in self._do(kv.get_prefix(prefix)).items()}

    def has_order(self, attempt: int) -> bool:
        """Whether the order still stands."""
        return bool(self._do(kv.exists(f"{_ORDER}{self.key}/{attempt}")))

    def is_known(self) -> bool:
        """Whether the application still counts on this worker: YARN may have given its container up, and nobody may have ended it."""
        return bool(self._do(kv.exists(_WORKER + self.key)))

    def report(self, attempt: int, what: dict[str, Any]) -> None:
        """Say how an attempt's rank is doing, or how it ended, in place of what was said before."""
        self._do(kv.put(f"{_REPORT}{attempt}/{self.key}", json.dumps(what).encode()))

    # --- the supervisor ---

    def workers(self) -> dict[str, dict[str, Any]]:
        """The workers that are there."""
        return {key.removeprefix(_WORKER): json.loads(value) for key, value in self._do(kv.get_prefix(_WORKER)).items()}

    def order(self, worker: str, attempt: int, what: dict[str, Any]) -> None:
        """Tell a worker what to do."""
        self._do(kv.put(f"{_ORDER}{worker}/{attempt}", json.dumps(what).encode()))

    def withdraw(self, worker: str, attempt: int) -> None:
        """Take an order back."""
        self._do(kv.discard(f"{_ORDER}{worker}/{attempt}"))

    def reports(self, attempt: int) -> dict[str, dict[str, Any]]:
        """What the workers have said last of an attempt."""
        prefix = f"{_REPORT}{attempt}/"
        return {key.removeprefix(prefix): json.loads(value) for key, value in self._do(kv.get_prefix(prefix)).items()}

    def containers(self) -> list[YarnContainer]:
        """All containers of workers that the application has or had, in the order in which they were asked for."""
        found = _asked(lambda: self._application.get_containers(services=(SERVICE,), states=_STATES))
        return [YarnContainer(each.id, each.yarn_container_id, str(each.state), each.exit_message or "") for each in found]

    def ask_for(self, count: int) -> None:
        """Ask YARN for more containers of workers."""
        try:
            for _ in range(count):
                self._application.add_container(SERVICE)
        except (OSError, skein.SkeinError) as error:
            raise LostWireError(f"the application master could not ask for containers: {error}") from error

    def add_page(self, name: str, address: str, title: str) -> None:
        """Have the application's own pages, and so YARN's proxy, lead to a page that this process serves."""
        _asked(lambda: self._application.ui.add_page(name, address, title))

    def give_back(self, workers: Iterable[str]) -> None:
        """Give containers back to YARN, or take back that they were asked for."""
        for worker in workers:
            _asked(functools.partial(self._application.kill_container, worker))

    def finish(self, state: str, text: str) -> None:
        """End the application: all its containers are given back."""
        _asked(lambda: self._application.shutdown(state, diagnostics=text))


def _asked(call: Callable[[], _Answer]) -> _Answer:
    """The answer of the application master, which may be busy for a while."""
    for left in reversed(range(TRIES)):
        try:
            return call()
        except TimeoutError as error:
            if not left:
                raise LostWireError(f"the application master has not answered for {TRIES * DEADLINE:.0f} s: {error}") from error
        except (OSError, skein.SkeinError) as error:
            raise LostWireError(f"the application master does not answer: {error}") from error
    raise AssertionError


class LostWireError(JobError):
    """The application master is gone or does not answer."""
