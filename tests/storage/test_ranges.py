"""Remote files read by ranges: the bytes are right however they are asked for, and none is fetched twice that is kept."""

from __future__ import annotations

import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import storage
from engine.errors import OptionError, StorageError
from engine.storage import cache as cache_module
from engine.storage import remote_file
from engine.storage.cache import RangeCache
from engine.storage.remote_file import RemoteFile

DATA = bytes(range(251)) * 40


class Handle:
    """A file in memory that notes what is fetched."""

    address, stamp = "test://file", (1,)

    def __init__(self, *, streams=False, fails_at=None):
        self.size, self.streams = len(DATA), streams
        self.fetched = []
        self.closed = 0
        self._fails_at = fails_at
        self._lock = threading.Lock()

    def fetch(self, offset, length, until=0):
        assert 0 <= offset < offset + length <= self.size
        with self._lock:
            self.fetched.append((offset, length))
        if self._fails_at is not None and offset <= self._fails_at < offset + length:
            raise StorageError("could not read it")
        return DATA[offset : offset + length]

    def close(self):
        self.closed += 1


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(remote_file, "CHUNK_BYTES", 1000)


def read_through(file, begin, end, step):
    file.seek(begin)
    parts = []
    while begin < end:
        parts.append(file.read(min(step, end - begin)))
        begin += len(parts[-1])
    return b"".join(parts)


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("capacity", [0, 1500, 100_000])
def test_a_range_is_fetched_once_and_no_byte_beside_it(streams, capacity):
    handle = Handle(streams=streams)
    with RemoteFile(handle, RangeCache(capacity), [(123, 7456)]) as file:
        assert read_through(file, 123, 7456, 77) == DATA[123:7456]
    assert sorted(handle.fetched) == [(begin, min(1000, 7456 - begin)) for begin in range(123, 7456, 1000)]
    assert handle.closed == 1


def test_what_is_kept_is_not_fetched_again():
    cache, handle = RangeCache(100_000), Handle()
    with RemoteFile(handle, cache) as file:
        assert file.read(64) == DATA[:64]
        file.seek(5000)
        assert file.read(10) == DATA[5000:5010]
    with RemoteFile(handle, cache, [(0, len(DATA))]) as file:
        assert read_through(file, 0, len(DATA), 300) == DATA
        assert read_through(file, 0, len(DATA), 999) == DATA
    assert sum(length for _, length in handle.fetched) == len(DATA)


def test_other_ranges_are_fetched_as_they_are_asked_for():
    handle = Handle()
    with RemoteFile(handle, RangeCache(0), [(0, 2000)]) as file:
        file.seek(-8, os.SEEK_END)
        assert file.read() == DATA[-8:]
        assert file.read(5) == b""
        file.seek(3000)
        assert file.read(5) == DATA[3000:3005]
    assert handle.fetched == [(len(DATA) - 8, 8), (3000, 5)]


def test_a_file_that_changed_is_not_found_in_the_cache():
    cache = RangeCache(1000)
    cache.keep("a", (1,), 0, b"old")
    assert cache.find("a", (2,), 0) is None
    assert cache.size == 0


def test_what_does_not_fit_is_not_kept_and_what_was_first_stays():
    cache = RangeCache(250)
    for _ in range(3):
        for begin in range(0, 500, 100):
            cache.find("a", (1,), begin)
            cache.keep("a", (1,), begin, bytes(100))
    assert [cache.find("a", (1,), begin) is not None for begin in range(0, 500, 100)] == [True, True, False, False, False]
    assert cache.size == 200


def test_what_nobody_asks_for_makes_room():
    cache = RangeCache(200)
    cache.keep("old", (1,), 0, bytes(150))
    for number in range(40):
        cache.keep("new", (1,), 100 * number, bytes(100))
    assert cache.find("old", (1,), 0) is None
    assert cache.find("new", (1,), 3900) is not None or cache.size > 0
    cache.resize(50)
    assert cache.size <= 50


def test_an_error_comes_to_who_reads_there():
    for streams in (False, True):
        handle = Handle(streams=streams, fails_at=2500)
        with RemoteFile(handle, RangeCache(0), [(0, len(DATA))]) as file:
            assert read_through(file, 0, 2000, 500) == DATA[:2000]
            with pytest.raises(StorageError):
                file.read(10)


@given(
    st.lists(st.tuples(st.integers(0, len(DATA)), st.integers(0, 3000)), max_size=12),
    st.lists(st.tuples(st.integers(0, len(DATA)), st.integers(0, len(DATA))), max_size=3),
    st.sampled_from([0, 2000, 50_000]),
    st.booleans(),
)
def test_any_reads_give_the_bytes(reads, through, capacity, streams):
    cache = RangeCache(capacity)
    through = sorted((min(pair), max(pair)) for pair in through)
    for _ in range(2):
        with RemoteFile(Handle(streams=streams), cache, through) as file:
            for offset, length in reads:
                file.seek(offset)
                assert file.read(length) == DATA[offset : offset + length]
                assert file.tell() == min(len(DATA), offset + length)
    assert cache.size <= capacity


# --- the capacity in force ---


@pytest.fixture
def fresh(monkeypatch):
    monkeypatch.setattr(cache_module, "_cache", None)
    monkeypatch.setattr(cache_module, "_is_limited", False)
    monkeypatch.delenv("SAMESUM_FILE_CACHE", raising=False)
    monkeypatch.delenv("SAMESUM_MEMORY_LIMIT", raising=False)


def test_the_capacity_follows_the_memory(fresh, monkeypatch):
    monkeypatch.setenv("SAMESUM_MEMORY_LIMIT", "1GB")
    assert storage.file_cache().capacity == 200_000_000
    storage.limit_file_cache(2_000_000, by_default=True)
    assert storage.file_cache().capacity == 400_000
    storage.limit_file_cache(1_000_000)
    storage.limit_file_cache(9_000_000, by_default=True)
    assert storage.file_cache().capacity == 200_000


@pytest.mark.parametrize(("text", "capacity"), [("0", 0), ("12MB", 12_000_000)])
def test_the_capacity_that_is_given(fresh, monkeypatch, text, capacity):
    monkeypatch.setenv("SAMESUM_FILE_CACHE", text)
    storage.limit_file_cache(1_000_000)
    assert storage.file_cache().capacity == capacity


def test_a_capacity_that_is_none(fresh, monkeypatch):
    monkeypatch.setenv("SAMESUM_FILE_CACHE", "much")
    with pytest.raises(OptionError, match="SAMESUM_FILE_CACHE"):
        storage.file_cache()
