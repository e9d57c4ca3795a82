"""The best split of every node from its histograms, and siblings by subtraction.

Gain of a split (second order, Chen and Guestrin 2016): score(yes) + score(no) - score(node), score(G, H) = G^2 / (H + lambda).
"""

from cython.parallel cimport prange, threadid
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport free, malloc

cdef extern from "tree_kernels.h" nogil:
    void samesum_expand(int64_t n, const int64_t* parent, const int64_t* built, int64_t* small, int64_t* large)
    void samesum_split_gains(int64_t n, const int64_t* g, const int64_t* h, int64_t g_total, int64_t h_total, double g_unit,
                             double h_unit, double reg_lambda, double min_weight, double* gains)

# Arrays of n words that the search of a column works in: sums of g and h, gains with missing values in no, and in yes.
cdef enum:
    ROOM = 4


def expand_siblings(const int64_t[:, ::1] parents, const int64_t[::1] parent, const int64_t[:, ::1] small, const int64_t[::1] place,
                    int64_t[:, ::1] out, int num_threads):
    """Histograms of pairs of siblings from their parents' and the smaller ones': ``small[k]`` goes to ``out[place[k]]``, one of 2 k and
    2 k + 1, and ``parents[parent[k]] - small[k]`` to the other. All [.., n], any values per node.
    """
    cdef Py_ssize_t k, n = small.shape[1]
    if n == 0:
        return
    for k in prange(small.shape[0], nogil=True, num_threads=num_threads, schedule="static"):
        samesum_expand(n, &parents[parent[k], 0], &small[k, 0], &out[place[k], 0], &out[place[k] ^ 1, 0])


def find_best_splits(const int64_t[:, :, ::1] hist, const int64_t[::1] column_start, const uint8_t[::1] is_category,
                     const uint8_t[::1] has_missing, double g_unit, double h_unit, double reg_lambda, double min_child_weight,
                     double min_gain, double[::1] gain, int32_t[::1] column, int32_t[::1] code, uint8_t[::1] missing_yes, int num_threads):
    """Choose for every node the split with the largest gain above ``min_gain``, ties by the lowest column, then the lowest code.

    ``hist``: [n_nodes, n_codes of all columns, 2] integer gradients and hessians, worth ``g_unit`` and ``h_unit`` each; column j's codes
    are ``column_start[j]`` to ``column_start[j + 1]``, the last one the missing values where ``has_missing[j]``. Numbers: yes is every
    code up to ``code``; categories: yes is ``code`` alone. ``column`` is -1 where there is no split. ``missing_yes``: 1 or 0, and 2 where
    the node has no missing value in that column, so that nothing was learned.
    """
    cdef Py_ssize_t k, j, n_codes = 1
    for j in range(column_start.shape[0] - 1):
        n_codes = max(n_codes, column_start[j + 1] - column_start[j])
    cdef double* rooms = <double*> malloc(ROOM * n_codes * num_threads * sizeof(double))
    if rooms == NULL:
        raise MemoryError(f"cannot hold the gains of {n_codes} codes for {num_threads} threads")
    for k in prange(hist.shape[0], nogil=True, num_threads=num_threads, schedule="dynamic"):
        gain[k] = min_gain
        column[k] = -1
        code[k] = 0
        missing_yes[k] = 0
        for j in range(column_start.shape[0] - 1):
            search_column(&hist[k, column_start[j], 0], column_start[j + 1] - column_start[j], <int32_t> j, is_category[j],
                          has_missing[j], g_unit, h_unit, reg_lambda, min_child_weight, rooms + ROOM * n_codes * threadid(),
                          &gain[k], &column[k], &code[k], &missing_yes[k])
    free(rooms)


cdef void search_column(const int64_t* hist, Py_ssize_t n, int32_t j, bint is_category, bint has_missing, double g_unit, double h_unit,
                        double reg_lambda, double min_child_weight, double* room, double* gain, int32_t* column, int32_t* code,
                        uint8_t* missing_yes) noexcept nogil:
    """Improve a node's best split by those of one column of ``n`` codes; ``room``: [ROOM, n]."""
    cdef int64_t g_total = 0, h_total = 0
    cdef int64_t g_missing = hist[2 * n - 2] if has_missing else 0, h_missing = hist[2 * n - 1] if has_missing else 0
    cdef double* gains = room + 2 * n
    cdef double* gains_missing = room + 3 * n
    cdef Py_ssize_t c
    for c in range(n):
        g_total += hist[2 * c]
        h_total += hist[2 * c + 1]
    if h_total == 0:
        return
    cdef double parent = (g_unit * g_total) * (g_unit * g_total) / (h_unit * h_total + reg_lambda)
    # Numbers: where a node has missing values, its last number's code asks "is there a value?"; else it would send everything to yes.
    cdef Py_ssize_t n_splits = n if is_category else n - 1 if h_missing or not has_missing else n - 2
    fill_gains(hist, n_splits, n, is_category, 0, 0, g_total, h_total, g_unit, h_unit, reg_lambda, min_child_weight, room, gains)
    cdef bint both = h_missing and not is_category
    if both:
        fill_gains(hist, n_splits - 1, n, False, g_missing, h_missing, g_total, h_total, g_unit, h_unit, reg_lambda, min_child_weight,
                   room, gains_missing)
    for c in range(n_splits):
        if gains[c] - parent > gain[0]:
            gain[0] = gains[c] - parent
            column[0] = j
            code[0] = <int32_t> c
            missing_yes[0] = 0 if is_category or h_missing else 2
        if both and c < n_splits - 1 and gains_missing[c] - parent > gain[0]:
            gain[0] = gains_missing[c] - parent
            column[0] = j
            code[0] = <int32_t> c
            missing_yes[0] = 1


cdef inline void fill_gains(const int64_t* hist, Py_ssize_t n_splits, Py_ssize_t n, bint is_category, int64_t g_add, int64_t h_add,
                            int64_t g_total, int64_t h_total, double g_unit, double h_unit, double reg_lambda, double min_child_weight,
                            double* room, double* gains) noexcept nogil:
    """Gains, the parent's score not taken off, of a column's splits; yes also holds ``g_add`` and ``h_add``, the missing values."""
    cdef int64_t* g = <int64_t*> room
    cdef int64_t* h = g + n
    cdef int64_t g_yes = g_add, h_yes = h_add
    cdef Py_ssize_t c
    for c in range(n_splits):
        g_yes = hist[2 * c] if is_category else g_yes + hist[2 * c]
        h_yes = hist[2 * c + 1] if is_category else h_yes + hist[2 * c + 1]
        g[c] = g_yes
        h[c] = h_yes
    samesum_split_gains(n_splits, g, h, g_total, h_total, g_unit, h_unit, reg_lambda, min_child_weight, gains)
