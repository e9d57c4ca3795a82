from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint64_t

from engine._kernels.nodes cimport Offer

cdef extern from "split_search.h" nogil:
    ctypedef struct samesum_scoring:
        double g_unit
        double h_unit
        double reg_lambda "lambda"
        double alpha
        double min_weight
        double lower
        double upper
        bint bounded
    ctypedef struct samesum_split:
        double gain
        double middle
        int32_t column
        int32_t code
        uint8_t missing_yes

# What a search looks at, and how it chooses.
cdef struct Rules:
    Py_ssize_t n, n_codes, all_codes  # columns, codes of the largest one and of all
    Py_ssize_t room                   # words that a thread needs
    const int64_t* start
    const uint8_t* kind
    const uint8_t* has_missing
    const uint8_t* searched
    const int8_t* monotone
    samesum_scoring scoring
    double min_gain
    int32_t first_column

cdef int take_rules(Rules* rules, const int64_t[::1] column_start, const uint8_t[::1] kind, const uint8_t[::1] has_missing,
                    const uint8_t[::1] columns, const int8_t[::1] monotone, double g_unit, double h_unit, double reg_lambda,
                    double reg_alpha, double min_child_weight, double min_gain, int32_t first_column) except -1
cdef void search_columns(const int64_t* hist, const Rules* rules, int64_t first_code, int64_t end_code, double lower, double upper,
                         int64_t* room, samesum_split* best) noexcept nogil
cdef void write_offer(const samesum_split* found, const int64_t* hist, const Rules* rules, int64_t* room, Offer* offer,
                      uint64_t* subset) noexcept nogil
cdef uint64_t* subset_of(uint64_t[:, ::1] subset, Py_ssize_t k) noexcept nogil
cdef void expand(Py_ssize_t n_columns, const int64_t* start, const uint8_t* searched, const int64_t* parent, const int64_t* built,
                 int64_t* small, int64_t* large) noexcept nogil
