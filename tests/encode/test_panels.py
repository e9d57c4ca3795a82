"""Panels: where the codes of a row lie."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from engine.encode.panels import CACHE_LINE, align_panels, fill_panels, panel_bytes, plan_panels


def make_panels(codes: np.ndarray, panel: np.ndarray, cuts: tuple[int, ...] = ()) -> np.ndarray:
    """The panels of all rows, filled from one cut to the next."""
    n_rows = codes.shape[1]
    out = align_panels(np.zeros(panel_bytes(panel, n_rows), dtype=np.uint8))
    bounds = [0, *(cut for cut in cuts if cut < n_rows), n_rows]
    for first, last in itertools.pairwise(bounds):
        fill_panels(codes, first, last, panel, out, num_threads=2)
    return out


@pytest.mark.parametrize(
    ("n_columns", "widths", "strides"),
    [
        (0, [], []),
        (1, [1], [1]),
        (5, [4, 1], [4, 1]),
        (14, [14], [16]),
        (28, [28], [32]),
        (33, [32, 1], [32, 1]),
        (50, [50], [64]),
        (500, [64] * 7 + [52], [64] * 8),
    ],
)
def test_rows_are_short_powers_of_two(n_columns: int, widths: list[int], strides: list[int]) -> None:
    panel = plan_panels(n_columns, 10)
    assert (panel[:, 1] - panel[:, 0]).tolist() == widths
    assert panel[:, 2].tolist() == strides
    assert panel[:, 0].tolist() == [0, *np.cumsum(widths)[:-1].tolist()][: len(widths)]


@pytest.mark.parametrize("n_columns", range(1, 200, 7))
def test_rows_are_three_quarters_full_and_straddle_no_cache_line(n_columns: int) -> None:
    panel = plan_panels(n_columns, 1001)
    assert (panel[:, 3] % CACHE_LINE == 0).all()
    for begin, end, stride, _ in panel.tolist():
        assert CACHE_LINE % stride == 0
        assert 4 * (end - begin) >= 3 * stride


@pytest.mark.parametrize("n_rows", [0, 1, 5000])
@pytest.mark.parametrize("n_columns", [1, 28, 100])
def test_panels_hold_the_codes(n_rows: int, n_columns: int) -> None:
    codes = np.random.default_rng(1).integers(0, 256, (n_columns, n_rows), dtype=np.uint8)
    panel = plan_panels(n_columns, n_rows)
    panels = make_panels(codes, panel, (3, 4097))
    assert panels.ctypes.data % CACHE_LINE == 0 or not n_rows
    for begin, end, stride, offset in panel.tolist():
        rows = panels[offset : offset + n_rows * stride].reshape(n_rows, stride)
        assert (rows[:, : end - begin] == codes[begin:end].T).all()
