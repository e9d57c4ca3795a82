"""The quote automaton of CSV: where records begin and end, in any piece of a file.

A quote opens a quoted field only as the first byte of a field; inside, two quotes are one; after the closing quote the rest of the field is
literal, further quotes included; elsewhere a quote is an ordinary byte. A ``quote`` of -1 means that there are none. Lines end with LF,
CRLF or a lone CR, and blank lines are no records: so pyarrow's parser reads, and cuts made here must agree with it. As blank lines count
for nothing, the LF of a CRLF needs no state of its own.
"""

from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memchr

cdef enum:
    LINE_START = 0  # nothing of a record seen yet
    FIELD_START = 1  # just after a delimiter
    IN_FIELD = 2  # in the unquoted part of a field
    IN_QUOTES = 3
    QUOTE_SEEN = 4  # a quote inside quotes: the closing one, unless another follows
    N_STATES = 5
    LF = 10
    CR = 13


cdef struct Walk:
    int64_t state  # in: before the first byte; out: after the last
    int64_t first_record  # where the first record begins, -1: none yet
    int64_t last_line_end  # just after the last line end outside quotes, -1: none


cdef inline int64_t state_after(uint8_t byte, uint8_t delimiter) noexcept nogil:
    if byte == LF or byte == CR:
        return LINE_START
    return FIELD_START if byte == delimiter else IN_FIELD


cdef inline Py_ssize_t find_byte(const uint8_t *data, Py_ssize_t start, Py_ssize_t stop, uint8_t byte) noexcept nogil:
    """Position of the first ``byte`` in ``data[start:stop]``, or ``stop``."""
    cdef const void *found = NULL
    if start < stop:
        found = memchr(data + start, byte, stop - start)
    return stop if found == NULL else <const uint8_t *> found - data


cdef Py_ssize_t find_line_end(const uint8_t *data, Py_ssize_t start, Py_ssize_t stop) noexcept nogil:
    return find_byte(data, start, find_byte(data, start, stop, LF), CR)


cdef Py_ssize_t find_opening_quote(
    const uint8_t *data, Py_ssize_t start, Py_ssize_t stop, int64_t state, uint8_t delimiter, int quote
) noexcept nogil:
    """Position of the first quote that opens a field, when ``data[start:]`` begins outside quotes in ``state``; else ``stop``."""
    cdef Py_ssize_t at = start
    if quote < 0:
        return stop
    while True:
        at = find_byte(data, at, stop, <uint8_t> quote)
        if at == stop:
            return stop
        if at > start:
            state = state_after(data[at - 1], delimiter)
        if state == LINE_START or state == FIELD_START:
            return at
        at += 1


cdef void note_first_record(Walk *walk, const uint8_t *data, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t size) noexcept nogil:
    """Look for a record's beginning in the unquoted ``data[start:stop]``; at ``stop`` a quote opens or the data ends."""
    cdef Py_ssize_t at = start
    if walk.state != LINE_START:
        at = find_line_end(data, start, stop)
        if at == stop:
            return
    while at < stop and (data[at] == LF or data[at] == CR):
        at += 1
    if at < size:
        walk.first_record = at


cdef void note_last_line_end(Walk *walk, const uint8_t *data, Py_ssize_t start, Py_ssize_t stop) noexcept nogil:
    while stop > start and data[stop - 1] != LF and data[stop - 1] != CR:
        stop -= 1
    if stop > start:
        walk.last_line_end = stop


cdef void walk_quotes(
    Walk *walk, const uint8_t *data, Py_ssize_t size, uint8_t delimiter, int quote, bint want_last
) noexcept nogil:
    """Run the automaton over ``data``, from quote to quote with memchr: data without quotes is one step."""
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t stop
    while at < size:
        if walk.state == IN_QUOTES:
            at = find_byte(data, at, size, <uint8_t> quote)
            if at < size:
                walk.state = QUOTE_SEEN
                at += 1
            continue
        if walk.state == QUOTE_SEEN:
            if data[at] == quote:
                walk.state = IN_QUOTES
                at += 1
                continue
            walk.state = IN_FIELD
        stop = find_opening_quote(data, at, size, walk.state, delimiter, quote)
        if walk.first_record < 0:
            note_first_record(walk, data, at, stop, size)
        if want_last:
            note_last_line_end(walk, data, at, stop)
        if stop > at:
            walk.state = state_after(data[stop - 1], delimiter)
        at = stop
        if stop < size:
            walk.state = IN_QUOTES
            at += 1


