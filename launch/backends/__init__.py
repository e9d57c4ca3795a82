"""Where jobs run. A backend submits, polls and cancels, and starts gangs of ranks for the supervisor.

Working directory, supervisor, agents and leashes are the same for all.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

from engine.errors import OptionError
from engine.spec import BACKENDS, JobSpec
from engine.working_dir import WorkingDir
from launch.order import Order

Status = Literal["pending", "running", "gone", "ended"]


class StartedGang(Protocol):
    """Ranks that were started, in the hands of the supervisor. ``containers``: how each rank ended, as far as their agents could tell."""

    @property
    def containers(self) -> list[dict[str, Any]]:
        """Every rank: its number, host, process and end."""

    @property
    def usage(self) -> list[dict[str, Any]]:
        """What each rank has used so far, as :func:`launch.usage.usage_of` says it."""

    def wait(self, within: float) -> dict[str, Any] | None:
        """Why the gang has ended, an object with ``cause`` and ``message``; None if it has not ``within`` these seconds."""

    def is_gone(self) -> bool:
        """Whether no process of it is left."""

    def stop(self, within: float) -> None:
        """Have it ended; it counts as lost if it has not ``within`` these seconds."""

    def end(self) -> None:
        """See to it that nothing is left of it. Has a deadline; may be called at any time, and twice."""


class Backend(Protocol):
    """One kind of place. Every call has a deadline."""

    def start_gang(self, order: Order) -> StartedGang:
        """Have ranks started, each below a leash that an agent on its machine watches; ``order.command`` is that of one rank."""

    def submit(self, wd: WorkingDir) -> None:
        """Have the job of a working directory started; returns at once. Raises :class:`engine.errors.EngineError` if that cannot be."""

    def submit_all(self, wds: Sequence[WorkingDir], at_once: int | None) -> None:
        """Have jobs started, of which at most ``at_once`` run at a time; those of an array, see :class:`launch.array.Array`."""

    def status(self, wd: WorkingDir) -> Status:
        """Whether the job waits, runs, has ended, or has no result and nobody who would come to one (``'gone'``)."""

    def cancel(self, wd: WorkingDir) -> None:
        """End the job as KILLED unless it has ended, and wait until nothing of it is left."""

    def cancel_all(self, wds: Sequence[WorkingDir]) -> None:
        """End several jobs, those that wait before those that run."""

    def make_sure_it_ended(self, wd: WorkingDir) -> None:
        """Publish FAILURE, saying why and naming the last checkpoint, for a job that is gone; clear what it left."""

    def page_url(self, wd: WorkingDir) -> str | None:
        """Where the page of a job that runs is served; None where it is a file of the job's directory."""

    def gather_logs(self, wd: WorkingDir) -> None:
        """Put the logs of a job that has ended into its directory, those that are elsewhere."""

    def tracking_url(self, wd: WorkingDir) -> str | None:
        """The address of the job's page, where its scheduler has pages."""


def cancel_in_turn(cancel: Callable[[WorkingDir], None], wds: Sequence[WorkingDir]) -> None:
    """End jobs one by one, the last ones first, which may still wait."""
    for wd in reversed(wds):
        if wd.result() is None:
            cancel(wd)


def backend_of(spec: JobSpec) -> Backend:
    """The backend that a job names. Raises :class:`OptionError` for a job without ``resources``."""
    if spec.resources is None:
        raise OptionError("expected 'resources' in a job to submit, got none: add them")
    assert spec.resources.backend in BACKENDS
    backend: Backend = importlib.import_module(f"launch.backends.{spec.resources.backend}").BACKEND
    return backend
