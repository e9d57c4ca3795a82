"""Histograms of gradients and hessians by bin code, for many nodes at once; all sums are of integers, so their order is free.

Three lanes (see :mod:`engine.models._trees.lanes`): *packed* adds one 64-bit word per bin, gradient above hessian, into a histogram that
stays in the first-level cache, and widens it every 32,768 rows, before it can overflow; *pairs* adds two full integers.
"""

from cython.parallel cimport prange, threadid
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

import numpy as np

from engine._kernels.leaves cimport check_gradients

cdef extern from "tree_kernels.h" nogil:
    enum: SAMESUM_CODES
    enum: SAMESUM_MAX_PANEL
    enum: SAMESUM_MAX_WIDE
    ctypedef struct shared_histogram "samesum_shared":
        int64_t* hist
        int64_t n_codes
        int32_t* lock
        uint8_t* begun
    void samesum_begin_shared(const shared_histogram* to)
    void samesum_add_ordered_wide(const uint16_t* columns, int64_t length, int n_wide, int64_t begin, int64_t end, const int64_t* words,
                                  int h_bits, const shared_histogram* wide)
    void samesum_add_panel(const uint8_t* codes, int64_t stride, int width, int n_wide, const uint32_t* rows, int64_t begin, int64_t end,
                           const int64_t* words, int h_bits, int64_t* hist, const shared_histogram* wide)
    void samesum_add_ordered(const uint8_t* columns, int64_t length, int width, int64_t begin, int64_t end, const int64_t* words,
                             int64_t* hist, int per_row)
    void samesum_pack_words(const int64_t* gh, int hessian, int64_t begin, int64_t end, uint64_t first_row, uint64_t key, int g_shift,
                            int h_shift, int h_bits, int64_t* words)
    void samesum_pack_pairs(const int64_t* gh, int hessian, int64_t begin, int64_t end, int g_shift, int h_shift, int64_t* words)
    void samesum_widen(int64_t n, const int64_t* packed, int h_bits, bint adds, int64_t* out)
    void SAMESUM_PREFETCH(const void* address)
    void samesum_lock(int32_t* lock)
    void samesum_unlock(int32_t* lock)

CHUNK_ROWS = CHUNK
cdef enum:
    # below this many rows it is cheaper to add to the result than to clear and widen a local histogram
    DIRECT_ROWS = 256
    # rows between the one that is added up and the one that is fetched
    ROWS_AHEAD = 12


