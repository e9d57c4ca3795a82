"""Ids in plain text: one or two fields of every line, as integers or as places in the text.

What is not plain, such as quotes, lines with another number of fields, nulls, integers with a plus sign, stops a kernel; its caller parses
that piece of text with all care.
"""

from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcmp

cdef enum:
    LF = 10
    CR = 13
    MINUS = 45
    ZERO = 48
    MOST_DIGITS = 18  # more may not fit 64 bits


def parse_ids(
    const uint8_t[::1] data, int delimiter, int n_fields, int first_field, int second_field, int64_t[::1] first, int64_t[::1] second
) -> int:
    """Read the integers in fields ``first_field`` < ``second_field`` of every line; blank lines are none.

    ``second_field`` may be -1 for none. Returns the number of lines, or -1 if something is not plain. ``first`` and ``second`` have room
    for one more than there are line ends.
    """
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t size = data.shape[0]
    cdef const uint8_t *text = &data[0] if size else NULL
    cdef int64_t n = 0
    cdef int field
    cdef int64_t value
    cdef uint8_t byte
    with nogil:
        while at < size:
            byte = text[at]
            if byte == LF or byte == CR:
                at += 1
                continue
            field = 0
            while True:
                if field == first_field or field == second_field:
                    value = 0
                    at = read_integer(text, at, size, &value)
                    if at < 0 or (at < size and text[at] != delimiter and text[at] != LF and text[at] != CR):
                        n = -1
                        break
                    if field == first_field:
                        first[n] = value
                    else:
                        second[n] = value
                else:
                    while at < size and text[at] != delimiter and text[at] != LF and text[at] != CR:
                        at += 1
                field += 1
                if at < size and text[at] == delimiter:
                    at += 1
                    continue
                break
            if n < 0 or field != n_fields:
                n = -1
                break
            n += 1
    return n


cdef inline Py_ssize_t read_integer(const uint8_t *text, Py_ssize_t at, Py_ssize_t size, int64_t *value) noexcept nogil:
    """Read up to 18 digits, perhaps behind a minus; returns the place behind them, -1 if there are none or more."""
    cdef bint is_negative = at < size and text[at] == MINUS
    cdef uint64_t total = 0
    cdef Py_ssize_t start
    at += is_negative
    start = at
    while at < size and <uint8_t> (text[at] - ZERO) < 10:
        total = 10 * total + <uint8_t> (text[at] - ZERO)
        at += 1
    if at == start or at - start > MOST_DIGITS:
        return -1
    value[0] = -<int64_t> total if is_negative else <int64_t> total
    return at


def find_ids(
    const uint8_t[::1] data,
    int delimiter,
    int n_fields,
    int first_field,
    int second_field,
    const uint8_t[::1] nulls,
    const int64_t[::1] null_ends,
    int64_t[:, ::1] starts,
    int64_t[:, ::1] stops,
) -> int:
    """Find fields ``first_field`` < ``second_field`` of every line: field f of the two is ``data[starts[f, i]:stops[f, i]]``.

    ``nulls`` holds the texts that mean null, one behind the other, up to ``null_ends``. Otherwise as :func:`parse_ids`; there must be no
    quotes.
    """
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t start
    cdef Py_ssize_t size = data.shape[0]
    cdef const uint8_t *text = &data[0] if size else NULL
    cdef const uint8_t *null_text = &nulls[0] if nulls.shape[0] else NULL
    cdef int64_t n = 0
    cdef int field, which
    cdef uint8_t byte
    with nogil:
        while at < size:
            byte = text[at]
            if byte == LF or byte == CR:
                at += 1
                continue
            field = 0
            while True:
                start = at
                while at < size and text[at] != delimiter and text[at] != LF and text[at] != CR:
                    at += 1
                if field == first_field or field == second_field:
                    which = field != first_field
                    if is_null(text + start, at - start, null_text, null_ends):
                        n = -1
                        break
                    starts[which, n] = start
                    stops[which, n] = at
                field += 1
                if at < size and text[at] == delimiter:
                    at += 1
                    continue
                break
            if n < 0 or field != n_fields:
                n = -1
                break
            n += 1
    return n


cdef inline bint is_null(const uint8_t *text, Py_ssize_t length, const uint8_t *nulls, const int64_t[::1] ends) noexcept nogil:
    cdef Py_ssize_t i
    cdef int64_t start = 0
    for i in range(ends.shape[0]):
        if ends[i] - start == length and (length == 0 or memcmp(text, nulls + start, <size_t> length) == 0):
            return True
        start = ends[i]
    return False
