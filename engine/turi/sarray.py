"""A column: its values are read when they are first needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.data.dataset import Dataset
from engine.errors import DataError, OptionError
from engine.turi.kinds import arrow_type, python_type

_NAME = "X1"  # of a column that has none
_SHOWN = 100  # values


class SArray:
    """A column of values of one type, any of which may be missing (None).

    ``data``: a list, an array of NumPy or Arrow, a pandas series; a column of an :class:`SFrame` is one whose values are read when they
    are first needed, and kept. ``dtype``: int, float, str, bool or datetime.datetime, None for what the values are.

    Operators work value by value, with a column of the same length or one value: ``+ - * /``, comparisons, and ``& | ~`` of
    columns that are true or false. What is done with a missing value is missing. Raises ``DataError`` for values that do not go together.
    """

    def __init__(self, data: Any = (), dtype: Any = None) -> None:
        self._dataset: Dataset | None = None
        values = data.to_arrow() if isinstance(data, SArray) else Dataset({_NAME: data}).to_table().column(0)
        self._values: pa.ChunkedArray | None = values if dtype is None else _cast(values, dtype)

    @classmethod
    def of(cls, dataset: Dataset) -> SArray:
        """The one column of a dataset."""
        column = cls()
        column._dataset, column._values = dataset, None
        return column

    def to_arrow(self) -> pa.ChunkedArray:
        """The values, as Arrow has them."""
        if self._values is None:
            assert self._dataset is not None
            self._values = self._dataset.to_table(allow_empty=True).column(0)
        return self._values

    def to_numpy(self) -> NDArray[Any]:
        """The values as NumPy has them: NaN for numbers that are missing."""
        return np.asarray(self.to_arrow().to_numpy())

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    @property
    def dtype(self) -> type:
        """The type of the values."""
        return python_type(self.to_arrow().type if self._dataset is None else self._dataset.schema.field(0).type)

    def __len__(self) -> int:
        return len(self.to_arrow()) if self._values is not None or self._dataset is None else self._dataset.num_rows

    def __iter__(self) -> Iterator[Any]:
        return iter(self.to_arrow().to_pylist())

    def __repr__(self) -> str:
        head = self.head(_SHOWN + 1).to_arrow()
        is_all = len(head) <= _SHOWN
        known = len(head) if is_all else self._known_length()
        values = [*map(repr, head.slice(0, _SHOWN).to_pylist()), *([] if is_all else ["... "])]
        return f"dtype: {python_type(head.type).__name__}\nRows: {'?' if known is None else known}\n[{', '.join(values)}]"

    def __getitem__(self, key: Any) -> Any:
        """One value by its place, those of a slice, or those where another column is true."""
        if isinstance(key, slice):
            return SArray(self.to_arrow().take(pa.array(range(*key.indices(len(self))), pa.int64())))
        if isinstance(key, (int, np.integer)) and not isinstance(key, bool):
            if not -len(self) <= key < len(self):
                raise IndexError(f"expected a place from 0 to {len(self) - 1}, got {key}")
            return self.to_arrow()[int(key) % len(self)].as_py()
        return SArray(self.to_arrow().filter(mask_of(key, len(self))))

    def head(self, n: int = 10) -> SArray:
        """The first values, reading little more."""
        if self._values is None and self._dataset is not None:
            return SArray(self._dataset.head(n).column(0))
        return SArray(self.to_arrow().slice(0, n))

    def apply(self, fn: Callable[[Any], Any], dtype: Any = None, skip_na: bool = True) -> SArray:
        """The column of ``fn(value)``; with ``skip_na``, missing values stay missing and are not shown to it."""
        return SArray([None if skip_na and value is None else fn(value) for value in self], dtype)

    def astype(self, dtype: Any) -> SArray:
        """The same values as int, float, str, bool or datetime.datetime. Raises ``DataError`` for one that is none."""
        return SArray(self, dtype)

    def fillna(self, value: Any) -> SArray:
        """The same values, and ``value`` where one is missing."""
        return SArray(_compute(pc.coalesce, self.to_arrow(), value))

    def dropna(self) -> SArray:
        """The values that are there."""
        return SArray(self.to_arrow().filter(is_there(self.to_arrow())))

    def num_missing(self) -> int:
        """How many values are missing."""
        return len(self) - int(pc.sum(is_there(self.to_arrow())).as_py() or 0)

    def unique(self) -> SArray:
        """Each value once, in the order of first places."""
        return SArray(self.to_arrow().unique())

    def sum(self) -> Any:
        """The sum of the values that are there; None without any."""
        return _compute(pc.sum, self.to_arrow()).as_py()

    def mean(self) -> Any:
        """The mean of the values that are there; None without any."""
        return _compute(pc.mean, self.to_arrow()).as_py()

    def std(self, ddof: int = 0) -> Any:
        """Their standard deviation."""
        return _compute(pc.stddev, self.to_arrow(), ddof=ddof).as_py()

    def min(self) -> Any:
        """The least of them."""
        return _compute(pc.min, self.to_arrow()).as_py()

    def max(self) -> Any:
        """The greatest of them."""
        return _compute(pc.max, self.to_arrow()).as_py()

    def _known_length(self) -> int | None:
        """How many values there are, where that is known without reading them."""
        return len(self) if self._values is not None or self._dataset is None else self._dataset.known_num_rows

    def _with(self, function: Any, other: Any) -> SArray:
        return SArray(_compute(function, self.to_arrow(), self._operand(other)))

    def _reversed(self, function: Any, other: Any) -> SArray:
        return SArray(_compute(function, self._operand(other), self.to_arrow()))

    def _operand(self, other: Any) -> Any:
        """What stands on the other side of an operator: values as many as these, or one."""
        if not isinstance(other, (SArray, pa.Array, pa.ChunkedArray, np.ndarray, list)) and not hasattr(other, "__arrow_c_stream__"):
            return pa.scalar(other.item() if isinstance(other, np.generic) else other)
        values = SArray(other).to_arrow()
        if len(values) != len(self):
            raise DataError(f"expected a column of {len(self)} values, got one of {len(values)}")
        return values.combine_chunks()

    def __eq__(self, other: object) -> SArray:  # type: ignore[override]
        return self._with(pc.equal, other)

    def __ne__(self, other: object) -> SArray:  # type: ignore[override]
        return self._with(pc.not_equal, other)

    __hash__ = None  # type: ignore[assignment]

    def __lt__(self, other: Any) -> SArray:
        return self._with(pc.less, other)

    def __le__(self, other: Any) -> SArray:
        return self._with(pc.less_equal, other)

    def __gt__(self, other: Any) -> SArray:
        return self._with(pc.greater, other)

    def __ge__(self, other: Any) -> SArray:
        return self._with(pc.greater_equal, other)

    def __add__(self, other: Any) -> SArray:
        return self._with(_add, other)

    def __radd__(self, other: Any) -> SArray:
        return self._reversed(_add, other)

    def __sub__(self, other: Any) -> SArray:
        return self._with(pc.subtract_checked, other)

    def __rsub__(self, other: Any) -> SArray:
        return self._reversed(pc.subtract_checked, other)

    def __mul__(self, other: Any) -> SArray:
        return self._with(pc.multiply_checked, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> SArray:
        return self._with(_divide, other)

    def __rtruediv__(self, other: Any) -> SArray:
        return self._reversed(_divide, other)

    def __neg__(self) -> SArray:
        return SArray(_compute(pc.negate_checked, self.to_arrow()))

    def __abs__(self) -> SArray:
        return SArray(_compute(pc.abs_checked, self.to_arrow()))

    def __and__(self, other: Any) -> SArray:
        return self._with(pc.and_kleene, other)

    def __or__(self, other: Any) -> SArray:
        return self._with(pc.or_kleene, other)

    def __invert__(self) -> SArray:
        return SArray(_compute(pc.invert, self.to_arrow()))

    def __bool__(self) -> bool:
        raise OptionError("expected one value that is true or false, got a column: combine columns with & and |, or ask for sum()")


def is_there(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Where values are neither missing nor NaN."""
    return pc.is_valid(values) if not pa.types.is_floating(values.type) else pc.invert(pc.is_null(values, nan_is_null=True))


