"""Passes over a design matrix: margins, losses, gradients and Hessians of linear models, added up exactly.

Sums are fixed-point numbers in two limbs, ``high * 2**36 + low``, each in a unit that the caller chose from bounds known beforehand,
so that they do not depend on threads or ranks. What does not fit its bound, and what is NaN or infinite, is counted and added to no sum.
"""

from cython.parallel cimport prange, threadid
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport calloc, free

import numpy as np


cdef extern from "linear_pass.h" nogil:
    enum:
        SAMESUM_SQUARED
        SAMESUM_LOGISTIC
        SAMESUM_HINGE
        SAMESUM_SOFTMAX
        SAMESUM_GIVEN
        SAMESUM_N_SCALARS
        SAMESUM_LINEAR_BLOCK
        SAMESUM_TILE_ROWS
        SAMESUM_LIMB
        SAMESUM_ENTRY_BITS
    ctypedef struct linear "samesum_linear":
        int64_t n_rows, n_dense, n_onehot, n_sparse
        const int64_t* address
        const int32_t* onehot
        const int64_t* start
        const int32_t* index
        const double* value
        const double* y
        const double* weight
        const double* offset
        const int32_t* fold
        int32_t loss, order
        int64_t n_outputs, n_vectors
        const double* coefficients
        const double* vectors
        const double* column_factor
        const double* gradient_factor
        const double* entry_factor
        double loss_factor, squares_factor, hessian_factor, pair_factor
    ctypedef struct linear_sums "samesum_linear_sums":
        int64_t* scalars
        int64_t* dense_gradient
        int64_t* sparse_gradient
        int64_t* dense_hessian
    ctypedef struct linear_scratch "samesum_linear_scratch":
        double max_error
        void* room
    int samesum_set_tiles(linear* l, int instructions)
    int samesum_open_scratch(const linear* l, linear_scratch* s, int64_t* mixed, int64_t* sparse)
    void samesum_pass_block(const linear* l, int64_t block, int32_t fold, linear_scratch* s, const linear_sums* out)
    void samesum_flush_gradient(const linear* l, linear_scratch* s, int64_t* to)
    void samesum_multiply_block(const linear* l, int64_t block, linear_scratch* s, double* out)
    int64_t samesum_line_block(const linear* l, int64_t block, const double* at, const double* along, double step, double slope_factor,
                               linear_scratch* s, int64_t* out)
    void samesum_add_shared(int64_t* to, int64_t value)


cdef extern from "linear_columns.h" nogil:
    int64_t samesum_measure_column(int64_t n, const double* x, double* out_sum, double* out_squares, double* largest)


SQUARED, LOGISTIC, HINGE, SOFTMAX, GIVEN = SAMESUM_SQUARED, SAMESUM_LOGISTIC, SAMESUM_HINGE, SAMESUM_SOFTMAX, SAMESUM_GIVEN
BLOCK_ROWS, LIMB_BITS, ENTRY_BITS = SAMESUM_LINEAR_BLOCK, SAMESUM_LIMB, SAMESUM_ENTRY_BITS
# Places in the scalars of a pass: limbs of the loss and of squared residuals, rows predicted right, rows, sums that were dropped.
LOSS, SQUARES, RIGHT, ROWS, BAD, N_SCALARS = 0, 2, 4, 5, 6, SAMESUM_N_SCALARS


