"""Which job is meant: by its id, the beginning of one, or its working directory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from engine import storage
from engine.errors import EngineError, MissingFileError, OptionError

if TYPE_CHECKING:
    from launch.clusters import Cluster
    from launch.job import Job

# What every id begins with, so that its beginning may be left out.
_PREFIX = "dml_job_"


def find_job(word: str) -> Job:
    """The job that ``word`` means: a working directory if there is a slash in it, else an id, or the beginning of just one.

    Raises :class:`OptionError` if several ids begin so, :class:`MissingFileError` if none does, or there is no job.
    """
    from launch.job import load_job

    if "/" in word:
        return load_job(word)
    return load_job(_find_address(word))


def list_ids() -> list[str]:
    """The ids of all jobs in the working directories of the clusters that are kept."""
    return [name for folder in _folders() for name in _names_in(folder)]


def find_cluster(name: str) -> Cluster:
    """The cluster of that name. Raises :class:`MissingFileError` if there is none."""
    from launch.clusters import environments

    try:
        return environments[name]
    except KeyError:
        known = ", ".join(environments) or "none yet"
        raise MissingFileError(f"no cluster is called {name!r} ({known}): samesum cluster create makes one") from None


def _find_address(word: str) -> str:
    found: dict[str, str] = {}
    failure: EngineError | None = None
    for folder in _folders():
        try:
            names = _names_in(folder)
        except EngineError as error:  # a cluster out of reach hides no job of another
            failure = error
            continue
        found.update((name, storage.join(folder, name)) for name in names if name.startswith((word, _PREFIX + word)))
    if len(found) == 1 or word in found:
        return found.get(word) or next(iter(found.values()))
    if found:
        raise OptionError(f"expected the beginning of one job's id, got {word!r}, which begins {', '.join(sorted(found))}")
    raise failure or MissingFileError(f"no job's id begins with {word!r}: samesum jobs lists them; or give a working directory")


def _folders() -> Iterable[str]:
    from launch.clusters import environments

    return dict.fromkeys(cluster.working_dir for cluster in environments.values())


def _names_in(folder: str) -> list[str]:
    try:
        return [entry.name for entry in storage.list_folder(folder) if entry.is_folder]
    except MissingFileError:
        return []
