"""CSV read one byte at a time: the naive twin of the scanning kernel and of the cuts made with it."""

from __future__ import annotations

from typing import NamedTuple

LINE_START, FIELD_START, IN_FIELD, IN_QUOTES, QUOTE_SEEN = range(5)
N_STATES = 5
COMMA, QUOTE, LF, CR = b',"\n\r'


class Record(NamedTuple):
    """Where a record's text is, without its line end, and its fields."""

    start: int
    stop: int
    fields: list[bytes]


def step(state: int, byte: int) -> int:
    """The automaton: the state after ``byte``."""
    if state == IN_QUOTES:
        return QUOTE_SEEN if byte == QUOTE else IN_QUOTES
    if byte == QUOTE and state == QUOTE_SEEN:
        return IN_QUOTES
    if byte == QUOTE and state in (LINE_START, FIELD_START):
        return IN_QUOTES
    if byte in (LF, CR):
        return LINE_START
    return FIELD_START if byte == COMMA else IN_FIELD


def scan(text: bytes, state: int) -> tuple[int, int]:
    """State after ``text``, and where the first record begins in it (-1: nowhere)."""
    first = -1
    for at, byte in enumerate(text):
        if state == LINE_START and byte not in (LF, CR) and first < 0:
            first = at
        state = step(state, byte)
    return state, first


def records(text: bytes) -> list[Record]:
    """All records of a text that begins at a line start."""
    found: list[Record] = []
    state, start, fields = LINE_START, -1, [b""]
    for at, byte in enumerate(text):
        after = step(state, byte)
        if state == LINE_START and after != LINE_START:
            start, fields = at, [b""]
        if start >= 0:
            if after == LINE_START:
                found.append(Record(start, at, fields))
                start = -1
            elif after == FIELD_START:
                fields.append(b"")
            elif not (after == QUOTE_SEEN or (after == IN_QUOTES and state in (LINE_START, FIELD_START))):
                fields[-1] += bytes([byte])
        state = after
    return [*found, Record(start, len(text), fields)] if start >= 0 else found


def cut_position(text: bytes) -> int:
    """Just after the last line end outside quotes; 0 if there is none."""
    state, cut = LINE_START, 0
    for at, byte in enumerate(text):
        state = step(state, byte)
        if state == LINE_START:
            cut = at + 1
    return cut


def line_ends(text: bytes) -> int:
    """Physical lines that end in ``text``."""
    return len(text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")) - 1
