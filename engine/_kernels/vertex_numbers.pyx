"""From ids to numbers: small integers by a bitmap of those that occur, others by tables; and the order of ids of text."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

cdef extern from "radix.h" nogil:
    ctypedef struct samesum_pair:
        uint64_t key
        uint64_t value
    void samesum_sort_pairs(samesum_pair *items, samesum_pair *scratch, Py_ssize_t size, int bits)

cdef extern from *:
    """
    #define samesum_or_atomic(word, bits) __atomic_fetch_or((word), (bits), __ATOMIC_RELAXED)
    #define samesum_load_atomic(word) __atomic_load_n((word), __ATOMIC_RELAXED)
    #define samesum_popcount(word) __builtin_popcountll(word)
    #define samesum_swap_bytes(word) __builtin_bswap64(word)
    #define samesum_trailing_zeros(word) __builtin_ctzll(word)
    """
    void samesum_or_atomic(uint64_t *word, uint64_t bits) nogil
    uint64_t samesum_load_atomic(uint64_t *word) nogil
    int samesum_popcount(uint64_t word) nogil
    uint64_t samesum_swap_bytes(uint64_t word) nogil
    int samesum_trailing_zeros(uint64_t word) nogil

cdef enum:
    FEW_TEXTS = 12  # put in order by insertion

ctypedef fused number_t:
    uint32_t
    uint64_t


def narrow_ids(const int64_t[::1] ids, uint32_t[::1] out) -> int:
    """Copy ids that fit 32 bits unsigned; returns the largest one (-1: there are none), or -2 if one does not fit."""
    cdef Py_ssize_t i
    cdef uint64_t seen = 0
    cdef uint64_t top = 0
    cdef uint64_t id
    if ids.shape[0] == 0:
        return -1
    with nogil:
        for i in range(ids.shape[0]):
            id = <uint64_t> ids[i]
            out[i] = <uint32_t> id
            seen |= id
            top = id if id > top else top
    return -2 if seen >> 32 else top


def mark_ids(const uint32_t[::1] ids, uint64_t[::1] marks):
    """Set bit ``id`` of ``marks`` for each id; several threads may do so at once."""
    cdef Py_ssize_t i
    cdef uint64_t bit
    with nogil:
        for i in range(ids.shape[0]):
            bit = <uint64_t> 1 << (ids[i] & 63)
            if not samesum_load_atomic(&marks[ids[i] >> 6]) & bit:
                samesum_or_atomic(&marks[ids[i] >> 6], bit)


def count_marks(const uint64_t[::1] marks, uint32_t[::1] before) -> int:
    """``before[w]``: how many bits are set in the words before word w. Returns how many are set in all."""
    cdef Py_ssize_t w
    cdef int64_t total = 0
    with nogil:
        for w in range(marks.shape[0]):
            before[w] = <uint32_t> total
            total += samesum_popcount(marks[w])
    return total


def list_marks(const uint64_t[::1] marks, int64_t[::1] out):
    """The numbers of the bits that are set, ascending."""
    cdef Py_ssize_t w
    cdef Py_ssize_t at = 0
    cdef uint64_t word
    with nogil:
        for w in range(marks.shape[0]):
            word = marks[w]
            while word:
                out[at] = 64 * w + samesum_trailing_zeros(word)
                at += 1
                word &= word - 1


def rank_marked(uint32_t[::1] ids, const uint64_t[::1] marks, const uint32_t[::1] before):
    """Replace each id by its place among the marked ones."""
    cdef Py_ssize_t i
    cdef uint64_t word
    with nogil:
        for i in range(ids.shape[0]):
            word = marks[ids[i] >> 6] & ((<uint64_t> 1 << (ids[i] & 63)) - 1)
            ids[i] = before[ids[i] >> 6] + samesum_popcount(word)


def look_up(const uint32_t[::1] keys, const number_t[::1] table, number_t[::1] out):
    """``out[i] = table[keys[i]]``; ``out`` may be ``keys``."""
    cdef Py_ssize_t i
    with nogil:
        for i in range(keys.shape[0]):
            out[i] = table[keys[i]]


def find_sorted(const int64_t[::1] keys, const int64_t[::1] table, int64_t[::1] places):
    """``places[i]``: where ``keys[i]`` is in ``table``; both ascending, and every key in the table."""
    cdef Py_ssize_t i
    cdef Py_ssize_t at = 0
    with nogil:
        for i in range(keys.shape[0]):
            while table[at] != keys[i]:
                at += 1
            places[i] = at


def sort_texts(const uint8_t[::1] data, const int64_t[::1] offsets, uint64_t[:, ::1] pairs, uint64_t[:, ::1] scratch, int64_t[::1] order):
    """``order``: the numbers of the texts ``data[offsets[i]:offsets[i + 1]]``, sorted by their bytes; equal ones in their order.

    ``pairs`` and ``scratch`` are room for [n, 2]. Eight bytes at a time are sorted by radix, ties by the next eight.
    """
    cdef Py_ssize_t i
    cdef Py_ssize_t n = offsets.shape[0] - 1
    cdef const uint8_t *text = &data[0] if data.shape[0] else NULL
    if order.shape[0] < n or pairs.shape[0] < n or scratch.shape[0] < n:
        raise ValueError(f"expected room for {n} texts")
    cdef samesum_pair *items
    cdef samesum_pair *room
    if n == 0:
        return
    items, room = <samesum_pair *> &pairs[0, 0], <samesum_pair *> &scratch[0, 0]
    with nogil:
        for i in range(n):
            order[i] = i
        sort_from(text, &offsets[0], items, room, &order[0], n, common_length(data, offsets))


cdef int64_t common_length(const uint8_t[::1] data, const int64_t[::1] offsets) noexcept nogil:
    """How many bytes all texts begin with alike."""
    cdef Py_ssize_t i
    cdef int64_t common = offsets[1] - offsets[0]
    cdef int64_t at
    for i in range(1, offsets.shape[0] - 1):
        common = min(common, offsets[i + 1] - offsets[i])
        at = 0
        while at < common and data[offsets[i] + at] == data[offsets[0] + at]:
            at += 1
        common = at
    return common


cdef inline uint64_t eight_bytes(const uint8_t *text, int64_t length) noexcept nogil:
    """The first bytes as a number that compares as they do, with zeros behind a short text."""
    cdef uint64_t word = 0
    memcpy(&word, text, <size_t> min(length, 8))
    return samesum_swap_bytes(word)


cdef inline bint is_before(const uint8_t *data, const int64_t *offsets, int64_t a, int64_t b, int64_t depth) noexcept nogil:
    cdef int64_t length_a = offsets[a + 1] - offsets[a]
    cdef int64_t length_b = offsets[b + 1] - offsets[b]
    cdef int64_t common = min(length_a, length_b) - depth
    cdef int found = memcmp(data + offsets[a] + depth, data + offsets[b] + depth, <size_t> common) if common > 0 else 0
    return found < 0 or (found == 0 and length_a < length_b)


cdef void sort_from(
    const uint8_t *data, const int64_t *offsets, samesum_pair *pairs, samesum_pair *scratch, int64_t *order, Py_ssize_t n, int64_t depth
) noexcept nogil:
    """Sort the texts of ``order``, which are all longer than or as long as ``depth`` and alike up to there."""
    cdef Py_ssize_t i, at, start, stop
    cdef int64_t moved, length
    while n > 1:
        if n < FEW_TEXTS:
            for i in range(1, n):
                moved = order[i]
                at = i
                while at > 0 and is_before(data, offsets, moved, order[at - 1], depth):
                    order[at] = order[at - 1]
                    at -= 1
                order[at] = moved
            return
        for i in range(n):
            length = offsets[order[i] + 1] - offsets[order[i]] - depth
            pairs[i].key = eight_bytes(data + offsets[order[i]] + depth, length)
            pairs[i].value = <uint64_t> order[i]
        samesum_sort_pairs(pairs, scratch, n, 64)
        for i in range(n):
            order[i] = <int64_t> pairs[i].value
        start = 0
        while start < n:
            stop = start + 1
            while stop < n and pairs[stop].key == pairs[start].key:
                stop += 1
            if stop - start == n:
                break
            if stop - start > 1:
                sort_ties(data, offsets, pairs + start, scratch, order + start, stop - start, depth)
            start = stop
        if start >= n:
            return
        # all alike in these eight bytes: no deeper call, so that long common beginnings need no stack
        n = split_ended(data, offsets, pairs, scratch, order, n, depth, &order)
        depth += 8


cdef void sort_ties(
    const uint8_t *data, const int64_t *offsets, samesum_pair *pairs, samesum_pair *scratch, int64_t *order, Py_ssize_t n, int64_t depth
) noexcept nogil:
    cdef int64_t *rest = order
    cdef Py_ssize_t n_rest = split_ended(data, offsets, pairs, scratch, order, n, depth, &rest)
    sort_from(data, offsets, pairs, scratch, rest, n_rest, depth + 8)


cdef Py_ssize_t split_ended(
    const uint8_t *data, const int64_t *offsets, samesum_pair *pairs, samesum_pair *scratch, int64_t *order, Py_ssize_t n, int64_t depth,
    int64_t **rest,
) noexcept nogil:
    """Put texts that end within eight bytes of ``depth`` first, shorter ones before longer ones; return how many go on, from ``rest``."""
    cdef Py_ssize_t i
    cdef Py_ssize_t ended = 0
    cdef int64_t length
    for i in range(n):
        length = offsets[order[i] + 1] - offsets[order[i]] - depth
        ended += length <= 8
        pairs[i].key = <uint64_t> min(length, 9)
        pairs[i].value = <uint64_t> order[i]
    if ended:
        samesum_sort_pairs(pairs, scratch, n, 4)
        for i in range(n):
            order[i] = <int64_t> pairs[i].value
    rest[0] = order + ended
    return n - ended
