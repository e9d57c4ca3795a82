"""Dense columns in blocks of rows, left where their values are as far as that can be."""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from engine.data.blocks import BLOCK_ROWS
from engine.encode.features import Floats

BLOCK_BYTES = 8 * BLOCK_ROWS
WORTH_KEEPING = 0.85  # of a batch's values, in whole blocks: below it they are copied, so that the rest does not stay in memory


class DenseColumn:
    """One column of float64, appended batch by batch: the address of every block of its rows, and what keeps those alive."""

    def __init__(self) -> None:
        self.addresses: list[int] = []
        self._kept: list[Floats] = []
        self._pieces: list[Floats] = []  # of a block that is not whole yet
        self._n_pending = 0
        self._run, self._run_rows = 0, 0  # borrowed batches that follow each other in memory: where they begin, and their rows

    def append(self, values: Floats, *, borrowed: bool) -> None:
        """Take the next rows; contiguous ``values`` that are ``borrowed`` take no memory of their own."""
        if not borrowed:
            self._end_run()
            self._take(values, borrowed=False)
            return
        address = values.__array_interface__["data"][0]
        if address != self._run + 8 * self._run_rows:
            self._end_run()
            self._run = address
        self._run_rows += len(values)
        self._kept.append(values)  # a batch that was cast belongs to nobody else

    def close(self) -> None:
        """There are no more rows."""
        self._end_run()
        if self._n_pending:
            self._close_block()

    def _end_run(self) -> None:
        """Take the borrowed batches, as one."""
        if self._run_rows:
            values = block_values(self._run, self._run_rows)
            self._run_rows = 0
            self._take(values, borrowed=True)

    def _take(self, values: Floats, *, borrowed: bool) -> None:
        taken = 0
        if self._n_pending:
            taken = min(BLOCK_ROWS - self._n_pending, len(values))
            self._add_piece(values[:taken])
            if self._n_pending == BLOCK_ROWS:
                self._close_block()
        n_blocks = (len(values) - taken) // BLOCK_ROWS
        if n_blocks:
            whole = values[taken : taken + n_blocks * BLOCK_ROWS]
            if not borrowed and len(whole) < WORTH_KEEPING * len(values):
                whole = whole.copy()
            self._keep(whole)
            taken += len(whole)
        if taken < len(values):
            self._add_piece(values[taken:])
        if not borrowed and self._pieces:
            self._pieces = [self._join()]

    def _add_piece(self, piece: Floats) -> None:
        self._pieces.append(piece)
        self._n_pending += len(piece)

    def _close_block(self) -> None:
        block = self._pieces[0] if len(self._pieces) == 1 else self._join()
        self.addresses.append(block.ctypes.data)
        self._kept.append(block)
        self._pieces, self._n_pending = [], 0

    def _join(self) -> Floats:
        """The pieces in memory of their own."""
        return np.concatenate(self._pieces)

    def _keep(self, whole: Floats) -> None:
        self.addresses += range(whole.ctypes.data, whole.ctypes.data + whole.nbytes, BLOCK_BYTES)
        self._kept.append(whole)


def block_values(address: int, n_rows: int) -> Floats:
    """The values of a block whose memory somebody keeps alive."""
    return np.frombuffer(memoryview((ctypes.c_double * n_rows).from_address(address))) if n_rows else np.empty(0)


def address_table(columns: list[DenseColumn], n_blocks: int) -> NDArray[np.int64]:
    """[n_blocks, n_columns] addresses, as kernels take them."""
    table = np.array([column.addresses for column in columns], dtype=np.int64).reshape(len(columns), n_blocks)
    return np.ascontiguousarray(table.T)