cdef class Features:
    """The features of this rank's rows, as :class:`engine.encode.design_matrix.DesignMatrix` describes them; keeps the arrays alive.

    ``address``: [n_blocks, n_dense], where the doubles of a block of a column begin; whoever makes this keeps those alive. ``onehot``:
    [n_rows, n_onehot] sparse columns or -1, ascending in a row. ``start`` [n_rows + 1], ``index``, ``value``: entries by row, at most one
    of a column, ``|value| <= 1``; ``start`` of length 0 means none. Raises ``ValueError`` for columns that there are not.
    """

    cdef readonly int64_t n_rows, n_dense, n_onehot, n_sparse
    cdef const int64_t[:, ::1] address
    cdef const int32_t[:, ::1] onehot
    cdef const int64_t[::1] start
    cdef const int32_t[::1] index
    cdef const double[::1] value

    def __init__(self, int64_t n_rows, int64_t n_sparse, const int64_t[:, ::1] address, const int32_t[:, ::1] onehot,
                 const int64_t[::1] start, const int32_t[::1] index, const double[::1] value):
        cdef int64_t n_blocks = (n_rows + SAMESUM_LINEAR_BLOCK - 1) // SAMESUM_LINEAR_BLOCK
        if address.shape[0] != n_blocks or onehot.shape[0] != n_rows or start.shape[0] not in (0, n_rows + 1):
            raise ValueError(f"expected {n_blocks} blocks and {n_rows} rows, got {address.shape[0]} and {onehot.shape[0]}")
        if start.shape[0] > 0 and not (start[0] == 0 and start[n_rows] == index.shape[0] == value.shape[0]):
            raise ValueError(f"expected entries from 0 to {start[n_rows]}, got {index.shape[0]} columns and {value.shape[0]} values")
        if not (columns_exist(onehot, n_sparse) and columns_exist(index[None, :], n_sparse)):
            raise ValueError(f"expected sparse columns below {n_sparse}")
        self.n_rows, self.n_sparse = n_rows, n_sparse
        self.n_dense, self.n_onehot = address.shape[1], onehot.shape[1]
        self.address, self.onehot, self.start, self.index, self.value = address, onehot, start, index, value

    @property
    def n_columns(self):
        """Dense columns, the intercept, sparse columns."""
        return self.n_dense + 1 + self.n_sparse

    def without_dense(self):
        """The same rows with their sparse columns alone."""
        nothing = np.empty((self.address.shape[0], 0), dtype=np.int64)
        return Features(self.n_rows, self.n_sparse, nothing, self.onehot, self.start, self.index, self.value)

    cdef void point(self, linear* l) noexcept:
        l.n_rows, l.n_dense, l.n_onehot, l.n_sparse = self.n_rows, self.n_dense, self.n_onehot, self.n_sparse
        l.address = &self.address[0, 0] if self.address.size else NULL
        l.onehot = &self.onehot[0, 0] if self.onehot.size else NULL
        l.start = &self.start[0] if self.index.shape[0] else NULL
        l.index = &self.index[0] if self.index.shape[0] else NULL
        l.value = &self.value[0] if self.index.shape[0] else NULL


cdef bint columns_exist(const int32_t[:, :] index, int64_t n_sparse) noexcept nogil:
    cdef Py_ssize_t i, k
    cdef bint all_there = True
    for i in range(index.shape[0]):
        for k in range(index.shape[1]):
            all_there &= -1 <= index[i, k] < n_sparse
    return all_there


cdef const double* doubles(const double[::1] values, int64_t n_rows) except? NULL:
    if values is None or n_rows == 0:
        return NULL
    if values.shape[0] != n_rows:
        raise ValueError(f"expected {n_rows} rows, got {values.shape[0]}")
    return &values[0]


