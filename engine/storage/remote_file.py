"""A file of a remote storage as an object that reads, seeks and reads ahead."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from engine.storage.cache import Bytes, RangeCache

CHUNK_BYTES = 8 << 20  # fetched by one request where a reader says that it goes through
STREAM_BYTES = 2 << 20  # taken at once from a request that goes on: what the processor's cache holds is copied fastest
CHUNKS_AHEAD = 2
STREAM_AHEAD = 4
_THREADS = 4  # of a process, for all its files
Range = tuple[int, int]


class RemoteHandle(Protocol):
    """A file of one storage, as it was when it was opened."""

    address: str
    size: int
    stamp: tuple[int | str, ...]
    streams: bool  # reading on is cheaper than beginning elsewhere, so one after the other is fastest

    def fetch(self, offset: int, length: int, until: int = 0) -> Bytes:
        """Exactly these bytes, which lie inside the file; those up to ``until`` will be asked for next. Threads may call it at once."""

    def close(self) -> None:
        """No more is asked for."""


class RemoteFile(io.RawIOBase):
    """Reads a file by ranges: those in ``through``, which the reader goes through, in large pieces and ahead; others as asked for."""

    def __init__(self, handle: RemoteHandle, cache: RangeCache, through: Sequence[Range] = ()) -> None:
        super().__init__()
        self._handle = handle
        self._cache = cache
        self._through = [(max(0, begin), min(end, handle.size)) for begin, end in through]
        self._position = 0
        self._piece: tuple[int, memoryview] = (0, memoryview(b""))
        self._ahead: dict[int, tuple[int, Future[Bytes]]] = {}  # by beginning: end, and what comes
        self._thread: ThreadPoolExecutor | None = None
        self._chunk = min(STREAM_BYTES, CHUNK_BYTES) if handle.streams else CHUNK_BYTES
        self._most_ahead = STREAM_AHEAD if handle.streams else CHUNKS_AHEAD

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """The position in bytes."""
        return self._position

    def size(self) -> int:
        """Bytes of the file."""
        return self._handle.size

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move; nothing is read."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._handle.size}[whence]
        if start + offset < 0:
            raise ValueError(f"expected a position of 0 or more, got {start + offset}")
        self._position = start + offset
        return self._position

    def read(self, length: int | None = -1, /) -> bytes:
        """The next ``length`` bytes, fewer only at the end; to the end if it is negative or None."""
        left = max(0, self._handle.size - self._position)
        wanted = left if length is None or length < 0 else min(length, left)
        parts = []
        while wanted > 0:
            part = self._part(self._position, wanted)[:wanted]
            parts.append(_without_copy(part))
            self._position += len(part)
            wanted -= len(part)
        return bytes(parts[0]) if len(parts) == 1 else b"".join(parts)  # what is bytes already is not copied

    def readall(self) -> bytes:
        """To the end."""
        return self.read(-1)

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        """Fill as much of ``buffer`` as there is."""
        data = self.read(len(buffer))
        memoryview(buffer).cast("B")[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Forget what was read ahead."""
        for _, coming in self._ahead.values():
            coming.cancel()
        self._ahead.clear()
        self._piece = (0, memoryview(b""))
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)
        self._handle.close()
        super().close()

    def _part(self, offset: int, wanted: int) -> memoryview:
        """Some bytes from ``offset`` on, at least one."""
        begin, piece = self._piece
        if begin <= offset < begin + len(piece):
            return piece[offset - begin :]
        kept = self._cache.find(self._handle.address, self._handle.stamp, offset)
        if kept is None:
            self._piece = self._fetch_piece(offset, wanted)
            begin, piece = self._piece
            return piece[offset - begin :]
        self._piece = (offset, kept)
        return kept

    def _fetch_piece(self, offset: int, wanted: int) -> tuple[int, memoryview]:
        limit = next((end for begin, end in self._through if begin <= offset < end), None)
        if limit is None:
            length = self._gap(offset, offset + wanted) - offset
            return offset, self._keep(offset, self._handle.fetch(offset, length))
        coming = next(((begin, end) for begin, (end, _) in self._ahead.items() if begin <= offset < end), None)
        begin, end = coming if coming is not None else (offset, self._gap(offset, min(offset + self._chunk, limit)))
        future = self._ahead.pop(begin)[1] if coming is not None else None
        for stale in [each for each in self._ahead if each < offset]:
            self._ahead.pop(stale)[1].cancel()
        if future is None:
            future = self._begin(begin, end, limit)
        self._look_ahead(end, limit)
        data = future.result()
        return begin, self._keep(begin, data)

    def _look_ahead(self, offset: int, limit: int) -> None:
        """Begin to fetch what comes next in the range that is gone through, and then in those after it."""
        after = [(offset, limit), *(each for each in self._through if each[0] >= limit)]
        for begin, end in after:
            while begin < end and len(self._ahead) < self._most_ahead:
                if self._cache.find(self._handle.address, self._handle.stamp, begin) is not None:
                    return
                if begin not in self._ahead:
                    stop = self._gap(begin, min(begin + self._chunk, end))
                    self._ahead[begin] = (stop, self._begin(begin, stop, end))
                begin = self._ahead[begin][0]  # noqa: PLW2901

    def _begin(self, begin: int, end: int, limit: int) -> Future[Bytes]:
        """Begin to fetch: one after the other where the storage streams, beside each other where it does not."""
        pool = _pool()
        if self._handle.streams:
            pool = self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
        return pool.submit(self._handle.fetch, begin, end - begin, self._gap(begin, limit, over_coming=True))

    def _gap(self, offset: int, end: int, *, over_coming: bool = False) -> int:
        """``end``, or where bytes that are kept, or on their way, begin before it."""
        kept = self._cache.next_begin(self._handle.address, self._handle.stamp, offset)
        coming = [] if over_coming else [begin for begin in self._ahead if begin > offset]
        return min([end, *coming, *([] if kept is None else [kept])])

    def _keep(self, offset: int, data: Bytes) -> memoryview:
        self._cache.keep(self._handle.address, self._handle.stamp, offset, data)
        return memoryview(data)


def _without_copy(part: memoryview) -> bytes | memoryview:
    """The bytes that were fetched, where all of them are wanted."""
    whole = part.obj
    return whole if isinstance(whole, bytes) and len(whole) == len(part) else part


_pools: dict[int, ThreadPoolExecutor] = {}
_pools_lock = threading.Lock()


def _pool() -> ThreadPoolExecutor:
    """The threads of this process that read ahead: a fork has none of its parent's."""
    with _pools_lock:
        if os.getpid() not in _pools:
            _pools.clear()
            _pools[os.getpid()] = ThreadPoolExecutor(_THREADS, thread_name_prefix="read-ahead")
        return _pools[os.getpid()]
