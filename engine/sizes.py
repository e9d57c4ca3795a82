"""Sizes in bytes: as text, and how much memory a process may use by itself."""

from __future__ import annotations

import math
import os
import pathlib
import re
from numbers import Integral
from typing import Any

from engine.errors import OptionError

DEFAULT_SHARE = 0.8  # of the machine's or container's memory, for the ranks on it
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
_SIZE = re.compile(r"\s*([0-9][0-9_]*(?:\.[0-9]+)?)\s*([KMGT]I?)?B?\s*")
_CGROUP_FILES = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def parse_size(name: str, value: Any) -> int | None:
    """Bytes from a number, or from text like ``'512MB'``, ``'1.5 GB'`` (powers of 1000) and ``'2GiB'`` (of 1024); None stays None.

    Raises :class:`OptionError` that names the option ``name``.
    """
    if value is None:
        return None
    size: float | None = None
    if isinstance(value, str) and (match := _SIZE.fullmatch(value.upper())):
        size = float(match[1].replace("_", "")) * _UNITS[match[2] or ""]
    elif isinstance(value, Integral) and value is not True and value is not False:
        size = int(value)
    if size is None or size < 1:
        raise OptionError(f"{name}: expected a number of bytes, or text like '2GB' or '512MB', got {value!r}")
    return int(size)


def format_size(size: int) -> str:
    """Bytes in words: ``1.5 GB``, rounded up so that it does when given back."""
    for unit in ("GB", "MB", "KB"):
        if size >= _UNITS[unit[0]]:
            return f"{math.ceil(size / _UNITS[unit[0]] * 100) / 100:g} {unit}"
    return f"{size} B"


def machine_memory() -> int:
    """Bytes of this machine, or of the container that this process is in if that has less."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in _CGROUP_FILES:
        try:
            text = pathlib.Path(path).read_text().strip()
        except OSError:
            continue
        found += [int(text)] if text.isdigit() else []
    return min(found)


def size_setting(name: str) -> int | None:
    """Bytes that the environment variable ``name`` says; None where it is not set. Raises :class:`OptionError`."""
    return parse_size(f"environment variable {name}", os.environ.get(name) or None)


def default_memory(ranks_on_node: int) -> int:
    """Bytes that a rank may use where no option says: ``SAMESUM_MEMORY_LIMIT``, else its part of a share of the machine."""
    given = size_setting("SAMESUM_MEMORY_LIMIT")
    return given if given is not None else int(DEFAULT_SHARE * machine_memory() / ranks_on_node)