cdef class Ask:
    """What a pass computes. ``loss``: SQUARED ... GIVEN; ``order``: 0 loss, 1 gradient, 2 Hessian.

    ``coefficients``: [n_outputs, n_columns]; ``vectors``: [n_vectors, n_outputs, n_columns] to multiply by the Hessian, in place of a
    gradient. Factors are powers of two: of loss, squares, gradients and pairs they take the sum over a block to at most ``2**36``,
    together with those of columns; of entries a product to at most ``2**46``; of sparse pairs a product to an integer.
    """

    cdef public int loss, order, instructions
    cdef public double loss_factor, squares_factor, hessian_factor, pair_factor
    cdef const double[:, ::1] coefficients
    cdef const double[:, :, ::1] vectors
    cdef const double[::1] column_factor, gradient_factor, entry_factor

    def __init__(self, *, int loss, int order, const double[:, ::1] coefficients, const double[:, :, ::1] vectors,
                 const double[::1] column_factor, const double[::1] gradient_factor, const double[::1] entry_factor, double loss_factor,
                 double squares_factor, double hessian_factor, double pair_factor, int instructions=0):
        cdef Py_ssize_t n = coefficients.shape[0] * max(1, vectors.shape[0])
        if vectors.shape[1] != coefficients.shape[0] or vectors.shape[2] != coefficients.shape[1]:
            raise ValueError(f"expected vectors like coefficients {np.shape(coefficients)}, got {np.shape(vectors)}")
        if gradient_factor.shape[0] != n or entry_factor.shape[0] != n:
            raise ValueError(f"expected {n} factors, got {gradient_factor.shape[0]} and {entry_factor.shape[0]}")
        self.loss, self.order, self.instructions = loss, order, instructions
        self.coefficients, self.vectors = coefficients, vectors
        self.column_factor, self.gradient_factor, self.entry_factor = column_factor, gradient_factor, entry_factor
        self.loss_factor, self.squares_factor = loss_factor, squares_factor
        self.hessian_factor, self.pair_factor = hessian_factor, pair_factor

    cdef int point(self, linear* l, Features features) except -1:
        if self.coefficients.shape[1] != features.n_columns or self.column_factor.shape[0] != features.n_dense + 1:
            raise ValueError(f"expected {features.n_columns} coefficients for each output, got {self.coefficients.shape[1]}")
        features.point(l)
        l.loss, l.order = self.loss, self.order
        l.n_outputs, l.n_vectors = self.coefficients.shape[0], self.vectors.shape[0]
        l.coefficients = &self.coefficients[0, 0]
        l.vectors = &self.vectors[0, 0, 0] if self.vectors.shape[0] else NULL
        l.column_factor, l.gradient_factor, l.entry_factor = &self.column_factor[0], &self.gradient_factor[0], &self.entry_factor[0]
        l.loss_factor, l.squares_factor = self.loss_factor, self.squares_factor
        l.hessian_factor, l.pair_factor = self.hessian_factor, self.pair_factor
        if not samesum_set_tiles(l, self.instructions):
            raise ValueError(f"this processor has no instruction set {self.instructions}")
        return 0


cdef int point_rows(linear* l, const double[::1] y, const double[::1] weight, const double[::1] offset) except -1:
    l.y, l.weight, l.offset = doubles(y, l.n_rows), doubles(weight, l.n_rows), doubles(offset, l.n_rows)
    return 0


