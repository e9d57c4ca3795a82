"""Ranges of remote files, kept in memory so that what is read twice is fetched once.

Ranges are kept as they were asked for, never rounded to blocks: ranks that read neighbouring ranges fetch no byte twice. What is there
stays until it has not been asked for during several times the capacity's bytes: going through more than fits again and again finds what
was kept first, where throwing out the oldest would find nothing.
"""

from __future__ import annotations

import bisect
import os
import threading
from dataclasses import dataclass, field

from engine.sizes import default_memory, size_setting

Bytes = bytes | bytearray | memoryview
_IDLE = 8  # times the capacity


@dataclass
class _File:
    """The kept ranges of one file as it was at one time, by their beginnings."""

    stamp: tuple[int | str, ...]
    begins: list[int] = field(default_factory=list)
    parts: dict[int, memoryview] = field(default_factory=dict)
    used: dict[int, int] = field(default_factory=dict)  # the clock when each was last asked for


class RangeCache:
    """At most ``capacity`` bytes. Threads may share it."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.size = 0
        self._clock = 0  # bytes that have been asked for
        self._files: dict[str, _File] = {}
        self._lock = threading.Lock()

    def find(self, address: str, stamp: tuple[int | str, ...], offset: int) -> memoryview | None:
        """The kept bytes from ``offset`` to the end of the range that holds it, or None."""
        with self._lock:
            file = self._file(address, stamp)
            place = bisect.bisect_right(file.begins, offset) - 1
            if place < 0:
                return None
            begin = file.begins[place]
            part = file.parts[begin]
            if offset >= begin + len(part):
                return None
            file.used[begin] = self._clock
            return part[offset - begin :]

    def next_begin(self, address: str, stamp: tuple[int | str, ...], offset: int) -> int | None:
        """Where the first kept range after ``offset`` begins."""
        with self._lock:
            begins = self._file(address, stamp).begins
            place = bisect.bisect_right(begins, offset)
            return begins[place] if place < len(begins) else None

    def keep(self, address: str, stamp: tuple[int | str, ...], offset: int, data: Bytes) -> None:
        """Keep what was read, if there is room and none of it is kept already."""
        if not len(data):
            return
        with self._lock:
            self._clock += len(data)
            file = self._file(address, stamp)
            place = bisect.bisect_right(file.begins, offset)
            before = file.begins[place - 1] if place else None
            if before is not None and before + len(file.parts[before]) > offset:
                return
            if place < len(file.begins) and file.begins[place] < offset + len(data):
                return
            if not self._make_room(len(data)):
                return
            bisect.insort(file.begins, offset)
            file.parts[offset] = memoryview(data).toreadonly()
            file.used[offset] = self._clock
            self.size += len(data)

    def resize(self, capacity: int) -> None:
        """Change the capacity; what no longer fits goes, longest idle first."""
        with self._lock:
            self.capacity = capacity
            for _, address, begin in self._by_idleness():
                if self.size <= capacity:
                    break
                self._drop(address, begin)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._files.clear()
            self.size = 0

    def _file(self, address: str, stamp: tuple[int | str, ...]) -> _File:
        """The entry of a file; what was kept of it as it was before goes."""
        file = self._files.get(address)
        if file is None or file.stamp != stamp:
            if file is not None:
                self.size -= sum(len(part) for part in file.parts.values())
            file = self._files[address] = _File(stamp)
        return file

    def _make_room(self, length: int) -> bool:
        if self.size + length <= self.capacity:
            return True
        for used, address, begin in self._by_idleness():
            if self._clock - used <= _IDLE * self.capacity:
                break
            self._drop(address, begin)
            if self.size + length <= self.capacity:
                return True
        return False

    def _by_idleness(self) -> list[tuple[int, str, int]]:
        return sorted((used, address, begin) for address, file in self._files.items() for begin, used in file.used.items())

    def _drop(self, address: str, begin: int) -> None:
        file = self._files[address]
        self.size -= len(file.parts.pop(begin))
        del file.used[begin]
        file.begins.remove(begin)


# --- the cache of this process ---

SHARE = 0.2  # of the memory that the process may use
_cache: RangeCache | None = None
_is_limited = False


def file_cache() -> RangeCache:
    """The cache of this process: of ``SAMESUM_FILE_CACHE`` bytes, else a share of its memory. Raises ``OptionError``."""
    global _cache  # noqa: PLW0603
    if _cache is None:
        given = _given_capacity()
        _cache = RangeCache(int(SHARE * default_memory(1)) if given is None else given)
    return _cache


def limit_file_cache(memory_limit: int, *, by_default: bool = False) -> None:
    """Size the cache by the memory that the process may use; ``by_default``: unless somebody who knew it better has done so."""
    global _is_limited  # noqa: PLW0603
    if _given_capacity() is None and not (by_default and _is_limited):
        file_cache().resize(int(SHARE * memory_limit))
        _is_limited = _is_limited or not by_default


def _given_capacity() -> int | None:
    return 0 if os.environ.get("SAMESUM_FILE_CACHE", "").strip() == "0" else size_setting("SAMESUM_FILE_CACHE")


def _forget_after_fork() -> None:
    global _cache  # noqa: PLW0603
    _cache = None


os.register_at_fork(after_in_child=_forget_after_fork)
