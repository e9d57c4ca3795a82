"""Gradients and hessians of losses at every row, as integers, with the sums that training needs of them.

Row sums go to ``stats`` as limbs (``high * 2**26 + low``), so that they are exact and independent of blocks, threads and ranks.
"""

from cython.parallel cimport prange
from libc.math cimport ldexp
from libc.stdint cimport int32_t, int64_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free

import numpy as np

from engine._kernels.elementary cimport samesum_from_bits


cdef extern from "losses.h" nogil:
    enum: SAMESUM_BLOCK
    ctypedef struct block_stats "samesum_block_stats":
        int64_t g, h, abs_g, loss, right, max_g, max_h
    void samesum_logistic(int64_t n, const double* scores, const int32_t* y, int64_t* g, block_stats* s)
    void samesum_softmax_normalize(int64_t n, int64_t n_classes, int64_t stride, const double* scores, const int32_t* y,
                                   double* largest, double* total, block_stats* s)
    void samesum_softmax(int64_t n, const double* scores, const int32_t* y, int32_t k, const double* largest, const double* total,
                         int64_t* gh, block_stats* s)
    double samesum_residuals(int64_t n, const double* scores, const double* y, double* out)
    void samesum_quantise(int64_t n, double first, double second, int64_t* g, block_stats* s)
    ctypedef struct block_maxima "samesum_block_maxima":
        int64_t g, h
    void samesum_weigh_logistic(int64_t n, const double* scores, const int32_t* y, const double* weights, double* gh, block_maxima* m)
    void samesum_weigh_softmax(int64_t n, const double* scores, const int32_t* y, int32_t k, const double* largest, const double* total,
                               const double* weights, double* gh, block_maxima* m)
    void samesum_weigh_squared(int64_t n, const double* scores, const double* y, const double* weights, double* gh, block_maxima* m)
    void samesum_weigh_poisson(int64_t n, const double* scores, const double* y, const double* weights, double* gh, block_maxima* m)
    void samesum_weigh_quantile(int64_t n, const double* scores, const double* y, double quantile, const double* weights, double* gh,
                                block_maxima* m)
    void samesum_quantile(int64_t n, const double* scores, const double* y, double quantile, int64_t* g, block_stats* s)
    void samesum_quantise_pairs(int64_t n, const double* scale, int64_t* gh, block_stats* s)
    void samesum_logistic_metrics(int64_t n, const double* scores, const int32_t* y, const double* weights, double scale, block_stats* s)
    void samesum_softmax_metrics(int64_t n, int64_t n_classes, int64_t stride, const double* scores, const int32_t* y,
                                 const double* largest, const double* total, const double* weights, double scale, block_stats* s)
    void samesum_means(int64_t n, const double* scores, double* out)

ctypedef fused leaf_t:
    uint16_t
    uint32_t

# Places in `stats`: limbs of the sums of g, h, |g| and loss, rows predicted right. Places in `largest`: max |g|, max h.
N_STATS = 9
N_LARGEST = 2


cdef inline void add_limbs(int64_t value, int64_t* out) noexcept nogil:
    out[0] += value >> 26
    out[1] += value & 0x3ffffff


cdef void collect(const block_stats* blocks, Py_ssize_t n_blocks, int64_t[::1] stats, int64_t[::1] largest) noexcept nogil:
    cdef Py_ssize_t b
    for b in range(n_blocks):
        add_limbs(blocks[b].g, &stats[0])
        add_limbs(blocks[b].h, &stats[2])
        add_limbs(blocks[b].abs_g, &stats[4])
        add_limbs(blocks[b].loss, &stats[6])
        stats[8] += blocks[b].right
        largest[0] = max(largest[0], blocks[b].max_g)
        largest[1] = max(largest[1], blocks[b].max_h)


cdef block_stats* new_blocks(Py_ssize_t n, Py_ssize_t* n_blocks) except NULL:
    n_blocks[0] = (n + SAMESUM_BLOCK - 1) // SAMESUM_BLOCK
    cdef block_stats* blocks = <block_stats*> calloc(max(n_blocks[0], 1), sizeof(block_stats))
    if blocks == NULL:
        raise MemoryError(f"cannot hold the sums of {n} rows")
    return blocks


