"""Checkpoints of linear models: coefficients, the solver's memory, the progress so far, options, a fingerprint of the data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.checkpoint import Checkpoint, checkpoint_path, write_checkpoint
from engine.errors import DataError, ModelFileError, OptionError
from engine.models._linear.iterating import Iteration, Start
from engine.models._linear.solving import Trace
from engine.progress import ProgressTable

MAY_CHANGE = ("max_iterations",)


@dataclass(frozen=True)
class Place:
    """Where a training's checkpoints are, and what they say of it beside the solver's state."""

    folder: str | None
    interval: int
    named: str | None  # the checkpoint that the training went on from, which stays
    toolkit: str
    options: Mapping[str, Any]
    fingerprint: Mapping[str, Any]

    @property
    def is_used(self) -> bool:
        """Whether checkpoints are written."""
        return self.folder is not None and self.interval > 0


def save_iteration(place: Place, iteration: Iteration, trace: Trace, table: ProgressTable) -> None:
    """Write a checkpoint where it is time for one; on rank 0 alone. Raises :class:`StorageError`."""
    if not place.is_used or iteration.number % place.interval:
        return
    folder = place.folder or ""
    table.checkpoint(checkpoint_path(folder, iteration.number))
    content = {
        "options": dict(place.options),
        "fingerprint": dict(place.fingerprint),
        "state": {"passes": iteration.passes, "status": iteration.status, "memory": sorted(iteration.memory)},
        "progress": {"columns": list(trace.rows[0]), "rows": [list(row.values()) for row in trace.rows]},
    }
    arrays = {"w": iteration.point.w, **{f"memory {name}": np.asarray(value) for name, value in iteration.memory.items()}}
    checkpoint = Checkpoint("", iteration.number, content, arrays, {"elapsed_time": list(trace.seconds)})
    write_checkpoint(folder, checkpoint, toolkit=place.toolkit, named=place.named)


def check_checkpoint(checkpoint: Checkpoint, *, place: Place, max_iterations: int, n_coefficients: int) -> None:
    """Refuse a checkpoint of another training.

    Raises :class:`OptionError` that names the option that differs, :class:`DataError` for other data, :class:`ModelFileError` for what no
    training has written.
    """
    content, where = checkpoint.content, f"checkpoint {checkpoint.path!r}"
    try:
        if content["toolkit"] != place.toolkit:
            raise OptionError(f"{where} is of toolkit {content['toolkit']!r}, expected {place.toolkit!r}")
        for name in {**content["options"], **place.options}:
            expected, got = content["options"].get(name), place.options.get(name)
            if name not in MAY_CHANGE and expected != got:
                raise OptionError(f"{where} was trained with {name}={expected!r}, got {got!r}: resume with the same options")
        for name, got in place.fingerprint.items():
            expected = content["fingerprint"][name]
            if expected != got:
                raise DataError(f"{where} is of other data: its {name} is {expected!r}, got {got!r}; resume with the same data")
        if checkpoint.iteration > max_iterations:
            raise OptionError(
                f"{where} is of iteration {checkpoint.iteration}, past max_iterations={max_iterations!r}: allow as many or more"
            )
        if len(content["progress"]["rows"]) != checkpoint.iteration:
            raise ModelFileError(f"{where} is damaged: it has no progress of {checkpoint.iteration} iterations; use another")
        start = start_of(checkpoint)
        if start.w.shape != (n_coefficients,) or not np.isfinite(start.w).all():
            raise ModelFileError(
                f"{where} is damaged: expected {n_coefficients} finite coefficients, got shape {start.w.shape}; use another"
            )
    except (KeyError, TypeError, AttributeError) as error:
        raise ModelFileError(f"{where} is damaged: {error!r}; use another") from error


def start_of(checkpoint: Checkpoint) -> Start:
    """Where the solver goes on."""
    state = checkpoint.content["state"]
    memory = {name: checkpoint.arrays[f"memory {name}"] for name in state["memory"]}
    return Start(checkpoint.arrays["w"], checkpoint.iteration, int(state["passes"]), memory)


def trace_of(checkpoint: Checkpoint) -> Trace:
    """The progress up to the checkpoint."""
    progress = checkpoint.content["progress"]
    rows = [dict(zip(progress["columns"], row, strict=True)) for row in progress["rows"]]
    seconds = [float(value) for value in checkpoint.run.get("elapsed_time") or [0.0] * len(rows)]
    return Trace(rows, seconds if len(seconds) == len(rows) and all(map(math.isfinite, seconds)) else [0.0] * len(rows))
