"""Reads a dataset on several ranks of one process, for tests that compare rank counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pytest

from engine.data import csv, csv_cuts, csv_text
from engine.data.dataset import Dataset
from engine.data.shard import Shard, read_shard
from tests.threads_comm import collect_ranks, run_ranks

RANK_COUNTS = (1, 2, 3, 4, 7)


def read_on(size: int, make: Callable[[], Dataset], columns: list[str] | None = None) -> list[Shard]:
    """Every rank's shard of its own ``make()``; checks what all shards promise."""
    shards = run_ranks(size, lambda comm: read_shard(make(), comm, columns))
    assert [shard.first_row for shard in shards] == [sum(s.table.num_rows for s in shards[:rank]) for rank in range(size)]
    assert {shard.n_rows for shard in shards} == {sum(shard.table.num_rows for shard in shards)}
    assert all(shard.table.schema.equals(shards[0].table.schema) for shard in shards)
    return shards


def joined(shards: Sequence[Shard]) -> pa.Table:
    """All rows, in order."""
    return pa.concat_tables([shard.table for shard in shards])


def read_everywhere(make: Callable[[], Dataset], columns: list[str] | None = None) -> pa.Table:
    """The table, after checking that every number of ranks reads the same one."""
    tables = [joined(read_on(size, make, columns)) for size in RANK_COUNTS]
    for size, table in zip(RANK_COUNTS, tables, strict=True):
        table.validate(full=True)
        # Types are equal and so are the bytes: NaN equals NaN in a comparison of texts.
        assert table.schema.equals(tables[0].schema), (size, table.schema, tables[0].schema)
        assert repr(table.to_pylist()) == repr(tables[0].to_pylist()), size
    return tables[0]


def errors_on(size: int, make: Callable[[], Dataset], columns: list[str] | None = None) -> list[BaseException | None]:
    """What each rank raises when reading."""
    return collect_ranks(size, lambda comm: read_shard(make(), comm, columns))[1]


def raised_everywhere(make: Callable[[], Dataset], kind: type[Exception], *parts: Any) -> None:
    """Check that reading fails on every rank of every group with an error of class ``kind`` whose message has all ``parts``."""
    for size in (1, 2, 4):
        for error in errors_on(size, make):
            assert type(error) is kind, (size, error)
            for part in parts:
                assert str(part) in str(error), (size, str(error))


def use_small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read CSV in pieces of a few bytes, so that small files have many."""
    monkeypatch.setattr(csv_text, "PIECE_BYTES", 64)
    monkeypatch.setattr(csv_cuts, "PIECE_BYTES", 8)
    monkeypatch.setattr(csv, "SAMPLE_BYTES", 32)
    monkeypatch.setattr(csv_text, "HEADER_BYTES", 16)
