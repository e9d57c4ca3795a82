"""What exported models have in common: the encoded columns under names that other libraries take, and how a file is written."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from engine.encode.encoding import Encoding
from engine.encode.features import Floats
from engine.errors import DataError

PLAIN = str.maketrans({"[": "(", "]": ")", "<": "{"})  # XGBoost has other uses for these


def column_names(encoding: Encoding) -> list[str]:
    """Names of the encoded columns: ``x``, ``v(3)``, ``m("key")``, ``tags=red``. Raises :class:`DataError` where two are alike."""
    names = [column.name.translate(PLAIN) for column in encoding.columns]
    for place, name in enumerate(names):
        if name in names[:place] and len(set(names)) < len(names):
            raise DataError(f"two columns would be called {name!r}; rename one of {encoding.columns[place].name!r} and train again")
    return names


def category_lists(encoding: Encoding) -> dict[str, list[str | None]]:
    """The categories of each column that has some, in the order of their numbers."""
    names = column_names(encoding)
    return {name: list(c.categories) for name, c in zip(names, encoding.columns, strict=True) if c.kind == "category"}


def encoded_table(encoding: Encoding, columns: Iterable[Floats]) -> pa.Table:
    """Encoded columns as a table of float64; unseen categories are NaN, as missing values are."""
    made = [
        np.where(values < 0, np.nan, values) if c.kind == "category" else values
        for c, values in zip(encoding.columns, columns, strict=True)
    ]
    return pa.table(dict(zip(column_names(encoding), map(pa.array, made), strict=True)))
