"""How often trees split on each feature."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from engine.encode.encoding import Encoding
from engine.models._trees.ensemble import CATEGORY, LEAF, SUBSET, TreeEnsemble


def count_splits(ensemble: TreeEnsemble, encoding: Encoding) -> pa.Table:
    """A table of name (of the column), index (category, key or position; null for a plain number) and count, the most used first.

    A column that is split by sets of categories has one row, with index null. Features that no tree uses have count 0; equal counts keep
    the order of columns.
    """
    inner = ensemble.kind != LEAF
    by_sets = set(ensemble.column[ensemble.kind == SUBSET].tolist())
    counts = np.bincount(ensemble.column[inner], minlength=len(encoding.columns))
    names: list[str] = []
    index: list[str | None] = []
    count: list[int] = []
    for number, column in enumerate(encoding.columns):
        if column.kind == "category" and number not in by_sets:
            chosen = (ensemble.kind == CATEGORY) & (ensemble.column == number)
            codes = ensemble.threshold[chosen].astype(np.int64)
            items, numbers = list(column.categories), np.bincount(codes, minlength=len(column.categories)).tolist()
        else:
            items, numbers = [None if column.item is None else str(column.item)], [int(counts[number])]
        names += [column.source] * len(items)
        index += items
        count += numbers
    order = np.argsort(-np.array(count, dtype=np.int64), kind="stable")
    table = pa.table({"name": pa.array(names, pa.string()), "index": pa.array(index, pa.string()), "count": pa.array(count, pa.int64())})
    return table.take(pa.array(order))
