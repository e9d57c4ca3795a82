"""What is measured, and the sizes that cases share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

SEED = 12
COLUMNS, CODES, CLASSES, NODES = 28, 256, 3, 32
Action = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """A kernel, what NumPy does instead, and how many elements one call goes through."""

    name: str
    kernel: Action
    numpy: Action
    n_elements: int
