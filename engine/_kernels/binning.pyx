"""From numbers to bin codes: distinct values, quantile cuts, and the search for each value's bin."""

from cython.parallel cimport prange
from libc.float cimport DBL_MAX
from libc.math cimport isnan
from libc.stdint cimport uint8_t, uint16_t, uint64_t
from libc.string cimport memcpy

from engine._kernels.elementary cimport samesum_bits, samesum_mix

cdef extern from "transpose.h" nogil:
    void samesum_transpose8(const uint8_t* columns, Py_ssize_t stride, uint8_t* out, Py_ssize_t width)

cdef enum:
    LANES = 16
    BLOCK_ROWS = 4096  # that a thread interleaves at once

ctypedef fused real_t:
    float
    double

ctypedef fused code_t:
    uint8_t
    uint16_t


def add_distinct(const real_t[::1] values, Py_ssize_t limit, Py_ssize_t count, double[::1] table, uint8_t[::1] used) -> int:
    """Put the distinct values that are not NaN into a hash table that holds ``count``; return their number, -1 above ``limit``.

    ``table`` and ``used``: the slots and their marks, both [a power of two above ``2 * limit``]; ``used`` is all zero at first, and the
    values are where it is not in the end. -0.0 counts as 0.0, and infinities as the largest finite numbers.
    """
    cdef Py_ssize_t i, slot
    cdef Py_ssize_t mask = used.shape[0] - 1
    cdef double v, previous = 0.0
    cdef bint have_previous = False
    with nogil:
        for i in range(values.shape[0]):
            v = finite(values[i])
            if isnan(v) or (have_previous and v == previous):
                continue
            previous = v
            have_previous = True
            slot = <Py_ssize_t> (samesum_mix(<uint64_t> samesum_bits(v)) & <uint64_t> mask)
            while used[slot] and table[slot] != v:
                slot = (slot + 1) & mask
            if not used[slot]:
                if count == limit:
                    count = -1
                    break
                used[slot] = 1
                table[slot] = v
                count += 1
    return count


cdef inline double finite(double v) noexcept nogil:
    """-0.0 as 0.0 and infinities as the largest finite numbers, so that ``x < inf`` holds for every value."""
    v = v + 0.0
    v = DBL_MAX if v > DBL_MAX else v
    return -DBL_MAX if v < -DBL_MAX else v


def prepare_values(const real_t[::1] values, double[::1] out) -> bool:
    """Copy, with -0.0 as 0.0 and infinities as the largest finite numbers, so that ``x < inf`` holds for every value.

    Returns whether a NaN, that is a missing value, was seen.
    """
    cdef Py_ssize_t i
    cdef double v
    cdef bint missing = False
    with nogil:
        for i in range(values.shape[0]):
            v = values[i]
            missing |= v != v
            out[i] = finite(v)
    return missing


def cut_quantiles(const double[::1] values, double[::1] out) -> int:
    """Cut sorted ``values`` (no NaN) into at most ``len(out) + 1`` bins of nearly equal counts, never between equal values.

    Every cut is aimed at the rows and bins that remain, so a value held by many rows takes one bin and leaves the others to the rest.
    ``out[k]`` is the midpoint between the last value of bin k and the first of bin k + 1. Returns the number of cuts.
    """
    cdef Py_ssize_t n = values.shape[0], begin = 0, target, low, high, cuts = 0
    cdef Py_ssize_t bins_left = out.shape[0] + 1
    with nogil:
        while bins_left > 1 and begin < n:
            target = begin + (n - begin + bins_left - 1) // bins_left
            if target >= n:
                break
            # the run of values equal to the one at the aim: cut at its nearer end, but never make an empty bin
            low = target
            while low > begin and values[low - 1] == values[target]:
                low -= 1
            high = target
            while high < n and values[high] == values[target]:
                high += 1
            if low > begin and target - low <= high - target:
                high = low
            if high >= n:
                if low <= begin:
                    break
                high = low
            out[cuts] = midpoint(values[high - 1], values[high])
            cuts += 1
            begin = high
            bins_left -= 1
    return cuts


cdef inline double midpoint(double low, double high) noexcept nogil:
    """A number t with low < t <= high, half-way where that can be told apart."""
    cdef double middle = low * 0.5 + high * 0.5
    return middle if low < middle <= high else high


def split_distinct(const double[::1] values, double[::1] out) -> int:
    """Cut sorted distinct ``values`` between every two neighbours; ``out``: [len(values) - 1 or more]. Returns the number of cuts."""
    cdef Py_ssize_t i
    for i in range(values.shape[0] - 1):
        out[i] = midpoint(values[i], values[i + 1])
    return max(values.shape[0] - 1, 0)


def index_edges(const real_t[::1] edges, uint16_t[::1] starts) -> tuple:
    """Cut the range of ascending ``edges`` into ``len(starts)`` buckets of equal widths; ``starts[b]`` is the number of edges before b.

    Returns the first edge, the buckets per unit, and the most edges that one bucket holds.
    """
    cdef Py_ssize_t m = edges.shape[0], i = 0, before, bucket, last = starts.shape[0] - 1, most = 0
    cdef real_t low, scale
    if m == 0:
        starts[:] = 0
        return 0.0, 0.0, 0
    low = edges[0]
    scale = last / (edges[m - 1] - low) if edges[m - 1] > low else 0
    for bucket in range(last + 1):
        before = i
        while i < m and bucket_of(edges[i], low, scale, last) == bucket:
            i += 1
        starts[bucket] = <uint16_t> before
        most = max(most, i - before)
    return low, scale, most


