"""Trying again what may come right by itself: for a bounded time, with growing pauses."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from typing import TypeVar

from engine.errors import OptionError, StorageError, warn

Result = TypeVar("Result")
DEFAULT_TIMEOUT = 300.0  # seconds
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0  # seconds
_QUIET = 10.0  # seconds of trying before the user is told


class RetriableError(Exception):
    """What failed may succeed later; the text says why, in words that may be shown. With ``is_unclear`` it may even have succeeded."""

    def __init__(self, reason: str, *, is_unclear: bool = False) -> None:
        super().__init__(reason)
        self.is_unclear = is_unclear


def storage_timeout() -> float:
    """Seconds for which a storage that does not answer is tried again: ``SAMESUM_STORAGE_TIMEOUT``, else five minutes."""
    text = os.environ.get("SAMESUM_STORAGE_TIMEOUT") or str(DEFAULT_TIMEOUT)
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise OptionError(f"environment variable SAMESUM_STORAGE_TIMEOUT: expected seconds, 0 or more, got {text!r}")
    return seconds


def limit_patience(seconds: float) -> None:
    """Have this process try again no longer than ``seconds`` from now on, also where it is waiting already."""
    os.environ["SAMESUM_STORAGE_TIMEOUT"] = str(min(seconds, storage_timeout()))


class Patience:
    """Waits between tries, until its time is over; ``progress`` gives it new time."""

    def __init__(self, what: str) -> None:
        """``what`` as ``read 'hdfs://...'``."""
        self._what = what
        storage_timeout()  # what cannot be meant is said at once
        self._warned = False
        self.progress()

    def progress(self) -> None:
        """Something came: begin anew."""
        self._began = time.monotonic()
        self._pause = FIRST_PAUSE
        self._tries = 0

    def wait(self, trouble: RetriableError) -> None:
        """Pause before the next try. Raises ``StorageError`` when the time is over."""
        self._tries += 1
        spent = time.monotonic() - self._began
        left = storage_timeout() - spent  # which may have become shorter meanwhile
        if left <= 0:
            tries = "once" if self._tries == 1 else f"{self._tries} times"
            how_long = f"tried {tries} in {spent:.0f} s (SAMESUM_STORAGE_TIMEOUT says how long)"
            raise StorageError(f"could not {self._what}: {trouble}; {how_long}") from trouble
        if spent > _QUIET and not self._warned:
            self._warned = True
            warn(f"waiting to {self._what}: {trouble}; trying for {left:.0f} s more")
        time.sleep(min(left, self._pause * random.SystemRandom().uniform(0.5, 1.0)))
        self._pause = min(2 * self._pause, LONGEST_PAUSE)


def persist(what: str, action: Callable[[], Result]) -> Result:
    """``action()``, again as long as it raises :class:`RetriableError` and there is time."""
    patience = Patience(what)
    while True:
        try:
            return action()
        except RetriableError as trouble:
            patience.wait(trouble)
