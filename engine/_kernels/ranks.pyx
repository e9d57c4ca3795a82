"""PageRank over rows of a graph: one pass computes ranks, how much they changed, and what each vertex gives to its neighbours next."""

from cython.parallel cimport prange
from libc.math cimport ldexp
from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport calloc, free

from engine._kernels.row_cuts cimport check_cuts


cdef extern from "graph_kernels.h" nogil:
    enum: SAMESUM_AHEAD
    ctypedef struct total "samesum_total":
        int64_t high, low
    ctypedef struct rank_rows_t "samesum_rank_rows":
        const int64_t* indptr
        const uint32_t* slots
        const double* weights
        const double* base_of
        const double* inverse_out
        double base, damping, coarse
        double* ranks
        double* deltas
    enum: SAMESUM_FRACTION_BITS
    void samesum_rank_rows_f64(const rank_rows_t* rows, int64_t first, int64_t last, const double* x, double* next, total* totals)
    void samesum_rank_rows_f32(const rank_rows_t* rows, int64_t first, int64_t last, const float* x, float* next, total* totals)
    void samesum_add_total(total* t, double x, double coarse)
    void samesum_carry_total(total* t)

AHEAD = SAMESUM_AHEAD
FRACTION_BITS = SAMESUM_FRACTION_BITS

ctypedef fused contribution:
    double
    float


def rank_rows(const int64_t[::1] indptr, const uint32_t[::1] slots, const double[::1] weights, const contribution[::1] contributions,
              double base, const double[::1] base_of, double damping, const double[::1] inverse_out, int unit_exponent,
              double[::1] ranks, double[::1] deltas, contribution[::1] next_contributions, const int64_t[::1] cuts, int64_t[::1] totals,
              int num_threads):
    """One step for every row: ``rank = base * base_of[i] + damping * sum``, over the row's entries, of (weight *) contribution.

    ``indptr`` [n + 1]; ``slots`` [n_entries + AHEAD] of places in ``contributions``, those past the last entry being read but not used;
    ``weights`` [n_entries], or None for 1; ``base_of`` [n], or None for 1; ``inverse_out`` [n], 0 for one that gives nothing. ``ranks``
    [n] are replaced, ``deltas`` [n] get |change|, ``next_contributions`` [n] rank * inverse_out. ``cuts``: numbers of rows from 0 to n,
    between which threads share the work. Added to ``totals`` [4]: limbs of the sum of |change|, and of the ranks of vertices that give
    nothing, each rounded once to a multiple of ``2**unit_exponent``; a rank is below 2**87 of these. A row's entry k is added to
    accumulator k mod 4, those after the last four to the first, which are added up as (0 + 1) + (2 + 3): the bits are those of the row.
    """
    cdef Py_ssize_t n = ranks.shape[0], n_cuts = cuts.shape[0] - 1, t
    cdef int64_t n_entries = indptr[n]
    check_rows(n, indptr.shape[0], n_entries, slots.shape[0], n_entries if weights is None else weights.shape[0])
    check_vectors(n, n if base_of is None else base_of.shape[0], inverse_out.shape[0], deltas.shape[0], next_contributions.shape[0])
    check_cuts(cuts, n)
    if n == 0:
        return
    cdef rank_rows_t rows
    rows.indptr, rows.slots = &indptr[0], &slots[0]
    rows.weights = NULL if weights is None or n_entries == 0 else &weights[0]
    rows.base_of = NULL if base_of is None else &base_of[0]
    rows.inverse_out = &inverse_out[0]
    rows.base, rows.damping, rows.coarse = base, damping, ldexp(1.0, -unit_exponent - SAMESUM_FRACTION_BITS)
    rows.ranks, rows.deltas = &ranks[0], &deltas[0]
    cdef const contribution* x = &contributions[0]
    cdef contribution* following = &next_contributions[0]
    cdef total* parts = <total*> calloc(2 * n_cuts, sizeof(total))
    if parts == NULL:
        raise MemoryError(f"cannot hold the sums of {n_cuts} parts of the rows")
    cdef const rank_rows_t* shared = &rows
    for t in prange(n_cuts, nogil=True, num_threads=num_threads, schedule="dynamic"):
        if contribution is double:
            samesum_rank_rows_f64(shared, cuts[t], cuts[t + 1], x, following, parts + 2 * t)
        else:
            samesum_rank_rows_f32(shared, cuts[t], cuts[t + 1], x, following, parts + 2 * t)
    add_parts(parts, n_cuts, totals)
    free(parts)


def spread_ranks(const double[::1] ranks, const double[::1] inverse_out, int unit_exponent, contribution[::1] next_contributions,
                 int64_t[::1] totals):
    """``next_contributions[i] = ranks[i] * inverse_out[i]``; the ranks of vertices that give nothing are added to ``totals[2:4]``."""
    cdef Py_ssize_t i, n = ranks.shape[0]
    cdef double coarse = ldexp(1.0, -unit_exponent - SAMESUM_FRACTION_BITS)
    cdef total[2] kept
    check_vectors(n, n, inverse_out.shape[0], n, next_contributions.shape[0])
    kept[0].high = kept[0].low = kept[1].high = kept[1].low = 0
    with nogil:
        for i in range(n):
            next_contributions[i] = <contribution> (ranks[i] * inverse_out[i])
            if inverse_out[i] == 0.0:
                samesum_add_total(&kept[1], ranks[i], coarse)
                samesum_carry_total(&kept[1])
    add_parts(kept, 1, totals)


cdef void add_parts(total* parts, Py_ssize_t n_parts, int64_t[::1] totals):
    cdef Py_ssize_t t
    cdef int which
    cdef total whole
    for which in range(2):
        whole.high, whole.low = totals[2 * which], totals[2 * which + 1]
        for t in range(n_parts):
            whole.high += parts[2 * t + which].high
            whole.low += parts[2 * t + which].low
            samesum_carry_total(&whole)
        totals[2 * which], totals[2 * which + 1] = whole.high, whole.low


cdef check_rows(Py_ssize_t n, Py_ssize_t n_bounds, int64_t n_entries, Py_ssize_t n_slots, Py_ssize_t n_weights):
    if n_bounds != n + 1 or n_slots < n_entries + SAMESUM_AHEAD or n_weights < n_entries:
        raise ValueError(f"expected {n + 1} bounds of rows, {n_entries + SAMESUM_AHEAD} slots and {n_entries} weights, "
                         f"got {n_bounds}, {n_slots} and {n_weights}")


cdef check_vectors(Py_ssize_t n, Py_ssize_t a, Py_ssize_t b, Py_ssize_t c, Py_ssize_t d):
    if not n == a == b == c == d:
        raise ValueError(f"expected vectors of {n} rows, got {a}, {b}, {c} and {d}")