def scan_states(
    const uint8_t[::1] data, int delimiter, int quote, int64_t offset, int64_t[::1] states, int64_t[::1] first_records
):
    """Carry every possible state over ``data``.

    ``states[s]`` (5 values) is the state before ``data`` of the scan that began in state s; it is replaced by the state after it.
    ``first_records[s]`` is set to ``offset`` + the position of the first byte of the first record that begins in ``data``, where it was -1.
    Scans that have met are run once.
    """
    cdef Walk walk
    cdef Py_ssize_t s, t
    cdef int64_t[N_STATES] states_before, firsts_before
    if states.shape[0] != N_STATES or first_records.shape[0] != N_STATES:
        raise ValueError(f"expected {N_STATES} states and first records")
    if data.shape[0] == 0:
        return
    with nogil:
        for s in range(N_STATES):
            states_before[s] = states[s]
            firsts_before[s] = first_records[s]
        for s in range(N_STATES):
            for t in range(s):
                if states_before[t] == states_before[s] and (firsts_before[t] < 0) == (firsts_before[s] < 0):
                    break
            else:
                t = s
            if t < s:
                states[s] = states[t]
                if firsts_before[s] < 0:
                    first_records[s] = first_records[t]
                continue
            walk.state = states[s]
            walk.first_record = 0 if firsts_before[s] >= 0 else -1
            walk.last_line_end = -1
            walk_quotes(&walk, &data[0], data.shape[0], <uint8_t> delimiter, quote, False)
            states[s] = walk.state
            if firsts_before[s] < 0 and walk.first_record >= 0:
                first_records[s] = offset + walk.first_record


def find_cut(const uint8_t[::1] data, int delimiter, int quote):
    """Where ``data``, which begins at a line start, can be cut: ``(first, cut)``.

    ``first`` is the position of the first record (-1: blank lines only); ``cut`` is just after the last line end outside quotes (0: none).
    """
    cdef Walk walk
    walk.state = LINE_START
    walk.first_record = -1
    walk.last_line_end = 0
    if data.shape[0] > 0:
        with nogil:
            walk_quotes(&walk, &data[0], data.shape[0], <uint8_t> delimiter, quote, True)
    return walk.first_record, walk.last_line_end


def find_record(const uint8_t[::1] data, int delimiter, int quote, int64_t index=-1, int64_t n_fields=-1):
    """Walk the records of ``data``, which begins at a line start: ``(n_records, start, stop, fields)``.

    Stops at record number ``index``, or at the first one whose number of fields is not ``n_fields`` (-1: no such condition). ``start`` is
    its first byte, ``stop`` is just after its text (before the line end), ``fields`` how many it has, ``n_records`` how many came before.
    If none stops the walk, ``start`` is -1 and ``n_records`` counts all.
    """
    cdef int64_t state = LINE_START
    cdef int64_t n_records = 0
    cdef int64_t fields = 0
    cdef int64_t start = -1
    cdef Py_ssize_t at
    cdef Py_ssize_t size = data.shape[0]
    cdef uint8_t byte
    with nogil:
        for at in range(size + 1):
            byte = data[at] if at < size else LF
            if state == IN_QUOTES and at < size:
                if byte == quote:
                    state = QUOTE_SEEN
                continue
            if state == QUOTE_SEEN and byte == quote and at < size:
                state = IN_QUOTES
                continue
            if state == LINE_START:
                if byte == LF or byte == CR:
                    continue
                start = at
                fields = 1
            if byte == quote and (state == LINE_START or state == FIELD_START):
                state = IN_QUOTES
                continue
            state = state_after(byte, <uint8_t> delimiter)
            if state == FIELD_START:
                fields += 1
            elif state == LINE_START:
                if n_records == index or (n_fields >= 0 and fields != n_fields):
                    break
                n_records += 1
                start = -1
    return n_records, start, (at if start >= 0 else -1), (fields if start >= 0 else 0)


def count_line_ends(const uint8_t[::1] data, bint after_cr=False):
    """How many physical lines end in ``data``: LF, CRLF (once) or lone CR, inside quotes too.

    ``after_cr`` says that the byte before ``data`` was CR, whose line is counted already.
    """
    cdef int64_t n_lines = 0
    cdef Py_ssize_t at
    cdef bint last_was_cr = after_cr
    with nogil:
        for at in range(data.shape[0]):
            n_lines += data[at] == CR or (data[at] == LF and not last_was_cr)
            last_was_cr = data[at] == CR
    return n_lines
