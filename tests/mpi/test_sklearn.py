"""Estimators on real ranks: every rank's is the one that a single rank fits, and errors are every rank's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

import engine
from engine.collectives.serial import SerialComm
from engine.errors import OptionError
from tests.models.training_helpers import model_bytes
from tests.sklearn.samples import FEATURES, LINEAR, NAMES, frame, make, target_of

pytestmark = pytest.mark.filterwarnings("ignore")


def digest(comm, model):
    """All ranks' bytes of their models."""
    return comm.gather_objects([part.hex() for part in model_bytes(model)], name="models")


@pytest.mark.parametrize("name", NAMES)
def test_every_rank_fits_the_same_model(comm, name):
    data = frame()
    estimator = make(name, max_iterations=3).fit(data[FEATURES], data[target_of(name)], sample_weight=data["w"])
    table = data[[*FEATURES, target_of(name), "w"]]
    alone = create_alone(estimator, table, target_of(name))
    assert digest(comm, estimator.model_) == [[part.hex() for part in model_bytes(alone)]] * comm.size
    assert estimator.predict(data[FEATURES]).shape == (len(data),)
    assert (
        comm.gather_objects(estimator.score(data[FEATURES], data[target_of(name)]), name="scores")
        == [estimator.score(data[FEATURES], data[target_of(name)])] * comm.size
    )


def create_alone(estimator, table, target):
    """The model of one rank."""
    create = getattr(engine, estimator.toolkit).create
    return create(table, target, features=FEATURES, sample_weight="w", max_iterations=3, verbose=False, num_threads=1, comm=SerialComm())


@pytest.mark.parametrize("name", LINEAR)
def test_sparse_matrices(comm, name):
    rng = np.random.default_rng(3)
    X = sparse.random_array((9000, 40), density=0.05, rng=rng, format="csr")
    y = X @ rng.normal(size=40) > 0
    models = digest(comm, make(name).fit(X, y).model_)
    assert models == models[:1] * comm.size


def test_errors_are_every_ranks(comm):
    with pytest.raises(OptionError, match="max_iterations"):
        make("LinearRegression", max_iterations=0).fit([[0.0], [1.0]], [0, 1])
    assert comm.gather_objects(True, name="after") == [True] * comm.size
