"""How long is tried again, and who may shorten that."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from engine.errors import OptionError, StorageError
from engine.storage import limit_patience
from engine.storage.retry import Patience, RetriableError, persist


def refuse() -> None:
    raise RetriableError("nobody is there")


def test_time_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMESUM_STORAGE_TIMEOUT", "0.3")
    began = time.monotonic()
    with pytest.raises(StorageError, match=r"could not read 'x': nobody is there; tried \d+ times in 0 s \(SAMESUM_STORAGE_TIMEOUT"):
        persist("read 'x'", refuse)
    assert 0.2 < time.monotonic() - began < 5


def test_it_is_tried_again_until_it_goes_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMESUM_STORAGE_TIMEOUT", "30")
    tries = []

    def third() -> int:
        tries.append(1)
        if len(tries) < 3:
            refuse()
        return 7

    assert persist("read 'x'", third) == 7


def test_who_waits_already_hears_of_a_shorter_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMESUM_STORAGE_TIMEOUT", "300")
    timer = threading.Timer(0.3, limit_patience, [0.5])
    timer.start()
    began = time.monotonic()
    with pytest.raises(StorageError):
        persist("read 'x'", refuse)
    timer.join()
    assert time.monotonic() - began < 15  # one pause may have begun before


def test_a_signal_handler_may_shorten_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMESUM_STORAGE_TIMEOUT", "300")
    before = signal.signal(signal.SIGALRM, lambda *_: limit_patience(0.0))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(StorageError):
            persist("read 'x'", refuse)
    finally:
        signal.signal(signal.SIGALRM, before)


def test_patience_is_never_lengthened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMESUM_STORAGE_TIMEOUT", "2")
    limit_patience(10.0)
    began = time.monotonic()
    with pytest.raises(StorageError):
        persist("read 'x'", refuse)
    assert time.monotonic() - began < 10


def test_a_time_that_cannot_be_meant_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMESUM_STORAGE_TIMEOUT", "soon")
    with pytest.raises(OptionError, match="SAMESUM_STORAGE_TIMEOUT"):
        Patience("read 'x'")
