"""What a page shows: plain data, taken at one moment, from wherever a training is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

ENDED = ("SUCCESS", "FAILURE", "KILLED")


class Row(NamedTuple):
    """An iteration: its number, and its values by column."""

    number: int
    values: Mapping[str, Any]


class Log(NamedTuple):
    """The end of a log: ``size`` is that of all of it in bytes."""

    name: str
    text: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Report:
    """A training, or another job, at the moment ``taken`` (seconds since 1970).

    ``state`` is PENDING, RUNNING, SUCCESS, FAILURE, KILLED or UNKNOWN; ``note`` what there is to say of it, such as why it failed.
    ``facts``, ``data``, ``options`` and ``versions`` are names with values. ``rows`` are those of all iterations, of which there may be
    ``total``.
    ``ranks`` are objects as :func:`launch.usage.usage_of` makes them, ``attempts`` have ``attempt``, ``host``, ``began``, ``ended`` and
    ``message``, ``containers`` are those of a working directory. ``restarts`` and ``checkpoints`` have ``iteration`` and ``time``, and
    checkpoints ``name`` and whether they are ``kept``. ``memory_limit`` is that of each rank, in bytes.
    """

    name: str
    state: str
    taken: float
    note: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, Any] = field(default_factory=dict)
    rows: Sequence[Row] = ()
    total: int | None = None
    began: float | None = None
    ended: float | None = None
    ranks: Sequence[Mapping[str, Any]] = ()
    memory_limit: int | None = None
    attempts: Sequence[Mapping[str, Any]] = ()
    restarts: Sequence[Mapping[str, Any]] = ()
    checkpoints: Sequence[Mapping[str, Any]] = ()
    containers: Sequence[Mapping[str, Any]] = ()
    files: Mapping[str, Any] = field(default_factory=dict)
    logs: Sequence[Log] = ()

    @property
    def has_ended(self) -> bool:
        """Whether nothing of it will change any more."""
        return self.state in ENDED
