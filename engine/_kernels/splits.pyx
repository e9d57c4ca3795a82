"""The best split of every node from its histograms, and siblings by subtraction.

Gain of a split (second order, Chen and Guestrin 2016): score(yes) + score(no) - score(node) with score(G, H) = T(G)^2 / (H + lambda),
T(G) = sign(G) max(|G| - alpha, 0). Where leaves' weights have bounds: w = -T(G) / (H + lambda) held within them, and
score = -(2 G w + (H + lambda) w^2 + 2 alpha |w|), which is the same where no bound is met.

Sets of categories: levels in the order of their mean gradient, of which the best two groups are a prefix and the rest (Fisher 1958),
with the limits on noise that ``split_search.h`` gives reasons for.
"""

from cython.parallel cimport prange, threadid
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from engine._kernels.nodes cimport Offer

cdef extern from "tree_kernels.h" nogil:
    void samesum_expand(int64_t n, const int64_t* parent, const int64_t* built, int64_t* small, int64_t* large)
    void samesum_subtract(int64_t n, const int64_t* parent, const int64_t* built, int64_t* other)

cdef extern from "split_search.h" nogil:
    enum: SAMESUM_BLOCK
    enum: SAMESUM_MAX_LEVELS
    double SAMESUM_SMOOTHING
    double SAMESUM_PARTITION_LAMBDA
    double SAMESUM_MIN_LEVEL_WEIGHT
    ctypedef struct samesum_candidates:
        int64_t* g
        int64_t* h
        int64_t* first_code
        int64_t h_total
        int64_t g_missing
        int64_t h_missing
    void samesum_list_codes(const int64_t* hist, int64_t n, bint cumulate, samesum_candidates* candidates)
    const uint64_t* samesum_order_levels(const int64_t* hist, int64_t n, const samesum_scoring* scoring, uint64_t* keys,
                                         int64_t* n_levels)
    void samesum_list_levels(const int64_t* hist, int64_t n, const uint64_t* order, int64_t n_levels, samesum_candidates* candidates)
    ctypedef struct samesum_hurdle:
        pass
    samesum_hurdle samesum_make_hurdle(const samesum_scoring* scoring)
    bint samesum_search_candidates(const samesum_candidates* candidates, const samesum_scoring* scoring, const samesum_hurdle* start,
                                   int direction, bint both, samesum_split* best)

# Kinds of columns.
NUMBER, CATEGORY, PARTITION = 0, 1, 2
# How sets of categories are kept from fitting noise; for tests and documents.
SMOOTHING, PARTITION_LAMBDA = SAMESUM_SMOOTHING, SAMESUM_PARTITION_LAMBDA
MIN_LEVEL_WEIGHT, MAX_LEVELS = SAMESUM_MIN_LEVEL_WEIGHT, SAMESUM_MAX_LEVELS
cdef enum:
    AS_NUMBER = 0
    AS_PARTITION = 2
    # tasks a thread, where there are few nodes, and the fewest codes that are worth one
    TASKS = 4
    TASK_CODES = 1024
    # words a code that a column is searched in: sums of g and h for both ends of an order, two keys to sort, and the blocks' codes
    ROOM = 7


def expand_siblings(const int64_t[:, :, ::1] parents, const int64_t[::1] parent, const int64_t[:, :, ::1] small,
                    const int64_t[::1] place, const int64_t[::1] column_start, const uint8_t[::1] columns, int64_t[:, :, ::1] out,
                    int num_threads):
    """Histograms of pairs of siblings from their parents' and the smaller ones': ``small[k]`` goes to ``out[place[k]]``, one of 2 k and
    2 k + 1, and ``parents[parent[k]] - small[k]`` to the other. All [.., n_codes, 2]; column j's codes are ``column_start[j]`` to
    ``column_start[j + 1]``, and of columns where ``columns`` is 0 ``out`` keeps what it has.
    """
    cdef Py_ssize_t k
    if out.shape[1] == 0:
        return
    for k in prange(small.shape[0], nogil=True, num_threads=num_threads, schedule="static"):
        expand(columns.shape[0], &column_start[0], &columns[0], &parents[parent[k], 0, 0], &small[k, 0, 0], &out[place[k], 0, 0],
               &out[place[k] ^ 1, 0, 0])


cdef void expand(Py_ssize_t n_columns, const int64_t* start, const uint8_t* searched, const int64_t* parent, const int64_t* built,
                 int64_t* small, int64_t* large) noexcept nogil:
    """``small`` = ``built``, unless it is NULL, and ``large`` = ``parent`` - ``built``, of the columns that are searched."""
    cdef Py_ssize_t j = 0, last
    cdef int64_t at, size
    while j < n_columns:
        last = j
        while last < n_columns and searched[last]:
            last += 1
        at, size = 2 * start[j], 2 * (start[last] - start[j])
        if small == NULL:
            samesum_subtract(size, parent + at, built + at, large + at)
        else:
            samesum_expand(size, parent + at, built + at, small + at, large + at)
        j = last + 1


