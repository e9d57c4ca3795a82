"""What metrics need of every row: its log loss, its score as a sortable integer, its bin on the ROC curve."""

from libc.stdint cimport int64_t, uint8_t, uint64_t

from engine._kernels.elementary cimport samesum_bits, samesum_log


cdef extern from "losses.h" nogil:
    double samesum_clip(double p)
    double SAMESUM_SMALLEST_P


def fill_log_losses(const double[:, ::1] probabilities, const int64_t[::1] codes, double[::1] out):
    """``out[i]`` = -ln of row i's probability of class ``codes[i]``, clipped to [1e-9, 1 - 1e-9].

    ``probabilities``: [n, n_classes]; a code without a column has probability 0.
    """
    cdef Py_ssize_t i, n_classes = probabilities.shape[1]
    check_lengths(probabilities.shape[0], codes.shape[0], out.shape[0])
    with nogil:
        for i in range(codes.shape[0]):
            if 0 <= codes[i] < n_classes:
                out[i] = -samesum_log(samesum_clip(probabilities[i, codes[i]]))
            else:
                out[i] = -samesum_log(SAMESUM_SMALLEST_P)


def fill_score_keys(const double[::1] scores, uint64_t[::1] out):
    """``out[i]``: an integer with the order of the scores, -0.0 and 0.0 being equal; NaN is not for this."""
    cdef Py_ssize_t i
    cdef uint64_t bits
    check_lengths(scores.shape[0], scores.shape[0], out.shape[0])
    with nogil:
        for i in range(scores.shape[0]):
            bits = <uint64_t> samesum_bits(scores[i] + 0.0)  # -0.0 + 0.0 is 0.0
            out[i] = ~bits if bits >> 63 else bits | (<uint64_t> 1 << 63)


def count_thresholds(const double[::1] scores, const uint8_t[::1] positive, int64_t[:, ::1] out):
    """Add to ``out[p, b]`` the rows with ``positive == p`` whose score, in [0, 1], reaches threshold b but not b + 1 of ``b / n_bins``.

    ``out``: [2, n_bins + 1].
    """
    cdef Py_ssize_t i, b, n_bins = out.shape[1] - 1
    check_lengths(scores.shape[0], positive.shape[0], scores.shape[0])
    with nogil:
        for i in range(scores.shape[0]):
            b = <Py_ssize_t> (scores[i] * n_bins)
            # the product is rounded: the thresholds themselves decide
            if b < n_bins and scores[i] >= <double> (b + 1) / n_bins:
                b += 1
            elif scores[i] < <double> b / n_bins:
                b -= 1
            out[1 if positive[i] else 0, b] += 1


cdef int check_lengths(Py_ssize_t a, Py_ssize_t b, Py_ssize_t c) except -1:
    """Refuse arrays of different lengths, which the loops would run out of."""
    if not a == b == c:
        raise ValueError(f"expected arrays of one length, got {a}, {b} and {c}")
    return 0
