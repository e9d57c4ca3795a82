"""What a checkpoint of trees holds: the trees and progress so far, the options, and a fingerprint of the data.

There is no more state: samples are functions of the seed, and scores are computed again by sending all rows down all trees in their order.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine._kernels.routing import hash_rows
from engine.checkpoint import Checkpoint
from engine.collectives.communicator import Communicator
from engine.encode.encoding import Encoding
from engine.errors import DataError, ModelFileError, OptionError
from engine.models._trees.checks import check_ensemble
from engine.models._trees.ensemble import TreeEnsemble
from engine.models._trees.routing import RowCodes
from engine.models._trees.training_rows import Rows
from engine.models._trees.validation import ValidationRows

MAY_CHANGE = ("max_iterations",)


def fingerprint_data(
    rows: Rows, validation: ValidationRows | None, *, target: str, initial: str | None, num_threads: int, comm: Communicator
) -> dict[str, Any]:
    """What tells this training's data from another's, the same on any number of ranks; collective."""
    thresholds = hashlib.sha256()
    for spec in rows.bins.specs:
        thresholds.update(json.dumps([len(spec.thresholds), spec.has_missing, spec.n_categories]).encode())
        thresholds.update(np.ascontiguousarray(spec.thresholds).tobytes())
    schema = json.dumps([target, rows.classes, rows.encoding.to_json()])
    shared: dict[str, Any] = {"num_threads": num_threads, "comm": comm}
    training = hash_data(RowCodes.of_bins(rows.bins), rows.y, rows.weights, first_row=rows.first_row, **shared)
    checking = None
    if validation is not None:
        checking = hash_data(validation.codes, validation.y, validation.weights, first_row=validation.first_row, **shared)
    return {
        "columns": hashlib.sha256(schema.encode()).hexdigest(),
        "num_examples": rows.n_rows,
        "bins": thresholds.hexdigest(),
        "rows": training,
        "num_validation_examples": 0 if validation is None else validation.n_rows,
        "validation rows": checking,
        "initial model": initial,
    }


def hash_data(
    codes: RowCodes, y: NDArray[Any], weights: NDArray[np.float64] | None, *, first_row: int, num_threads: int, comm: Communicator
) -> str:
    """A hash of all ranks' rows: numbers of rows, bin codes, targets, weights; collective."""
    own = np.ones(len(y)) if weights is None else weights
    words = np.stack([y.astype(np.float64).view(np.uint64), own.view(np.uint64)])
    total = np.array([hash_rows(codes.narrow, codes.wide, words, first_row, num_threads)], dtype=np.uint64)
    comm.allreduce_sum(total, name="hash the data")
    return f"{int(total[0]):016x}"


def check_checkpoint(
    checkpoint: Checkpoint, *, toolkit: str, options: Mapping[str, Any], fingerprint: Mapping[str, Any], encoding: Encoding
) -> None:
    """Refuse a checkpoint of another training.

    Raises :class:`OptionError` that names the option that differs, :class:`DataError` for other data, :class:`ModelFileError` for what no
    training has written.
    """
    content, where = checkpoint.content, f"checkpoint {checkpoint.path!r}"
    try:
        if content["toolkit"] != toolkit:
            raise OptionError(f"{where} is of toolkit {content['toolkit']!r}, expected {toolkit!r}")
        for name in {**content["options"], **options}:
            expected, got = content["options"].get(name), options.get(name)
            if name not in MAY_CHANGE and expected != got:
                raise OptionError(f"{where} was trained with {name}={expected!r}, got {got!r}: resume with the same options")
        for name in fingerprint:
            expected, got = content["fingerprint"][name], fingerprint[name]
            if expected != got:
                raise DataError(f"{where} is of other data: its {name} is {expected!r}, got {got!r}; resume with the same data")
        if not content["progress"]["rows"] or len(content["progress"]["rows"]) != checkpoint.iteration:
            raise ModelFileError(f"{where} is damaged: it has no progress of {checkpoint.iteration} iterations; use another")
        check_ensemble(saved_trees(checkpoint), encoding)
    except (KeyError, TypeError, AttributeError) as error:
        raise ModelFileError(f"{where} is damaged: {error!r}; use another") from error


def saved_trees(checkpoint: Checkpoint) -> TreeEnsemble:
    """The trees of a checkpoint, without those that its training went on from."""
    arrays: dict[str, Any] = checkpoint.arrays
    return TreeEnsemble(checkpoint.content["n_outputs"], 0.0, **arrays)
