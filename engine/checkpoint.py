"""Checkpoints: folders ``model_checkpoint_<N>`` that hold a training after N iterations, in the format of :mod:`engine.model_io`.

A checkpoint appears whole or not at all, its files carry checksums, and rank 0 alone writes and reads.
"""

from __future__ import annotations

import contextlib
import pathlib
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.collectives.communicator import Communicator
from engine.data.shard_plan import share_from_root
from engine.errors import MissingFileError, ModelFileError, SupersededError, warn
from engine.model_io import ARRAYS_FILE, MODEL_FILE, RUN_FILE, Arrays, local_folder, read_model, write_model

PREFIX = "model_checkpoint_"
_NAME = re.compile(rf"{PREFIX}(\d+)")
KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """A training after ``iteration`` iterations: ``content`` is the same however it was run, ``run`` need not be."""

    path: str
    iteration: int
    content: dict[str, Any]
    arrays: Arrays
    run: dict[str, Any]


def checkpoint_path(folder: str, iteration: int) -> pathlib.Path:
    """Where the checkpoint of an iteration is kept."""
    return pathlib.Path(local_folder(folder)) / f"{PREFIX}{iteration}"


_fences: list[Callable[[], bool]] = []


@contextlib.contextmanager
def fenced_by(may_publish: Callable[[], bool]) -> Iterator[None]:
    """Write no checkpoints meanwhile once ``may_publish()`` is false, as when another attempt of a job has taken over."""
    _fences.append(may_publish)
    try:
        yield
    finally:
        _fences.remove(may_publish)


def write_checkpoint(folder: str, checkpoint: Checkpoint, *, toolkit: str, named: str | None) -> None:
    """Write a checkpoint, then remove all earlier ones of the folder but the one before and the one ``named`` in a resume.

    Raises :class:`StorageError`, and :class:`SupersededError` instead of writing where a fence says so.
    """
    if not all(may_publish() for may_publish in _fences):
        raise SupersededError("another attempt of this job has taken over, or the job has ended")
    target = checkpoint_path(folder, checkpoint.iteration)
    if target.is_dir() and not (target / MODEL_FILE).exists() and {each.name for each in target.iterdir()} <= {ARRAYS_FILE, RUN_FILE}:
        shutil.rmtree(target, ignore_errors=True)  # the rest of a broken one
    document = {"toolkit": toolkit, "checkpoint": {"iteration": checkpoint.iteration, **checkpoint.content}}
    write_model(target, document, checkpoint.arrays, checkpoint.run)
    earlier = [path for iteration, path in list_checkpoints(folder) if iteration < checkpoint.iteration]
    for path in earlier[KEPT - 1 :]:
        if named is None or path.resolve() != pathlib.Path(local_folder(named)).resolve():
            shutil.rmtree(path, ignore_errors=True)


def remove_partial(folder: str) -> None:
    """Remove what a job that was killed while it wrote has left in the folder."""
    for path in pathlib.Path(local_folder(folder)).glob(f".{PREFIX}*"):
        shutil.rmtree(path, ignore_errors=True)


def list_checkpoints(folder: str) -> list[tuple[int, pathlib.Path]]:
    """Iterations and paths of all checkpoints of a folder, whole or not, the latest first."""
    found = []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for path in pathlib.Path(local_folder(folder)).iterdir():
            if match := _NAME.fullmatch(path.name):
                found.append((int(match.group(1)), path))
    return sorted(found, reverse=True)


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
            checkpoint = read_checkpoint(str(path))
            check(checkpoint)
        except (ModelFileError, MissingFileError, ValueError) as error:
            warn(f"not resuming from {str(path)!r}: {error}")
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