cdef inline int bucket_of(real_t v, real_t low, real_t scale, real_t last) noexcept nogil:
    """Grows with ``v``, as each of its roundings does; 0 for NaN."""
    cdef real_t place = (v - low) * scale
    place = place if place > 0 else 0
    return <int> (place if place < last else last)


def bin_values(const real_t[::1] values, const real_t[::1] edges, const uint16_t[::1] starts, real_t low, real_t scale, Py_ssize_t most,
               int missing, code_t[::1] out, int num_threads):
    """``out[i]`` = number of ``edges`` (ascending) that are <= ``values[i]``; ``missing`` for NaN.

    ``starts``, ``low``, ``scale`` and ``most`` are those of :func:`index_edges`; behind its edges, ``edges`` has ``most`` NaNs. A value's
    bucket says how many edges lie before it, so that the search is among ``most`` only.
    """
    cdef Py_ssize_t i, n = values.shape[0]
    cdef Py_ssize_t n_blocks = (n + LANES - 1) // LANES
    if most == 0:
        for i in prange(n, nogil=True, num_threads=num_threads, schedule="static"):
            out[i] = <code_t> missing if values[i] != values[i] else 0
        return
    for i in prange(n_blocks, nogil=True, num_threads=num_threads, schedule="static"):
        bin_block(&values[i * LANES], &edges[0], &starts[0], low, scale, starts.shape[0] - 1, most, missing, &out[i * LANES],
                  min(LANES, n - i * LANES))


cdef inline void bin_block(const real_t* values, const real_t* edges, const uint16_t* starts, real_t low, real_t scale, real_t last,
                           Py_ssize_t most, code_t missing, code_t* out, Py_ssize_t n) noexcept nogil:
    """Binary searches without branches, ``LANES`` abreast so that they wait for memory together: their length depends on ``most`` only."""
    cdef int[LANES] at
    cdef real_t[LANES] v
    cdef Py_ssize_t k, length = most, half
    if n == LANES:
        for k in range(LANES):
            v[k] = values[k]
    else:
        for k in range(LANES):
            v[k] = values[min(k, n - 1)]
    for k in range(LANES):
        at[k] = bucket_of(v[k], low, scale, last)
    for k in range(LANES):
        at[k] = starts[at[k]]
    while length > 1:
        half = length >> 1
        for k in range(LANES):
            at[k] += half & -<int> (edges[at[k] + half - 1] <= v[k])
        length -= half
    for k in range(n):
        out[k] = missing if isnan(v[k]) else <code_t> (at[k] + (edges[at[k]] <= v[k]))


def interleave_codes(const uint8_t[:, ::1] narrow, const uint16_t[:, ::1] wide, Py_ssize_t begin, Py_ssize_t end, uint8_t[:, ::1] out,
                     int num_threads):
    """A panel's codes row by row: for the rows ``begin`` to ``end``, ``out[i]`` is ``narrow[:, i]`` and then the bytes of ``wide[:, i]``.

    ``narrow``, ``wide``: [width, n]; ``out``: [n, the bytes of a row or more]. Eight rows of eight narrow columns at a time are turned in
    registers; the last eight columns may overlap those before.
    """
    cdef Py_ssize_t block, i, j, first, last, n_narrow = narrow.shape[0], n_blocks = (end - begin + BLOCK_ROWS - 1) // BLOCK_ROWS
    if n_narrow + 2 * wide.shape[0] > out.shape[1]:
        raise ValueError(f"expected room for {n_narrow + 2 * wide.shape[0]} bytes a row, got {out.shape[1]}")
    for block in prange(n_blocks, nogil=True, num_threads=num_threads, schedule="static"):
        first = begin + block * BLOCK_ROWS
        last = min(first + BLOCK_ROWS, end)
        if n_narrow:
            interleave_block(&narrow[0, 0], narrow.shape[1], n_narrow, first, last, &out[0, 0], out.shape[1])
        for j in range(wide.shape[0]):
            for i in range(first, last):
                memcpy(&out[i, n_narrow + 2 * j], &wide[j, i], sizeof(uint16_t))


cdef void interleave_block(const uint8_t* columns, Py_ssize_t stride, Py_ssize_t width, Py_ssize_t begin, Py_ssize_t end,
                           uint8_t* out, Py_ssize_t row) noexcept nogil:
    cdef Py_ssize_t i, j, k, whole = begin
    if width >= 8:
        whole = end - (end - begin) % 8
        for i in range(begin, whole, 8):
            for k in range(0, width, 8):
                j = min(k, width - 8)
                samesum_transpose8(columns + j * stride + i, stride, out + i * row + j, row)
    for i in range(whole, end):
        for j in range(width):
            out[i * row + j] = columns[j * stride + i]
