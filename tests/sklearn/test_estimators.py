"""Estimators on frames, arrays and sparse matrices: the models of ``create``, in scikit-learn's tools."""

import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.ensemble import StackingClassifier
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.feature_selection import SelectFromModel
from sklearn.impute import SimpleImputer
from sklearn.inspection import permutation_importance
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import engine
import engine.sklearn
from engine.sklearn._tables import sparse_table
from tests.models.training_helpers import model_bytes
from tests.sklearn.samples import CLASSIFIERS, FEATURES, LINEAR, NAMES, TREES, frame, make, target_of

QUICK = {"max_iterations": 4}


def fitted(name, data=None, **parameters):
    data = frame() if data is None else data
    return make(name, **{**QUICK, **parameters}).fit(data[FEATURES], data[target_of(name)])


pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # few iterations on purpose


# --- the same models


@pytest.mark.parametrize("name", NAMES)
def test_the_model_is_that_of_create(name):
    data = frame()
    estimator = make(name, **QUICK).fit(data[FEATURES], data[target_of(name)], sample_weight=data["w"])
    create = getattr(engine, estimator.toolkit).create
    model = create(data, target_of(name), features=FEATURES, sample_weight="w", verbose=False, **QUICK)
    assert model_bytes(estimator.model_) == model_bytes(model)
    assert estimator.predict(data[FEATURES]).tolist() == model.predict(data).to_pylist()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_an_array_is_columns_x0_x1_and_so_on(name, dtype):
    data = frame(1100)  # more than are turned round at once
    X = data[["größe", "count"]].to_numpy(dtype=dtype)
    estimator = make(name, **QUICK).fit(X, data[target_of(name)].to_numpy())
    table = {"x0": X[:, 0], "x1": X[:, 1], "y": data[target_of(name)].to_numpy()}
    model = getattr(engine, estimator.toolkit).create(table, "y", verbose=False, **QUICK)
    assert model_bytes(estimator.model_) == model_bytes(model)
    assert not hasattr(estimator, "feature_names_in_")
    for order in (np.asfortranarray(X), X[::-1][::-1], X.tolist()):
        assert estimator.predict(order).tolist() == model.predict(table).to_pylist()


@pytest.mark.parametrize("name", NAMES)
def test_loaded_models_are_estimators(name, tmp_path):
    data = frame()
    estimator = fitted(name, data)
    estimator.model_.save(tmp_path / "m")
    again = type(estimator).from_model(engine.load_model(tmp_path / "m"))
    assert again.predict(data[FEATURES]).tolist() == estimator.predict(data[FEATURES]).tolist()
    assert again.feature_names_in_.tolist() == FEATURES
    assert again.n_features_in_ == len(FEATURES)
    for attribute in ("n_iter_", "classes_", "coef_", "intercept_", "feature_importances_"):
        assert hasattr(again, attribute) == hasattr(estimator, attribute)
        assert np.array_equal(getattr(again, attribute, None), getattr(estimator, attribute, None))
    if name not in LINEAR:  # a linear model says which solver 'auto' was
        assert clone(again).set_params(num_threads=1).get_params() == {**estimator.get_params(), **again_differs(estimator)}
    refitted = clone(again).fit(data[FEATURES], data[target_of(name)])
    assert refitted.predict(data[FEATURES]).tolist() == estimator.predict(data[FEATURES]).tolist()


def again_differs(estimator):
    """What a model tells otherwise than it was asked: words that stand for others, and seeds."""
    model = estimator.model_
    return {key: model.get(key) for key in ("metric", "random_seed", "objective", "quantile") if key in estimator.get_params()}


def test_only_models_of_the_toolkit_become_estimators():
    model = fitted("LinearRegression").model_
    with pytest.raises(engine.errors.OptionError, match="expected a model of svm_classifier, got 'linear_regression'"):
        engine.sklearn.SVMClassifier.from_model(model)
    with pytest.raises(engine.errors.OptionError, match="got 'str'"):
        engine.sklearn.SVMClassifier.from_model("model")


@pytest.mark.parametrize("name", NAMES)
def test_estimators_are_pickled_with_their_models(name):
    data = frame()
    estimator = fitted(name, data)
    again = pickle.loads(pickle.dumps(estimator))
    assert again.get_params() == estimator.get_params()
    assert model_bytes(again.model_) == model_bytes(estimator.model_)
    assert again.predict(data[FEATURES]).tolist() == estimator.predict(data[FEATURES]).tolist()
    assert again.model_.training_time == estimator.model_.training_time