def compute_logistic(double[::1] scores, const leaf_t[::1] leaf, const double[::1] values, const int32_t[::1] y, int64_t[:, ::1] out,
                     int64_t[::1] stats, int64_t[::1] largest, int num_threads):
    """Add ``values[leaf[i]]`` to every row's margin in ``scores``, unless ``leaf`` is empty, and then the logistic loss of classes 0 and 1.

    ``out``: [n, 1], g = p - y in units of 2**-50, which stands for h = p (1 - p) >= 1 in units of 2**-52 too. ``stats`` [9], ``largest``
    [2]: added to; the loss is -ln of the probability of y, clipped to [1e-9, 1 - 1e-9], in units of 2**-45.
    """
    cdef Py_ssize_t b, at, size, n = scores.shape[0], n_blocks
    cdef block_stats* blocks = new_blocks(n, &n_blocks)
    cdef bint adds = leaf.shape[0] > 0
    for b in prange(n_blocks, nogil=True, num_threads=num_threads, schedule="static"):
        at = b * SAMESUM_BLOCK
        size = min(SAMESUM_BLOCK, n - at)
        if adds:
            add_values(&leaf[at], &values[0], &scores[at], size)
        samesum_logistic(size, &scores[at], &y[at], &out[at, 0], &blocks[b])
    collect(blocks, n_blocks, stats, largest)
    free(blocks)


