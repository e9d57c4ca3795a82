"""Pairs of children from their rows to their best splits, each by one thread: what it builds is searched while its cache has it.

For many small nodes on one rank. Where ranks add their histograms up, or few nodes have threads share the rows of each, the steps are
:func:`engine._kernels.histogram.build_histograms`, :func:`engine._kernels.splits.expand_siblings` and
:func:`engine._kernels.splits.find_best_splits`; the splits are the same.
"""

from cython.parallel cimport prange, threadid
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from engine._kernels.histogram cimport CHUNK, Source, Words, add_panel, clear_untouched, local_size, take_source
from engine._kernels.nodes cimport Offer
from engine._kernels.splits cimport Rules, expand, samesum_split, search_columns, subset_of, take_rules, write_offer

# A thread's room: of one panel's local histograms, both nodes' histograms unless they are kept, candidates, and a node's locks and marks.
cdef struct Room:
    int64_t* local
    int64_t* hist
    int64_t* candidates
    int32_t* locks
    uint8_t* begun


def search_pairs(const uint8_t[:, ::1] narrow, const uint16_t[:, ::1] wide, const uint8_t[::1] panels, const int64_t[:, ::1] panel,
                 Words words, const int64_t[::1] narrow_base, const int64_t[::1] narrow_stride, const int32_t[::1] narrow_codes,
                 const int64_t[::1] wide_base, const int64_t[::1] wide_stride, const int32_t[::1] wide_codes, const uint32_t[::1] rows,
                 const int64_t[::1] order, const int64_t[:] begin, const int64_t[:] end, const int64_t[::1] smaller,
                 const int64_t[:, :, ::1] parents, const int64_t[::1] parent, int64_t[:, :, ::1] out, const int64_t[::1] column_start,
                 const uint8_t[::1] kind, const uint8_t[::1] has_missing, const uint8_t[::1] columns, const int8_t[::1] monotone,
                 const double[:] lower, const double[:] upper, double g_unit, double h_unit, double reg_lambda, double reg_alpha,
                 double min_child_weight, double min_gain, int32_t first_column, Offer[::1] best, uint64_t[:, ::1] subset,
                 int num_threads):
    """Find the best splits of the nodes 2 k and 2 k + 1 for every k of ``order`` [n_pairs], of which threads take the next in turn.

    ``narrow`` to ``wide_codes``: as of :func:`build_histograms`, for one node. ``words``: packed. Node j has
    ``rows[begin[j]:end[j]]``. ``parents`` [n_parents, n_codes, 2]: only the histogram of ``smaller[k]``, one of 2 k and 2 k + 1, is built,
    and the other is ``parents[parent[k]]`` less that; or of length 0, and both are built. ``out``: [2 n_pairs, n_codes, 2], set but for
    columns that are not searched, or of length 0 if nobody needs the histograms. ``column_start`` to ``subset``: as of
    :func:`find_best_splits`.
    """
    cdef Py_ssize_t k, t, n_pairs = order.shape[0], per_node = panel.shape[0] + wide.shape[0]
    cdef Source source
    cdef Rules rules
    if not words.is_packed or rows.shape[0] == 0:
        raise ValueError("expected packed words, and rows in the order of nodes")
    if begin.shape[0] != 2 * n_pairs or end.shape[0] != 2 * n_pairs or best.shape[0] != 2 * n_pairs or subset.shape[0] != 2 * n_pairs \
            or smaller.shape[0] != n_pairs or parent.shape[0] != n_pairs:
        raise ValueError(f"expected two nodes for each of {n_pairs} pairs, got {begin.shape[0]}")
    take_source(&source, narrow, wide, panels, panel, words, narrow_base, narrow_stride, narrow_codes, wide_base, wide_stride, wide_codes)
    take_rules(&rules, column_start, kind, has_missing, columns, monotone, g_unit, h_unit, reg_lambda, reg_alpha, min_child_weight,
               min_gain, first_column)
    cdef bint keeps = out.shape[0] > 0, subtracts = parents.shape[0] > 0
    if keeps and (out.shape[0] != 2 * n_pairs or out.shape[1] != rules.all_codes) or subtracts and parents.shape[1] != rules.all_codes:
        raise ValueError(f"expected histograms of {rules.all_codes} codes, got {parents.shape[1]} and {out.shape[1]}")
    cdef int64_t* no_hist = NULL
    cdef int64_t* kept = &out[0, 0, 0] if keeps and rules.all_codes else no_hist
    cdef const int64_t* above = &parents[0, 0, 0] if subtracts and rules.all_codes else no_hist
    cdef Py_ssize_t hist_size = 0 if keeps else 4 * rules.all_codes, size = local_size(&source) + hist_size + rules.room + per_node + 1
    cdef int64_t* rooms = <int64_t*> malloc(size * num_threads * sizeof(int64_t))
    cdef Room* room = <Room*> malloc(num_threads * sizeof(Room))
    if rooms == NULL or room == NULL:
        free(rooms)
        free(room)
        raise MemoryError(f"cannot hold histograms of {rules.all_codes} codes for {num_threads} threads")
    for t in range(num_threads):
        room[t].local = rooms + t * size
        room[t].hist = room[t].local + local_size(&source)
        room[t].candidates = room[t].hist + hist_size
        room[t].locks = <int32_t*> (room[t].candidates + rules.room)
        room[t].begun = <uint8_t*> (room[t].locks + per_node)
        memset(room[t].locks, 0, per_node * sizeof(int32_t))
    cdef int64_t* pair
    cdef int64_t j, node_size = 2 * rules.all_codes
    for t in prange(n_pairs, nogil=True, num_threads=num_threads, schedule="dynamic"):
        k = order[t]
        pair = kept + 2 * k * node_size if keeps else room[threadid()].hist
        for j in range(2):
            if not subtracts or 2 * k + j == smaller[k]:
                build(&source, &rows[0], begin[2 * k + j], end[2 * k + j], &room[threadid()], pair + j * node_size)
        if subtracts:
            j = smaller[k] - 2 * k
            expand(rules.n, rules.start, rules.searched, above + parent[k] * node_size, pair + j * node_size, NULL,
                   pair + (1 - j) * node_size)
        for j in range(2):
            search(pair + j * node_size, &rules, lower[2 * k + j] if rules.scoring.bounded else 0.0,
                   upper[2 * k + j] if rules.scoring.bounded else 0.0, room[threadid()].candidates, &best[2 * k + j],
                   subset_of(subset, 2 * k + j))
    free(rooms)
    free(room)


cdef void build(const Source* source, const uint32_t* rows, int64_t begin, int64_t end, Room* room, int64_t* hist) noexcept nogil:
    cdef Py_ssize_t p
    cdef int64_t first = begin
    memset(room.begun, 0, source.n_panels + source.n_wide)
    while first < end:
        for p in range(source.n_panels):
            add_panel(source, p, rows, first, min(first + CHUNK, end), room.local, 0, hist, room.locks, room.begun)
        first += CHUNK
    clear_untouched(source, 0, room.begun, hist)


cdef void search(const int64_t* hist, const Rules* rules, double lower, double upper, int64_t* room, Offer* offer,
                 uint64_t* subset) noexcept nogil:
    cdef samesum_split found
    search_columns(hist, rules, 0, rules.all_codes, lower, upper, room, &found)
    write_offer(&found, hist, rules, room, offer, subset)