# --- frames


@pytest.mark.parametrize("name", NAMES)
def test_pandas_polars_and_arrow_tables_give_the_same_model(name):
    data = frame()
    expected = model_bytes(fitted(name, data).model_)
    for table in (pl.from_pandas(data), pa.Table.from_pandas(data, preserve_index=False), data.set_index(data.index[::-1])):
        features = table.select(FEATURES) if hasattr(table, "select") else table[FEATURES]
        estimator = make(name, **QUICK).fit(features, named(table[target_of(name)], target_of(name)))
        assert model_bytes(estimator.model_) == expected
        assert estimator.feature_names_in_.tolist() == FEATURES
        assert len(estimator.predict(features)) == len(data)


def named(column, name):
    """A column that knows its name: Arrow's do not."""
    return pd.Series(column.to_numpy(), name=name) if isinstance(column, pa.ChunkedArray) else column


def test_categories_of_numbers_are_categories():
    X = pd.DataFrame({"code": pd.Categorical([3, 1, 2, 10] * 20), "flag": pd.Categorical([True, False] * 40)})
    y = np.tile([0.0, 0.0, 5.0, 0.0], 20)
    estimator = make("BoostedTreesRegressor", **QUICK).fit(X, y)
    names = {(row["name"], row["index"]) for row in estimator.model_.get_feature_importance().to_pylist()}
    assert names == {("code", "1"), ("code", "10"), ("code", "2"), ("code", "3"), ("flag", "false"), ("flag", "true")}
    assert make("BoostedTreesRegressor", **QUICK).fit(X.iloc[:0:-1], y[:0:-1]).predict(X).tolist()
    assert estimator.predict(X.astype({"code": int})).tolist() == estimator.predict(X).tolist()


def test_columns_of_every_kind_that_frames_have():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {
            "nullable": pd.array(rng.integers(0, 9, 60), dtype="Int64"),
            "date": pd.date_range("2024-01-01", periods=60),
            "string": pd.array(rng.choice(["a", "b"], 60), dtype="string"),
            "boolean": pd.array(rng.random(60) > 0.5, dtype="boolean"),
            "arrow": pd.array(rng.choice(["x", "y"], 60), dtype="string[pyarrow]"),
            "float": rng.normal(size=60).astype(np.float32),
            "ordered": pd.Categorical(rng.choice(["low", "high"], 60), categories=["low", "high"], ordered=True),
        }
    )
    y = pd.Series(pd.Categorical(rng.choice(["u", "v"], 60)), name="label")
    for name in CLASSIFIERS:
        estimator = make(name, **QUICK).fit(X, y)
        assert (estimator.model_.features, estimator.model_.target) == (list(X.columns), "label")
        assert set(estimator.predict(X)) <= {"u", "v"}
    X.loc[3, "nullable"] = pd.NA
    assert make("BoostedTreesClassifier", **QUICK).fit(X, y).predict(X).shape == (60,)
    other = pl.DataFrame({"enum": pl.Series(["a", "b"] * 30, dtype=pl.Enum(["b", "a"])), "vector": [[1.0, 2.0]] * 60})
    assert make("BoostedTreesClassifier", **QUICK).fit(other, ["q", "r"] * 30).score(other, ["q", "r"] * 30) == 1.0


@pytest.mark.parametrize("name", TREES)
def test_missing_and_unseen_values_of_frames(name):
    data = frame()
    data.loc[::7, "größe"] = np.nan
    data.loc[::5, "colour"] = None
    estimator = fitted(name, data)
    other = data[FEATURES].assign(colour="mauve", town=None)
    assert len(estimator.predict(other)) == len(data)


def test_columns_are_found_by_name_and_order():
    data = frame()
    estimator = fitted("BoostedTreesClassifier", data)
    with pytest.raises(ValueError, match="feature names should match"):
        estimator.predict(data[FEATURES[::-1]])
    with pytest.raises(ValueError, match="feature names should match"):
        estimator.predict(data[FEATURES[:3]])


