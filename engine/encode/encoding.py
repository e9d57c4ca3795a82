"""How a table's columns become the numeric columns that models work on, and how each is named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

SourceType = Literal["int", "float", "str", "vector", "dict", "list"]
ColumnKind = Literal["integer", "float", "category", "indicator"]


@dataclass(frozen=True)
class EncodedColumn:
    """One numeric column made from a source column, or from one item of it.

    ``kind``: ``integer`` and ``float`` are numbers; ``category`` holds the code of a string (its place in ``categories``);
    ``indicator`` is 1 where a list contains ``item`` and missing elsewhere.
    """

    name: str  # 'odor', 'v[3]', 'm["key"]', 'tags=red'
    source: str
    kind: ColumnKind
    item: int | str | None = None  # position in a vector, key of a map, element of a list
    categories: tuple[str | None, ...] = ()  # sorted by UTF-8 bytes, None last; for kind 'category'


@dataclass(frozen=True)
class Encoding:
    """The encoded columns of a model, and the source columns that they need."""

    sources: dict[str, SourceType]  # feature columns in the order of the data
    columns: tuple[EncodedColumn, ...]

    def matrix(self, table: pa.Table) -> NDArray[np.float64]:
        """Encode rows for prediction: ``[n_rows, n_columns]`` float64, row-major, NaN where missing, -1 for an unseen category."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """The encoding as JSON-able values."""
        raise NotImplementedError

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Encoding:
        """The inverse of :meth:`to_json`."""
        raise NotImplementedError
