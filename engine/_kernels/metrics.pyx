"""What metrics need of every row: its log loss, its error, its score as a sortable integer, its bin on the ROC curve."""

from cython.parallel cimport prange
from libc.math cimport ldexp
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free

from engine._kernels.elementary cimport samesum_from_bits, samesum_log


cdef extern from "losses.h" nogil:
    enum: SAMESUM_BLOCK
    enum: SAMESUM_NO_LOSS
    enum: SAMESUM_POISSON_LOSS
    enum: SAMESUM_QUANTILE_LOSS
    ctypedef struct block_stats "samesum_block_stats":
        int64_t g, loss
    ctypedef struct block_maxima "samesum_block_maxima":
        int64_t g, h
    double samesum_clip(double p)
    double SAMESUM_SMALLEST_P
    uint64_t samesum_score_key(double score)
    void samesum_measure_errors(int64_t n, const double* predictions, const double* y, const double* weights, int loss, double quantile,
                                block_maxima* m)
    void samesum_sum_errors(int64_t n, const double* predictions, const double* y, const double* weights, double weight_scale, int loss,
                            double quantile, const double* scale, block_stats* s)
    void samesum_sum_products(int64_t n, const uint64_t* a, const int64_t* b, int64_t* out)

# What a row is charged beside its squared error.
NO_LOSS = SAMESUM_NO_LOSS
POISSON_LOSS = SAMESUM_POISSON_LOSS
QUANTILE_LOSS = SAMESUM_QUANTILE_LOSS


def fill_log_losses(const double[:, ::1] probabilities, const int64_t[::1] codes, double[::1] out):
    """``out[i]`` = -ln of row i's probability of class ``codes[i]``, clipped to [1e-9, 1 - 1e-9].

    ``probabilities``: [n, n_classes]; a code without a column has probability 0.
    """
    cdef Py_ssize_t i, n_classes = probabilities.shape[1]
    check_lengths(probabilities.shape[0], codes.shape[0], out.shape[0])
    with nogil:
        for i in range(codes.shape[0]):
            if 0 <= codes[i] < n_classes:
                out[i] = -samesum_log(samesum_clip(probabilities[i, codes[i]]))
            else:
                out[i] = -samesum_log(SAMESUM_SMALLEST_P)


def fill_score_keys(const double[::1] scores, uint64_t[::1] out):
    """``out[i]``: an integer with the order of the scores, -0.0 and 0.0 being equal; NaN is not for this."""
    cdef Py_ssize_t i
    check_lengths(scores.shape[0], scores.shape[0], out.shape[0])
    with nogil:
        for i in range(scores.shape[0]):
            out[i] = samesum_score_key(scores[i])


def count_thresholds(const double[::1] scores, const uint8_t[::1] positive, int64_t[:, ::1] out):
    """Add to ``out[p, b]`` the rows with ``positive == p`` whose score, in [0, 1], reaches threshold b but not b + 1 of ``b / n_bins``.

    ``out``: [2, n_bins + 1].
    """
    cdef Py_ssize_t i, b, n_bins = out.shape[1] - 1
    check_lengths(scores.shape[0], positive.shape[0], scores.shape[0])
    with nogil:
        for i in range(scores.shape[0]):
            b = <Py_ssize_t> (scores[i] * n_bins)
            # the product is rounded: the thresholds themselves decide
            if b < n_bins and scores[i] >= <double> (b + 1) / n_bins:
                b += 1
            elif scores[i] < <double> b / n_bins:
                b -= 1
            out[1 if positive[i] else 0, b] += 1


