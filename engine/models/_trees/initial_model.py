"""Training that goes on from a model: its margins are the first scores, and its trees come first in the new model.

The new encoding has the categories, keys and elements of both, so that either's trees ask the same questions of the same columns.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine.collectives.serial import SerialComm
from engine.encode.encoding import EncodedColumn, Encoding
from engine.encode.features import shorten
from engine.errors import DataError, OptionError
from engine.models._rows import Rows
from engine.models._trees.ensemble import CATEGORY, LEAF, SUBSET, TreeEnsemble
from engine.models._trees.predictor import compute_margins

NUMBERS = ("int", "float")  # a feature of one kind may go on as the other


@dataclass(frozen=True)
class InitialModel:
    """The model that training goes on from."""

    toolkit: str
    features: list[str]
    target: str
    classes: list[Any] | None
    loss: str
    encoding: Encoding
    ensemble: TreeEnsemble

    def check_options(self, *, toolkit: str, target: str, loss: str) -> None:
        """Refuse to go on with another task."""
        for name, expected, got in (("toolkit", self.toolkit, toolkit), ("target", self.target, target), ("objective", self.loss, loss)):
            if expected != got:
                raise OptionError(f"initial_model has the {name} {expected!r}, expected {got!r}: go on from a model of the same task")

    def check_features(self, features: Sequence[str]) -> None:
        """Refuse other features than those of the model."""
        if sorted(features) != sorted(self.features):
            raise OptionError(f"initial_model has the features {shorten(self.features)}, expected {shorten(list(features))}: pass the same")

    def check_classes(self, classes: list[Any] | None) -> None:
        """Refuse data of other classes."""
        if classes != self.classes:
            expected, got = (None if each is None else shorten(each) for each in (self.classes, classes))
            raise OptionError(f"initial_model has the classes {expected}, the data {got}: they must be the same")

    def scores(self, table: pa.Table, *, num_threads: int) -> NDArray[np.float64]:
        """Its margins of this rank's rows, [n_outputs, n_rows_local]."""
        rows = Rows(table, 0, table.num_rows, SerialComm())
        return np.ascontiguousarray(compute_margins(self.ensemble, self.encoding, rows, num_threads).T)

    def moved(self, encoding: Encoding) -> TreeEnsemble:
        """Its trees, asking the columns and categories of :func:`join_encodings`."""
        return move_trees(self.ensemble, self.encoding, encoding)

    def fingerprint(self) -> str:
        """SHA-256 of its encoding and trees."""
        digest = hashlib.sha256(json.dumps([self.encoding.to_json(), self.ensemble.base_score]).encode())
        for array in self.ensemble.arrays().values():
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def join_encodings(new: Encoding, old: Encoding) -> Encoding:
    """The columns and categories of both. Raises :class:`DataError` where a feature is of another kind, or a vector of another length."""
    columns: list[EncodedColumn] = []
    for name, kind in new.sources.items():
        was = old.sources[name]
        if kind != was and not (kind in NUMBERS and was in NUMBERS):
            raise DataError(f"feature {name!r} is of kind {was!r} in the initial model, got {kind!r}; convert the column")
        ours, theirs = ([column for column in each.columns if column.source == name] for each in (new, old))
        if kind == "vector" and len(ours) != len(theirs):
            raise DataError(f"feature {name!r} has vectors of length {len(theirs)} in the initial model, got length {len(ours)}")
        if kind == "str":
            merged = sorted({*ours[0].categories, *theirs[0].categories}, key=item_order)
            columns.append(replace(ours[0], categories=tuple(merged)))
        elif kind in ("dict", "list"):
            columns += sorted({column.item: column for column in [*theirs, *ours]}.values(), key=lambda column: item_order(column.item))
        else:
            columns += ours
    return Encoding(new.sources, tuple(columns))


def item_order(item: Any) -> Any:
    """Strings by their UTF-8 bytes, None last."""
    return (item is None, item.encode() if isinstance(item, str) else b"")


def move_trees(ensemble: TreeEnsemble, old: Encoding, new: Encoding) -> TreeEnsemble:
    """The same trees over another encoding, which has all columns and categories of the old one."""
    places = {(column.source, column.item): place for place, column in enumerate(new.columns)}
    column_of = np.array([places[column.source, column.item] for column in old.columns], dtype=np.int32)
    codes = [np.array([new.columns[column_of[j]].categories.index(c) for c in column.categories]) for j, column in enumerate(old.columns)]
    threshold = ensemble.threshold.copy()
    words: list[NDArray[np.uint64]] = [ensemble.set_bits[:0]] * (len(ensemble.set_start) - 1)
    for node in np.flatnonzero((ensemble.kind == CATEGORY) | (ensemble.kind == SUBSET)).tolist():
        code_of = codes[ensemble.column[node]]
        number = int(threshold[node])
        if ensemble.kind[node] == CATEGORY:
            threshold[node] = code_of[number]
        else:
            bits = ensemble.set_bits[ensemble.set_start[number] : ensemble.set_start[number + 1]]
            words[number] = pack_codes(code_of[unpack_codes(bits)])
    return replace(
        ensemble,
        column=np.where(ensemble.kind == LEAF, np.int32(-1), column_of[ensemble.column]),
        threshold=threshold,
        set_start=np.cumsum([0, *map(len, words)], dtype=np.int64),
        set_bits=np.concatenate([ensemble.set_bits[:0], *words]),
    )


def unpack_codes(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The codes whose bits are set."""
    return np.flatnonzero(np.unpackbits(words.astype("<u8").view(np.uint8), bitorder="little"))


def pack_codes(codes: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Bit ``c & 63`` of word ``c >> 6`` for every code c."""
    bits = np.zeros(64 * (int(codes.max(initial=-1)) // 64 + 1), dtype=np.uint8)
    bits[codes] = 1
    return np.packbits(bits, bitorder="little").view("<u8").astype(np.uint64)


def join_ensembles(first: TreeEnsemble, second: TreeEnsemble) -> TreeEnsemble:
    """The trees of both over one encoding, those of ``first`` first."""
    n_sets, n_nodes = len(first.set_start) - 1, len(first.kind)
    moved = replace(
        second,
        tree_start=second.tree_start[1:] + n_nodes,
        threshold=second.threshold + n_sets * (second.kind == SUBSET),
        set_start=second.set_start[1:] + len(first.set_bits),
    )
    joined: dict[str, Any] = {name: np.concatenate([array, getattr(moved, name)]) for name, array in first.arrays().items()}
    return replace(first, **joined)