def test_frames_whose_columns_are_numbers():
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 3)))
    estimator = make("LinearRegression", **QUICK).fit(X, X[0] * 2)
    assert estimator.model_.features == ["x0", "x1", "x2"]
    assert estimator.model_.target == "y"
    assert estimator.predict(X).tolist() == estimator.predict(X.to_numpy()).tolist()


def test_names_of_target_and_weights_give_way_to_features():
    X = pd.DataFrame({"y": [0.0, 1, 2, 3], "sample_weight": [1.0, 2, 1, 2], "y_": [0.0, 1, 0, 1]})
    estimator = make("LinearRegression", **QUICK).fit(X, [1.0, 2, 3, 4], sample_weight=[1, 1, 2, 2])
    assert (estimator.model_.target, estimator.model_.sample_weight) == ("y__", "sample_weight_")
    estimator.fit(X, pd.Series([1.0, 2, 3, 4], name="y"))
    assert estimator.model_.target == "y__"


# --- sparse matrices


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("make_sparse", [sparse.csr_array, sparse.csc_matrix, sparse.coo_array])
def test_sparse_matrices_are_like_dense_ones(name, make_sparse):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(300, 12)) * (rng.random((300, 12)) < 0.2)
    X[:, 4] = 0.0  # a column that the model never sees
    X[:, 11] = 0.0
    y = X[:, 10] - X[:, 2] + 0.1 * rng.normal(size=300)
    y = y > 0 if name in CLASSIFIERS else y
    options = {"max_iterations": 100, "convergence_threshold": 1e-9, "solver": "newton"}
    dense, estimator = make(name, **options).fit(X, y), make(name, **options).fit(make_sparse(X), y)
    assert (estimator.n_features_in_, estimator.model_.features) == (12, ["X"])
    assert estimator.coef_.shape == dense.coef_.shape
    np.testing.assert_allclose(estimator.coef_, dense.coef_, atol=1e-9)
    np.testing.assert_allclose(estimator.intercept_, dense.intercept_, atol=1e-9)
    assert estimator.predict(make_sparse(X)).tolist() == estimator.predict(X).tolist()
    assert estimator.predict(pd.DataFrame(X)).tolist() == estimator.predict(X).tolist()
    np.testing.assert_allclose(dense.predict(make_sparse(X)), dense.predict(X))
    again = type(estimator).from_model(estimator.model_, n_features=12)
    assert again.predict(make_sparse(X)).tolist() == estimator.predict(X).tolist()
    assert type(estimator).from_model(estimator.model_).n_features_in_ == 11


def test_sparse_entries_that_come_twice_are_added_and_the_matrix_stays_as_it_was():
    twice = sparse.csr_array((np.array([1.0, 2.0, 4.0, 1.0]), np.array([1, 1, 0, 1]), np.array([0, 2, 4])), shape=(2, 2))
    estimator = make("LinearRegression", **QUICK).fit(twice, [3.0, 5.0])
    assert model_bytes(estimator.model_) == model_bytes(
        make("LinearRegression", **QUICK).fit(sparse.csr_array(twice.toarray()), [3, 5]).model_
    )
    assert twice.nnz == 4


@pytest.mark.parametrize("name", TREES)
def test_trees_refuse_sparse_matrices(name):
    with pytest.raises(TypeError, match="Sparse data was passed"):
        make(name).fit(sparse.csr_array(np.eye(4)), [0, 1, 0, 1])


def test_sparse_matrices_without_entries():
    empty = sparse.csr_array((6, 3))
    estimator = make("LinearRegression", **QUICK).fit(empty, [1.0, 2, 3, 4, 5, 6])
    assert estimator.coef_.tolist() == [0.0, 0.0, 0.0]
    np.testing.assert_allclose(estimator.predict(empty), 3.5)


def test_sparse_matrices_of_more_entries_than_maps_hold():
    class Huge:
        has_canonical_format, nnz = True, 1 << 31
        indptr = np.array([0, nnz])

        def tocsr(self):
            return self

    with pytest.raises(engine.errors.DataError, match="expected fewer than 2147483648 entries"):
        sparse_table(Huge())


# --- what is known after fitting


