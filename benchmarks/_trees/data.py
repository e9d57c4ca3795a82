"""Tables of two classes, written once as Parquet and read by every engine."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

SEED = 11
TARGET = "y"
GROUP_ROWS = 65_536  # of a row group
FEWEST_LEVELS, MOST_LEVELS = 10, 10_000


def write_table(folder: pathlib.Path, kind: str, *, rows: int, held_out: int, columns: int, seed: int = SEED) -> None:
    """Write ``training.parquet`` and ``held_out.parquet``; every row group of every seed has random numbers of its own."""
    make: Callable[[np.random.Generator, int, int], pa.Table] = {"floats": make_floats, "strings": make_strings}[kind]
    group_rows = min(GROUP_ROWS, rows // 4)
    for part, (name, n_rows) in enumerate({"training": rows, "held_out": held_out}.items()):
        schema = make(np.random.default_rng(seed), 1, columns).schema
        words = [field.name for field in schema if pa.types.is_string(field.type)]
        with parquet.ParquetWriter(folder / f"{name}.parquet", schema, use_dictionary=words, compression="none") as writer:
            for first in range(0, n_rows, group_rows):
                random = np.random.default_rng([seed, part, first])
                writer.write_table(make(random, min(group_rows, n_rows - first), columns))


def make_floats(random: np.random.Generator, n_rows: int, n_columns: int) -> pa.Table:
    """Normal floats: products, waves, steps and noise, so that deep trees keep finding splits."""
    x = random.standard_normal((n_columns, n_rows), dtype=np.float32)
    return pa.table({**{f"f{j}": column for j, column in enumerate(x)}, TARGET: draw(random, float_margin(x))})


def make_strings(random: np.random.Generator, n_rows: int, n_columns: int) -> pa.Table:
    """Half the columns strings, of ever more levels, the first levels frequent; the others normal floats."""
    n_strings = n_columns // 2
    x = random.standard_normal((n_columns - n_strings, n_rows), dtype=np.float32)
    margin = 0.5 * float_margin(x)
    levels = np.geomspace(FEWEST_LEVELS, MOST_LEVELS, n_strings).round().astype(int)
    table: dict[str, pa.Array | NDArray[np.float32]] = {}
    for j, n_levels in enumerate(levels):
        codes = (n_levels * random.random(n_rows) ** 2).astype(np.int32)
        margin += 0.4 * np.random.default_rng([SEED, j]).normal(size=n_levels)[codes]  # the same effects in all row groups
        names = pa.array([f"level {j}.{k}" for k in range(n_levels)])
        table[f"s{j}"] = pa.DictionaryArray.from_arrays(codes, names).cast(pa.string())
    table |= {f"f{j}": column for j, column in enumerate(x)}
    return pa.table({**table, TARGET: draw(random, margin)})


def float_margin(x: NDArray[np.float32]) -> NDArray[np.float64]:
    """The log-odds of class 1 by the first seven columns, each of which has an effect of its own.

    A column that matters in a product alone is split on by chance, and which trees do so would tell nothing of their quality.
    """
    margin = (x[0] + 0.5) * (x[1] + 0.5) + np.sin(3 * x[2]) + 0.5 * x[3] - 0.7 * (x[4] > 0.3) * (x[5] + 0.5) + 0.3 * x[6] ** 2 - 0.4
    return margin.astype(np.float64)


def draw(random: np.random.Generator, margin: NDArray[np.float64]) -> NDArray[np.int64]:
    """Classes with these log-odds."""
    return (random.random(len(margin)) < 1 / (1 + np.exp(-margin))).astype(np.int64)


def read_table(path: pathlib.Path, part: int = 0, parts: int = 1) -> pa.Table:
    """The rows of one of ``parts`` equal parts."""
    table = parquet.read_table(path)
    first, last = len(table) * part // parts, len(table) * (part + 1) // parts
    return table.slice(first, last - first)


def part_groups(path: pathlib.Path, part: int, parts: int) -> range:
    """The row groups of one of ``parts`` parts."""
    n_groups = parquet.ParquetFile(path).metadata.num_row_groups
    return range(n_groups * part // parts, n_groups * (part + 1) // parts)


def as_columns(table: pa.Table) -> dict[str, NDArray[np.float32]]:
    """Every feature as an array."""
    return {name: table[name].to_numpy() for name in table.column_names if name != TARGET}


def as_matrix(table: pa.Table) -> NDArray[np.float32]:
    """The features row by row, [n_rows, n_features]."""
    return np.stack(list(as_columns(table).values()), axis=1)


def as_target(table: pa.Table) -> NDArray[np.int64]:
    """The classes, [n_rows]."""
    return table[TARGET].to_numpy()
