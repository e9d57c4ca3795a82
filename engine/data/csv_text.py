"""The bytes of CSV files: headers, pieces that begin and end at record boundaries, physical line numbers."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.csv

from engine import storage
from engine._kernels.csv_scan import count_line_ends, find_cut, find_record
from engine.errors import DataError, EngineError, OptionError, StorageError

QUOTE = ord('"')
NO_QUOTE = -1
BOM = b"\xef\xbb\xbf"
PIECE_BYTES = 2 << 20  # text parsed at once, by one thread: what fits its cache parses fastest
HEADER_BYTES = 64 << 10  # first look at a file; grows for longer headers
LONGEST_RECORD = (1 << 31) - (1 << 20)  # pyarrow's offsets are 32 bits
_CODECS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}

Progress = Callable[[int], None]


@dataclass(frozen=True)
class CsvFormat:
    """How CSV text is written. Raises ``OptionError`` for what are no single plain characters, or a header that is no bool.

    With ``comment``, lines that begin with it are skipped, and quotes are ordinary characters: so are the edge lists of graph archives.
    """

    delimiter: str = ","
    header: bool = True
    null_values: tuple[str, ...] = ("", "NA", "null")
    comment: str | None = None
    skip_lines: int = 0  # at the beginning of each file

    def __post_init__(self) -> None:
        if isinstance(self.skip_lines, bool) or not isinstance(self.skip_lines, int) or self.skip_lines < 0:
            raise OptionError(f"skip_lines: expected an integer, 0 or more, got {self.skip_lines!r}")
        taken = '"\r\n' + self.delimiter
        if self.comment is not None and (len(self.comment) != 1 or not self.comment.isascii() or self.comment in taken):
            raise OptionError(f"comment: expected one ASCII character, no delimiter, quote or line end, got {self.comment!r}")
        if len(self.delimiter) != 1 or not self.delimiter.isascii() or self.delimiter in '"\r\n':
            raise OptionError(f"delimiter: expected one ASCII character other than a quote or a line end, got {self.delimiter!r}")
        if not isinstance(self.header, bool):
            raise OptionError(f"header: expected True or False, got {self.header!r}")

    @property
    def quote_char(self) -> str | bool:
        """The quote as pyarrow wants it."""
        return '"' if self.comment is None else False

    @property
    def quote(self) -> int:
        """The quote's byte, or ``NO_QUOTE``."""
        return QUOTE if self.comment is None else NO_QUOTE

    def first_byte(self, data: bytes) -> int:
        """Where a file's own lines begin, after a byte order mark and the lines to skip: at the end of ``data`` if they are longer."""
        at = len(BOM) if data.startswith(BOM) else 0
        for _ in range(self.skip_lines):
            ends = [end for end in (data.find(b"\n", at), data.find(b"\r", at)) if end >= 0]
            if not ends:
                return len(data)
            at = min(ends) + (2 if data[min(ends) : min(ends) + 2] == b"\r\n" else 1)
        return at

    def blank_comments(self, text: bytes) -> bytes:
        """``text``, which begins at a line start, with line ends in place of every byte of a comment: what follows keeps its place."""
        if self.comment is None or self.comment.encode() not in text:
            return text
        lines = re.compile(rb"(?:\A|(?<=[\r\n]))%s[^\r\n]*" % re.escape(self.comment.encode()))
        return lines.sub(lambda line: b"\n" * len(line[0]), text)


class CsvFile(NamedTuple):
    """A file whose header has been read. ``names`` is None in a file without any record."""

    path: str
    size: int
    names: list[str] | None
    data_offset: int  # where records begin, after byte order mark and header
    splittable: bool


class Piece(NamedTuple):
    """Whole records of one file: ``data`` begins at byte ``offset`` (of the decompressed text)."""

    file: CsvFile
    offset: int
    data: memoryview
    has_quotes: bool


def is_compressed(path: str) -> bool:
    """Whether the name says that the text is compressed, and so cannot be entered in the middle."""
    return storage.suffix_of(path) in _CODECS


class TextReader:
    """Reads a file's text forward from an offset, decompressing by its suffix; ``raw_position`` counts bytes of the file itself.

    With ``until`` it will be read up to that byte (of a compressed file: to its end), so more than was asked for may be fetched ahead.
    """

    def __init__(self, path: str, offset: int, until: int | None = None) -> None:
        self.path = path
        through = [] if until is None else [(0, sys.maxsize) if is_compressed(path) else (offset, until)]
        self._raw = storage.open_file(path, through)
        self._text: BinaryIO | pa.CompressedInputStream = self._raw
        if is_compressed(path):
            self._text = pa.CompressedInputStream(self._raw, _CODECS[storage.suffix_of(path)])
            while offset > 0 and (skipped := len(self.read(min(offset, PIECE_BYTES)))):
                offset -= skipped
        else:
            self._raw.seek(offset)

    @property
    def raw_position(self) -> int:
        """How far the file has been read, in bytes as stored."""
        return self._raw.tell()

    def read(self, length: int) -> bytes:
        """The next ``length`` bytes; fewer only at the end."""
        try:
            return storage.read_fully(self._text, length)
        except EngineError:
            raise
        except (OSError, pa.ArrowInvalid) as error:
            raise StorageError(f"could not read {self.path!r}: {error}") from error

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):  # a broken stream cannot be finished
            self._text.close()
        self._raw.close()


