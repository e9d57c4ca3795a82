"""How encoded columns become the columns of a design matrix, with their means and scales: what a linear model keeps of its data."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.encode.encoding import EncodedColumn, Encoding
from engine.encode.features import Floats

INTERCEPT = "(intercept)"


@dataclass(frozen=True)
class Layout:
    """Where design columns are: a model orders them as the data does, kernels put dense ones first, then the intercept, then sparse ones.

    A number, date or element of a vector is a dense column. Strings have an indicator for every category but the first; maps have a column
    for every key and lists one for every element, both sparse.
    """

    encoding: Encoding

    @cached_property
    def sources(self) -> dict[str, tuple[bool, list[EncodedColumn], int]]:
        """Of every source: whether its columns are dense, its encoded columns, and how many design columns they make."""
        made = {}
        for name, columns in self.encoding.by_source.items():
            kind = self.encoding.sources[name]
            n = max(len(columns[0].categories) - 1, 0) if kind == "str" else len(columns)
            made[name] = (kind in ("int", "float", "vector"), columns, n)
        return made

    @cached_property
    def n_columns(self) -> int:
        """Design columns, the intercept not counted."""
        return sum(n for _, _, n in self.sources.values())

    @cached_property
    def is_dense(self) -> NDArray[np.bool_]:
        """Which design columns, in the model's order, are dense."""
        return np.repeat(np.array([dense for dense, _, _ in self.sources.values()], dtype=bool), [n for _, _, n in self.sources.values()])

    @cached_property
    def n_dense(self) -> int:
        """Dense columns, without the intercept."""
        return int(self.is_dense.sum())

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """For every column of the kernels, the intercept among them, its place in the model's order, where the intercept is last."""
        place = np.arange(self.n_columns, dtype=np.int64)
        return np.concatenate([place[self.is_dense], [self.n_columns], place[~self.is_dense]])

    @cached_property
    def sparse_start(self) -> dict[str, int]:
        """The first sparse column of every source that has some, counted among sparse columns."""
        sizes = {name: n for name, (dense, _, n) in self.sources.items() if not dense}
        return dict(zip(sizes, itertools.accumulate(sizes.values(), initial=0), strict=False))

    @cached_property
    def coefficient_index(self) -> list[tuple[str, str | None]]:
        """Of every design column, in the model's order, its source and what of it: a category, key, element or position; None: all."""
        return list(self._indices())

    @cached_property
    def column_names(self) -> list[str]:
        """A name for every design column, for messages."""
        return [name if item is None else f"{name}[{item}]" for name, item in self.coefficient_index]

    def _indices(self) -> Iterator[tuple[str, str | None]]:
        for name, (_, columns, _) in self.sources.items():
            for column in columns:
                if column.kind == "category":
                    yield from ((name, category) for category in column.categories[1:])
                else:
                    yield name, None if column.item is None else str(column.item)


@dataclass(frozen=True)
class DesignEncoding:
    """The encoding of a linear model, and the mean and scale of every design column, in the model's order, over training rows."""

    encoding: Encoding
    means: Floats  # [n_columns]
    scales: Floats  # [n_columns]

    @cached_property
    def layout(self) -> Layout:
        """Where the design columns are."""
        return Layout(self.encoding)

    @property
    def n_columns(self) -> int:
        """Design columns; an output has one coefficient more, the intercept, which is last."""
        return self.layout.n_columns

    @property
    def coefficient_index(self) -> list[tuple[str, str | None]]:
        """See :attr:`Layout.coefficient_index`."""
        return self.layout.coefficient_index

    def to_json(self) -> dict[str, Any]:
        """The encoding as JSON-able values; means and scales are in :meth:`arrays`."""
        return self.encoding.to_json()

    def arrays(self) -> dict[str, Floats]:
        """What is not in :meth:`to_json`."""
        return {"means": self.means, "scales": self.scales}

    @classmethod
    def from_json(cls, value: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> DesignEncoding:
        """The inverse of :meth:`to_json` and :meth:`arrays`."""
        return cls(Encoding.from_json(value), arrays["means"], arrays["scales"])
