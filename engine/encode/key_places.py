"""Finding the keys of maps, and the elements of lists, among those that training has seen."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.encode.features import as_text

SHORT_INTEGER, LONG_INTEGER = "^(0|-?[1-9][0-9]{0,17})$", "^-?[1-9][0-9]{18}$"  # the latter may be beyond 64 bits
LEAST_TABLE = 1 << 16
TABLE_SPREAD = 4  # a table may have so many places for each key

Places = NDArray[np.int32]


class KeyPlaces:
    """The places of keys of any type in a list of ``items``, which are text."""

    def __init__(self, items: list[str]) -> None:
        self._items = pa.array(items, type=pa.string())

    def find(self, keys: pa.Array) -> Places:
        """The place of every key, which is no null; -1 where it is not among the items."""
        if pa.types.is_integer(keys.type):
            return self._find_integers(np.asarray(keys.to_numpy(zero_copy_only=False)).astype(np.int64, copy=False))
        text = as_text(keys)
        found = pc.index_in(text, value_set=self._items.cast(text.type))
        return np.asarray(pc.fill_null(found, -1).to_numpy(zero_copy_only=False))

    def _find_integers(self, keys: NDArray[np.int64]) -> Places:
        """Integers that lie close together are looked up in a table, others are searched for."""
        numbers, places = self._integers
        if not len(numbers):
            return np.full(len(keys), -1, dtype=np.int32)
        table = self._table
        if table is None:
            at = np.minimum(np.searchsorted(numbers, keys), len(numbers) - 1)
            return np.where(numbers[at] == keys, places[at], np.int32(-1))
        # what lies below the first wraps around to what lies beyond the last
        at = (keys - numbers[0]).view(np.uint64)
        beyond = at >= len(table)
        at[beyond] = 0
        found = table[at]
        found[beyond] = -1
        return found

    @cached_property
    def _integers(self) -> tuple[NDArray[np.int64], Places]:
        """The items that are integers, as these are written out, in ascending order, and their places."""
        is_short, is_long = (np.asarray(pc.match_substring_regex(self._items, pattern)) for pattern in (SHORT_INTEGER, LONG_INTEGER))
        numbers = [np.asarray(self._items.filter(pa.array(is_short)).cast(pa.int64()))]
        places = [np.flatnonzero(is_short)]
        known = {place: int(self._items[place].as_py()) for place in np.flatnonzero(is_long).tolist()}
        fitting = {place: number for place, number in known.items() if -(2**63) <= number < 2**63}
        numbers.append(np.array(list(fitting.values()), dtype=np.int64))
        places.append(np.array(list(fitting), dtype=np.int64))
        order = np.argsort(np.concatenate(numbers))
        return np.concatenate(numbers)[order], np.concatenate(places)[order].astype(np.int32)

    @cached_property
    def _table(self) -> Places | None:
        """For every integer from the first to the last its place or -1; None if that would take too much room."""
        numbers, places = self._integers
        width = int(numbers[-1]) - int(numbers[0]) + 1
        if width > LEAST_TABLE + TABLE_SPREAD * len(numbers):
            return None
        table = np.full(width, -1, dtype=np.int32)
        table[numbers - numbers[0]] = places
        return table
