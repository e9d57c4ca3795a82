"""Several jobs that are submitted together: their directories are numbered from 1, so that one script, or one queue, knows them all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.working_dir import WorkingDir


@dataclass(frozen=True)
class Array:
    """The jobs in ``<stem>_1`` to ``<stem>_<count>``, of which at most ``at_once`` run at a time; None: as many as there is room for."""

    stem: str
    count: int
    at_once: int | None = None

    @classmethod
    def of(cls, wds: Sequence[WorkingDir], at_once: int | None) -> Array:
        """The array of jobs whose directories are numbered in order."""
        array = cls(wds[0].address.rpartition("_")[0], len(wds), at_once)
        assert [wd.address for wd in wds] == array.addresses
        return array

    @property
    def addresses(self) -> list[str]:
        """The jobs' working directories."""
        return [element_of(self.stem, number) for number in range(1, self.count + 1)]


def element_of(stem: str, number: int | str) -> str:
    """The directory of a job, by its number, or the name of a variable that has it."""
    return f"{stem}_{number}"