def cut_chunks(const int64_t[:] begin, const int64_t[:] end, int num_threads):
    """Cut the rows of all nodes into tasks of nearly equal numbers of rows, as many for each thread, and these where nodes end.

    Returns the chunks, int64 [n_chunks, 3] node, first row, end, of at most ``CHUNK_ROWS`` rows; and int64 [n_tasks + 1], where each task's
    chunks begin. Threads that take whole chunks in turn wait for the last one: a sixteenth of a level's time with two.
    """
    cdef Py_ssize_t k, n = 0, task = 0, n_tasks
    cdef int64_t total = 0, done = 0, first, last
    for k in range(begin.shape[0]):
        total += end[k] - begin[k]
    n_tasks = num_threads * ((total + num_threads * CHUNK - 1) // (num_threads * CHUNK))
    out, bounds = np.empty((begin.shape[0] + n_tasks, 3), dtype=np.int64), np.zeros(n_tasks + 1, dtype=np.int64)
    cdef int64_t[:, ::1] chunks = out
    cdef int64_t[::1] tasks = bounds
    for k in range(begin.shape[0]):
        first = begin[k]
        while first < end[k]:
            last = min(end[k], first + total * (task + 1) // n_tasks - done)
            if last > first:
                chunks[n, 0], chunks[n, 1], chunks[n, 2] = k, first, last
                n += 1
                done += last - first
                first = last
            if done == total * (task + 1) // n_tasks:
                task += 1
                tasks[task] = n
    tasks[task + 1:] = n
    return out[:n], bounds


cdef class Words:
    """Gradients as the words that :func:`build_histograms` adds up: made by :meth:`pack`, or while all rows in order are added up.

    ``gh``: gradients, and hessians as ``hessian`` says: ``STORED``, [n, 2] pairs; ``CONSTANT``, [n, 1] where every hessian is 1;
    ``OF_GRADIENT``, [n, 1] gradients p - y of the logistic loss in units of 2**-50, whose hessians are p (1 - p) in units of 2**-52, at
    least 1. ``h_bits``: 0 for pairs, where ``words`` [2 n] gets both,
    shifted right by ``g_shift`` and ``h_shift``; else ``words`` [n] gets ``(g >> g_shift) << h_bits) + (h >> h_shift)``, rounded up or
    down by a threshold that walks evenly over row ids (``first_row`` and ``key``), so that sums of many rows keep no bias; a positive
    hessian stays positive.
    """

    def __init__(self, const int64_t[:, ::1] gh, int hessian, uint64_t first_row, uint64_t key, int g_shift, int h_shift, int h_bits,
                 int64_t[::1] words):
        check_gradients(gh, hessian)
        if words.shape[0] != gh.shape[0] * (2 if h_bits == 0 else 1):
            raise ValueError(f"expected room for the words of {gh.shape[0]} rows, got {words.shape[0]}")
        self.gh, self.words = gh, words
        self.first_row, self.key = first_row, key
        self.hessian, self.g_shift, self.h_shift, self.h_bits = hessian, g_shift, h_shift, h_bits
        self.is_packed = False

    def pack(self, int num_threads):
        """Make the words of all rows, if they are not made yet."""
        if self.is_packed:
            return
        cdef Py_ssize_t t, n = self.gh.shape[0], n_blocks = (n + CHUNK - 1) // CHUNK
        for t in prange(n_blocks, nogil=True, num_threads=num_threads, schedule="static"):
            self.pack_rows(t * CHUNK, min(n, (t + 1) * CHUNK))
        self.is_packed = True

    cdef void pack_rows(self, int64_t begin, int64_t end) noexcept nogil:
        if self.h_bits == 0:
            samesum_pack_pairs(&self.gh[0, 0], self.hessian, begin, end, self.g_shift, self.h_shift, &self.words[0])
        else:
            samesum_pack_words(&self.gh[0, 0], self.hessian, begin, end, self.first_row, self.key, self.g_shift, self.h_shift, self.h_bits,
                               &self.words[0])


cdef int take_source(Source* source, const uint8_t[:, ::1] narrow, const uint16_t[:, ::1] wide, const uint8_t[::1] panels,
                     const int64_t[:, ::1] panel, Words words, const int64_t[::1] narrow_base, const int64_t[::1] narrow_stride,
                     const int32_t[::1] narrow_codes, const int64_t[::1] wide_base, const int64_t[::1] wide_stride,
                     const int32_t[::1] wide_codes) except -1:
    """Note where everything lies; the arrays must stay."""
    if panel.shape[1] * sizeof(int64_t) != sizeof(Panel):
        raise ValueError(f"expected {sizeof(Panel) // sizeof(int64_t)} numbers for each panel, got {panel.shape[1]}")
    memset(source, 0, sizeof(Source))
    source.n_rows, source.n_panels, source.n_wide, source.h_bits = narrow.shape[1], panel.shape[0], wide.shape[0], words.h_bits
    if panel.shape[0]:
        source.panel = <const Panel*> &panel[0, 0]
    if panels.shape[0]:
        source.panels = &panels[0]
    if words.words.shape[0]:
        source.words = &words.words[0]
    if narrow.shape[0]:
        source.narrow = <const uint8_t*> &narrow[0, 0] if source.n_rows else NULL
        source.narrow_at.base, source.narrow_at.stride, source.narrow_at.n_codes = &narrow_base[0], &narrow_stride[0], &narrow_codes[0]
    if wide.shape[0]:
        source.wide = <const uint16_t*> &wide[0, 0] if source.n_rows else NULL
        source.wide_at.base, source.wide_at.stride, source.wide_at.n_codes = &wide_base[0], &wide_stride[0], &wide_codes[0]
    return 0


cdef Py_ssize_t local_size(const Source* source) noexcept nogil:
    """Words of the local histograms of a panel."""
    return SAMESUM_MAX_PANEL * SAMESUM_CODES * (2 if source.h_bits == 0 else 1)


def build_histograms(const uint8_t[:, ::1] narrow, const uint16_t[:, ::1] wide, const uint8_t[::1] panels, const int64_t[:, ::1] panel,
                     Words words, const int64_t[::1] narrow_base, const int64_t[::1] narrow_stride, const int32_t[::1] narrow_codes,
                     const int64_t[::1] wide_base, const int64_t[::1] wide_stride, const int32_t[::1] wide_codes,
                     const uint32_t[::1] rows, const int64_t[:, ::1] chunks, const int64_t[::1] tasks, Py_ssize_t n_nodes,
                     int64_t[:, ::1] out, int num_threads):
    """Add up gradients by code for each of ``n_nodes`` nodes and every column.

    ``narrow``, ``wide``, ``panels``, ``panel``: the codes (:class:`engine.encode.bins.BinMatrix`). ``rows``: row numbers in node order,
    or of length 0 for all rows in order. ``chunks``, ``tasks``: of nodes (:func:`cut_chunks`). ``words``: packed, unless ``rows`` are
    all in order. Code c of a column for node k is at ``out[base + k * stride + c]``, a gradient and a hessian; ``out`` may hold anything
    before. ``narrow_codes``, ``wide_codes``: codes of each column.
    """
    cdef Py_ssize_t n_panels = panel.shape[0], per_node = n_panels + wide.shape[0]
    if n_nodes == 0 or n_panels == 0:
        return
    if not words.is_packed and rows.shape[0]:
        raise ValueError("expected packed words, or all rows in order")
    cdef Source source
    take_source(&source, narrow, wide, panels, panel, words, narrow_base, narrow_stride, narrow_codes, wide_base, wide_stride, wide_codes)
    cdef const uint32_t* order = NULL if rows.shape[0] == 0 else &rows[0]
    cdef int64_t* local = <int64_t*> malloc(num_threads * local_size(&source) * sizeof(int64_t))
    # a node's histograms of a panel's narrow columns, then those of its wide columns: who adds to them, and whether they hold sums yet
    cdef int32_t* locks = <int32_t*> calloc(n_nodes * per_node, sizeof(int32_t))
    cdef uint8_t* begun = <uint8_t*> calloc(n_nodes * per_node, sizeof(uint8_t))
    if local == NULL or locks == NULL or begun == NULL:
        free(local)
        free(locks)
        free(begun)
        raise MemoryError(f"cannot hold local histograms of {num_threads} threads")
    cdef bint pack = not words.is_packed
    # words that are packed on the way are added up by who packed them; else a thread takes one panel of a task's rows
    cdef Py_ssize_t per_part = n_panels if pack else 1, n_parts = n_panels // per_part, n_tasks = tasks.shape[0] - 1
    cdef Py_ssize_t t, p, chunk
    cdef int64_t k, first, end
    for t in prange(n_tasks * n_parts, nogil=True, num_threads=num_threads, schedule="dynamic"):
        for chunk in range(tasks[t // n_parts], tasks[t // n_parts + 1]):
            k = chunks[chunk, 0]
            first = chunks[chunk, 1]
            end = chunks[chunk, 2]
            if pack:
                words.pack_rows(first, end)
            for p in range(t % n_parts * per_part, (t % n_parts + 1) * per_part):
                add_panel(&source, p, order, first, end, local + threadid() * local_size(&source), k, &out[0, 0], locks + k * per_node,
                          begun + k * per_node)
    words.is_packed = True
    for k in range(n_nodes):
        clear_untouched(&source, k, begun + k * per_node, &out[0, 0])
    free(local)
    free(locks)
    free(begun)


cdef void clear_untouched(const Source* source, int64_t node, const uint8_t* begun, int64_t* out) noexcept nogil:
    """Zeros where a node's histograms hold no sums: it has no rows here."""
    cdef Py_ssize_t p
    for p in range(source.n_panels):
        if not begun[p]:
            clear_narrow(&source.panel[p], source.narrow_at, node, out)
    for p in range(source.n_wide):
        if not begun[source.n_panels + p]:
            memset(out + 2 * (source.wide_at.base[p] + node * source.wide_at.stride[p]), 0,
                   2 * source.wide_at.n_codes[p] * sizeof(int64_t))


cdef void clear_narrow(const Panel* panel, Places at, int64_t node, int64_t* out) noexcept nogil:
    cdef int64_t j
    for j in range(panel.first, panel.end):
        memset(out + 2 * (at.base[j] + node * at.stride[j]), 0, 2 * at.n_codes[j] * sizeof(int64_t))


cdef void add_panel(const Source* source, Py_ssize_t p, const uint32_t* order, int64_t first, int64_t end, int64_t* local, int64_t node,
                    int64_t* out, int32_t* locks, uint8_t* begun) noexcept nogil:
    """Add a chunk of a node's rows to the histograms of panel p. ``locks``, ``begun``: of the node, a panel's narrow columns together, then
    the wide columns."""
    cdef shared_histogram[SAMESUM_MAX_WIDE] shared
    cdef const Panel* panel = &source.panel[p]
    cdef const uint8_t* codes = source.panels + panel.begin
    cdef Places narrow_at = source.narrow_at, wide_at = source.wide_at
    cdef const int64_t* words = source.words
    cdef int64_t j, c
    cdef int h_bits = source.h_bits, n_narrow = <int> (panel.end - panel.first), n_wide = <int> (panel.end_wide - panel.first_wide)
    cdef int64_t* slot
    for j in range(n_wide):
        c = panel.first_wide + j
        shared[j].hist = out + 2 * (wide_at.base[c] + node * wide_at.stride[c])
        shared[j].n_codes = wide_at.n_codes[c]
        shared[j].lock = locks + source.n_panels + c
        shared[j].begun = begun + source.n_panels + c
    if end - first <= DIRECT_ROWS:
        add_few(codes, panel, order, first, end, words, h_bits, narrow_at, node, out, locks + p, begun + p, shared)
        return
    memset(local, 0, n_narrow * SAMESUM_CODES * sizeof(int64_t) * (2 if h_bits == 0 else 1))
    if order == NULL:
        if n_narrow:
            samesum_add_ordered(source.narrow + panel.first * source.n_rows, source.n_rows, n_narrow, first, end, words, local,
                                2 if h_bits == 0 else 1)
        if n_wide:
            samesum_add_ordered_wide(source.wide + panel.first_wide * source.n_rows, source.n_rows, n_wide, first, end, words, h_bits,
                                     shared)
    else:
        samesum_add_panel(codes, panel.stride, n_narrow, n_wide, order, first, end, words, h_bits, local, shared)
    samesum_lock(locks + p)
    for j in range(n_narrow):
        c = panel.first + j
        slot = out + 2 * (narrow_at.base[c] + node * narrow_at.stride[c])
        if h_bits:
            samesum_widen(narrow_at.n_codes[c], local + j * SAMESUM_CODES, h_bits, begun[p], slot)
        elif begun[p]:
            for c in range(2 * narrow_at.n_codes[c]):
                slot[c] += local[2 * j * SAMESUM_CODES + c]
        else:
            memcpy(slot, local + 2 * j * SAMESUM_CODES, 2 * narrow_at.n_codes[c] * sizeof(int64_t))
    begun[p] = True
    samesum_unlock(locks + p)


cdef void add_few(const uint8_t* codes, const Panel* panel, const uint32_t* order, int64_t first, int64_t end, const int64_t* words,
                  int h_bits, Places at, int64_t node, int64_t* out, int32_t* lock, uint8_t* begun,
                  const shared_histogram* shared) noexcept nogil:
    """The same of few rows, which go to the result one by one."""
    cdef int64_t i, j, row, h_mask = (<int64_t> 1 << h_bits) - 1, n_narrow = panel.end - panel.first
    cdef int per_row = 2 if h_bits == 0 else 1
    cdef uint16_t code
    samesum_lock(lock)
    if not begun[0]:
        clear_narrow(panel, at, node, out)
        begun[0] = True
    for i in range(first, end):
        row = order[i] if order != NULL else i
        if order != NULL and i + ROWS_AHEAD < end:
            SAMESUM_PREFETCH(codes + order[i + ROWS_AHEAD] * panel.stride)
            SAMESUM_PREFETCH(words + order[i + ROWS_AHEAD] * per_row)
        for j in range(n_narrow):
            add_word(out + 2 * (at.base[panel.first + j] + node * at.stride[panel.first + j] + codes[row * panel.stride + j]), words, row,
                     h_bits, h_mask)
    samesum_unlock(lock)
    for j in range(panel.end_wide - panel.first_wide):
        samesum_begin_shared(&shared[j])
        for i in range(first, end):
            row = order[i] if order != NULL else i
            memcpy(&code, codes + row * panel.stride + n_narrow + 2 * j, sizeof(code))
            add_word(shared[j].hist + 2 * code, words, row, h_bits, h_mask)
        samesum_unlock(shared[j].lock)


cdef inline void add_word(int64_t* slot, const int64_t* words, int64_t row, int h_bits, int64_t h_mask) noexcept nogil:
    if h_bits == 0:
        slot[0] += words[2 * row]
        slot[1] += words[2 * row + 1]
    else:
        slot[0] += words[row] >> h_bits
        slot[1] += words[row] & h_mask
