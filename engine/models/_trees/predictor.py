"""The prediction kernels, called with an ensemble."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine._kernels.prediction import predict_leaves, predict_margins
from engine.collectives.agree import agree
from engine.encode.encoding import Encoding
from engine.models._rows import Rows
from engine.models._trees.ensemble import TreeEnsemble

WALKED = ("tree_start", "kind", "column", "threshold", "missing_yes", "yes", "no")


def compute_margins(ensemble: TreeEnsemble, encoding: Encoding, rows: Rows, num_threads: int) -> NDArray[np.float64]:
    """Margins of this rank's rows, [n_rows_local, n_outputs]; collective only in that one rank's bad data is every rank's error."""
    out = np.empty((rows.n_rows_local, ensemble.n_outputs))
    walked = [getattr(ensemble, name) for name in WALKED]
    with agree(rows.comm, "predicting"):
        for where, matrix in rows.pieces(encoding):
            predict_margins(matrix, ensemble.base_score, *walked, ensemble.value, out[where], num_threads)
    return out


def compute_leaves(ensemble: TreeEnsemble, encoding: Encoding, rows: Rows, num_threads: int) -> NDArray[np.int32]:
    """The leaf of every tree that each of this rank's rows reaches, [n_rows_local, n_trees]; collective as :func:`compute_margins`."""
    out = np.empty((rows.n_rows_local, ensemble.n_trees), dtype=np.int32)
    walked = [getattr(ensemble, name) for name in WALKED]
    with agree(rows.comm, "predicting"):
        for where, matrix in rows.pieces(encoding):
            predict_leaves(matrix, *walked, out[where], num_threads)
    return out
