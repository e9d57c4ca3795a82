"""How a table's columns become the numeric columns that models work on, and how each is named."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine._kernels.binning import prepare_values
from engine.encode.features import Floats, expand, near, shorten, single_chunk
from engine.errors import DataError

SourceType = Literal["int", "float", "str", "vector", "dict", "list"]
ColumnKind = Literal["integer", "float", "category", "indicator"]


@dataclass(frozen=True, slots=True)
class EncodedColumn:
    """One numeric column made from a source column, or from one item of it.

    ``kind``: ``integer`` and ``float`` are numbers; ``category`` holds the code of a string (its place in ``categories``);
    ``indicator`` is 1 where a list contains ``item`` and missing elsewhere.
    """

    source: str
    kind: ColumnKind
    item: int | str | None = None  # position in a vector, key of a map, element of a list
    categories: tuple[str | None, ...] = ()  # sorted by UTF-8 bytes, None last; for kind 'category'

    @property
    def name(self) -> str:
        """``odor``, ``v[3]``, ``m["key"]`` or ``tags=red``; made when it is asked for, as there may be a million."""
        if self.item is None:
            return self.source
        if self.kind == "indicator":
            return f"{self.source}={self.item}"
        return f"{self.source}[{self.item if isinstance(self.item, int) else json.dumps(self.item, ensure_ascii=False)}]"


@dataclass(frozen=True)
class Encoding:
    """The encoded columns of a model, and the source columns that they need."""

    sources: dict[str, SourceType]  # feature columns in the order of the data
    columns: tuple[EncodedColumn, ...]

    @property
    def unpacked_features(self) -> list[str]:
        """Features with vectors and maps taken apart, ``name[0]`` and ``name[key]``; strings and lists stay one."""
        names: dict[str, None] = {}
        for column in self.columns:
            apart = self.sources[column.source] in ("vector", "dict")
            names[f"{column.source}[{column.item}]" if apart else column.source] = None
        return list(names)

    @cached_property
    def by_source(self) -> dict[str, list[EncodedColumn]]:
        """The encoded columns of every source, in order."""
        columns: dict[str, list[EncodedColumn]] = {name: [] for name in self.sources}
        for column in self.columns:
            columns[column.source].append(column)
        return columns

    def values(self, table: pa.Table) -> Iterator[Floats]:
        """Every encoded column of ``table``, in order: [n_rows] float64, NaN where missing, -1 for an unseen category.

        Infinities come as the largest finite numbers. Raises :class:`DataError` where a column is missing or of another kind.
        """
        names = set(table.column_names)
        for name, encoded in self.by_source.items():
            if name not in names:
                raise DataError(
                    f"column {name!r} was used in training and is not in the data{near(name, table.column_names)}; "
                    f"columns: {shorten(table.column_names)}"
                )
            for values in expand(single_chunk(table.column(name)), self.sources[name], encoded):
                if values.dtype.kind == "i":
                    yield values.astype(np.float64)
                else:
                    out = np.empty(len(values))
                    prepare_values(np.ascontiguousarray(values), out)
                    yield out

    def expand(self, batch: pa.RecordBatch, chosen: Mapping[str, slice]) -> Iterator[NDArray[Any]]:
        """Of each source in ``chosen``, the values of these of its encoded columns, as :func:`engine.encode.features.expand` gives them."""
        for name, part in chosen.items():
            yield from expand(batch.column(name), self.sources[name], self.by_source[name], part)

    def matrix(self, table: pa.Table) -> NDArray[np.float64]:
        """Encode rows for prediction: ``[n_rows, n_columns]`` float64, row-major, NaN where missing, -1 for an unseen category."""
        out = np.empty((table.num_rows, len(self.columns)))
        for j, values in enumerate(self.values(table)):
            out[:, j] = values
        return out

    def to_json(self) -> dict[str, Any]:
        """The encoding as JSON-able values."""
        return {
            "sources": [[name, kind] for name, kind in self.sources.items()],
            "columns": [[c.name, c.source, c.kind, c.item, list(c.categories)] for c in self.columns],
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Encoding:
        """The inverse of :meth:`to_json`."""
        columns = tuple(EncodedColumn(source, kind, item, tuple(categories)) for _, source, kind, item, categories in value["columns"])
        return cls(sources=dict(value["sources"]), columns=columns)
