"""Where jobs run. A backend submits, polls and cancels; working directory, supervisor, agents and leashes are the same for all."""

from __future__ import annotations

import importlib
from typing import Literal, Protocol

from engine.errors import OptionError
from engine.spec import BACKENDS, JobSpec
from engine.working_dir import WorkingDir

Status = Literal["pending", "running", "gone", "ended"]


class Backend(Protocol):
    """One kind of place. Every call has a deadline."""

    def submit(self, wd: WorkingDir) -> None:
        """Have the job of a working directory started; returns at once. Raises :class:`engine.errors.EngineError` if that cannot be."""

    def status(self, wd: WorkingDir) -> Status:
        """Whether the job waits, runs, has ended, or has no result and nobody who would come to one (``'gone'``)."""

    def cancel(self, wd: WorkingDir) -> None:
        """End the job as KILLED unless it has ended, and wait until nothing of it is left."""

    def make_sure_it_ended(self, wd: WorkingDir) -> None:
        """Publish FAILURE, saying why and naming the last checkpoint, for a job that is gone; clear what it left."""


def backend_of(spec: JobSpec) -> Backend:
    """The backend that a job names. Raises :class:`OptionError` for a job without ``resources``."""
    if spec.resources is None:
        raise OptionError("expected 'resources' in a job to submit, got none: add them")
    assert spec.resources.backend in BACKENDS
    backend: Backend = importlib.import_module(f"launch.backends.{spec.resources.backend}").BACKEND
    return backend
