"""Distinct ids, integers or text, and a number for each of them: tables that several threads may fill at once.

The numbers, ``index << 8 | shard``, depend on who came first; they are replaced by each id's place among all sorted ones later.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

cdef extern from "id_table.h" nogil:
    ctypedef struct samesum_shard:
        uint32_t count
        int64_t *ids
        int64_t *starts
        uint8_t *bytes
    enum:
        SAMESUM_SHARDS
        SAMESUM_SHARD_BITS
    int samesum_open_shards(samesum_shard *shards, int is_text)
    void samesum_close_shards(samesum_shard *shards)
    int samesum_add_ints(
        samesum_shard *shards, const int64_t *ids, int64_t size, int first_shard, uint64_t *hashes, int64_t *order, uint32_t *numbers
    )
    int samesum_add_texts(
        samesum_shard *shards, const uint8_t *data, const int64_t *starts, const int64_t *stops, int64_t size, int first_shard,
        uint64_t *hashes, int64_t *order, uint32_t *numbers
    )

SHARD_BITS = SAMESUM_SHARD_BITS


cdef class _Shards:
    """What both kinds of table share. Memory grows with the distinct ids; nothing else is kept."""

    cdef samesum_shard *shards
    cdef int turn  # the shard at which the next block begins

    def __cinit__(self):
        self.shards = <samesum_shard *> malloc(SAMESUM_SHARDS * sizeof(samesum_shard))
        if self.shards == NULL or samesum_open_shards(self.shards, isinstance(self, TextTable)) < 0:
            raise MemoryError

    def __dealloc__(self):
        if self.shards != NULL:
            samesum_close_shards(self.shards)
            free(self.shards)

    def counts(self) -> list:
        """Number of distinct ids by shard; an id's number is ``index << 8 | shard``."""
        return [self.shards[s].count for s in range(SAMESUM_SHARDS)]

    cdef int next_turn(self):
        self.turn = (self.turn + 97) % SAMESUM_SHARDS
        return self.turn


cdef check(int failed):
    if failed == -1:
        raise MemoryError("no memory for more distinct ids")
    if failed == -2:
        raise OverflowError("more distinct ids than one rank can number, about 4 billion")


cdef class IntTable(_Shards):
    """Distinct int64 ids."""

    def add(self, const int64_t[::1] ids, uint64_t[::1] hashes, int64_t[::1] order, uint32_t[::1] numbers):
        """Write the number of each of ``ids`` into ``numbers``; ``hashes`` and ``order`` are room for as many. Threads may call at once."""
        cdef int turn = self.next_turn()
        cdef int failed = 0
        if min(hashes.shape[0], order.shape[0], numbers.shape[0]) < ids.shape[0]:
            raise ValueError(f"expected room for {ids.shape[0]} ids")
        if ids.shape[0] == 0:
            return
        with nogil:
            failed = samesum_add_ints(self.shards, &ids[0], ids.shape[0], turn, &hashes[0], &order[0], &numbers[0])
        check(failed)

    def copy_ids(self, int64_t[::1] out):
        """The distinct ids, shard by shard."""
        cdef Py_ssize_t at = 0
        cdef int s
        for s in range(SAMESUM_SHARDS):
            if at + self.shards[s].count > out.shape[0]:
                raise ValueError("expected room for all distinct ids")
            if self.shards[s].count:
                memcpy(&out[at], self.shards[s].ids, self.shards[s].count * sizeof(int64_t))
            at += self.shards[s].count


cdef class TextTable(_Shards):
    """Distinct ids of text."""

    def add(
        self,
        const uint8_t[::1] data,
        const int64_t[::1] starts,
        const int64_t[::1] stops,
        uint64_t[::1] hashes,
        int64_t[::1] order,
        uint32_t[::1] numbers,
    ):
        """Write the number of each id ``data[starts[i]:stops[i]]`` into ``numbers``. Otherwise as :meth:`IntTable.add`."""
        cdef int turn = self.next_turn()
        cdef int failed = 0
        cdef Py_ssize_t size = starts.shape[0]
        cdef const uint8_t *text = &data[0] if data.shape[0] else NULL
        if min(hashes.shape[0], order.shape[0], numbers.shape[0], stops.shape[0]) < size:
            raise ValueError(f"expected room for {size} ids")
        if size == 0:
            return
        with nogil:
            failed = samesum_add_texts(self.shards, text, &starts[0], &stops[0], size, turn, &hashes[0], &order[0], &numbers[0])
        check(failed)

    def n_bytes(self) -> int:
        """Bytes of all distinct ids."""
        cdef int s
        cdef int64_t total = 0
        for s in range(SAMESUM_SHARDS):
            total += self.shards[s].starts[self.shards[s].count]
        return total

    def copy_ids(self, int64_t[::1] offsets, uint8_t[::1] out):
        """The distinct ids, shard by shard: id i is ``out[offsets[i]:offsets[i + 1]]``."""
        cdef Py_ssize_t at = 0
        cdef int64_t first = 0
        cdef int64_t length
        cdef int s
        cdef uint32_t i
        if offsets.shape[0] < sum(self.counts()) + 1 or out.shape[0] < self.n_bytes():
            raise ValueError("expected room for all distinct ids")
        offsets[0] = 0
        for s in range(SAMESUM_SHARDS):
            length = self.shards[s].starts[self.shards[s].count]
            if length:
                memcpy(&out[first], self.shards[s].bytes, length)
            for i in range(self.shards[s].count):
                offsets[at + i + 1] = first + self.shards[s].starts[i + 1]
            at += self.shards[s].count
            first += length
