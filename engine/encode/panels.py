"""Codes row by row in panels of columns, the layout that histograms read: a row of a panel lies within one cache line."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine._kernels.binning import interleave_codes

CACHE_LINE = 64


def plan_panels(n_columns: int, n_rows: int) -> NDArray[np.int64]:
    """Panels of ``n_columns`` columns: [n_panels, 4], first column, end column, bytes from row to row, where the panel begins.

    Rows are as long as a power of two, at most a cache line and at least three quarters full, so that none straddles two lines.
    """
    panels = []
    column = offset = 0
    while column < n_columns:
        stride = CACHE_LINE
        while 4 * (n_columns - column) < 3 * stride:
            stride //= 2
        end = min(column + stride, n_columns)
        panels.append((column, end, stride, offset))
        column = end
        offset += -(-n_rows * stride // CACHE_LINE) * CACHE_LINE
    return np.array(panels, dtype=np.int64).reshape(len(panels), 4)


def panel_bytes(panel: NDArray[np.int64], n_rows: int) -> int:
    """Room for all panels, wherever it begins."""
    return int(panel[-1, 3] + n_rows * panel[-1, 2]) + CACHE_LINE if len(panel) else 0


def align_panels(room: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The part of ``room`` that begins at a cache line."""
    return room[-room.ctypes.data % CACHE_LINE :]


def fill_panels(
    codes: NDArray[np.uint8], first: int, last: int, panel: NDArray[np.int64], out: NDArray[np.uint8], *, num_threads: int
) -> None:
    """Put ``codes`` [n_columns, n_rows] of the rows ``first`` to ``last`` into the panels ``out``; what pads rows is never read."""
    n_rows = codes.shape[1]
    for begin, end, stride, offset in panel.tolist():
        rows = out[offset : offset + n_rows * stride].reshape(n_rows, stride)
        interleave_codes(codes[begin:end], first, last, rows, num_threads)
