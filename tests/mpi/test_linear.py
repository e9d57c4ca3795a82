"""Linear models on real ranks: every rank's model is the one that a single rank trains, byte for byte; errors are every rank's."""

from __future__ import annotations

import pytest

import engine
from engine.data.dataset import Dataset
from engine.errors import DataError
from tests.models.linear_helpers import FEATURES, TARGET, TOOLKITS, mixed_frame
from tests.models.test_linear_models import table_of
from tests.models.training_helpers import model_bytes
from tests.training import MUSHROOM, cut_rows


def create(toolkit, data, **options):
    return getattr(engine, toolkit).create(data, TARGET[toolkit], features=FEATURES, verbose=False, **options)


@pytest.mark.parametrize("toolkit", TOOLKITS)
@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
def test_tables_of_every_type(comm, toolkit, solver):
    table = table_of(mixed_frame(500))
    options = {"solver": solver, "sample_weight": "w", "offset": "o", "validation_set": "auto", "convergence_threshold": 1e-8}
    alone = model_bytes(create(toolkit, table, **options))
    assert model_bytes(create(toolkit, table, comm=comm, **options)) == alone
    assert model_bytes(create(toolkit, Dataset(cut_rows(table, comm.size)[comm.rank], sharded=True), comm=comm, **options)) == alone


@pytest.mark.parametrize("num_threads", [1, 2])
def test_mushroom(comm, num_threads):
    options = {"target": "label", "max_iterations": 20, "verbose": False}
    together = engine.logistic_classifier.create(str(MUSHROOM), comm=comm, num_threads=num_threads, **options)
    assert model_bytes(together) == model_bytes(engine.logistic_classifier.create(str(MUSHROOM), **options))
    assert together.evaluate(str(MUSHROOM), metric="accuracy", comm=comm) == {"accuracy": 1.0}


@pytest.mark.parametrize("holder", ["first", "last"])
def test_ranks_without_rows(comm, holder):
    table = table_of(mixed_frame(90, classes=3))
    rank = 0 if holder == "first" else comm.size - 1
    mine = table if comm.rank == rank else table.slice(0, 0)
    together = create("logistic_classifier", Dataset(mine, sharded=True), comm=comm)
    assert model_bytes(together) == model_bytes(create("logistic_classifier", table))


def test_resuming(comm, tmp_path_factory):
    folder = comm.gather_objects(str(tmp_path_factory.mktemp("checkpoints")), name="folder of checkpoints")[0]
    table = table_of(mixed_frame(300))
    options = {"solver": "lbfgs", "convergence_threshold": 1e-8, "model_checkpoint_path": folder, "model_checkpoint_interval": 2}
    create("svm_classifier", table, comm=comm, max_iterations=4, **options)
    resumed = create("svm_classifier", table, comm=comm, max_iterations=9, resume_from_checkpoint="auto", **options)
    assert model_bytes(resumed) == model_bytes(
        create("svm_classifier", table, max_iterations=9, **options | {"model_checkpoint_path": None})
    )


def test_a_mistake_is_every_ranks(comm):
    frame = mixed_frame(60)
    frame.loc[59, "x"] = float("inf")
    table = table_of(frame)
    with pytest.raises(DataError, match="'x'") as caught:
        create("linear_regression", Dataset(cut_rows(table, comm.size)[comm.rank], sharded=True), comm=comm)
    assert len(set(comm.gather_objects(str(caught.value), name="messages"))) == 1
