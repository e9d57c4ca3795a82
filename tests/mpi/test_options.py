"""Options of trees on real ranks: the saved bytes are those of one rank, whatever is asked for and wherever a checkpoint is resumed."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from mpi4py import MPI

from engine.checkpoint import list_checkpoints
from engine.collectives import mpi
from engine.collectives.serial import SerialComm
from engine.data.dataset import Dataset
from engine.errors import DataError
from tests.models.training_helpers import create, model_bytes, table_for
from tests.training import cut_rows

BOOSTED = ("boosted_trees_classifier", "boosted_trees_regression")
FORESTS = ("random_forest_classifier", "random_forest_regression")
SAMPLED = {"row_subsample": 0.6, "column_subsample": 0.5, "random_seed": 7}
CASES = {
    "samples": ((*BOOSTED, *FORESTS), SAMPLED),
    "weights": ((*BOOSTED, *FORESTS), {"sample_weight": "w"}),
    "class weights": ((BOOSTED[0], FORESTS[0]), {"class_weights": "auto", "sample_weight": "w"}),
    "rows set apart": ((*BOOSTED, *FORESTS), {"validation_set": "auto", **SAMPLED}),
    "sets of categories": ((*BOOSTED, *FORESTS), {"categorical": "partition"}),
    "penalties": (BOOSTED, {"reg_alpha": 0.5, "reg_lambda": 3.0, "max_leaves": 5, "monotone_constraints": {"x": 1}}),
    "quantiles": (BOOSTED[1:], {"objective": "quantile", "quantile": 0.9, "sample_weight": "w"}),
    "counts": (BOOSTED[1:], {"objective": "poisson", "sample_weight": "w"}),
    "probabilities": (FORESTS, {"averaging": "probability", **SAMPLED}),
}


def table_of(toolkit: str, objective: str | None = None, seed: int = 3) -> pa.Table:
    """Rows for a toolkit; whole numbers for counts."""
    table = table_for(toolkit, 300, seed=seed)
    if objective != "poisson":
        return table
    counts = np.abs(np.round(table["y"].to_numpy())).clip(0, 20)
    return table.set_column(table.column_names.index("y"), "y", [counts])


def part_of(table: pa.Table, comm) -> Dataset:
    """This rank's rows; the last of several ranks has none."""
    parts = [*cut_rows(table, comm.size - 1), table[:0]] if comm.size > 1 else [table]
    return Dataset(parts[comm.rank], sharded=True)


def create_part(toolkit: str, table: pa.Table, comm, **options):
    """Train with this rank's part."""
    features = None if "sample_weight" in options else [name for name in table.column_names if name not in ("y", "w")]
    return create(toolkit, part_of(table, comm), comm=comm, features=features, **options)


@pytest.mark.parametrize(("toolkit", "case"), [(toolkit, case) for case, (toolkits, _) in CASES.items() for toolkit in toolkits])
def test_the_same_bytes_as_on_one_rank(comm, toolkit, case):
    options = CASES[case][1]
    table = table_of(toolkit, options.get("objective"))
    assert model_bytes(create_part(toolkit, table, comm, **options)) == model_bytes(create(toolkit, table, comm=SerialComm(), **options))


@pytest.mark.parametrize("toolkit", BOOSTED)
def test_early_stopping(comm, toolkit):
    """Where validation rows lie on some ranks only, and the best model is one of the first."""
    table, other = table_of(toolkit), table_of(toolkit, seed=8)
    options = {"max_iterations": 40, "step_size": 0.9, "early_stopping_rounds": 3}
    together = create_part(toolkit, table, comm, validation_set=part_of(other[:40], comm), **options)
    alone = create(toolkit, table, comm=SerialComm(), validation_set=other[:40], **options)
    assert model_bytes(together) == model_bytes(alone)
    assert together.num_trees < together.progress.num_rows < 40


@pytest.mark.parametrize("toolkit", [*BOOSTED, *FORESTS])
def test_resuming_on_other_numbers_of_ranks(comm, folder, toolkit):
    """Cut short on all ranks, resumed by two groups of them at once: the bytes of never having stopped."""
    table = table_of(toolkit)
    more = {"early_stopping_rounds": 50} if toolkit in BOOSTED else {}
    options = {**SAMPLED, "validation_set": "auto", "sample_weight": "w", **more}
    expected = model_bytes(create(toolkit, table, comm=SerialComm(), max_iterations=9, **options))
    kept = {"model_checkpoint_path": folder, "model_checkpoint_interval": 2}
    create_part(toolkit, table, comm, max_iterations=5, **options, **kept)
    assert [number for number, _ in list_checkpoints(str(folder))] == [4, 2]
    group = mpi.wrap(MPI.COMM_WORLD.Split(comm.rank < (comm.size + 1) // 2, comm.rank))
    resumed = create_part(toolkit, table, group, max_iterations=9, resume_from_checkpoint=folder / "model_checkpoint_4", **options)
    assert model_bytes(resumed) == expected


@pytest.mark.parametrize("toolkit", BOOSTED)
def test_going_on_from_a_model(comm, toolkit):
    table = table_of(toolkit)
    first = create_part(toolkit, table, comm, max_iterations=2, row_subsample=0.7)
    both = create_part(toolkit, table, comm, max_iterations=3, row_subsample=0.7, initial_model=first)
    alone = create(toolkit, table, comm=SerialComm(), max_iterations=2, row_subsample=0.7)
    expected = create(toolkit, table, comm=SerialComm(), max_iterations=3, row_subsample=0.7, initial_model=alone)
    assert model_bytes(both) == model_bytes(expected)


def test_rank_0s_callback_decides(comm):
    seen = []

    def callback(record):
        seen.append(record.iteration)
        return record.iteration == (3 if comm.rank == 0 else 1)

    model = create_part("boosted_trees_regression", table_of("regression"), comm, callback=callback)
    assert (seen, model.num_trees) == ([1, 2, 3], 3)


def test_the_last_ranks_callback_fails_on_all(comm):
    def callback(record):
        if comm.rank == comm.size - 1:
            raise DataError("no more")

    with pytest.raises(DataError, match="no more"):
        create_part("boosted_trees_regression", table_of("regression"), comm, callback=callback)
