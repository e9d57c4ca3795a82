from libc.stdint cimport int32_t, int64_t

cdef packed struct Node:
    int64_t begin
    int64_t end
    int64_t n_rows
    double gain
    double middle
    double lower
    double upper
    int32_t column
    int32_t code
    int32_t missing_yes
    int32_t unused

cdef packed struct Offer:
    double gain
    double middle
    int32_t column
    int32_t code
    int32_t missing_yes
    int32_t unused
