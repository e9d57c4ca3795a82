"""The quote automaton against its naive twin, against pyarrow, and over any cuts."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from engine._kernels.csv_scan import count_line_ends, find_cut, find_record, scan_states
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import csv_oracle as oracle

DELIMITER, QUOTE = ord(","), ord('"')
nasty = st.text(alphabet='a,"\r\n', max_size=60).map(str.encode)
steady = settings(deadline=None, max_examples=200)


def scan(text: bytes, offset: int = 0, states=None, firsts=None):
    states = np.arange(5) if states is None else states
    firsts = np.full(5, -1) if firsts is None else firsts
    scan_states(text, DELIMITER, QUOTE, offset, states, firsts)
    return states, firsts


def all_records(text: bytes) -> list[tuple[int, int, int]]:
    count = find_record(text, DELIMITER, QUOTE)[0]
    return [find_record(text, DELIMITER, QUOTE, index=index)[1:] for index in range(count)]


def test_states_computed_by_hand():
    states, firsts = scan(b'x"\n"y\n,b')
    # Outside quotes the first quote is literal and the second opens a field that never ends; inside, it closes and the second opens another
    # one; after a quote, x makes the field literal.
    assert states.tolist() == [oracle.IN_QUOTES] * 3 + [oracle.IN_QUOTES, oracle.IN_QUOTES]
    assert firsts.tolist() == [0, 3, 3, 3, 3]


def test_states_stay_apart_without_line_ends():
    states, firsts = scan(b"ab")
    assert states.tolist() == [oracle.IN_FIELD, oracle.IN_FIELD, oracle.IN_FIELD, oracle.IN_QUOTES, oracle.IN_FIELD]
    assert firsts.tolist() == [0, -1, -1, -1, -1]


def test_nothing_changes_nothing():
    states, firsts = scan(b"")
    assert states.tolist() == [0, 1, 2, 3, 4]
    assert firsts.tolist() == [-1] * 5
    assert find_cut(b"", DELIMITER, QUOTE) == (-1, 0)
    assert find_record(b"", DELIMITER, QUOTE) == (0, -1, -1, 0)
    assert count_line_ends(b"") == 0


def test_wrong_lengths_are_refused():
    with pytest.raises(ValueError, match="expected 5 states"):
        scan_states(b"a", DELIMITER, QUOTE, 0, np.arange(4), np.full(5, -1))


@steady
@given(nasty)
def test_every_state_as_the_naive_scan(text):
    states, firsts = scan(text)
    assert [(states[s], firsts[s]) for s in range(5)] == [oracle.scan(text, s) for s in range(5)]


@steady
@given(st.lists(nasty, max_size=6))
def test_scanning_in_pieces_is_scanning_the_whole(pieces):
    states, firsts = np.arange(5), np.full(5, -1)
    offset = 0
    for piece in pieces:
        scan(piece, offset, states, firsts)
        offset += len(piece)
    whole_states, whole_firsts = scan(b"".join(pieces))
    assert states.tolist() == whole_states.tolist()
    assert firsts.tolist() == whole_firsts.tolist()


@steady
@given(nasty)
def test_cut_as_the_naive_scan(text):
    assert find_cut(text, DELIMITER, QUOTE) == (oracle.scan(text, 0)[1], oracle.cut_position(text))


@steady
@given(nasty)
def test_records_as_the_naive_reader(text):
    assert all_records(text) == [(record.start, record.stop, len(record.fields)) for record in oracle.records(text)]


@steady
@given(nasty, st.integers(1, 3))
def test_first_ragged_record(text, n_fields):
    wrong = [(i, r) for i, r in enumerate(oracle.records(text)) if len(r.fields) != n_fields]
    expected = (
        (wrong[0][0], wrong[0][1].start, wrong[0][1].stop, len(wrong[0][1].fields)) if wrong else (len(oracle.records(text)), -1, -1, 0)
    )
    assert find_record(text, DELIMITER, QUOTE, n_fields=n_fields) == expected


@steady
@given(nasty, st.lists(st.integers(0, 60), max_size=4))
def test_records_of_cut_pieces_are_the_records_of_the_whole(text, cuts):
    """What ranks do: each piece begins at the first record of its range, under the state that the ranges before it lead to."""
    bounds = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    state, starts = 0, []
    for begin, end in itertools.pairwise(bounds):
        states, firsts = scan(text[begin:end], begin)
        if firsts[state] >= 0:
            starts.append(int(firsts[state]))
        state = states[state]
    pieces = [text[begin:end] for begin, end in zip(starts, [*starts, len(text)][1:], strict=True)]
    assert [r.fields for piece in pieces for r in oracle.records(piece)] == [r.fields for r in oracle.records(text)]


@steady
@given(nasty)
def test_the_naive_reader_reads_as_pyarrow(text):
    found = oracle.records(text)
    width = len(found[0].fields) if found else 1
    if all(len(record.fields) == width for record in found) and text:
        names = [str(i) for i in range(width)]
        table = pyarrow.csv.read_csv(
            pa.BufferReader(text),
            pyarrow.csv.ReadOptions(column_names=names, use_threads=False),
            pyarrow.csv.ParseOptions(newlines_in_values=True),
            pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
        )
        rows = [[(row[name] or "").encode() for name in names] for row in table.to_pylist()]
        assert rows == [record.fields for record in found]


@steady
@given(nasty, st.integers(0, 60))
def test_lines_are_counted_over_any_cut(text, cut):
    first, second = text[:cut], text[cut:]
    assert count_line_ends(first) + count_line_ends(second, first[-1:] == b"\r") == oracle.line_ends(text)


def test_other_delimiters_and_read_only_memory():
    text = memoryview(b'"a;b";c\nd;e')
    assert text.readonly
    assert find_record(text, ord(";"), QUOTE, index=0) == (0, 0, 7, 2)
    assert find_cut(text, ord(";"), QUOTE) == (0, 8)
