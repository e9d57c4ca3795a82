"""Ids in plain text, beside what splitting lines in Python gives."""

import numpy as np
import pytest
from engine._kernels.id_text import find_ids, parse_ids
from hypothesis import given, settings
from hypothesis import strategies as st

NULLS = np.frombuffer(b"NAnull", dtype=np.uint8), np.array([0, 2, 6])


def parse(text, n_fields, first, second):
    out = np.full((2, text.count(b"\n") + text.count(b"\r") + 1), -7, dtype=np.int64)
    n = parse_ids(text, ord(","), n_fields, first, second, *out)
    return None if n < 0 else out[: 1 + (second >= 0), :n].T.tolist()


def find(text, n_fields, first, second, nulls=NULLS):
    starts, stops = np.empty((2, 2, text.count(b"\n") + text.count(b"\r") + 1), dtype=np.int64)
    n = find_ids(text, ord(","), n_fields, first, second, *nulls, starts, stops)
    fields = range(1 + (second >= 0))
    return None if n < 0 else [[text[starts[f, i] : stops[f, i]] for f in fields] for i in range(n)]


def test_by_hand():
    text = b"1,x,-22\r\n\n333,,4"
    assert parse(text, 3, 0, 2) == [[1, -22], [333, 4]]
    assert find(text, 3, 0, 2) == [[b"1", b"-22"], [b"333", b"4"]]
    assert find(b"1,x\n2,y\n", 2, 1, -1) == [[b"x"], [b"y"]]
    assert parse(b"", 2, 0, 1) == find(b"\n\r\n", 2, 0, 1) == []


@pytest.mark.parametrize(
    "text", [b"1", b"1,2,3", b"1,", b"1,-", b"1, 2", b"1,+2", b"1,2.0", b"1,a", b'1,"2"', b"1,1234567890123456789", b"1,2\n3\n", b"1,2 "]
)
def test_what_is_not_plain_stops_integers(text):
    assert parse(text, 2, 0, 1) is None


@pytest.mark.parametrize("text", [b"a", b"a,b,c", b"a,", b"NA,b", b"a,b\na,null\n"])
def test_what_is_not_plain_stops_texts(text):
    assert find(text, 2, 0, 1) is None


def test_text_that_only_begins_like_a_null_is_none():
    assert find(b"N,nullo\n,NA\n", 2, 0, 1, (np.frombuffer(b"NA?", np.uint8), np.array([2, 3]))) is None
    assert find(b"N,nullo\n,x\n", 2, 0, 1, (np.frombuffer(b"NA?", np.uint8), np.array([2, 3]))) == [[b"N", b"nullo"], [b"", b"x"]]


plain = st.text(st.characters(codec="utf-8", exclude_characters=',"\n\r'), min_size=1, max_size=5)
cells = plain.filter(lambda cell: cell not in ("NA", "null"))


@given(st.lists(st.lists(cells, min_size=3, max_size=3), max_size=20), st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
@settings(max_examples=100, deadline=None)
def test_texts_are_those_between_delimiters(lines, end, final):
    text = (end.join(",".join(line) for line in lines) + (end if final else "")).encode()
    assert find(text, 3, 0, 2) == [[line[0].encode(), line[2].encode()] for line in lines]


@given(st.lists(st.tuples(st.integers(-(10**17), 10**17), st.integers(-(10**17), 10**17)), max_size=20))
def test_integers_are_those_of_python(pairs):
    text = "".join(f"{a},{b}\n" for a, b in pairs).encode()
    assert parse(text, 2, 0, 1) == [list(pair) for pair in pairs]
