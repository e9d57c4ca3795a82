"""What type a column of text has: decided by all its values, never by where the text was cut.

Each value accepts a set of types; a column accepts what all its non-null values accept (a bit mask, so ranks and pieces combine by ``&``)
and gets the first of ``TYPES`` among these. That is the join in null < bool < int64 < float64 < string, with dates and timestamps joining
their like. The functions here are the definition; pyarrow's CSV converters are the fast way to the same values, and accept no more.
"""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

TRUE_WORDS = ("true", "True", "TRUE")
FALSE_WORDS = ("false", "False", "FALSE")
TYPES: tuple[pa.DataType, ...] = (
    pa.null(),
    pa.bool_(),
    pa.int64(),
    pa.float64(),
    pa.date32(),
    *(pa.timestamp(unit) for unit in ("s", "ms", "us", "ns")),
    *(pa.timestamp(unit, "UTC") for unit in ("s", "ms", "us", "ns")),
    pa.string(),
)
STRING = len(TYPES) - 1
ALL_TYPES = (1 << len(TYPES)) - 1  # the mask of a column that has shown no value yet
_ANY_WORD, _TRUE_WORD = (rf"\A(?:{'|'.join(words)})\z" for words in (TRUE_WORDS + FALSE_WORDS, TRUE_WORDS))
_HEXADECIMAL = re.compile(r"0[xX][0-9a-fA-F]+")


def type_of_mask(mask: int) -> pa.DataType:
    """The first type that a column with this ``mask`` accepts."""
    return TYPES[(mask & -mask).bit_length() - 1]


def accepted_types(text: pa.Array, candidates: int = ALL_TYPES) -> int:
    """Mask of the ``candidates`` that every non-null value of a string array accepts; string always does."""
    distinct = pc.unique(text).drop_null()
    if len(distinct) == 0:
        return candidates
    mask = 1 << STRING
    for bit in range(1, STRING):
        if candidates >> bit & 1 and _accepts(distinct, TYPES[bit]):
            mask |= 1 << bit
    return mask


def convert_text(text: pa.Array, target: pa.DataType) -> pa.Array:
    """Parse a string array as ``target``. Raises ``pa.ArrowInvalid`` if a value does not fit.

    Spaces and tabs around what is no string are dropped. Among numbers, true is 1 and false is 0; a ``+`` is allowed; hexadecimal integers
    (``0x1f``) are integers among floats too.
    """
    if target == pa.string():
        return text
    if pa.types.is_null(target):
        if text.null_count < len(text):
            raise pa.ArrowInvalid("expected no value")
        return pa.nulls(len(text))
    text = pc.utf8_trim(text, " \t")
    if pa.types.is_boolean(target):
        return _convert_words(text)
    try:
        return text.cast(target)
    except pa.ArrowInvalid:
        if not (pa.types.is_integer(target) or pa.types.is_floating(target)):
            raise
        return _plain_numbers(text, hexadecimal=pa.types.is_floating(target)).cast(target)


def first_misfit(text: pa.Array, target: pa.DataType) -> int:
    """Position of the first value of a string array that does not parse as ``target``; -1 if all do."""
    low, high = 0, len(text)
    if _accepts(text, target):
        return -1
    while high - low > 1:  # text[:low] fits, text[:high] does not
        middle = (low + high) // 2
        low, high = (middle, high) if _accepts(text.slice(low, middle - low), target) else (low, middle)
    return low


def _accepts(text: pa.Array, target: pa.DataType) -> bool:
    try:
        convert_text(text, target)
    except pa.ArrowInvalid:
        return False
    return True


def _convert_words(text: pa.Array) -> pa.Array:
    # by patterns, not by a set of words: see _strings
    if not pc.all(pc.match_substring_regex(text, _ANY_WORD), min_count=0).as_py():
        raise pa.ArrowInvalid(f"expected one of {', '.join(TRUE_WORDS + FALSE_WORDS)}")
    return pc.match_substring_regex(text, _TRUE_WORD)


def _plain_numbers(text: pa.Array, *, hexadecimal: bool) -> pa.Array:
    """Rewrite the spellings that pyarrow's number parsers do not take, value by distinct value: they are rare."""
    coded = text.dictionary_encode()
    plain = [_plain_number(value, hexadecimal) for value in coded.dictionary.to_pylist()]
    return _strings(plain).take(coded.indices)


def _strings(values: list[str]) -> pa.Array:
    """A string array. ``pa.array`` and ``pa.scalar`` import pandas, where it is installed, which takes as long as reading much text."""
    encoded = [value.encode() for value in values]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded)))


def _plain_number(text: str, hexadecimal: bool) -> str:
    if text in TRUE_WORDS or text in FALSE_WORDS:
        return "1" if text in TRUE_WORDS else "0"
    if text[:1] == "+" and text[1:2] not in ("+", "-"):
        text = text[1:]
    return _integer_text(text) if hexadecimal and _HEXADECIMAL.fullmatch(text) else text


def _integer_text(text: str) -> str:
    """Decimal digits of a hexadecimal integer, as pyarrow's int64 parser reads it (two's complement); the text itself if it does not."""
    try:
        return str(pa.scalar(text).cast(pa.int64()).as_py())
    except pa.ArrowInvalid:
        return text
