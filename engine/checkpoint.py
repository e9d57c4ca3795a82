"""Checkpoints: folders ``model_checkpoint_<N>`` that hold a training after N iterations, in the format of :mod:`engine.model_io`.

They lie on any kind of storage. A checkpoint appears whole or not at all, its files carry checksums, and rank 0 alone writes and reads.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine import storage
from engine.collectives.communicator import Communicator
from engine.data.shard_plan import share_from_root
from engine.errors import MissingFileError, ModelFileError, SupersededError, warn
from engine.model_io import MODEL_FILE, Arrays, holds, pack_model, put_model, read_model

PREFIX = "model_checkpoint_"
_NAME = re.compile(rf"{PREFIX}(\d+)")
KEPT = 2


def _always() -> bool:
    return True


_may_publish: ContextVar[Callable[[], bool]] = ContextVar("may_publish", default=_always)


@dataclass(frozen=True)
class Checkpoint:
    """A training after ``iteration`` iterations: ``content`` is the same however it was run, ``run`` need not be."""

    path: str
    iteration: int
    content: dict[str, Any]
    arrays: Arrays
    run: dict[str, Any]


@contextlib.contextmanager
def publishing_while(may_publish: Callable[[], bool]) -> Iterator[None]:
    """In this block, ``may_publish`` is asked before anything becomes visible: a fence around a job that another has taken over.

    Where it says no, :func:`write_checkpoint` raises :class:`SupersededError` and has written nothing that anyone sees.
    """
    token = _may_publish.set(may_publish)
    try:
        yield
    finally:
        _may_publish.reset(token)


def check_may_publish() -> None:
    """Raise :class:`SupersededError` if :func:`publishing_while` is in force and says no."""
    if not _may_publish.get()():
        raise SupersededError("another attempt of this job has taken over, or the job has ended: this one writes nothing more")


def checkpoint_path(folder: str, iteration: int) -> str:
    """Where the checkpoint of an iteration is kept."""
    return storage.join(folder, f"{PREFIX}{iteration}")


def write_checkpoint(
    folder: str, checkpoint: Checkpoint, *, toolkit: str, named: str | None, may_publish: Callable[[], bool] | None = None
) -> None:
    """Write a checkpoint, then remove what is older: all of the folder but the whole one before and the one ``named`` in a resume.

    An equal one that is there already is left as it is. ``may_publish`` is asked just before the checkpoint appears; None asks the fence
    of :func:`publishing_while`. Raises :class:`SupersededError` where it says no, :class:`StorageError`.
    """
    target = checkpoint_path(folder, checkpoint.iteration)
    document = {"toolkit": toolkit, "checkpoint": {"iteration": checkpoint.iteration, **checkpoint.content}}
    packed = pack_model(document, checkpoint.arrays, checkpoint.run)
    with publishing_while(may_publish) if may_publish is not None else contextlib.nullcontext():
        check_may_publish()
        if not holds(target, packed):
            put_model(target, packed)
        _remove_earlier(folder, checkpoint.iteration, named)


def remove_partial(folder: str) -> None:
    """Remove what a job that was killed while it wrote has left in the folder."""
    _remove_partial(folder, _names(folder))


def list_checkpoints(folder: str) -> list[tuple[int, str]]:
    """Iterations and addresses of all checkpoints of a folder, whole or not, the latest first."""
    return _checkpoints(folder, _names(folder))


def read_checkpoint(path: str) -> Checkpoint:
    """The checkpoint at ``path``.

    Raises :class:`MissingFileError` if nothing is there, :class:`ModelFileError` if it is damaged, cut short or no checkpoint.
    """
    document, arrays, run = read_model(path)
    content = document.get("checkpoint")
    if not isinstance(content, Mapping) or not isinstance(content.get("iteration"), int):
        raise ModelFileError(f"{path!r} is no checkpoint; expected a folder {PREFIX}<N> that a training wrote")
    rest = {name: value for name, value in content.items() if name != "iteration"}
    return Checkpoint(path, content["iteration"], {**rest, "toolkit": document.get("toolkit")}, arrays, dict(run or {}))


def find_checkpoint(resume: str, folder: str | None, check: Callable[[Checkpoint], None]) -> Checkpoint | None:
    """The checkpoint to resume from: the one at ``resume``, or for 'auto' the newest of ``folder`` that passes, None if none does.

    ``check`` raises for a checkpoint that is not of this training. 'auto' warns of those that it passes over.
    """
    if resume != "auto":
        checkpoint = read_checkpoint(resume)
        check(checkpoint)
        return checkpoint
    for _, path in list_checkpoints(folder or "."):
        try:
            checkpoint = read_checkpoint(path)
            check(checkpoint)
        except (ModelFileError, MissingFileError, ValueError) as error:
            warn(f"not resuming from {path!r}: {error}")
        else:
            return checkpoint
    return None


def share_checkpoint(comm: Communicator, find: Callable[[], Checkpoint | None]) -> Checkpoint | None:
    """Rank 0's ``find()`` on every rank; its error is every rank's. Collective."""
    found: list[Checkpoint | None] = [None]

    def describe() -> Any:
        found[0] = checkpoint = find()
        if checkpoint is None:
            return None
        arrays = [[name, array.dtype.str, list(array.shape)] for name, array in checkpoint.arrays.items()]
        return [checkpoint.path, checkpoint.iteration, checkpoint.content, arrays, checkpoint.run]

    shared = share_from_root(comm, describe, stage="reading a checkpoint")
    if shared is None:
        return None
    path, iteration, content, shapes, run = shared
    arrays = {}
    for name, dtype, shape in shapes:
        arrays[name] = np.ascontiguousarray(found[0].arrays[name]) if found[0] is not None else np.empty(shape, dtype)
        comm.broadcast(arrays[name], name="share a checkpoint")
    return Checkpoint(path, iteration, content, arrays, run)


def _names(folder: str) -> list[str]:
    """Names in a folder; none where there is no folder yet."""
    try:
        return [entry.name for entry in storage.list_folder(folder)]
    except MissingFileError:
        return []


def _checkpoints(folder: str, names: list[str]) -> list[tuple[int, str]]:
    matches = [match for name in names if (match := _NAME.fullmatch(name))]
    return sorted(((int(match.group(1)), storage.join(folder, match.group())) for match in matches), reverse=True)


def _remove_partial(folder: str, names: list[str]) -> None:
    for name in names:
        if name.startswith(f".{PREFIX}"):
            storage.remove(storage.join(folder, name))


def _remove_earlier(folder: str, iteration: int, named: str | None) -> None:
    """Keep of the earlier checkpoints the newest that is whole, as far as its manifest says, and the one named; nothing half written."""
    names, kept = _names(folder), 1
    for number, path in _checkpoints(folder, names):
        if number >= iteration or (named is not None and _is_same(path, named)):
            continue
        if kept < KEPT and storage.exists(storage.join(path, MODEL_FILE)):
            kept += 1
        else:
            storage.remove(path)
    _remove_partial(folder, names)


def _is_same(first: str, second: str) -> bool:
    """Whether two addresses are of one folder."""
    if storage.is_local(first) and storage.is_local(second):
        return os.path.realpath(storage.local_path(first)) == os.path.realpath(storage.local_path(second))
    return first.rstrip("/") == second.rstrip("/")