def test_margins_and_probabilities_of_more_than_two_classes():
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(300, 3)), rng.integers(0, 4, 300)
    y = np.array(["d", "a", "c", "b"])[np.where(X[:, 0] > 0, y, 0)]
    for name in ("BoostedTreesClassifier", "RandomForestClassifier", "LogisticClassifier"):
        estimator = make(name, **QUICK).fit(X, y)
        assert estimator.classes_.tolist() == ["a", "b", "c", "d"]
        margins, probabilities = estimator.decision_function(X), estimator.predict_proba(X)
        softmax = np.exp(margins) / np.exp(margins).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(probabilities, softmax, rtol=1e-12)
        assert estimator.predict(X).tolist() == estimator.classes_[probabilities.argmax(axis=1)].tolist()
        np.testing.assert_allclose(estimator.predict_log_proba(X), np.log(probabilities))
    np.testing.assert_allclose(margins, X @ estimator.coef_.T + estimator.intercept_, atol=1e-12)
    assert estimator.coef_[0].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("name", LINEAR)
def test_coefficients_give_the_margins(name):
    data = frame()
    X = data[["größe", "count"]].to_numpy(dtype=float)
    estimator = make(name, **QUICK).fit(X, data[target_of(name)])
    margins = X @ np.atleast_2d(estimator.coef_).T + estimator.intercept_
    expected = estimator.decision_function(X) if name in CLASSIFIERS else estimator.predict(X)
    np.testing.assert_allclose(margins[:, 0], expected, atol=1e-12)
    assert estimator.coef_.shape == ((1, 2) if name in CLASSIFIERS else (2,))


@pytest.mark.parametrize("name", TREES)
def test_importances_are_shares_of_splits(name):
    data = frame()
    estimator = fitted(name, data)
    counts = estimator.model_.get_feature_importance().to_pandas().groupby("name")["count"].sum()
    expected = (counts / counts.sum())[FEATURES]
    np.testing.assert_allclose(estimator.feature_importances_, expected)
    assert estimator.n_iter_ == 4


def test_importances_where_nothing_is_split():
    estimator = make("BoostedTreesRegressor", **QUICK).fit([[1.0, 2.0]] * 9, range(9))
    assert estimator.feature_importances_.tolist() == [0.0, 0.0]


def test_classes_keep_their_type():
    X = [[0.0], [1.0]] * 10
    for y in (np.array([True, False] * 10), np.array([7, -1] * 10, dtype=np.int8), np.array([0.0, 1.0] * 10, dtype=np.float32)):
        for name in CLASSIFIERS:
            estimator = make(name, **QUICK).fit(X, y)
            assert estimator.predict(X).dtype == y.dtype
            assert estimator.classes_.tolist() == sorted(set(y.tolist()))
            assert estimator.score(X, y) == 1.0


def test_a_solver_that_stops_early_warns():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 3))
    with pytest.warns(ConvergenceWarning, match="Iteration limit"):
        make("LogisticClassifier", max_iterations=1, convergence_threshold=1e-9).fit(X, X[:, 0] > 0)


def test_validation_samples_stop_boosting():
    rng = np.random.default_rng(0)
    X, X_val = rng.normal(size=(400, 4)), rng.normal(size=(200, 4))
    y, y_val = X[:, 0] + rng.normal(size=400), X_val[:, 0] + rng.normal(size=200)
    estimator = make("BoostedTreesRegressor", max_iterations=200, early_stopping_rounds=3)
    estimator.fit(X, y, X_val=X_val, y_val=y_val, sample_weight_val=np.ones(200))
    assert estimator.n_iter_ < 100
    assert estimator.model_.num_validation_examples == 200
    assert estimator.model_.validation_rmse == pytest.approx(np.sqrt(np.mean((estimator.predict(X_val) - y_val) ** 2)))
    table = {**{f"x{j}": X_val[:, j] for j in range(4)}, "y": y_val}
    same = clone(estimator).set_params(validation_set=table).fit(X, y)
    assert same.predict(X).tolist() == estimator.predict(X).tolist()


def test_training_goes_on_from_a_model():
    data = frame()
    first = fitted("BoostedTreesClassifier", data)
    both = clone(make("BoostedTreesClassifier", **QUICK, initial_model=first.model_)).fit(data[FEATURES], data["sold"])
    assert both.model_.num_trees == 8
    assert model_bytes(both.model_)[1] == model_bytes(fitted("BoostedTreesClassifier", data, max_iterations=8).model_)[1]


# --- scikit-learn's tools


