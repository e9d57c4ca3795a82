"""Label propagation over rows of a graph: each row becomes the normalised sum of its neighbours' and its own distribution of classes."""

from cython.parallel cimport prange, threadid
from libc.math cimport ldexp
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free

from engine._kernels.row_cuts cimport check_cuts


cdef extern from "graph_kernels.h" nogil:
    enum: SAMESUM_AHEAD
    enum: SAMESUM_FRACTION_BITS
    enum: SAMESUM_CLASS_BLOCK
    ctypedef struct total "samesum_total":
        int64_t high, low
    ctypedef struct label_rows_t "samesum_label_rows":
        const int64_t* indptr
        const uint32_t* slots
        const double* weights
        double self_weight, coarse
        int64_t n_classes, stride, offset
        const uint8_t* fixed
        const uint8_t* was_changed
    int64_t samesum_propagate_rows(const label_rows_t* rows, int64_t first, int64_t last, const double* x, double* next, uint8_t* changed,
                                   double* fresh, total* totals)
    void samesum_carry_total(total* t)

CLASS_BLOCK = SAMESUM_CLASS_BLOCK


def propagate_rows(const int64_t[::1] indptr, const uint32_t[::1] slots, const double[::1] weights, const double[:, ::1] values,
                   int64_t offset, int64_t n_classes, double self_weight, const uint8_t[::1] fixed, const uint8_t[::1] was_changed,
                   int unit_exponent, double[:, ::1] next_values, uint8_t[::1] changed, double[:, ::1] scratch, const int64_t[::1] cuts,
                   int64_t[::1] totals, int num_threads):
    """One step for every row that is not ``fixed``: self_weight * its values + the sum of (weight *) the values in its entries' slots.

    The result is divided by its sum; a row whose sum is 0 keeps its values. ``indptr`` [n + 1]; ``slots`` [n_entries + AHEAD] of rows of
    ``values`` [n_slots, stride], whose first ``n_classes`` columns count, the others are 0, and stride is a multiple of CLASS_BLOCK; row i
    itself is ``values[offset + i]``. ``was_changed`` [n_slots] None: every row is computed; else only those of which it says that they or
    a neighbour changed in the last step, as others would come out the same. ``next_values`` [n, stride] holds the values of the step
    before the last and gets the new ones; ``changed`` [n] whether a bit is new; ``scratch`` [num_threads, stride] is room. Added to
    ``totals`` [5]: limbs of the sum of Euclidean distances to the last values, and to those before, rounded to multiples of
    ``2**unit_exponent`` each; and the number of rows computed. Sums go over a row's entries from left to right, and over classes likewise.
    """
    cdef Py_ssize_t n = next_values.shape[0], stride = values.shape[1], n_cuts = cuts.shape[0] - 1, t
    cdef int64_t n_entries = indptr[n], n_computed = 0
    cdef int which
    if indptr.shape[0] != n + 1 or slots.shape[0] < n_entries + SAMESUM_AHEAD or not (weights is None or weights.shape[0] >= n_entries):
        raise ValueError(f"expected {n + 1} bounds of rows and {n_entries} entries and more, got {indptr.shape[0]} and {slots.shape[0]}")
    if stride % SAMESUM_CLASS_BLOCK or not 0 < n_classes <= stride or next_values.shape[1] != stride or scratch.shape[1] < stride:
        raise ValueError(f"expected rows of {stride} values, a multiple of {SAMESUM_CLASS_BLOCK}, for {n_classes} classes")
    if fixed.shape[0] != n or changed.shape[0] != n or not 0 <= offset <= values.shape[0] - n or scratch.shape[0] < num_threads:
        raise ValueError(f"expected {n} rows, got {fixed.shape[0]}, {changed.shape[0]}, {values.shape[0] - offset}")
    if not (was_changed is None or was_changed.shape[0] == values.shape[0]):
        raise ValueError(f"expected {values.shape[0]} marks of what has changed, got {was_changed.shape[0]}")
    check_cuts(cuts, n)
    if n == 0:
        return
    cdef label_rows_t rows
    rows.indptr, rows.slots = &indptr[0], &slots[0]
    rows.weights = NULL if weights is None or n_entries == 0 else &weights[0]
    rows.self_weight, rows.coarse = self_weight, ldexp(1.0, -unit_exponent - SAMESUM_FRACTION_BITS)
    rows.n_classes, rows.stride, rows.offset = n_classes, stride, offset
    rows.fixed = &fixed[0]
    rows.was_changed = NULL if was_changed is None else &was_changed[0]
    cdef total* parts = <total*> calloc(2 * max(n_cuts, 1), sizeof(total))
    if parts == NULL:
        raise MemoryError(f"cannot hold the sums of {n_cuts} parts of the rows")
    cdef const label_rows_t* shared = &rows
    for t in prange(n_cuts, nogil=True, num_threads=num_threads, schedule="dynamic"):
        n_computed += samesum_propagate_rows(shared, cuts[t], cuts[t + 1], &values[0, 0], &next_values[0, 0], &changed[0],
                                             &scratch[threadid(), 0], parts + 2 * t)
    cdef total whole
    for which in range(2):
        whole.high, whole.low = totals[2 * which], totals[2 * which + 1]
        for t in range(n_cuts):
            whole.high += parts[2 * t + which].high
            whole.low += parts[2 * t + which].low
            samesum_carry_total(&whole)
        totals[2 * which], totals[2 * which + 1] = whole.high, whole.low
    totals[4] += n_computed
    free(parts)
