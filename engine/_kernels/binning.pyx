"""From numbers to bin codes: distinct values, quantile cuts, and the search for each value's bin."""

from cython.parallel cimport prange
from libc.float cimport DBL_MAX
from libc.math cimport isnan
from libc.stdint cimport uint8_t, uint16_t, uint64_t

from engine._kernels.elementary cimport samesum_bits, samesum_mix

cdef enum:
    LANES = 16

ctypedef fused code_t:
    uint8_t
    uint16_t


def find_distinct(const double[::1] values, Py_ssize_t limit, double[::1] table, uint8_t[::1] used) -> int:
    """Put the distinct values that are not NaN at the front of ``table``, in no useful order; return their number, -1 above ``limit``.

    ``table`` and ``used``: the hash table's slots and marks, both [a power of two above ``2 * limit``], ``used`` all zero. -0.0 must have
    been turned into 0.0 (:func:`prepare_values`).
    """
    cdef Py_ssize_t i, slot, count = 0
    cdef Py_ssize_t mask = used.shape[0] - 1
    cdef double v, previous = 0.0
    cdef bint have_previous = False
    with nogil:
        for i in range(values.shape[0]):
            v = values[i]
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
        if count > 0:
            slot = 0
            for i in range(used.shape[0]):
                if used[i]:
                    table[slot] = table[i]
                    slot += 1
    return count


def prepare_values(const double[::1] values, double[::1] out) -> bool:
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
            v = v + 0.0
            v = DBL_MAX if v > DBL_MAX else v
            out[i] = -DBL_MAX if v < -DBL_MAX else v
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


def bin_values(const double[::1] values, const double[::1] thresholds, int missing, code_t[::1] out, int num_threads):
    """``out[i]`` = number of ``thresholds`` (ascending) that are <= ``values[i]``; ``missing`` for NaN."""
    cdef Py_ssize_t i, n = values.shape[0]
    cdef Py_ssize_t m = thresholds.shape[0]
    if m == 0:
        for i in prange(n, nogil=True, num_threads=num_threads, schedule="static"):
            out[i] = <code_t> missing if isnan(values[i]) else 0
        return
    cdef const double* edges = &thresholds[0]
    cdef Py_ssize_t n_blocks = (n + LANES - 1) // LANES
    for i in prange(n_blocks, nogil=True, num_threads=num_threads, schedule="static"):
        bin_block(edges, m, &values[i * LANES], missing, &out[i * LANES], min(LANES, n - i * LANES))


cdef inline void bin_block(const double* edges, Py_ssize_t m, const double* values, code_t missing, code_t* out,
                           Py_ssize_t n) noexcept nogil:
    """Binary searches without branches, ``LANES`` abreast so that they wait for memory together: their length depends on m only."""
    cdef Py_ssize_t[LANES] at
    cdef double[LANES] v
    cdef Py_ssize_t k, length = m, half
    for k in range(LANES):
        at[k] = 0
        v[k] = values[min(k, n - 1)]
    while length > 1:
        half = length >> 1
        for k in range(LANES):
            at[k] += half & -<Py_ssize_t> (edges[at[k] + half - 1] <= v[k])
        length -= half
    for k in range(n):
        out[k] = missing if isnan(v[k]) else <code_t> (at[k] + (edges[at[k]] <= v[k]))


def interleave_codes(const code_t[:, ::1] columns, code_t[:, ::1] out, int num_threads):
    """``out[i, j] = columns[j, i]``: a group's codes row by row. ``columns``: [width, n]; ``out``: [n, width]."""
    cdef Py_ssize_t block, i, j, end, n = columns.shape[1]
    cdef Py_ssize_t n_blocks = (n + 4095) // 4096
    for block in prange(n_blocks, nogil=True, num_threads=num_threads, schedule="static"):
        end = min((block + 1) * 4096, n)
        for j in range(columns.shape[0]):
            for i in range(block * 4096, end):
                out[i, j] = columns[j, i]