def find_best_splits(const int64_t[:, :, ::1] hist, const int64_t[::1] column_start, const uint8_t[::1] kind,
                     const uint8_t[::1] has_missing, const uint8_t[::1] columns, const int8_t[::1] monotone, const double[:] lower,
                     const double[:] upper, double g_unit, double h_unit, double reg_lambda, double reg_alpha, double min_child_weight,
                     double min_gain, int32_t first_column, Offer[::1] best, uint64_t[:, ::1] subset, int num_threads):
    """Choose for every node the split with the largest gain above ``min_gain``, ties by the lowest column, then the lowest code; it goes
    to ``best`` [n_nodes] (:data:`engine._kernels.nodes.OFFER`), the column's number counted from ``first_column``.

    ``hist``: [n_nodes, n_codes of all columns, 2] integer gradients and hessians, worth ``g_unit`` and ``h_unit`` each, powers of two;
    column j's codes are ``column_start[j]`` to ``column_start[j + 1]``, the last one the missing values where ``has_missing[j]``.
    ``columns``: 0 for columns that are not searched. By ``kind``: a ``NUMBER`` says yes up to ``code``; a ``CATEGORY`` for ``code`` alone;
    a ``PARTITION`` for the ``code`` levels whose bits are set in ``subset`` [n_nodes, n_words], zero for nodes with other splits. Missing
    values of categories are a level as any other.

    ``monotone`` [n_columns]: 1 where weights may not fall as the column grows, -1 where they may not rise, 0 elsewhere; or empty, and then
    ``lower``, ``upper`` [n_nodes], bounds on the weights of the leaves below each node, are not read. ``middle``, which is 0
    without bounds: the mean of the children's weights. Where the split's column has a direction, it is a bound for both sides: for 1
    the upper one of yes and the lower one of no, for -1 the other way round; all other bounds are the node's.

    ``column`` is -1 where there is no split. ``missing_yes``: 1 or 0, and 2 where the node has no missing value in that column, so that
    nothing was learned.
    """
    cdef Py_ssize_t n_nodes = hist.shape[0], n_shares = 1, share, k, t
    cdef Rules rules
    take_rules(&rules, column_start, kind, has_missing, columns, monotone, g_unit, h_unit, reg_lambda, reg_alpha, min_child_weight,
               min_gain, first_column)
    if num_threads > 1 and n_nodes > 0:
        # of a node's columns; threads would wait for the first levels' few nodes
        n_shares = max(1, min(num_threads * TASKS // n_nodes, rules.all_codes // TASK_CODES))
    cdef int64_t* rooms = <int64_t*> malloc(rules.room * num_threads * sizeof(int64_t))
    cdef samesum_split* found = <samesum_split*> malloc(max(1, n_nodes * n_shares) * sizeof(samesum_split))
    if rooms == NULL or found == NULL:
        free(rooms)
        free(found)
        raise MemoryError(f"cannot hold the candidates of {rules.n_codes} codes for {num_threads} threads")
    for t in prange(n_nodes * n_shares, nogil=True, num_threads=num_threads, schedule="dynamic"):
        k = t // n_shares
        share = t % n_shares
        search_columns(hist_of(hist, k), &rules, rules.all_codes * share // n_shares, rules.all_codes * (share + 1) // n_shares,
                       lower[k] if rules.scoring.bounded else 0.0, upper[k] if rules.scoring.bounded else 0.0,
                       rooms + rules.room * threadid(), &found[t])
    if subset.shape[1] == 0:
        num_threads = 1  # what is left is little
    for k in prange(n_nodes, nogil=True, num_threads=num_threads, schedule="dynamic"):
        t = k * n_shares
        for share in range(1, n_shares):
            if found[k * n_shares + share].gain > found[t].gain:
                t = k * n_shares + share
        write_offer(&found[t], hist_of(hist, k), &rules, rooms + rules.room * threadid(), &best[k], subset_of(subset, k))
    free(found)
    free(rooms)


cdef inline const int64_t* hist_of(const int64_t[:, :, ::1] hist, Py_ssize_t k) noexcept nogil:
    return &hist[k, 0, 0] if hist.shape[1] else NULL


cdef uint64_t* subset_of(uint64_t[:, ::1] subset, Py_ssize_t k) noexcept nogil:
    """A node's set, cleared; NULL where columns have none."""
    if subset.shape[1] == 0:
        return NULL
    memset(&subset[k, 0], 0, subset.shape[1] * sizeof(uint64_t))
    return &subset[k, 0]


cdef int take_rules(Rules* rules, const int64_t[::1] column_start, const uint8_t[::1] kind, const uint8_t[::1] has_missing,
                    const uint8_t[::1] columns, const int8_t[::1] monotone, double g_unit, double h_unit, double reg_lambda,
                    double reg_alpha, double min_child_weight, double min_gain, int32_t first_column) except -1:
    """Note how to search; the arrays must stay."""
    cdef Py_ssize_t j
    memset(rules, 0, sizeof(Rules))
    rules.n = column_start.shape[0] - 1
    rules.all_codes = column_start[rules.n]
    for j in range(rules.n):
        rules.n_codes = max(rules.n_codes, column_start[j + 1] - column_start[j])
    rules.room = ROOM * (rules.n_codes + SAMESUM_BLOCK)
    if rules.n:
        rules.start, rules.kind, rules.has_missing, rules.searched = &column_start[0], &kind[0], &has_missing[0], &columns[0]
    if monotone.shape[0]:
        rules.monotone = &monotone[0]
    rules.scoring.g_unit, rules.scoring.h_unit, rules.scoring.reg_lambda, rules.scoring.alpha = g_unit, h_unit, reg_lambda, reg_alpha
    rules.scoring.min_weight, rules.scoring.bounded = min_child_weight, monotone.shape[0] > 0
    rules.min_gain, rules.first_column = min_gain, first_column
    return 0


cdef void search_columns(const int64_t* hist, const Rules* rules, int64_t first_code, int64_t end_code, double lower, double upper,
                         int64_t* room, samesum_split* best) noexcept nogil:
    """Find a node's best split by the columns that begin at ``first_code`` or later and before ``end_code``."""
    best.gain, best.middle, best.column, best.code, best.missing_yes = rules.min_gain, 0.0, -1, 0, 0
    cdef samesum_scoring scoring = rules.scoring
    scoring.lower, scoring.upper = lower, upper
    cdef samesum_scoring of_sets = scoring
    of_sets.reg_lambda += SAMESUM_PARTITION_LAMBDA
    cdef samesum_hurdle hurdle = samesum_make_hurdle(&scoring), hurdle_of_sets = samesum_make_hurdle(&of_sets)
    cdef samesum_candidates candidates
    cdef Py_ssize_t j, stride = rules.n_codes + SAMESUM_BLOCK
    candidates.g, candidates.h, candidates.first_code = room, room + 2 * stride, room + 6 * stride
    cdef const int64_t* own
    cdef const uint64_t* order
    cdef int64_t n, n_levels
    cdef bint both, is_set
    for j in range(rules.n):
        if rules.start[j] < first_code or rules.start[j] >= end_code or not rules.searched[j]:
            continue
        own = hist + 2 * rules.start[j]
        n = rules.start[j + 1] - rules.start[j]
        is_set = rules.kind[j] == AS_PARTITION
        if is_set:
            order = samesum_order_levels(own, n, &scoring, <uint64_t*> room + 4 * stride, &n_levels)
            samesum_list_levels(own, n, order, n_levels, &candidates)
        else:
            samesum_list_codes(own, n, rules.kind[j] == AS_NUMBER, &candidates)
        if candidates.h_total == 0:
            continue
        candidates.g_missing, candidates.h_missing = own[2 * n - 2], own[2 * n - 1]
        both = rules.kind[j] == AS_NUMBER and rules.has_missing[j] and candidates.h_missing > 0
        if samesum_search_candidates(&candidates, &of_sets if is_set else &scoring, &hurdle_of_sets if is_set else &hurdle,
                                     rules.monotone[j] if scoring.bounded else 0, both, best):
            best.column = <int32_t> j
            if rules.kind[j] == AS_NUMBER and not both:
                best.missing_yes = 2


cdef void write_offer(const samesum_split* found, const int64_t* hist, const Rules* rules, int64_t* room, Offer* offer,
                      uint64_t* subset) noexcept nogil:
    """Offer the split that was found; of a set of categories the levels that say yes go to ``subset``, which is clear."""
    cdef int64_t j = found.column
    offer.gain, offer.middle, offer.code, offer.missing_yes, offer.unused = found.gain, found.middle, found.code, found.missing_yes, 0
    offer.column = found.column if found.column < 0 else rules.first_column + found.column
    if subset != NULL and j >= 0 and rules.kind[j] == AS_PARTITION:
        offer.code = fill_subset(hist + 2 * rules.start[j], rules.start[j + 1] - rules.start[j], &rules.scoring, found.code, room, subset)


cdef int32_t fill_subset(const int64_t* hist, int64_t n, const samesum_scoring* scoring, int32_t place, int64_t* room,
                         uint64_t* bits) noexcept nogil:
    """Set the bits of the levels that say yes and return their number; ``place`` as ``samesum_list_levels`` counts."""
    cdef int64_t n_levels
    cdef const uint64_t* order = samesum_order_levels(hist, n, scoring, <uint64_t*> room, &n_levels)
    cdef int32_t i, n_yes = <int32_t> (place % n + 1)
    cdef uint32_t level
    for i in range(n_yes):
        level = <uint32_t> order[i if place < n else n_levels - 1 - i]
        bits[level >> 6] |= <uint64_t> 1 << (level & 63)
    return n_yes