def pass_rows(Features features, Ask ask, const double[::1] y, const double[::1] weight, const double[::1] offset,
              const int32_t[::1] fold, int64_t[:, ::1] scalars, int64_t[:, :, :, ::1] dense_gradient,
              int64_t[:, :, :, ::1] sparse_gradient, int64_t[:, :, :, ::1] dense_hessian, int64_t[:, :, :, ::1] mixed_hessian,
              int64_t[:, :, ::1] sparse_hessian, double[::1] max_error, int num_threads):
    """Go through all rows once and add what is asked to the sums, one set of them for each fold (one alone if ``fold`` is None).

    ``y``: numbers; classes 0 and 1; for SOFTMAX classes 0 to n_outputs; for GIVEN what columns (pairs, for order 2) are multiplied by.
    ``weight``, ``offset``: [n_rows] or None. Sums, each with the fold first: ``scalars`` [N_SCALARS]; limbs of gradients
    [n_gradients, n_dense + 1, 2] and [n_gradients, n_sparse, 2]; of the Hessian's upper half by pairs of outputs (k <= l) the dense pairs
    [pairs of n_dense + 1, 2], and as single integers the mixed [n_sparse, n_dense + 1] and sparse [pairs of n_sparse] ones.
    ``max_error`` [n_folds]: the largest ``|margin - y|``, for SQUARED. Raises ``MemoryError``.
    """
    cdef linear l
    cdef linear_sums* sums
    cdef linear_scratch* scratch
    cdef Py_ssize_t n_folds = scalars.shape[0], n_blocks, f, b, k
    cdef int failed = 0
    ask.point(&l, features)
    point_rows(&l, y, weight, offset)
    if fold is not None and fold.shape[0] != l.n_rows or fold is None and n_folds != 1:
        raise ValueError("expected a fold for every row")
    l.fold = &fold[0] if fold is not None and fold.shape[0] else NULL
    n_blocks = features.address.shape[0]
    num_threads = max(1, min(num_threads, <int> n_blocks))
    cdef int64_t n_mixed = mixed_hessian.size // n_folds, n_pairs = sparse_hessian.size // n_folds
    if num_threads > 1 and n_mixed + n_pairs > 0 and (n_mixed + n_pairs) * n_folds * 8 * (num_threads - 1) > (1 << 30):
        num_threads = 1
    cdef int64_t[:, :, ::1] own = np.zeros((num_threads - 1, n_folds, n_mixed + n_pairs), dtype=np.int64)
    sums = <linear_sums*> calloc(n_folds, sizeof(linear_sums))
    scratch = <linear_scratch*> calloc(num_threads * n_folds, sizeof(linear_scratch))
    for f in range(n_folds):
        sums[f].scalars = &scalars[f, 0]
        sums[f].dense_gradient = &dense_gradient[f, 0, 0, 0] if dense_gradient.size else NULL
        sums[f].sparse_gradient = &sparse_gradient[f, 0, 0, 0] if sparse_gradient.size else NULL
        sums[f].dense_hessian = &dense_hessian[f, 0, 0, 0] if dense_hessian.size else NULL
        for k in range(num_threads):
            if k == 0:
                failed |= not samesum_open_scratch(&l, &scratch[f], &mixed_hessian[f, 0, 0, 0] if n_mixed else NULL,
                                                   &sparse_hessian[f, 0, 0] if n_pairs else NULL)
            else:
                failed |= not samesum_open_scratch(&l, &scratch[k * n_folds + f], &own[k - 1, f, 0] if n_mixed else NULL,
                                                   &own[k - 1, f, n_mixed] if n_pairs else NULL)
    if not failed:
        for b in prange(n_blocks, nogil=True, num_threads=num_threads, schedule="dynamic"):
            pass_block(&l, b, n_folds, scratch + threadid() * n_folds, sums)
        for k in range(num_threads):
            for f in range(n_folds):
                samesum_flush_gradient(&l, &scratch[k * n_folds + f], sums[f].sparse_gradient)
                max_error[f] = max(max_error[f], scratch[k * n_folds + f].max_error)
    for k in range(num_threads * n_folds):
        free(scratch[k].room)
    free(scratch)
    free(sums)
    if failed:
        raise MemoryError(f"no memory for a pass over {features.n_columns} columns on {num_threads} threads")
    if num_threads > 1 and n_mixed + n_pairs > 0:
        others = np.asarray(own).sum(axis=0)
        np.asarray(mixed_hessian).reshape(n_folds, -1)[...] += others[:, :n_mixed]
        np.asarray(sparse_hessian).reshape(n_folds, -1)[...] += others[:, n_mixed:]


cdef void pass_block(const linear* l, int64_t block, Py_ssize_t n_folds, linear_scratch* scratch, linear_sums* sums) noexcept nogil:
    cdef Py_ssize_t f
    if l.fold == NULL:
        samesum_pass_block(l, block, -1, scratch, sums)
        return
    for f in range(n_folds):
        samesum_pass_block(l, block, <int32_t> f, scratch + f, sums + f)


