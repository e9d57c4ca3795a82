"""Training on real ranks: every rank's model is the one that a single rank trains, byte for byte; errors are every rank's."""

from __future__ import annotations

import numpy as np
import pytest

from engine.data.dataset import Dataset
from engine.errors import DataError
from tests.training import MUSHROOM, TARGETS, cut_rows, fingerprint, log_losses, mixed_table, train, with_target


@pytest.mark.parametrize("num_threads", [1, 2])
def test_mushroom(comm, num_threads):
    arguments = {"task": "classifier", "target": "label", "max_iterations": 3, "num_threads": num_threads}
    together = train(str(MUSHROOM), comm=comm, **arguments)
    assert [round(loss, 6) for loss in log_losses(together)] == [0.438946, 0.298226, 0.209494]
    assert fingerprint(together) == fingerprint(train(str(MUSHROOM), **arguments))


@pytest.mark.parametrize("target", TARGETS)
def test_tables_of_every_type(comm, target):
    table = with_target(mixed_table(1, 700), target)
    arguments = {"task": TARGETS[target], "max_iterations": 3, "max_bins": 50}
    alone = fingerprint(train(table, **arguments))
    assert fingerprint(train(table, comm=comm, **arguments)) == alone
    assert fingerprint(train(Dataset(cut_rows(table, comm.size)[comm.rank], sharded=True), comm=comm, **arguments)) == alone


@pytest.mark.parametrize("holder", ["first", "last"])
def test_ranks_without_rows(comm, holder):
    table = with_target(mixed_table(2, 90), "grade")
    rank = 0 if holder == "first" else comm.size - 1
    mine = table if comm.rank == rank else table.slice(0, 0)
    together = train(Dataset(mine, sharded=True), comm=comm, task="classifier", max_iterations=2)
    assert fingerprint(together) == fingerprint(train(table, task="classifier", max_iterations=2))


def test_more_ranks_than_rows(comm):
    table = with_target(mixed_table(3, 3), "amount")
    assert fingerprint(train(table, comm=comm, task="regression")) == fingerprint(train(table, task="regression"))


def test_the_last_ranks_mistake_is_every_ranks(comm):
    table = with_target(mixed_table(4, 40), "amount")
    y = np.array(table["y"].to_numpy())
    y[-1] = np.nan
    table = table.set_column(table.column_names.index("y"), "y", [y])
    with pytest.raises(DataError, match=r"target 'y' has nan in row 39") as caught:
        train(Dataset(cut_rows(table, comm.size)[comm.rank], sharded=True), comm=comm, task="regression")
    assert len(set(comm.gather_objects(str(caught.value), name="messages"))) == 1
