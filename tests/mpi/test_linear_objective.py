"""Linear rows and objectives on real ranks: what all ranks say is what one says, byte for byte; errors are every rank's."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from engine.collectives.serial import SerialComm
from engine.data.dataset import Dataset
from engine.errors import DataError
from engine.models._linear.leading import lead
from tests.models.linear_rows import mixed_table, objective_of, read
from tests.training import cut_rows


def everything(objective):
    """All that an objective says at a point, as plain values."""
    w = np.random.default_rng(1).normal(size=objective.n_coefficients) * 0.2
    found = objective.evaluate(w, 2)
    points = objective.search_line(w, -w).look([0.0, 0.5])
    return [found.loss, found.metrics, found.gradient.tobytes(), found.hessian.tobytes(), points, objective.curvatures.tobytes()]


@pytest.mark.parametrize(("loss", "n_classes"), [("squared", 0), ("logistic", 2), ("hinge", 2), ("logistic", 3)])
def test_objectives(comm, loss, n_classes):
    table = mixed_table(20_000, n_classes)
    alone = everything(objective_of(table, SerialComm(), loss, sample_weight="w", offset="o"))
    assert everything(objective_of(table, comm, loss, sample_weight="w", offset="o", num_threads=2)) == alone
    parts = Dataset(cut_rows(table, comm.size)[comm.rank], sharded=True)
    assert everything(objective_of(parts, comm, loss, sample_weight="w", offset="o")) == alone


def test_ranks_without_rows(comm):
    table = mixed_table(300, 2)
    mine = table if comm.rank == comm.size - 1 else table.slice(0, 0)
    alone = everything(objective_of(table, SerialComm(), "logistic"))
    assert everything(objective_of(Dataset(mine, sharded=True), comm, "logistic")) == alone


def test_one_rank_leads(comm):
    def solve(objective):
        w = np.zeros(objective.n_coefficients)
        for _ in range(2):
            found = objective.evaluate(w, 2)
            w = w - 0.5 * found.gradient / np.diag(found.hessian)
        return {"loss": objective.evaluate(w, 0).loss}, [w]

    table = mixed_table(20_000, 2)
    values, [w] = lead(objective_of(table, SerialComm(), "logistic"), SerialComm(), solve)
    found, [others] = lead(objective_of(table, comm, "logistic"), comm, solve)
    assert (found, others.tobytes()) == (values, w.tobytes())


def test_what_one_rank_finds_is_every_ranks_error(comm):
    values = np.arange(20_000.0)
    values[-1] = np.nan
    table = pa.table({"x": values, "y": np.resize([0, 1], 20_000)})
    with pytest.raises(DataError, match="column 'x' has a missing value in row 19999") as caught:
        read(Dataset(table), comm)
    assert len(set(comm.gather_objects(str(caught.value), name="messages"))) == 1


def test_fingerprints(comm):
    table = mixed_table(20_000, 2)
    assert read(Dataset(table), comm).fingerprint(comm) == read(Dataset(table), SerialComm()).fingerprint(SerialComm())
