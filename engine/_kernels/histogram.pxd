from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

# Rows that one packed histogram can take: 2**15 gradients of 15 bits and hessians of 16 bits fit in 32 bits each.
cdef enum: CHUNK = 32768

# A panel: its narrow and its wide columns, bytes from row to row, and where it begins (engine.encode.panels).
cdef struct Panel:
    int64_t first, end, first_wide, end_wide, stride, begin

# Where the columns of a kind lie in the histograms: the first node's codes, codes from node to node, and their numbers.
cdef struct Places:
    const int64_t* base
    const int64_t* stride
    const int32_t* n_codes

# What is added up: codes and words, and where to.
cdef struct Source:
    const uint8_t* narrow
    const uint16_t* wide
    int64_t n_rows
    const uint8_t* panels
    const Panel* panel
    Py_ssize_t n_panels, n_wide
    const int64_t* words
    int h_bits
    Places narrow_at, wide_at

cdef class Words:
    cdef const int64_t[:, ::1] gh
    cdef readonly int64_t[::1] words
    cdef uint64_t first_row, key
    cdef int hessian, g_shift, h_shift, h_bits
    cdef bint is_packed
    cdef void pack_rows(self, int64_t begin, int64_t end) noexcept nogil

cdef int take_source(Source* source, const uint8_t[:, ::1] narrow, const uint16_t[:, ::1] wide, const uint8_t[::1] panels,
                     const int64_t[:, ::1] panel, Words words, const int64_t[::1] narrow_base, const int64_t[::1] narrow_stride,
                     const int32_t[::1] narrow_codes, const int64_t[::1] wide_base, const int64_t[::1] wide_stride,
                     const int32_t[::1] wide_codes) except -1
cdef Py_ssize_t local_size(const Source* source) noexcept nogil
cdef void add_panel(const Source* source, Py_ssize_t p, const uint32_t* order, int64_t first, int64_t end, int64_t* local, int64_t node,
                    int64_t* out, int32_t* locks, uint8_t* begun) noexcept nogil
cdef void clear_untouched(const Source* source, int64_t node, const uint8_t* begun, int64_t* out) noexcept nogil
