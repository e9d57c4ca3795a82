"""The memory of a rank: how much it may use, what training will use, and which arrays go to files instead.

``memory_limit`` is for all of a rank's process. Before training, a plan lists what every large array takes; bins that do not fit beside
the others are kept in files of ``cache_dir`` that are mapped into memory, whose pages the operating system writes out and reads back as
it must. These files have no name, so they go with the process, whatever ends it.
"""

from __future__ import annotations

import math
import mmap
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine import storage
from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator
from engine.errors import OptionError, StorageError
from engine.sizes import default_memory, format_size, parse_size


def used_memory() -> int:
    """Bytes of this process that are in memory and are not pages of files."""
    resident, shared = pathlib.Path("/proc/self/statm").read_text().split()[1:3]
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")


class Memory:
    """One rank's memory: its limit, and after :meth:`plan` what goes where."""

    def __init__(self, memory_limit: int | str | None, cache_dir: str | os.PathLike[str] | None, comm: Communicator) -> None:
        """``memory_limit`` None: SAMESUM_MEMORY_LIMIT, else a share of the machine. ``cache_dir`` None: :func:`engine.storage.cache_dir`.

        Raises :class:`OptionError` for what is no size.
        """
        given = parse_size("memory_limit", memory_limit)
        self.limit = given if given is not None else default_memory(comm.ranks_on_node)
        storage.limit_file_cache(self.limit)
        self._cache_dir = pathlib.Path(cache_dir).expanduser() if cache_dir is not None else storage.cache_dir()
        self._mapped: frozenset[str] = frozenset()
        self._report: dict[str, Any] = {}

    @property
    def spare(self) -> int:
        """Bytes that are not used yet."""
        return max(0, self.limit - used_memory())

    def plan(self, arrays: Mapping[str, int], *, mappable: Iterable[str], n_rows: int, n_bins: int, comm: Communicator) -> None:
        """Decide where ``arrays``, name to bytes on this rank, will be; collective. What is used already counts too.

        The ``mappable`` ones go to files together if they do not fit. Raises :class:`OptionError` on every rank, with the limit that
        would do, if the others alone are too large, and :class:`StorageError` if ``cache_dir`` has no room.
        """
        used = used_memory()
        total = used + sum(arrays.values())
        mapped = frozenset() if self._fits(total) else frozenset(mappable)
        least = used + sum(size for name, size in arrays.items() if name not in mapped)
        with agree(comm, "planning memory"):
            if least > self.limit:
                largest = sorted((name for name in arrays if name not in mapped), key=lambda name: -arrays[name])[:3]
                shares = ", ".join(f"{name} {format_size(arrays[name])}" for name in largest)
                raise OptionError(
                    f"memory_limit: expected at least {format_size(least)} a rank, or {format_size(total)} to keep bins in memory, got "
                    f"{format_size(self.limit)} ({format_size(used)} used already, {shares}); raise it or use more ranks"
                )
            if mapped:
                self._check_room(sum(arrays[name] for name in mapped))
        self._mapped = mapped
        own = {"used_before": used, **arrays, "in_files": sorted(mapped), "rows": n_rows}
        self._report = {"memory_limit": self.limit, "bins": n_bins, "bytes_per_rank": comm.gather_objects(own, name="memory plan")}

    def report(self) -> dict[str, Any]:
        """The plan of all ranks, for ``run.json``."""
        return self._report

    def allocate(self, name: str, shape: tuple[int, ...], dtype: type) -> NDArray[Any]:
        """An array, in memory or in a file as the plan says; its contents do not matter."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if name not in self._mapped or size == 0:
            return np.empty(shape, dtype=dtype)
        try:
            with tempfile.TemporaryFile(dir=self._cache_dir, prefix="samesum-") as file:
                os.posix_fallocate(file.fileno(), 0, size)  # room now, or an error now instead of a signal later
                return np.frombuffer(mmap.mmap(file.fileno(), size), dtype=dtype).reshape(shape)
        except OSError as error:
            raise StorageError(f"cache_dir: could not make a file of {format_size(size)} in {str(self._cache_dir)!r}: {error}") from error

    def _fits(self, total: int) -> bool:
        return total <= self.limit

    def _check_room(self, size: int) -> None:
        try:
            self._cache_dir.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self._cache_dir).free
        except OSError as error:
            raise StorageError(f"cache_dir: expected a folder to write to, got {str(self._cache_dir)!r}: {error}") from error
        if free < size:
            raise StorageError(
                f"cache_dir: expected {format_size(size)} free in {str(self._cache_dir)!r}, got {format_size(free)}; name another folder"
            )
