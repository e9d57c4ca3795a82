"""What a supervisor orders of an agent."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, kw_only=True)
class Order:
    """A gang to start on one machine, or this machine's part of it.

    ``gang`` is a key that only its processes have in their environment. ``command`` is that of a rank for a backend, and for an agent the
    one that starts the ranks, ``ranks`` of them here from
    ``first_rank`` on, each below a leash. ``folder`` is where they start, ``scratch`` and ``logs`` are
    folders on this machine. ``memory`` is the most bytes a rank may use, None for no limit; ``hang_timeout`` in seconds, 0 for never.
    """

    gang: str
    command: list[str]
    ranks: int
    folder: str
    scratch: str
    logs: str
    first_rank: int = 0
    memory: int | None = None
    hang_timeout: float = 600.0
    environment: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """The order in one line."""
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Order:
        """The inverse of :meth:`to_json`."""
        return cls(**json.loads(text))
