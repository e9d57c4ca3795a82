"""A few threads for work that releases the interpreter's lock: reading, parsing, kernels that go through one block each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_ordered(function: Callable[[Item], Result], items: Iterable[Item], n_threads: int) -> Iterator[Result]:
    """``map`` on a few threads: results in order, no more items under way than keep the threads busy."""
    if n_threads == 1:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(n_threads) as pool:
        under_way: deque[Future[Result]] = deque()
        try:
            for item in items:
                under_way.append(pool.submit(function, item))
                if len(under_way) > 2 * n_threads:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()


def run_all(function: Callable[[Item], object], items: Iterable[Item], n_threads: int) -> None:
    """As :func:`map_ordered`, for what leaves nothing but its effects."""
    for _ in map_ordered(function, items, n_threads):
        pass
