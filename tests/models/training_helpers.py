"""Small trainings through ``create``, and the bytes of what they save."""

from __future__ import annotations

import pathlib
import tempfile
from typing import Any

import pyarrow as pa

import engine
from engine.data.dataset import Dataset
from tests.threads_comm import run_ranks
from tests.training import cut_rows, mixed_table, with_target

TARGET_OF = {"classifier": "sign", "regression": "amount"}
QUICK: dict[str, Any] = {"max_iterations": 6, "max_depth": 4, "verbose": False}


def table_for(toolkit: str, n_rows: int = 400, *, target: str | None = None, seed: int = 3) -> pa.Table:
    """Mixed columns, a target ``y`` that fits the toolkit, and weights ``w``."""
    table = mixed_table(seed, n_rows)
    weights = mixed_table(seed + 1, n_rows)["v"].combine_chunks().flatten().to_numpy()[::2] ** 2
    return with_target(table, target or TARGET_OF[toolkit.rsplit("_", 1)[-1]]).append_column("w", pa.array(weights))


def create(toolkit: str, data: Any, **options: Any) -> Any:
    features = None if "features" in options or "sample_weight" in options else [n for n in data.column_names if n not in ("y", "w")]
    return getattr(engine, toolkit).create(data, "y", **{**QUICK, "features": features, **options})


def create_parts(size: int, toolkit: str, table: pa.Table, *, validation: pa.Table | None = None, **options: Any) -> list[Any]:
    """Every rank's model, where each holds a part of the rows."""
    names = None if "sample_weight" in options else [n for n in table.column_names if n not in ("y", "w")]

    def run(comm: Any) -> Any:
        own = Dataset(cut_rows(table, size)[comm.rank], sharded=True)
        more = {} if validation is None else {"validation_set": Dataset(cut_rows(validation, size)[comm.rank], sharded=True)}
        return create(toolkit, own, comm=comm, features=names, **options, **more)

    return run_ranks(size, run)


def model_bytes(model: Any) -> tuple[bytes, bytes]:
    """The files that are the model."""
    with tempfile.TemporaryDirectory() as folder:
        model._rank = 0
        model.save(pathlib.Path(folder, "m"))
        return tuple(pathlib.Path(folder, "m", name).read_bytes() for name in ("model.json", "arrays.safetensors"))  # type: ignore[return-value]


def check_same_on_any_ranks(toolkit: str, table: pa.Table, *, sizes: tuple[int, ...] = (2, 3), **options: Any) -> Any:
    """Train on 1 rank and on ``sizes`` ranks, compare bytes; returns the model."""
    alone = create(toolkit, table, **options) if "validation" not in options else create_parts(1, toolkit, table, **options)[0]
    expected = model_bytes(alone)
    for size in sizes:
        for model in create_parts(size, toolkit, table, **options):
            assert model_bytes(model) == expected, size
    return alone
