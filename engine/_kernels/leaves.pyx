"""Leaves of a grown tree, one number a row: who is in which, what their gradients sum up to, and what they add to scores."""

from cython.parallel cimport prange, threadid
from libc.stdint cimport int64_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free

cdef extern from "tree_kernels.h" nogil:
    enum: SAMESUM_STORED
    enum: SAMESUM_CONSTANT
    enum: SAMESUM_OF_GRADIENT
    int64_t samesum_logistic_hessian(int64_t g)
    void samesum_sum_leaves_16(const int64_t* gh, int hessian, const uint16_t* leaf, int64_t begin, int64_t end, int64_t n_leaves,
                               int64_t* sums)
    void samesum_sum_leaves_32(const int64_t* gh, int hessian, const uint32_t* leaf, int64_t begin, int64_t end, int64_t n_leaves,
                               int64_t* sums)

ctypedef fused leaf_t:
    uint16_t
    uint32_t

cdef enum:
    BLOCK = 32768

# Where the hessians of rows are: beside their gradients, 1 everywhere, or a function of the gradients.
STORED, CONSTANT, OF_GRADIENT = SAMESUM_STORED, SAMESUM_CONSTANT, SAMESUM_OF_GRADIENT


cpdef check_gradients(const int64_t[:, ::1] gh, int hessian):
    """Refuse gradients that do not have the columns that ``hessian`` says."""
    cdef int width = 2 if hessian == SAMESUM_STORED else 1
    if hessian not in (SAMESUM_STORED, SAMESUM_CONSTANT, SAMESUM_OF_GRADIENT) or gh.shape[1] != width:
        raise ValueError(f"expected gradients with {width} columns for hessian {hessian}, got {gh.shape[1]}")


def logistic_hessian(int64_t g) -> int:
    """The hessian of one row of the logistic loss, in units of 2**-52, that a gradient in units of 2**-50 stands for."""
    return samesum_logistic_hessian(g)


def sum_leaves(const int64_t[:, ::1] gh, int hessian, const leaf_t[::1] leaf, int64_t[:, ::1] sums, int num_threads):
    """Add to ``sums`` [n_leaves, 4] the limbs of g and h of each leaf's rows; ``leaf`` [n] numbers every row's.

    ``gh``, ``hessian``: as of :class:`engine._kernels.histogram.Words`. Rows of leaf ``n_leaves`` are in none.
    """
    cdef Py_ssize_t t, j, n = leaf.shape[0], n_blocks = (n + BLOCK - 1) // BLOCK, n_words = 4 * sums.shape[0]
    check_gradients(gh, hessian)
    # every thread clears and adds up sums of its own: as many threads as there is more to read than that
    cdef int n_threads = <int> max(1, min(num_threads, n // max(1, n_words)))
    cdef int64_t* parts = <int64_t*> calloc(n_threads * (n_words + 4), sizeof(int64_t))
    if parts == NULL:
        raise MemoryError(f"cannot hold the sums of {sums.shape[0]} leaves for {n_threads} threads")
    for t in prange(n_blocks, nogil=True, num_threads=n_threads, schedule="static"):
        if leaf_t is uint16_t:
            samesum_sum_leaves_16(&gh[0, 0], hessian, &leaf[0], t * BLOCK, min(n, (t + 1) * BLOCK), sums.shape[0],
                                  parts + threadid() * (n_words + 4))
        else:
            samesum_sum_leaves_32(&gh[0, 0], hessian, &leaf[0], t * BLOCK, min(n, (t + 1) * BLOCK), sums.shape[0],
                                  parts + threadid() * (n_words + 4))
    for t in range(n_threads):
        for j in range(n_words):
            sums[j // 4, j % 4] += parts[t * (n_words + 4) + j]
    free(parts)


def add_leaf_values(const leaf_t[::1] leaf, const double[::1] values, double[::1] scores, int num_threads):
    """``scores[i] += values[leaf[i]]`` for every row."""
    cdef Py_ssize_t i
    for i in prange(leaf.shape[0], nogil=True, num_threads=num_threads, schedule="static"):
        scores[i] += values[leaf[i]]