def read_header(path: str, size: int, form: CsvFormat) -> CsvFile:
    """Read a file's column names ('X1', 'X2', ... without a header) and where its records begin."""
    with contextlib.closing(TextReader(path, 0)) as reader:
        data, more = reader.read(HEADER_BYTES), True
        while True:
            skip = form.first_byte(data)
            text = memoryview(form.blank_comments(data[skip:]))
            _, start, stop, n_fields = find_record(text, ord(form.delimiter), form.quote, index=0)
            if (0 <= stop < len(text)) or not more:
                break
            if len(data) > LONGEST_RECORD // 2:
                raise DataError(f"{path}: expected a header line, got none in the first {len(data)} bytes; is a quote left open?")
            extra = reader.read(len(data))
            data, more = data + extra, bool(extra)
    splittable = not is_compressed(path)
    if start < 0:
        return CsvFile(path, size, None, skip, splittable)
    if not form.header:
        return CsvFile(path, size, [f"X{number + 1}" for number in range(n_fields)], skip, splittable)
    names = _header_names(path, bytes(text[start:stop]), n_fields, form)
    return CsvFile(path, size, names, skip + stop, splittable)


def _header_names(path: str, record: bytes, n_fields: int, form: CsvFormat) -> list[str]:
    """The fields of the header record; an empty one is named by its place, as without a header."""
    keys = [str(number) for number in range(n_fields)]
    try:
        row = pyarrow.csv.read_csv(
            pa.BufferReader(b"\n" + record + b"\n"),
            pyarrow.csv.ReadOptions(column_names=keys, use_threads=False, block_size=len(record) + 1024),
            pyarrow.csv.ParseOptions(delimiter=form.delimiter, newlines_in_values=form.comment is None, quote_char=form.quote_char),
            pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(keys, pa.string())),
        ).to_pylist()[0]
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}, line 1: expected a header of column names in UTF-8, got {record[:80]!r}") from error
    return [row[key] or f"X{number + 1}" for number, key in enumerate(keys)]


def read_pieces(
    file: CsvFile, begin: int, end: int, form: CsvFormat, *, piece_bytes: int | None = None, on_bytes: Progress | None = None
) -> Iterator[Piece]:
    """The records of ``file`` in bytes ``begin`` to ``end`` (both at record boundaries), in pieces; a compressed file to its end.

    Who asks for ``piece_bytes`` looks at some of them: nothing is fetched ahead.
    """
    wanted = piece_bytes or PIECE_BYTES
    left = end - begin if file.splittable else 1 << 62
    with contextlib.closing(TextReader(file.path, begin, end if piece_bytes is None else None)) as reader:
        position, carry, seen = begin, b"", reader.raw_position
        while True:
            chunk = reader.read(min(wanted, left))
            left -= len(chunk)
            if on_bytes is not None:
                on_bytes(reader.raw_position - seen)
                seen = reader.raw_position
            data = carry + chunk if carry else chunk
            is_last = left == 0 or not chunk
            first, cut = find_cut(data, ord(form.delimiter), form.quote)
            cut = len(data) if is_last else cut
            whole = data if form.comment is None else form.blank_comments(data[:cut])
            first = first if whole is data else find_cut(whole, ord(form.delimiter), form.quote)[0]
            if cut > LONGEST_RECORD or len(data) - cut > LONGEST_RECORD:
                raise DataError(f"{file.path}, line {line_of(file, position)}: expected records under 2 GiB; is a quote left open?")
            if cut and first >= 0:
                yield Piece(file, position, memoryview(whole)[:cut], form.quote >= 0 and whole.find(form.quote, 0, cut) >= 0)
            if is_last:
                return
            wanted = wanted if cut else min(2 * len(data), 1 << 30)
            position, carry = position + cut, data[cut:]


def line_of(file: CsvFile, offset: int) -> int:
    """1-based physical line of the byte at ``offset``; reads the file up to there, so only for errors."""
    n_lines, after_cr = 1, False
    with contextlib.closing(TextReader(file.path, 0)) as reader:
        while offset > 0 and (data := reader.read(min(offset, PIECE_BYTES))):
            n_lines += count_line_ends(data, after_cr)
            after_cr = data[-1:] == b"\r"
            offset -= len(data)
    return n_lines