def test_pipelines_searches_and_meta_estimators():
    data = frame()
    X, y = data[FEATURES], data["sold"]
    numbers = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["größe", "count"]), ("passthrough", ["colour", "town"])
    ).set_output(transform="pandas")
    pipeline = make_pipeline(numbers, make("LogisticClassifier"))
    assert cross_val_score(pipeline, X, y, cv=3).mean() > 0.8
    search = GridSearchCV(make("BoostedTreesClassifier", **QUICK), {"max_depth": [1, 3], "step_size": [0.1, 0.5]}, cv=3, scoring="roc_auc")
    search.fit(X, y, sample_weight=data["w"])
    assert search.best_score_ > 0.8
    assert search.best_estimator_.model_.max_depth == search.best_params_["max_depth"]
    assert get_scorer("neg_log_loss")(search, X, y) > -0.7
    stack = StackingClassifier([("trees", make("RandomForestClassifier", **QUICK)), ("linear", make("LogisticClassifier"))], cv=2)
    assert stack.fit(X, y).score(X, y) > 0.8
    calibrated = CalibratedClassifierCV(make("SVMClassifier"), cv=2).fit(X, y)
    assert calibrated.predict_proba(X).shape == (len(X), 2)
    plain = data[["größe", "count"]].to_numpy(dtype=float)
    assert SelectFromModel(make("BoostedTreesClassifier", **QUICK)).fit(plain, y).transform(plain).shape[1] == 1
    important = permutation_importance(fitted("BoostedTreesClassifier", data), X, y, n_repeats=2, random_state=0)
    assert important.importances_mean.argmax() == 0


@pytest.mark.parametrize("name", NAMES)
def test_searches_in_other_processes(name):
    data = frame()
    X, y = data[["größe", "count"]].to_numpy(dtype=float), data[target_of(name)]
    search = GridSearchCV(make(name), {"max_iterations": [2, 5]}, cv=2, n_jobs=2).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


# --- errors


@pytest.mark.parametrize("name", NAMES)
def test_errors(name):
    data = frame()
    estimator = make(name, **QUICK)
    X, y = data[FEATURES], data[target_of(name)]
    with pytest.raises(NotFittedError):
        estimator.predict(X)
    with pytest.raises(ValueError, match="requires y to be passed, but the target y is None"):
        estimator.fit(X, None)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        estimator.fit(X, y[1:])
    with pytest.raises(ValueError, match=r"sample_weight.*shape"):
        estimator.fit(X, y, sample_weight=np.ones(3))
    for alone in ({"X_val": X}, {"y_val": y}, {"sample_weight_val": y}):
        with pytest.raises(ValueError, match="go together"):
            estimator.fit(X, y, **alone)
    with pytest.raises(ValueError, match="expected numbers in"):
        estimator.fit(X, y, sample_weight=-np.ones(len(y)))
    with pytest.raises(ValueError, match="column a "):
        estimator.fit(pd.DataFrame({"a": [object(), object()]}), y[:2])
    for attribute in ("coef_", "feature_importances_"):
        if attribute in dir(type(estimator)):
            with pytest.raises(NotFittedError):
                getattr(estimator, attribute)


@pytest.mark.parametrize("name", LINEAR)
def test_linear_estimators_name_the_missing_value_of_a_frame(name):
    data = frame()
    data.loc[3, "größe"] = np.nan
    with pytest.raises(ValueError, match="column 'größe' has a missing value in row 3"):
        fitted(name, data)


def test_classes_of_several_kinds_are_refused():
    with pytest.raises(ValueError, match="expected numbers, or classes of one kind|Unknown label type"):
        make("BoostedTreesClassifier").fit([[0.0], [1.0]], np.array([b"a", b"b"], dtype="V1"))


def test_the_facade_has_the_estimators():
    import samesum

    assert samesum.sklearn is engine.sklearn


def test_scikit_learn_is_loaded_when_it_is_asked_for():
    code = (
        "import sys, engine; engine.Dataset; engine.boosted_trees_classifier; assert 'sklearn' not in sys.modules; engine.sklearn.__all__"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_scikit_learn_the_error_says_what_to_install():
    code = (
        "import sys; sys.modules['sklearn'] = None\nimport engine\ntry:\n    engine.sklearn\nexcept ImportError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'samesum[sklearn]'" in done.stdout
    assert done.stderr == ""
