"""What training rows tell of a design: the mean and the scale of every column, from exact sums over all ranks' rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from engine._kernels.linear import BLOCK_ROWS, GIVEN, LIMB_BITS, Ask, pass_rows
from engine.collectives.communicator import Communicator
from engine.data.stream import Stream
from engine.encode.design_encoding import DesignEncoding, Layout
from engine.encode.design_matrix import DesignMatrix, read_design
from engine.encode.design_rows import DesignBuilder
from engine.encode.encoding import Encoding
from engine.encode.features import Floats
from engine.errors import warn

LEAST_SCALE = 1e-5  # sqrt(1e-10), of columns that are 0 nearly everywhere
CONSTANT = 1e-7  # a stdev below this share of the scale: the column hardly varies
ENTRY_UNIT, SQUARE_UNIT = 46, 50  # bits of sums of sparse values and of their squares


def fit_design(
    stream: Stream, encoding: Encoding, comm: Communicator, *, rescale: bool, borrow: bool, num_threads: int
) -> tuple[DesignMatrix, DesignEncoding]:
    """Encode training rows, which lie in whole blocks, and find the mean and scale of every column; collective.

    ``scale = sqrt(mean^2 + stdev^2)``, the root of the mean of squares, but at least 1e-5; 1 without ``rescale``. ``borrow``: the memory
    of the rows stays while the matrix is used. Raises :class:`DataError` on every rank for missing, infinite and far too large values.
    """
    layout = Layout(encoding)
    builder = DesignBuilder(layout, stream, borrow=borrow, means=None)
    n_blocks = -(-stream.n_rows_local // BLOCK_ROWS)
    sums = np.zeros((n_blocks, layout.n_dense, 2))
    design = read_design(builder, sums, comm, num_threads)
    means, squares = reduce_moments(builder, design, sums, comm, num_threads)
    stdevs = np.sqrt(np.maximum(squares - means * means, 0.0))
    roots = np.sqrt(squares)
    warn_constant(layout, stdevs, roots, comm)
    scales = np.maximum(roots, LEAST_SCALE) if rescale else np.ones(layout.n_columns)
    return replace(design, squares=squares), DesignEncoding(encoding, means, scales)


def reduce_moments(
    builder: DesignBuilder, design: DesignMatrix, sums: Floats, comm: Communicator, num_threads: int
) -> tuple[Floats, Floats]:
    """The mean and the mean of squares of every column over all ranks' rows, in the model's order; collective."""
    layout, n_dense = design.layout, design.layout.n_dense
    limbs = np.zeros((2, layout.n_columns + 1, 2), dtype=np.int64)  # sums, then squares
    exponents = design.exponents[:n_dense]
    for k in (0, 1):
        limbs[k, :n_dense] = sum_blocks(sums[:, :, k], (k + 1) * exponents + 13)
    limbs[0, n_dense + 1 :] = sum_sparse(design, num_threads)
    limbs[1, n_dense + 1 :] = builder.square_entries()
    comm.allreduce_sum(limbs, name="moments of columns")
    for begin, end in zip(design.onehot_starts, design.onehot_ends, strict=True):  # a square of an indicator is itself
        limbs[1, n_dense + 1 + begin : n_dense + 1 + end] = limbs[0, n_dense + 1 + begin : n_dense + 1 + end] << (SQUARE_UNIT - ENTRY_UNIT)
    totals = limbs_to_floats(limbs)
    n = float(max(1, design.n_rows))
    units = np.empty((2, layout.n_columns + 1), dtype=np.int64)
    for k in (0, 1):
        units[k, :n_dense] = (k + 1) * exponents + 13 - 2 * LIMB_BITS
    units[:, n_dense] = 0
    units[0, n_dense + 1 :], units[1, n_dense + 1 :] = -ENTRY_UNIT, -SQUARE_UNIT
    units += np.array([[1], [2]]) * design.powers
    moments = np.empty((2, layout.n_columns + 1))
    moments[:, layout.order] = np.ldexp(totals, units) / n
    return moments[0, :-1], moments[1, :-1]


def sum_blocks(sums: Floats, exponents: NDArray[np.int64]) -> NDArray[np.int64]:
    """Limbs of sums over blocks [n_blocks, k], each at most ``2**exponents`` [k], in units of ``2**(exponents - 72)``."""
    scaled = np.ldexp(sums, LIMB_BITS - exponents)
    high = np.rint(scaled)
    low = np.rint((scaled - high) * 2.0**LIMB_BITS)
    return np.stack([high.astype(np.int64).sum(axis=0), low.astype(np.int64).sum(axis=0)], axis=1)


def sum_sparse(design: DesignMatrix, num_threads: int) -> NDArray[np.int64]:
    """Limbs of the sums of every sparse column, in units of ``2**-46``."""
    features, n = design.features, design.features.n_sparse
    out = np.zeros((1, 1, n, 2), dtype=np.int64)
    if n and features.n_rows:
        alone = features.without_dense()
        one = np.ones(1)
        ask = Ask(
            loss=GIVEN,
            order=1,
            coefficients=np.zeros((1, n + 1)),
            vectors=np.empty((0, 1, n + 1)),
            column_factor=one,
            gradient_factor=one,
            entry_factor=np.full(1, 2.0**ENTRY_UNIT),
            loss_factor=1.0,
            squares_factor=1.0,
            hessian_factor=1.0,
            pair_factor=1.0,
        )
        none = np.zeros((1, 0, 0, 0), dtype=np.int64)
        pass_rows(
            alone,
            ask,
            np.ones(features.n_rows),
            None,
            None,
            None,
            np.zeros((1, 7), dtype=np.int64),
            np.zeros((1, 1, 1, 2), dtype=np.int64),
            out,
            none,
            none,
            none[0],
            np.zeros(1),
            num_threads,
        )
    return out[0, 0]


def limbs_to_floats(limbs: NDArray[np.int64]) -> Floats:
    """``high * 2**36 + low`` of pairs of limbs [..., 2], which are carried first, so that equal sums are equal doubles."""
    carry = limbs[..., 1] >> LIMB_BITS
    low = limbs[..., 1] - (carry << LIMB_BITS)
    return (limbs[..., 0] + carry).astype(np.float64) * 2.0**LIMB_BITS + low.astype(np.float64)


def warn_constant(layout: Layout, stdevs: Floats, roots: Floats, comm: Communicator) -> None:
    """Warn, once, of dense columns that hardly vary."""
    constant = np.flatnonzero((stdevs <= CONSTANT * roots) & layout.is_dense)
    if len(constant) and comm.rank == 0:
        names = [layout.column_names[place] for place in constant[:12].tolist()]
        more = f" and {len(constant) - 12} more" if len(constant) > 12 else ""
        warn(f"column {', '.join(map(repr, names))}{more} has almost no variance: its coefficient says little; consider leaving it out")