def multiply_rows(Features features, const double[:, ::1] coefficients, const double[::1] offset, double[:, ::1] out, int num_threads):
    """``out[k, r]`` = offset[r] + row r times ``coefficients[k]``; ``out``: [n_outputs, n_rows], ``offset``: [n_rows] or None."""
    cdef linear l
    cdef linear_scratch* scratch
    cdef Py_ssize_t b, k, n_blocks = features.address.shape[0]
    cdef int failed = 0
    ones = np.ones(max(features.n_dense + 1, coefficients.shape[0]))
    cdef Ask ask = Ask(loss=GIVEN, order=0, coefficients=coefficients, vectors=np.empty((0, *np.shape(coefficients))),
                       column_factor=ones[:features.n_dense + 1], gradient_factor=ones[:coefficients.shape[0]],
                       entry_factor=ones[:coefficients.shape[0]], loss_factor=1.0, squares_factor=1.0, hessian_factor=1.0, pair_factor=1.0)
    if out.shape[0] != coefficients.shape[0] or out.shape[1] != features.n_rows:
        raise ValueError(f"expected {coefficients.shape[0]} outputs of {features.n_rows} rows, got {np.shape(out)}")
    ask.point(&l, features)
    point_rows(&l, None, None, offset)
    if n_blocks == 0:
        return
    num_threads = max(1, min(num_threads, <int> n_blocks))
    scratch = <linear_scratch*> calloc(num_threads, sizeof(linear_scratch))
    for k in range(num_threads):
        failed |= not samesum_open_scratch(&l, &scratch[k], NULL, NULL)
    if not failed:
        for b in prange(n_blocks, nogil=True, num_threads=num_threads, schedule="static"):
            samesum_multiply_block(&l, b, scratch + threadid(), &out[0, 0])
    for k in range(num_threads):
        free(scratch[k].room)
    free(scratch)
    if failed:
        raise MemoryError(f"no memory for {num_threads} threads")


def evaluate_line(Features features, Ask ask, const double[::1] y, const double[::1] weight, const double[:, ::1] margins,
                  const double[:, ::1] direction, const double[::1] steps, double slope_factor, int64_t[:, ::1] out, int num_threads):
    """Loss and slope at ``margins + step * direction`` (both [n_outputs, n_rows]) for every step, without going through features.

    ``out``: [n_steps, 5], added to: limbs of the loss and of the slope, sums that were dropped. Of ``ask``, the loss and its factor count.
    """
    cdef linear l
    cdef linear_scratch* scratch
    cdef Py_ssize_t b, k, n_blocks = features.address.shape[0]
    cdef int failed = 0
    ask.point(&l, features)
    point_rows(&l, y, weight, None)
    if margins.shape[0] != l.n_outputs or margins.shape[1] != l.n_rows or np.shape(direction) != np.shape(margins):
        raise ValueError(f"expected margins of {l.n_outputs} outputs and {l.n_rows} rows, got {np.shape(margins)}, {np.shape(direction)}")
    if n_blocks == 0:
        return
    num_threads = max(1, min(num_threads, <int> n_blocks))
    scratch = <linear_scratch*> calloc(num_threads, sizeof(linear_scratch))
    for k in range(num_threads):
        failed |= not samesum_open_scratch(&l, &scratch[k], NULL, NULL)
    if not failed:
        for b in prange(n_blocks, nogil=True, num_threads=num_threads, schedule="static"):
            line_block(&l, b, margins, direction, steps, slope_factor, scratch + threadid(), out)
    for k in range(num_threads):
        free(scratch[k].room)
    free(scratch)
    if failed:
        raise MemoryError(f"no memory for {num_threads} threads")


cdef void line_block(const linear* l, int64_t block, const double[:, ::1] margins, const double[:, ::1] direction, const double[::1] steps,
                     double slope_factor, linear_scratch* scratch, int64_t[:, ::1] out) noexcept nogil:
    cdef Py_ssize_t k
    for k in range(steps.shape[0]):
        samesum_add_shared(&out[k, 4], samesum_line_block(l, block, &margins[0, 0], &direction[0, 0], steps[k], slope_factor, scratch,
                                                          &out[k, 0]))