cdef inline void add_values(const leaf_t* leaf, const double* values, double* scores, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        scores[i] += values[leaf[i]]


def normalize_softmax(const double[:, ::1] scores, const int32_t[::1] y, double[::1] row_max, double[::1] row_sum, int64_t[::1] stats,
                      int64_t[::1] largest, int num_threads):
    """The maximum score and the sum of e**(score - maximum) of each row over classes; ``scores``: [n_classes, n].

    ``stats`` gets the loss, -ln of the probability of y clipped to [1e-9, 1 - 1e-9], in units of 2**-45, and the rows predicted right.
    """
    cdef Py_ssize_t b, n = scores.shape[1], n_blocks
    cdef Py_ssize_t n_classes = scores.shape[0]
    cdef block_stats* blocks = new_blocks(n, &n_blocks)
    for b in prange(n_blocks, nogil=True, num_threads=num_threads, schedule="static"):
        samesum_softmax_normalize(min(SAMESUM_BLOCK, n - b * SAMESUM_BLOCK), n_classes, n, &scores[0, b * SAMESUM_BLOCK],
                                  &y[b * SAMESUM_BLOCK], &row_max[b * SAMESUM_BLOCK], &row_sum[b * SAMESUM_BLOCK], &blocks[b])
    collect(blocks, n_blocks, stats, largest)
    free(blocks)


def compute_softmax(const double[::1] scores, const int32_t[::1] y, int32_t k, const double[::1] row_max, const double[::1] row_sum,
                    int64_t[:, ::1] out, int64_t[::1] stats, int64_t[::1] largest, int num_threads):
    """Softmax loss with respect to class ``k``'s ``scores`` [n], after :func:`normalize_softmax`.

    ``out``: [n, 2], g = p - [y = k] in units of 2**-50 and h = 2 p (1 - p) >= 1 in units of 2**-51.
    """
    cdef Py_ssize_t b, n = scores.shape[0], n_blocks
    cdef block_stats* blocks = new_blocks(n, &n_blocks)
    for b in prange(n_blocks, nogil=True, num_threads=num_threads, schedule="static"):
        samesum_softmax(min(SAMESUM_BLOCK, n - b * SAMESUM_BLOCK), &scores[b * SAMESUM_BLOCK], &y[b * SAMESUM_BLOCK], k,
                        &row_max[b * SAMESUM_BLOCK], &row_sum[b * SAMESUM_BLOCK], &out[b * SAMESUM_BLOCK, 0], &blocks[b])
    collect(blocks, n_blocks, stats, largest)
    free(blocks)


def compute_residuals(const double[::1] scores, const double[::1] y, int64_t[:, ::1] out, int num_threads) -> float:
    """Residuals ``scores - y``, whose doubles are stored in the bits of ``out`` [n, 1]; returns the largest magnitude, 0 for no rows."""
    cdef Py_ssize_t b, n = scores.shape[0]
    cdef Py_ssize_t n_blocks = (n + SAMESUM_BLOCK - 1) // SAMESUM_BLOCK
    cdef double largest = 0.0
    cdef double[::1] maxima = np.zeros(max(n_blocks, 1))
    for b in prange(n_blocks, nogil=True, num_threads=num_threads, schedule="static"):
        maxima[b] = samesum_residuals(min(SAMESUM_BLOCK, n - b * SAMESUM_BLOCK), &scores[b * SAMESUM_BLOCK], &y[b * SAMESUM_BLOCK],
                                      <double*> &out[b * SAMESUM_BLOCK, 0])
    for b in range(n_blocks):
        largest = max(largest, maxima[b])
    return largest


def quantise_residuals(int64_t[:, ::1] out, int exponent, int64_t[::1] stats, int64_t[::1] largest, int num_threads):
    """Turn the doubles of :func:`compute_residuals` into integers in units of ``2**(exponent - 50)``, in place.

    ``exponent``: every ``|residual| <= 2**exponent``. ``stats`` gets the sums, the hessian's being the number of rows, and as loss
    the squares in units of ``2**(2 * exponent - 50)``.
    """
    cdef Py_ssize_t b, n = out.shape[0], n_blocks
    # one factor alone overflows where all residuals are next to the smallest double
    cdef double first = ldexp(1.0, min(-exponent, 1000)), second = ldexp(1.0, -exponent - min(-exponent, 1000))
    cdef block_stats* blocks = new_blocks(n, &n_blocks)
    for b in prange(n_blocks, nogil=True, num_threads=num_threads, schedule="static"):
        samesum_quantise(min(SAMESUM_BLOCK, n - b * SAMESUM_BLOCK), first, second, &out[b * SAMESUM_BLOCK, 0], &blocks[b])
    collect(blocks, n_blocks, stats, largest)
    free(blocks)


cdef int first_exponent(int exponent) noexcept nogil:
    """The exponent of the first of two factors that make ``2**-exponent``: one alone overflows next to the smallest double."""
    return min(-exponent, 1000)


cdef void take_maxima(const block_maxima* maxima, Py_ssize_t n_blocks, double[::1] largest) noexcept nogil:
    cdef Py_ssize_t b
    for b in range(n_blocks):
        largest[0] = max(largest[0], samesum_from_bits(maxima[b].g))
        largest[1] = max(largest[1], samesum_from_bits(maxima[b].h))


cdef block_maxima* new_maxima(Py_ssize_t n, Py_ssize_t* n_blocks) except NULL:
    n_blocks[0] = (n + SAMESUM_BLOCK - 1) // SAMESUM_BLOCK
    cdef block_maxima* maxima = <block_maxima*> calloc(max(n_blocks[0], 1), sizeof(block_maxima))
    if maxima == NULL:
        raise MemoryError(f"cannot hold the largest gradients of {n} rows")
    return maxima


def weigh_logistic(const double[::1] scores, const int32_t[::1] y, const double[::1] weights, int64_t[:, ::1] out, double[::1] largest,
                   int num_threads):
    """Gradients w (p - y) and hessians w p (1 - p) of the logistic loss, whose doubles are stored in the bits of ``out`` [n, 2].

    ``largest`` [2]: raised to the largest |gradient| and hessian. Where w > 0 the hessian is at least w 2**-52.
    """
    cdef Py_ssize_t b, at, n = scores.shape[0], n_blocks
    cdef block_maxima* maxima = new_maxima(n, &n_blocks)
    for b in prange(n_blocks, nogil=True, num_threads=num_threads, schedule="static"):
        at = b * SAMESUM_BLOCK
        samesum_weigh_logistic(min(SAMESUM_BLOCK, n - at), &scores[at], &y[at], &weights[at], <double*> &out[at, 0], &maxima[b])
    take_maxima(maxima, n_blocks, largest)
    free(maxima)


def weigh_softmax(const double[::1] scores, const int32_t[::1] y, int32_t k, const double[::1] row_max, const double[::1] row_sum,
                  const double[::1] weights, int64_t[:, ::1] out, double[::1] largest, int num_threads):
    """As :func:`weigh_logistic`, of the softmax loss and class ``k``'s scores, after :func:`normalize_softmax`."""
    cdef Py_ssize_t b, at, n = scores.shape[0], n_blocks
    cdef block_maxima* maxima = new_maxima(n, &n_blocks)
    for b in prange(n_blocks, nogil=True, num_threads=num_threads, schedule="static"):
        at = b * SAMESUM_BLOCK
        samesum_weigh_softmax(min(SAMESUM_BLOCK, n - at), &scores[at], &y[at], k, &row_max[at], &row_sum[at], &weights[at],
                              <double*> &out[at, 0], &maxima[b])
    take_maxima(maxima, n_blocks, largest)
    free(maxima)


def weigh_squared(const double[::1] scores, const double[::1] y, const double[::1] weights, int64_t[:, ::1] out, double[::1] largest,
                  int num_threads):
    """As :func:`weigh_logistic`, of half the squared error: w (score - y) and w."""
    cdef Py_ssize_t b, at, n = scores.shape[0], n_blocks
    cdef block_maxima* maxima = new_maxima(n, &n_blocks)
    for b in prange(n_blocks, nogil=True, num_threads=num_threads, schedule="static"):
        at = b * SAMESUM_BLOCK
        samesum_weigh_squared(min(SAMESUM_BLOCK, n - at), &scores[at], &y[at], &weights[at], <double*> &out[at, 0], &maxima[b])
    take_maxima(maxima, n_blocks, largest)
    free(maxima)


def weigh_poisson(const double[::1] scores, const double[::1] y, const double[::1] weights, int64_t[:, ::1] out, double[::1] largest,
                  int num_threads):
    """As :func:`weigh_logistic`, of the Poisson loss: w (mean - y) and w mean, with means as in :func:`fill_means`; no ``weights``: 1."""
    cdef Py_ssize_t b, at, n = scores.shape[0], n_blocks
    cdef const double* w = NULL
    if weights is not None and n > 0:
        w = &weights[0]
    cdef block_maxima* maxima = new_maxima(n, &n_blocks)
    for b in prange(n_blocks, nogil=True, num_threads=num_threads, schedule="static"):
        at = b * SAMESUM_BLOCK
        samesum_weigh_poisson(min(SAMESUM_BLOCK, n - at), &scores[at], &y[at], NULL if w == NULL else w + at, <double*> &out[at, 0],
                              &maxima[b])
    take_maxima(maxima, n_blocks, largest)
    free(maxima)


def weigh_quantile(const double[::1] scores, const double[::1] y, double quantile, const double[::1] weights, int64_t[:, ::1] out,
                   double[::1] largest, int num_threads):
    """As :func:`weigh_logistic`, of the quantile loss: w (1 - quantile) where y < score, else -w quantile; and w."""
    cdef Py_ssize_t b, at, n = scores.shape[0], n_blocks
    cdef block_maxima* maxima = new_maxima(n, &n_blocks)
    for b in prange(n_blocks, nogil=True, num_threads=num_threads, schedule="static"):
        at = b * SAMESUM_BLOCK
        samesum_weigh_quantile(min(SAMESUM_BLOCK, n - at), &scores[at], &y[at], quantile, &weights[at], <double*> &out[at, 0], &maxima[b])
    take_maxima(maxima, n_blocks, largest)
    free(maxima)


def quantise_pairs(int64_t[:, ::1] out, int g_exponent, int h_exponent, int64_t[::1] stats, int64_t[::1] largest, int num_threads):
    """Turn the doubles of the functions above into integers in units of ``2**(g_exponent - 50)`` and ``2**(h_exponent - 50)``, in place.

    The exponents bound every |gradient| and hessian of all ranks. A positive hessian becomes 1 or more, zeros stay zeros.
    """
    cdef Py_ssize_t b, at, n = out.shape[0], n_blocks
    cdef double[4] scale
    scale[0], scale[2] = ldexp(1.0, first_exponent(g_exponent)), ldexp(1.0, first_exponent(h_exponent))
    scale[1] = ldexp(1.0, -g_exponent - first_exponent(g_exponent))
    scale[3] = ldexp(1.0, -h_exponent - first_exponent(h_exponent))
    cdef const double* scales = scale
    cdef block_stats* blocks = new_blocks(n, &n_blocks)
    for b in prange(n_blocks, nogil=True, num_threads=num_threads, schedule="static"):
        at = b * SAMESUM_BLOCK
        samesum_quantise_pairs(min(SAMESUM_BLOCK, n - at), scales, &out[at, 0], &blocks[b])
    collect(blocks, n_blocks, stats, largest)
    free(blocks)


def compute_quantile(const double[::1] scores, const double[::1] y, double quantile, int64_t[:, ::1] out, int64_t[::1] stats,
                     int64_t[::1] largest, int num_threads):
    """Quantile loss without weights: ``out`` [n, 1], 1 - quantile where y < score, else -quantile, in units of 2**-50."""
    cdef Py_ssize_t b, at, n = scores.shape[0], n_blocks
    cdef block_stats* blocks = new_blocks(n, &n_blocks)
    for b in prange(n_blocks, nogil=True, num_threads=num_threads, schedule="static"):
        at = b * SAMESUM_BLOCK
        samesum_quantile(min(SAMESUM_BLOCK, n - at), &scores[at], &y[at], quantile, &out[at, 0], &blocks[b])
    collect(blocks, n_blocks, stats, largest)
    free(blocks)


def sum_logistic_metrics(const double[::1] scores, const int32_t[::1] y, const double[::1] weights, int exponent, int64_t[::1] stats,
                         int64_t[::1] largest, int num_threads):
    """Add to ``stats`` the weights of rows predicted right, in the place of g, in units of ``2**(exponent - 50)``, and w loss in those
    of ``2**(exponent - 45)``; the loss is that of :func:`compute_logistic`, and weights are at most ``2**exponent``.
    """
    cdef Py_ssize_t b, at, n = scores.shape[0], n_blocks
    cdef double scale = ldexp(1.0, -exponent)
    cdef block_stats* blocks = new_blocks(n, &n_blocks)
    for b in prange(n_blocks, nogil=True, num_threads=num_threads, schedule="static"):
        at = b * SAMESUM_BLOCK
        samesum_logistic_metrics(min(SAMESUM_BLOCK, n - at), &scores[at], &y[at], &weights[at], scale, &blocks[b])
    collect(blocks, n_blocks, stats, largest)
    free(blocks)


def sum_softmax_metrics(const double[:, ::1] scores, const int32_t[::1] y, const double[::1] row_max, const double[::1] row_sum,
                        const double[::1] weights, int exponent, int64_t[::1] stats, int64_t[::1] largest, int num_threads):
    """As :func:`sum_logistic_metrics`, after :func:`normalize_softmax`; ``scores``: [n_classes, n]."""
    cdef Py_ssize_t b, at, n = scores.shape[1], n_blocks, n_classes = scores.shape[0]
    cdef double scale = ldexp(1.0, -exponent)
    cdef block_stats* blocks = new_blocks(n, &n_blocks)
    for b in prange(n_blocks, nogil=True, num_threads=num_threads, schedule="static"):
        at = b * SAMESUM_BLOCK
        samesum_softmax_metrics(min(SAMESUM_BLOCK, n - at), n_classes, n, &scores[0, at], &y[at], &row_max[at], &row_sum[at], &weights[at],
                                scale, &blocks[b])
    collect(blocks, n_blocks, stats, largest)
    free(blocks)


def fill_means(const double[::1] scores, double[::1] out, int num_threads):
    """``out[i]`` = e**score, of scores clipped to [-500, 500]; ``out`` may be ``scores``."""
    cdef Py_ssize_t b, n = scores.shape[0]
    for b in prange((n + SAMESUM_BLOCK - 1) // SAMESUM_BLOCK, nogil=True, num_threads=num_threads, schedule="static"):
        samesum_means(min(SAMESUM_BLOCK, n - b * SAMESUM_BLOCK), &scores[b * SAMESUM_BLOCK], &out[b * SAMESUM_BLOCK])