def measure_errors(const double[::1] predictions, const double[::1] y, const double[::1] weights, int loss, double quantile,
                   double[::1] largest, int num_threads):
    """Raise ``largest`` [2] to the largest |prediction - y| and the largest w loss of rows of positive weight.

    ``weights``: None for 1. ``loss``: NO_LOSS; POISSON_LOSS, the deviance 2 (y ln(y / prediction) - y + prediction) of predictions above
    0; or QUANTILE_LOSS, quantile (y - prediction), or (1 - quantile) (prediction - y) where y is below.
    """
    cdef Py_ssize_t b, at, n = predictions.shape[0], n_blocks = (n + SAMESUM_BLOCK - 1) // SAMESUM_BLOCK
    check_lengths(n, y.shape[0], n if weights is None else weights.shape[0])
    cdef const double* w = NULL if weights is None or n == 0 else &weights[0]
    cdef block_maxima* maxima = <block_maxima*> calloc(max(n_blocks, 1), sizeof(block_maxima))
    if maxima == NULL:
        raise MemoryError(f"cannot hold the largest errors of {n} rows")
    for b in prange(n_blocks, nogil=True, num_threads=num_threads, schedule="static"):
        at = b * SAMESUM_BLOCK
        samesum_measure_errors(min(SAMESUM_BLOCK, n - at), &predictions[at], &y[at], NULL if w == NULL else w + at, loss, quantile,
                               &maxima[b])
    for b in range(n_blocks):
        largest[0] = max(largest[0], samesum_from_bits(maxima[b].g))
        largest[1] = max(largest[1], samesum_from_bits(maxima[b].h))
    free(maxima)


def sum_errors(const double[::1] predictions, const double[::1] y, const double[::1] weights, int weight_exponent, int loss,
               double quantile, int error_exponent, int loss_exponent, int64_t[::1] out, int num_threads):
    """Add to ``out`` [4] the limbs of the sums of w error^2 and of w loss, each term rounded once.

    Units: ``2**(weight_exponent + 2 error_exponent - 50)`` and ``2**(loss_exponent - 50)``; the exponents bound what
    :func:`measure_errors` found, and the weights.
    """
    cdef Py_ssize_t b, at, n = predictions.shape[0], n_blocks = (n + SAMESUM_BLOCK - 1) // SAMESUM_BLOCK
    check_lengths(n, y.shape[0], n if weights is None else weights.shape[0])
    cdef const double* w = NULL if weights is None or n == 0 else &weights[0]
    cdef double weight_scale = ldexp(1.0, -weight_exponent)
    # one factor alone overflows next to the smallest double
    cdef int first = min(-error_exponent, 1000), second = min(-loss_exponent, 1000)
    cdef double[4] scale
    scale[0], scale[1] = ldexp(1.0, first), ldexp(1.0, -error_exponent - first)
    scale[2], scale[3] = ldexp(1.0, second), ldexp(1.0, -loss_exponent - second)
    cdef const double* scales = scale
    cdef block_stats* blocks = <block_stats*> calloc(max(n_blocks, 1), sizeof(block_stats))
    if blocks == NULL:
        raise MemoryError(f"cannot hold the sums of {n} rows")
    for b in prange(n_blocks, nogil=True, num_threads=num_threads, schedule="static"):
        at = b * SAMESUM_BLOCK
        samesum_sum_errors(min(SAMESUM_BLOCK, n - at), &predictions[at], &y[at], NULL if w == NULL else w + at, weight_scale, loss,
                           quantile, scales, &blocks[b])
    for b in range(n_blocks):
        out[0] += blocks[b].g >> 26
        out[1] += blocks[b].g & 0x3ffffff
        out[2] += blocks[b].loss >> 26
        out[3] += blocks[b].loss & 0x3ffffff
    free(blocks)


def sum_products(const uint64_t[::1] a, const int64_t[::1] b, int64_t[::1] out):
    """Add ``a . b`` to ``out`` [4], limbs of 32 bits, the lowest first; ``b`` is not negative and the sum stays below 2**128."""
    check_lengths(a.shape[0], b.shape[0], a.shape[0])
    if a.shape[0]:
        samesum_sum_products(a.shape[0], &a[0], &b[0], &out[0])


cdef int check_lengths(Py_ssize_t a, Py_ssize_t b, Py_ssize_t c) except -1:
    """Refuse arrays of different lengths, which the loops would run out of."""
    if not a == b == c:
        raise ValueError(f"expected arrays of one length, got {a}, {b} and {c}")
    return 0
