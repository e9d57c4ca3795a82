"""Arrays in a safetensors file, of which anyone can read ranges, and be sure of what was read.

Who writes gets the facts that readers need: where each array lies, and a checksum of each block of it. They belong into a manifest.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine import storage
from engine.errors import ModelFileError

BLOCK = 1 << 24  # bytes under one checksum: what reading a range may read beyond it
_KINDS = {"int64": "I64", "uint64": "U64", "uint32": "U32", "uint8": "U8"}

Facts = dict[str, Any]


def write_arrays(path: str, arrays: Mapping[str, NDArray[Any]]) -> Facts:
    """Write one-dimensional arrays to a local file, without a copy; the facts of the file, which are JSON. Raises ``OSError``."""
    ordered = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))  # so that all are aligned
    header: dict[str, dict[str, Any]] = {}
    end = 0
    for name in ordered:
        begin, end = end, end + arrays[name].nbytes
        header[name] = {"dtype": _KINDS[arrays[name].dtype.name], "shape": [len(arrays[name])], "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    facts: Facts = {"bytes": 8 + len(text) + end, "arrays": {}}
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in ordered:
            content = np.ascontiguousarray(arrays[name]).view(np.uint8).data
            begin = 8 + len(text) + header[name]["data_offsets"][0]
            checks = [zlib.crc32(content[at : at + BLOCK]) for at in range(0, len(content), BLOCK)]
            facts["arrays"][name] = {"dtype": arrays[name].dtype.name, "length": len(arrays[name]), "begin": begin, "crc32": checks}
            file.write(content)
    return facts


class ArrayFile:
    """An open file of :func:`write_arrays`, by its address and facts; close it, or use it as a context."""

    def __init__(self, address: str, facts: Facts) -> None:
        """Raises ``MissingFileError``, :class:`ModelFileError` for a file of another size."""
        self.address, self.facts = address, facts
        check_size(address, facts["bytes"])
        self._file = storage.open_file(address, through=[(0, facts["bytes"])])

    def __enter__(self) -> ArrayFile:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def length(self, name: str) -> int:
        """Number of elements of an array."""
        return int(self.facts["arrays"][name]["length"])

    def read(self, name: str, begin: int = 0, end: int | None = None) -> NDArray[Any]:
        """The elements ``begin`` to ``end`` of an array (None: all). Raises :class:`ModelFileError` where they are not what was written."""
        said = self.facts["arrays"][name]
        kind = np.dtype(said["dtype"])
        stop = said["length"] if end is None else end
        if not 0 <= begin <= stop <= said["length"]:
            raise ModelFileError(f"{self.address!r} is damaged: {name} has {said['length']} elements, got {begin} to {stop} to read")
        size = said["length"] * kind.itemsize
        first = begin * kind.itemsize // BLOCK * BLOCK
        last = min(-(-stop * kind.itemsize // BLOCK) * BLOCK, size) if stop > begin else first
        data = np.empty(last - first, dtype=np.uint8)
        self._file.seek(said["begin"] + first)
        with ThreadPoolExecutor(1) as checker:  # a block is checked while the next one is read
            found = []
            for at in range(0, last - first, BLOCK):
                self._fill(data.data[at : at + BLOCK])
                found.append(checker.submit(zlib.crc32, data.data[at : at + BLOCK]))
            expected = said["crc32"][first // BLOCK : -(-last // BLOCK)]
            if [each.result() for each in found] != expected:
                raise ModelFileError(f"{self.address!r} is damaged: {name} is not what was written; save or copy it again")
        return data.view(kind)[begin - first // kind.itemsize : stop - first // kind.itemsize]

    def _fill(self, data: memoryview) -> None:
        at = 0
        while at < len(data):
            count = self._file.readinto(data[at:])  # type: ignore[attr-defined]
            if not count:
                raise ModelFileError(f"{self.address!r} is cut short; save or copy it again")
            at += count


def check_size(address: str, size: int) -> None:
    """Raise :class:`ModelFileError` for a file of another size; ``MissingFileError`` if there is none."""
    got = storage.file_size(address)
    if got != size:
        raise ModelFileError(f"{address!r} is damaged or cut short: expected {size} bytes, got {got}; save or copy it again")
