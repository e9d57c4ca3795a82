"""Histograms over ranks: where each column's codes lie, and the one reduction per level in which ranks add theirs up.

Columns are dealt to ranks in contiguous shares balanced on codes, and a reduce-scatter leaves every rank the sums of its own columns.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine._kernels.histogram import Words, build_histograms, cut_chunks
from engine.collectives.communicator import Communicator
from engine.encode.bins import BinMatrix
from engine.models._trees.lanes import Fit

Ints = NDArray[np.int64]
NO_ROWS = np.empty(0, dtype=np.uint32)


class Places(NamedTuple):
    """Where the codes of columns lie in histograms of n nodes: every rank's share, and in it node after node. One element a column."""

    first: Ints  # code of the share that it is in
    offset: Ints  # of its own codes from there
    stride: Ints  # codes of that share, from one node to the next
    n_codes: NDArray[np.int32]

    def base(self, n_nodes: int) -> Ints:
        """The places of the first node's codes."""
        return n_nodes * self.first + self.offset


class HistogramBuilder:
    """Builds this rank's histograms of many nodes and reduces them over ranks."""

    def __init__(self, bins: BinMatrix, *, num_threads: int, comm: Communicator) -> None:
        self.bins, self.num_threads, self.comm = bins, num_threads, comm
        n_codes = np.array([spec.n_codes for spec in bins.specs], dtype=np.int64)
        self.column_share = share_columns(n_codes, comm.size)
        first, last = self.column_share[comm.rank], self.column_share[comm.rank + 1]
        starts = np.concatenate([[0], np.cumsum(n_codes)])
        share_codes = np.diff(starts[self.column_share])
        self.share_codes: list[int] = share_codes.tolist()  # codes owned by each rank
        owner = np.repeat(np.arange(comm.size), np.diff(self.column_share))
        self.columns = range(first, last)
        self.column_start = np.ascontiguousarray(starts[first : last + 1] - starts[first])
        share = starts[self.column_share][owner]
        self._narrow, self._wide = (
            Places(share[kind], (starts[:-1] - share)[kind], share_codes[owner][kind], n_codes[kind].astype(np.int32))
            for kind in (bins.is_wide == 0, bins.is_wide == 1)
        )
        self._buffers: dict[str, Ints] = {}
        narrow, wide = self._narrow, self._wide  # not self, which the cache would keep alive, buffers and all, until a collection
        self._bases = functools.lru_cache(64)(lambda n_nodes: (narrow.base(n_nodes), wide.base(n_nodes)))

    @property
    def node_bytes(self) -> int:
        """Bytes of one node's histogram before it is shared out; the same on every rank."""
        return 16 * sum(self.share_codes)

    def begin_tree(self, fit: Fit, first_row: int) -> None:
        """Take the gradients of a new tree, to be packed into its lanes. ``first_row``: global id of this rank's first row."""
        lanes, gradients = fit.lanes, fit.gradients
        room = self.buffer("words", self.bins.n_rows_local * (1 if lanes.h_bits else 2))
        self._words = Words(gradients.values, gradients.hessian, first_row, fit.key, lanes.g_shift, lanes.h_shift, lanes.h_bits, room)

    def reduce_histograms(self, rows: NDArray[np.uint32], begin: Ints, end: Ints) -> Ints:
        """Histograms of nodes over all ranks' rows, of this rank's columns: [n_nodes, n_codes owned, 2]; collective.

        A view of a buffer that the next call overwrites. Node k holds ``rows[begin[k]:end[k]]`` on this rank; empty ``rows`` stand for
        all rows in order.
        """
        if len(rows):
            self._words.pack(self.num_threads)
        n_nodes = len(begin)
        chunks, tasks = cut_chunks(begin, end, self.num_threads)
        counts = [2 * n_nodes * n_codes for n_codes in self.share_codes]
        local = self.comm.work_array(sum(counts)).reshape(-1, 2)
        build_histograms(*self._source(n_nodes), rows, chunks, tasks, n_nodes, local, self.num_threads)
        mine = self.comm.reduce_scatter_sum(local.reshape(-1), counts, name="reduce histograms")
        return mine.reshape(n_nodes, self.share_codes[self.comm.rank], 2)

    def pack_source(self) -> tuple[Any, ...]:
        """What histograms of a node are built from, for the kernels; gradients are packed."""
        self._words.pack(self.num_threads)
        return self._source(1)

    def _source(self, n_nodes: int) -> tuple[Any, ...]:
        """Codes, gradients, and where a column's codes lie in histograms of n nodes, for the kernels."""
        narrow, wide, (narrow_base, wide_base) = self._narrow, self._wide, self._bases(n_nodes)
        return (
            self.bins.narrow, self.bins.wide, self.bins.panels, self.bins.panel, self._words,
            narrow_base, narrow.stride, narrow.n_codes, wide_base, wide.stride, wide.n_codes,
        )  # fmt: skip

    def kept_nodes(self, name: str, n_nodes: int) -> Ints:
        """Room for histograms of nodes, of this rank's columns, that is kept from call to call: [n_nodes, n_codes owned, 2]."""
        n_codes = self.share_codes[self.comm.rank]
        return self.buffer(name, 2 * n_nodes * n_codes).reshape(n_nodes, n_codes, 2)

    def buffer(self, name: str, size: int) -> Ints:
        """A work array of ``size`` integers that is kept from call to call: fresh memory costs more than what is done with it."""
        kept = self._buffers.get(name)
        if kept is None or len(kept) < size:
            kept = self._buffers[name] = np.empty(size, dtype=np.int64)
        return kept[:size]


def share_columns(n_codes: Ints, n_ranks: int) -> Ints:
    """Contiguous shares of columns with nearly equal numbers of codes: rank r owns ``result[r]`` to ``result[r + 1]``."""
    ends = np.cumsum(n_codes)
    total = int(ends[-1]) if len(ends) else 0
    aims = [total * r // n_ranks for r in range(1, n_ranks)]
    inner = np.searchsorted(ends - n_codes // 2, aims, side="left")
    return np.concatenate([[0], inner, [len(n_codes)]]).astype(np.int64)