def mask_of(key: Any, n_rows: int) -> pa.ChunkedArray:
    """Which of the rows ``key``, a column of as many values, is true for (or not 0). Raises ``OptionError``, ``DataError``."""
    if not isinstance(key, SArray) and isinstance(key, (str, bytes, dict)):
        raise OptionError(f"expected a place, a slice or a column that is true or false, got {key!r}")
    values = SArray(key).to_arrow()
    if len(values) != n_rows:
        raise DataError(f"expected a column of {n_rows} values to choose rows by, got one of {len(values)}")
    if pa.types.is_null(values.type) or pa.types.is_integer(values.type):
        values = values.cast(pa.bool_())
    if not pa.types.is_boolean(values.type):
        raise DataError(f"expected a column that is true or false to choose rows by, got one of {python_type(values.type).__name__}")
    return values


def _cast(values: pa.ChunkedArray, dtype: Any) -> pa.ChunkedArray:
    kind = arrow_type(_NAME, dtype)
    try:
        if pa.types.is_boolean(values.type) and pa.types.is_string(kind):
            return pc.if_else(values, "true", "false")
        return values.cast(kind, safe=not (pa.types.is_floating(values.type) and pa.types.is_integer(kind)))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"expected values that are {python_type(kind).__name__}, got a column with others: {error}") from error


def _compute(function: Any, *operands: Any, **options: Any) -> Any:
    """What Arrow computes, with an error of ours where it cannot."""
    try:
        return function(*operands, **options)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise DataError(f"expected values that go together in this way, got others: {error}") from error


def _add(left: Any, right: Any) -> Any:
    if pa.types.is_string(left.type) and pa.types.is_string(right.type):
        return pc.binary_join_element_wise(left, right, "")
    return pc.add_checked(left, right)


def _divide(left: Any, right: Any) -> Any:
    return pc.divide(left.cast(pa.float64()), right.cast(pa.float64()))
