"""From encoded rows to leaves and margins."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine._kernels.contributions import explain_rows
from engine.collectives.agree import agree
from engine.encode.encoding import Encoding
from engine.models._rows import Rows
from engine.models._trees.ensemble import TreeEnsemble
from engine.models._trees.packing import CodedTrees

Floats = NDArray[np.float64]
PIECE_CELLS = 1 << 22  # of values or answers
PIECE_ROWS = 1 << 15  # a column of so many float64 stays in a second-level cache


class Predictor:
    """An ensemble made ready to answer for many rows."""

    def __init__(self, ensemble: TreeEnsemble, encoding: Encoding) -> None:
        self.ensemble, self.encoding = ensemble, encoding
        self.trees = CodedTrees(ensemble)

    def __reduce__(self) -> tuple[Any, ...]:
        return Predictor, (self.ensemble, self.encoding)

    def margins(self, rows: Rows, num_threads: int) -> Floats:
        """Margins of this rank's rows, [n_rows_local, n_outputs]; collective only in that one rank's bad data is every rank's error."""
        out = np.full((rows.n_rows_local, self.ensemble.n_outputs), self.ensemble.base_score)
        self._fill(rows, out, lambda piece, part: self.trees.add_values(self.encoding.values(piece), part), num_threads)
        return out

    def leaves(self, rows: Rows, num_threads: int) -> NDArray[np.int32]:
        """The leaf of every tree that each of this rank's rows reaches, [n_rows_local, n_trees]; collective as :meth:`margins`."""
        out = np.empty((rows.n_rows_local, self.ensemble.n_trees), dtype=np.int32)
        self._fill(rows, out, lambda piece, part: self.trees.store_leaves(self.encoding.values(piece), part), num_threads)
        return out

    def contributions(self, rows: Rows, num_threads: int) -> Floats:
        """Shapley values of this rank's rows, [n_rows_local, n_outputs, n_unpacked_features + 1], the last being the expected value."""
        features, trees = feature_numbers(self.encoding), self.ensemble.arrays()
        del trees["gain"]
        out = np.zeros((rows.n_rows_local, self.ensemble.n_outputs, len(self.encoding.unpacked_features) + 1))
        out[:, :, -1] = self.ensemble.base_score

        def explain(piece: pa.Table, part: Floats) -> None:
            explain_rows(self.encoding.matrix(piece), **trees, feature=features, out=part)

        self._fill(rows, out, explain, num_threads)
        return out

    def _fill(self, rows: Rows, out: NDArray[Any], answer: Callable[[pa.Table, NDArray[Any]], None], num_threads: int) -> None:
        """Have ``answer`` fill ``out`` for all rows, in pieces, ``num_threads`` of them at a time; no bit depends on the pieces."""

        def fill_piece(begin: int) -> None:
            piece = rows.table.slice(begin, step)
            answer(piece, out[begin : begin + piece.num_rows])

        step = max(256, min(PIECE_ROWS, PIECE_CELLS // max(1, len(self.encoding.columns), *out.shape[1:])) // 256 * 256)
        begins = range(0, rows.n_rows_local, step)
        with agree(rows.comm, "predicting"):
            if min(num_threads, len(begins)) <= 1:
                for begin in begins:
                    fill_piece(begin)
            else:
                with ThreadPoolExecutor(min(num_threads, len(begins))) as pool:
                    list(pool.map(fill_piece, begins))


def feature_numbers(encoding: Encoding) -> NDArray[np.int32]:
    """The number, among the unpacked features, of each encoded column's."""
    names: dict[str, int] = {}
    apart = [encoding.sources[column.source] in ("vector", "dict") for column in encoding.columns]
    keys = [f"{c.source}[{c.item}]" if unpacked else c.source for c, unpacked in zip(encoding.columns, apart, strict=True)]
    return np.array([names.setdefault(key, len(names)) for key in keys], dtype=np.int32)


def compute_margins(ensemble: TreeEnsemble, encoding: Encoding, rows: Rows, num_threads: int) -> Floats:
    """:meth:`Predictor.margins` of an ensemble that is asked once."""
    return Predictor(ensemble, encoding).margins(rows, num_threads)