def measure_columns(Features features, double[:, :, ::1] sums, double[::1] largest, int64_t[::1] n_bad, int num_threads):
    """Of dense columns: sums of x and x**2 over each block [n_blocks, n_dense, 2], the largest ``|x|``, how many are NaN or infinite.

    ``largest`` and ``n_bad``: [n_dense], raised and added to.
    """
    cdef Py_ssize_t j, b, n_blocks = features.address.shape[0], n_dense = features.n_dense
    cdef int64_t n
    if sums.shape[0] != n_blocks or sums.shape[1] != n_dense or largest.shape[0] != n_dense or n_bad.shape[0] != n_dense:
        raise ValueError(f"expected room for {n_blocks} blocks of {n_dense} columns, got {np.shape(sums)}")
    for j in prange(n_dense, nogil=True, num_threads=max(1, num_threads), schedule="static"):
        for b in range(n_blocks):
            n = min(SAMESUM_LINEAR_BLOCK, features.n_rows - b * SAMESUM_LINEAR_BLOCK)
            n_bad[j] += samesum_measure_column(n, <const double*> <size_t> features.address[b, j], &sums[b, j, 0], &sums[b, j, 1],
                                               &largest[j])


def measure_entries(const int32_t[::1] index, const double[::1] value, double[::1] largest):
    """Raise ``largest`` [n_sparse] to the largest finite ``|value|`` of each column; returns how many are NaN or infinite."""
    cdef Py_ssize_t k
    cdef double a
    cdef int64_t n_bad = 0
    with nogil:
        for k in range(index.shape[0]):
            a = -value[k] if value[k] < 0 else value[k]
            if not a <= 1.7976931348623157e308:
                n_bad += 1
            elif a > largest[index[k]]:
                largest[index[k]] = a
    return n_bad


def scale_entries(const int32_t[::1] index, double[::1] value, const double[::1] factor):
    """Multiply every value by its column's ``factor`` [n_sparse], in place."""
    cdef Py_ssize_t k
    with nogil:
        for k in range(index.shape[0]):
            value[k] = value[k] * factor[index[k]]


def square_entries(const int32_t[::1] index, const double[::1] value, int64_t[:, ::1] out):
    """Add the squares of values in [-1, 1] to their columns' limbs [n_sparse, 2], in units of ``2**-50``."""
    cdef Py_ssize_t k
    cdef int64_t q
    with nogil:
        for k in range(index.shape[0]):
            q = <int64_t> (value[k] * value[k] * 1125899906842624.0)
            out[index[k], 0] += q >> SAMESUM_LIMB
            out[index[k], 1] += q & ((1LL << SAMESUM_LIMB) - 1)


def collect_entries(const int64_t[::1] row, const int32_t[::1] column, const double[::1] value, int64_t first_row, int64_t[::1] seen,
                    int32_t[::1] out_index, double[::1] out_value, int64_t[::1] count):
    """Keep entries (by ascending ``row``) of columns >= 0, of repeated ones the last; returns how many. ``count``: those of each row.

    ``seen`` [n_sparse]: one more than the last global row that had the column, kept from call to call; ``first_row``: global id of row 0.
    """
    cdef Py_ssize_t k, n = 0
    cdef unsigned char* kept = <unsigned char*> calloc(max(row.shape[0], 1), 1)
    if kept == NULL:
        raise MemoryError(f"no memory for {row.shape[0]} entries")
    with nogil:
        for k in range(row.shape[0] - 1, -1, -1):
            if column[k] >= 0 and seen[column[k]] != first_row + row[k] + 1:
                seen[column[k]] = first_row + row[k] + 1
                kept[k] = 1
        for k in range(row.shape[0]):
            if kept[k]:
                out_index[n] = column[k]
                out_value[n] = value[k]
                count[row[k]] += 1
                n += 1
    free(kept)
    return n
