"""Paths of penalties and cross-validation: the models that single trainings give, in one pass where the loss is quadratic."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from engine._kernels.exact import hash_counters

import engine
from engine.data.dataset import Dataset
from engine.errors import OptionError
from tests.models.linear_helpers import FEATURES, create, mixed_frame
from tests.models.test_linear_models import table_of
from tests.models.training_helpers import model_bytes
from tests.threads_comm import run_ranks
from tests.training import cut_rows

EXACT = {"convergence_threshold": 1e-9, "max_iterations": 500}


def values(model):
    return model.coefficients["value"].to_numpy()


@pytest.mark.parametrize("toolkit", ["linear_regression", "logistic_classifier"])
def test_a_path_has_the_models_of_single_trainings(toolkit):
    frame = mixed_frame(400)
    target = "amount" if toolkit == "linear_regression" else "grade"
    make = getattr(engine, toolkit).regularization_path
    path = make(
        frame, target, features=FEATURES, l1_penalties=[0.0, 5.0], l2_penalties=[0.1, 10.0], validation_set=mixed_frame(seed=3), **EXACT
    )
    assert path.table.select(["l1_penalty", "l2_penalty"]).to_pylist() == [
        {"l1_penalty": l1, "l2_penalty": l2} for l1 in (0.0, 5.0) for l2 in (0.1, 10.0)
    ]
    for row, model in zip(path.table.to_pylist(), path.models, strict=True):
        alone = create(
            toolkit, frame, l1_penalty=row["l1_penalty"], l2_penalty=row["l2_penalty"], validation_set=mixed_frame(seed=3), **EXACT
        )
        np.testing.assert_allclose(values(model), values(alone), rtol=1e-7, atol=1e-10)
        assert model.solver == alone.solver
        assert row["training_loss"] == pytest.approx(alone.training_loss, rel=1e-9)
        assert row["num_nonzero"] == np.count_nonzero(values(alone)[1:])
        metric = "validation_rmse" if toolkit == "linear_regression" else "validation_accuracy"
        assert row[metric] == pytest.approx(alone.get(metric), rel=1e-7)
        assert model.predict(frame).to_pylist()[:3] == pytest.approx(alone.predict(frame).to_pylist()[:3])
        if row["l1_penalty"] == 0.0:
            np.testing.assert_allclose(model.coefficients["stderr"].to_numpy(), alone.coefficients["stderr"].to_numpy(), rtol=1e-6)
    assert "Solver status" in path.models[0].summary("str")


def test_least_squares_need_one_pass_and_warm_starts_few():
    path = engine.linear_regression.regularization_path(mixed_frame(), "amount", features=FEATURES)
    assert path.table["passes"].to_pylist() == [1] * 5
    frame = mixed_frame(400)
    options = {"features": FEATURES, "l2_penalties": [10.0, 9.0, 8.0], **EXACT}
    warm = engine.logistic_classifier.regularization_path(frame, "grade", **options).table["iterations"].to_pylist()
    assert warm[1] <= warm[0]
    assert warm[2] <= warm[1]


def test_cross_validation_beside_refitting():
    frame = mixed_frame(200)
    options = {"features": ["x", "count", "v"], "feature_rescaling": False}
    got = engine.linear_regression.cross_validate(
        frame, "amount", l1_penalties=[0.0, 2.0], l2_penalties=[1.0], folds=4, random_seed=7, **options
    )
    hashes = np.empty(200, dtype=np.uint64)
    hash_counters(7, 0, hashes)
    fold = hashes % np.uint64(4)
    for row in got.to_pylist():
        errors = []
        for k in range(4):
            model = create(
                "linear_regression", frame[fold != k], "amount", l1_penalty=row["l1_penalty"], l2_penalty=1.0, **options, **EXACT
            )
            errors.append(model.evaluate(frame[fold == k])["rmse"])
        np.testing.assert_allclose(row["rmse_of_folds"], errors, rtol=1e-9)
        assert row["rmse"] == pytest.approx(np.mean(errors))
        assert row["rmse_stderr"] == pytest.approx(np.std(errors, ddof=1) / 2)


def test_the_same_on_any_ranks():
    table = table_of(mixed_frame(300))

    def run(comm):
        own = Dataset(cut_rows(table, comm.size)[comm.rank], sharded=True)
        shared = {"features": FEATURES, "l1_penalties": [3.0], "comm": comm, "sample_weight": "w"}
        paths = [
            engine.linear_regression.regularization_path(own, "amount", **shared),
            engine.logistic_classifier.regularization_path(own, "grade", **shared),
        ]
        table_of_folds = engine.linear_regression.cross_validate(own, "amount", **shared)
        return [model_bytes(model) for path in paths for model in path.models], table_of_folds.to_pylist()

    alone = run_ranks(1, run)[0]
    for size in (2, 3):
        assert all(found == alone for found in run_ranks(size, run))


def test_a_fold_may_be_empty():
    frame = pd.DataFrame({"x": [1.0, 2.0, 4.0, 8.0], "y": [1.0, 2.0, 2.5, 3.0]})
    row = engine.linear_regression.cross_validate(frame, "y", folds=20, l2_penalties=[0.1]).to_pylist()[0]
    assert sum(np.isnan(row["rmse_of_folds"])) >= 16
    assert np.isfinite(row["rmse"])


def test_penalties_are_checked():
    for wrong in ([], 1.0, "12", [-1.0], ["a"]):
        with pytest.raises(OptionError, match="l2_penalt"):
            engine.linear_regression.regularization_path(mixed_frame(20), "amount", l2_penalties=wrong)
    with pytest.raises(OptionError, match="folds must be an integer in"):
        engine.linear_regression.cross_validate(mixed_frame(20), "amount", folds=1)
