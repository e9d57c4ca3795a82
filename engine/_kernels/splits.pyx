"""The best split of every node from its histograms, and siblings by subtraction.

Gain of a split (second order, Chen and Guestrin 2016): score(yes) + score(no) - score(node), score(G, H) = G^2 / (H + lambda).
"""

from cython.parallel cimport prange
from libc.stdint cimport int32_t, int64_t, uint8_t


def expand_siblings(const int64_t[:, ::1] parents, const int64_t[::1] parent, const int64_t[:, ::1] small, const int64_t[::1] place,
                    int64_t[:, ::1] out, int num_threads):
    """Histograms of pairs of siblings from their parents' and the smaller ones': ``small[k]`` goes to ``out[place[k]]``, one of 2 k and
    2 k + 1, and ``parents[parent[k]] - small[k]`` to the other. All [.., n], any values per node.
    """
    cdef Py_ssize_t k, j
    for k in prange(small.shape[0], nogil=True, num_threads=num_threads, schedule="static"):
        for j in range(small.shape[1]):
            out[place[k], j] = small[k, j]
            out[place[k] ^ 1, j] = parents[parent[k], j] - small[k, j]


def find_best_splits(const int64_t[:, :, ::1] hist, const int64_t[::1] column_start, const uint8_t[::1] is_category,
                     const uint8_t[::1] has_missing, double g_unit, double h_unit, double reg_lambda, double min_child_weight,
                     double min_gain, double[::1] gain, int32_t[::1] column, int32_t[::1] code, uint8_t[::1] missing_yes, int num_threads):
    """Choose for every node the split with the largest gain above ``min_gain``, ties by the lowest column, then the lowest code.

    ``hist``: [n_nodes, n_codes of all columns, 2] integer gradients and hessians, worth ``g_unit`` and ``h_unit`` each; column j's codes
    are ``column_start[j]`` to ``column_start[j + 1]``, the last one the missing values where ``has_missing[j]``. Numbers: yes is every
    code up to ``code``; categories: yes is ``code`` alone. ``column`` is -1 where there is no split. ``missing_yes``: 1 or 0, and 2 where
    the node has no missing value in that column, so that nothing was learned.
    """
    cdef Py_ssize_t k
    for k in prange(hist.shape[0], nogil=True, num_threads=num_threads, schedule="dynamic"):
        find_best_split(&hist[k, 0, 0] if hist.shape[1] else NULL, column_start, is_category, has_missing, g_unit, h_unit, reg_lambda,
                        min_child_weight, min_gain, &gain[k], &column[k], &code[k], &missing_yes[k])


cdef inline double score(double g, double h, double reg_lambda) noexcept nogil:
    return g * g / (h + reg_lambda)


cdef void find_best_split(const int64_t* hist, const int64_t[::1] column_start, const uint8_t[::1] is_category,
                          const uint8_t[::1] has_missing, double g_unit, double h_unit, double reg_lambda, double min_child_weight,
                          double min_gain, double* gain, int32_t* column, int32_t* code, uint8_t* missing_yes) noexcept nogil:
    cdef Py_ssize_t j, c, n
    cdef const int64_t* h
    cdef int64_t g_total, h_total, g_missing, h_missing, g_yes, h_yes
    cdef double parent, value
    gain[0] = min_gain
    column[0] = -1
    code[0] = 0
    missing_yes[0] = 0
    for j in range(column_start.shape[0] - 1):
        h = hist + 2 * column_start[j]
        n = column_start[j + 1] - column_start[j]
        g_total = 0
        h_total = 0
        for c in range(n):
            g_total += h[2 * c]
            h_total += h[2 * c + 1]
        parent = score(g_unit * g_total, h_unit * h_total, reg_lambda)
        if is_category[j]:
            for c in range(n):
                value = split_gain(h[2 * c], h[2 * c + 1], g_total, h_total, g_unit, h_unit, reg_lambda, min_child_weight) - parent
                if value > gain[0]:
                    gain[0] = value
                    column[0] = <int32_t> j
                    code[0] = <int32_t> c
                    missing_yes[0] = 0
            continue
        g_missing = h[2 * (n - 1)] if has_missing[j] else 0
        h_missing = h[2 * (n - 1) + 1] if has_missing[j] else 0
        g_yes = 0
        h_yes = 0
        # where a node has missing values, its last number's code asks "is there a value?"; else it would send everything to yes
        for c in range(n - 1 if h_missing or not has_missing[j] else n - 2):
            g_yes += h[2 * c]
            h_yes += h[2 * c + 1]
            if h[2 * c + 1] == 0 and c:
                continue
            value = split_gain(g_yes, h_yes, g_total, h_total, g_unit, h_unit, reg_lambda, min_child_weight) - parent
            if value > gain[0]:
                gain[0] = value
                column[0] = <int32_t> j
                code[0] = <int32_t> c
                missing_yes[0] = 0 if h_missing else 2
            if h_missing and c < n - 2:
                value = split_gain(g_yes + g_missing, h_yes + h_missing, g_total, h_total, g_unit, h_unit, reg_lambda,
                                   min_child_weight) - parent
                if value > gain[0]:
                    gain[0] = value
                    column[0] = <int32_t> j
                    code[0] = <int32_t> c
                    missing_yes[0] = 1


cdef inline double split_gain(int64_t g_yes, int64_t h_yes, int64_t g_total, int64_t h_total, double g_unit, double h_unit,
                              double reg_lambda, double min_child_weight) noexcept nogil:
    """score(yes) + score(no); a number below every gain where a child is empty or too light."""
    cdef double yes_weight = h_unit * h_yes, no_weight = h_unit * (h_total - h_yes)
    if h_yes == 0 or h_yes == h_total or yes_weight < min_child_weight or no_weight < min_child_weight:
        return -1.0
    return score(g_unit * g_yes, yes_weight, reg_lambda) + score(g_unit * (g_total - g_yes), no_weight, reg_lambda)
