"""Codes row by row in panels of columns, the layout that histograms read: a row of a panel lies within one cache line."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine._kernels.binning import interleave_codes

CACHE_LINE = 64


def plan_panels(n_narrow: int, n_wide: int, n_rows: int) -> NDArray[np.int64]:
    """Panels of columns whose codes take one byte, and of those whose codes take two, which come after them in a row.

    [n_panels, 6]: first narrow column, end, first wide column, end, bytes from row to row, where the panel begins. Rows are as long as a
    power of two, at most a cache line and at least three quarters full, so that none straddles two lines.
    """
    panels = []
    narrow = wide = offset = 0
    while narrow < n_narrow or wide < n_wide:
        stride = CACHE_LINE
        while 4 * (n_narrow - narrow + 2 * (n_wide - wide)) < 3 * stride:
            stride //= 2
        narrow_end = min(narrow + stride, n_narrow)
        wide_end = min(wide + (stride - (narrow_end - narrow)) // 2, n_wide)
        panels.append((narrow, narrow_end, wide, wide_end, stride, offset))
        narrow, wide = narrow_end, wide_end
        offset += -(-n_rows * stride // CACHE_LINE) * CACHE_LINE
    return np.array(panels, dtype=np.int64).reshape(len(panels), 6)


def panel_bytes(panel: NDArray[np.int64], n_rows: int) -> int:
    """Room for all panels, wherever it begins."""
    return int(panel[-1, 5] + n_rows * panel[-1, 4]) + CACHE_LINE if len(panel) else 0


def align_panels(room: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The part of ``room`` that begins at a cache line."""
    return room[-room.ctypes.data % CACHE_LINE :]


def fill_panels(
    narrow: NDArray[np.uint8],
    wide: NDArray[np.uint16],
    panel: NDArray[np.int64],
    out: NDArray[np.uint8],
    *,
    first: int,
    last: int,
    num_threads: int,
) -> None:
    """Put the codes [n_columns, n_rows] of the rows ``first`` to ``last`` into the panels ``out``; what pads rows is never read."""
    n_rows = narrow.shape[1]
    for begin, end, begin_wide, end_wide, stride, offset in panel.tolist():
        rows = out[offset : offset + n_rows * stride].reshape(n_rows, stride)
        interleave_codes(narrow[begin:end], wide[begin_wide:end_wide], first, last, rows, num_threads)
