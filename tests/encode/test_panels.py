"""Panels: where the codes of a row lie."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from engine.encode.panels import CACHE_LINE, align_panels, fill_panels, panel_bytes, plan_panels


def make_panels(narrow: np.ndarray, wide: np.ndarray, panel: np.ndarray, cuts: tuple[int, ...] = ()) -> np.ndarray:
    """The panels of all rows, filled from one cut to the next."""
    n_rows = narrow.shape[1]
    out = align_panels(np.zeros(panel_bytes(panel, n_rows), dtype=np.uint8))
    bounds = [0, *(cut for cut in cuts if cut < n_rows), n_rows]
    for first, last in itertools.pairwise(bounds):
        fill_panels(narrow, wide, panel, out, first=first, last=last, num_threads=2)
    return out


def codes_of_panel(panel: list[int], panels: np.ndarray, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """The codes [n_rows, n_columns] of a panel's narrow and wide columns."""
    begin, end, begin_wide, end_wide, stride, offset = panel
    rows = panels[offset : offset + n_rows * stride].reshape(n_rows, stride)
    n_narrow = end - begin
    wide = rows[:, n_narrow : n_narrow + 2 * (end_wide - begin_wide)].copy().view(np.uint16)
    return rows[:, :n_narrow], wide


@pytest.mark.parametrize(
    ("n_narrow", "n_wide", "widths", "strides"),
    [
        (0, 0, [], []),
        (1, 0, [(1, 0)], [1]),
        (5, 0, [(4, 0), (1, 0)], [4, 1]),
        (14, 0, [(14, 0)], [16]),
        (28, 0, [(28, 0)], [32]),
        (33, 0, [(32, 0), (1, 0)], [32, 1]),
        (50, 0, [(50, 0)], [64]),
        (500, 0, [(64, 0)] * 7 + [(52, 0)], [64] * 8),
        (0, 1, [(0, 1)], [2]),
        (1, 1, [(1, 1)], [4]),
        (1, 2, [(1, 1), (0, 1)], [4, 2]),
        (15, 5, [(15, 5)], [32]),
        (63, 2, [(63, 0), (0, 2)], [64, 4]),
        (0, 40, [(0, 32), (0, 8)], [64, 16]),
    ],
)
def test_rows_are_short_powers_of_two(n_narrow: int, n_wide: int, widths: list[tuple[int, int]], strides: list[int]) -> None:
    panel = plan_panels(n_narrow, n_wide, 10)
    assert [(end - begin, end_wide - begin_wide) for begin, end, begin_wide, end_wide, _, _ in panel.tolist()] == widths
    assert panel[:, 4].tolist() == strides


@pytest.mark.parametrize("n_narrow", range(0, 200, 7))
@pytest.mark.parametrize("n_wide", [0, 1, 2, 33, 100])
def test_rows_are_three_quarters_full_and_straddle_no_cache_line(n_narrow: int, n_wide: int) -> None:
    panel = plan_panels(n_narrow, n_wide, 1001)
    assert (panel[:, 5] % CACHE_LINE == 0).all()
    for begin, end, begin_wide, end_wide, stride, _ in panel.tolist():
        n_bytes = end - begin + 2 * (end_wide - begin_wide)
        assert CACHE_LINE % stride == 0
        assert 3 * stride <= 4 * n_bytes <= 4 * stride
    for first, count in ((0, n_narrow), (2, n_wide)):
        ends = panel[:, first + 1].tolist()
        assert panel[:, first].tolist() == [0, *ends][: len(ends)]
        assert ends[-1:] == [count] or not len(panel)


@pytest.mark.parametrize("n_rows", [0, 1, 5000])
@pytest.mark.parametrize(("n_narrow", "n_wide"), [(1, 0), (28, 0), (100, 0), (0, 1), (15, 5), (7, 40)])
def test_panels_hold_the_codes(n_rows: int, n_narrow: int, n_wide: int) -> None:
    random = np.random.default_rng(1)
    narrow = random.integers(0, 256, (n_narrow, n_rows), dtype=np.uint8)
    wide = random.integers(0, 65_536, (n_wide, n_rows), dtype=np.uint16)
    panel = plan_panels(n_narrow, n_wide, n_rows)
    panels = make_panels(narrow, wide, panel, (3, 4097))
    assert panels.ctypes.data % CACHE_LINE == 0 or not n_rows
    for each in panel.tolist():
        of_narrow, of_wide = codes_of_panel(each, panels, n_rows)
        assert (of_narrow == narrow[each[0] : each[1]].T).all()
        assert (of_wide == wide[each[2] : each[3]].T).all()
