"""samesum: the names of ``engine`` and ``launch`` in one place, lazy; no logic lives here."""

from __future__ import annotations

from typing import Any

import engine

__version__ = engine.__version__


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(f"module 'samesum' has no attribute {name!r}")
    return getattr(engine, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *dir(engine)})
