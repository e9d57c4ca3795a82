"""What all estimators share: data in, the toolkit's ``create``, answers out as arrays, and the way from a model to an estimator."""

from __future__ import annotations

import importlib
from typing import Any, ClassVar, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import assert_all_finite, check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from engine.errors import OptionError
from engine.models._predicting import RUN_OPTIONS
from engine.sklearn._tables import (
    SPARSE,
    TARGET,
    WEIGHT,
    array_names,
    array_table,
    frame_table,
    is_frame,
    name_of,
    sparse_table,
    target_column,
)

Own = TypeVar("Own", bound="Estimator")
NOT_IN_MODELS = (*RUN_OPTIONS, "num_threads", "class_weights")


class Estimator(BaseEstimator):
    """An estimator whose parameters are options of a toolkit's ``create``; what they may be is checked in :meth:`fit`.

    ``model_`` is the toolkit's model, with all its methods. ``n_features_in_``, and of data with names ``feature_names_in_``, are what it
    was fitted on.
    """

    toolkit: ClassVar[str]
    array_checks: ClassVar[dict[str, Any]]  # how scikit-learn checks arrays

    model_: Any
    n_features_in_: int
    feature_names_in_: NDArray[Any]

    def _keep(self, arguments: dict[str, Any]) -> None:
        """Set the parameters to the arguments of ``__init__``, as they are."""
        for name in self._get_param_names():
            setattr(self, name, arguments[name])

    def fit(
        self: Own, X: Any, y: Any, sample_weight: Any = None, *, X_val: Any = None, y_val: Any = None, sample_weight_val: Any = None
    ) -> Own:
        """Train on ``X`` [n_samples, n_features], ``y`` [n_samples] and weights of the samples; collective, as ``create`` is.

        ``X`` is an array of numbers, or a pandas, polars or Arrow table, whose strings and categories are categories; linear estimators
        take SciPy's sparse matrices too. Metrics of the validation samples ``X_val``, ``y_val`` are tracked, and early stopping watches
        them; they go before the parameter ``validation_set``. Raises ``ValueError`` for what cannot be used.
        """
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        if (X_val is None) != (y_val is None) or (X_val is None and sample_weight_val is not None):
            raise ValueError("X_val and y_val go together, and sample_weight_val with them: pass both, or none of these")
        self._is_sparse = sparse.issparse(X)
        features = self._read(X, reset=True)
        target = name_of(y, TARGET, features.column_names)
        weight = None
        if sample_weight is not None or sample_weight_val is not None:
            weight = name_of(sample_weight, WEIGHT, [*features.column_names, target])
        options = self.get_params(deep=False)
        if X_val is not None:
            rows = self._read(X_val, reset=False)
            options["validation_set"] = add_columns(rows, self._read_target(y_val, rows), target, sample_weight_val, weight)
        table = add_columns(features, self._learn_target(y, features), target, sample_weight, weight)
        create = importlib.import_module(f"engine.models.{self.toolkit}").create
        self.model_ = create(table, target, features=features.column_names, sample_weight=weight, **options)
        self._finish()
        return self

    @classmethod
    def from_model(cls: type[Own], model: Any, *, n_features: int | None = None) -> Own:
        """A fitted estimator of a model of the same toolkit, made by ``create`` or :func:`engine.load_model`.

        Its parameters are the model's options, but for threads, checkpoints and weights of classes. ``n_features`` is the number of columns
        of a model that was fitted on a sparse matrix, which only knows those that were not empty; None takes the last of these. Raises
        :class:`OptionError`.
        """
        if getattr(model, "toolkit", None) != cls.toolkit:
            raise OptionError(f"{cls.__name__} expected a model of {cls.toolkit}, got {getattr(model, 'toolkit', type(model).__name__)!r}")
        fields = set(model.list_fields())
        own = cls(**{name: model.get(name) for name in cls._get_param_names() if name in fields and name not in NOT_IN_MODELS})
        own.model_, names = model, list(model.features)
        own._is_sparse = names == [SPARSE] and model.unpacked_features != names
        own.n_features_in_ = len(names)
        if own._is_sparse:
            keys = [int(name[len(SPARSE) + 1 : -1]) for name in model.unpacked_features]
            own.n_features_in_ = max(keys, default=-1) + 1 if n_features is None else n_features
        elif names != array_names(len(names)):
            own.feature_names_in_ = np.array(names, dtype=object)
        own._finish()
        return own

    def _finish(self) -> None:
        """Set what more a fitted estimator has."""

    def _read(self, X: Any, *, reset: bool) -> pa.Table:
        """The features as a table, under the names of the model; with ``reset`` these are learnt, else compared."""
        if is_frame(X) and not self._is_sparse:
            validate_data(self, X, skip_check_array=True, reset=reset)
            return frame_table(X, self._names)
        X = validate_data(self, X, reset=reset, **self.array_checks)
        if self._is_sparse:
            return sparse_table(X if sparse.issparse(X) else sparse.csr_array(X))
        return array_table(X.toarray() if sparse.issparse(X) else X, self._names)

    @property
    def _names(self) -> list[str]:
        return [str(name) for name in getattr(self, "feature_names_in_", array_names(self.n_features_in_))]

    def _rows(self, X: Any) -> pa.Table:
        """The features of samples to answer about. Raises scikit-learn's ``NotFittedError``."""
        check_is_fitted(self, "model_")
        return self._read(X, reset=False)

    def _read_target(self, y: Any, rows: pa.Table) -> NDArray[Any]:
        """``y`` as one value a row."""
        y = column_or_1d(y, warn=True)
        assert_all_finite(y, input_name="y")
        check_consistent_length(rows, y)
        return np.asarray(y)

    def _learn_target(self, y: Any, rows: pa.Table) -> NDArray[Any]:
        """``y`` of the training samples."""
        return self._read_target(y, rows)


class Classifier(ClassifierMixin, Estimator):
    """Predicts classes: strings, integers, booleans or floats, in sorted order in ``classes_``."""

    classes_: NDArray[Any]

    def predict(self, X: Any) -> NDArray[Any]:
        """The class of every sample, [n_samples]; collective."""
        rows = self._rows(X)
        labels = self.model_.predict(rows)
        return np.asarray(labels.to_numpy().astype(self.classes_.dtype))

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """The margin of the greater of two classes, [n_samples], or of every class, [n_samples, n_classes]; collective."""
        rows, n_classes = self._rows(X), len(self.classes_)
        if n_classes == 2:
            return np.asarray(self.model_.predict(rows, output_type="margin").to_numpy())
        best = self.model_.predict_topk(rows, output_type="margin", k=n_classes)
        margins = np.empty((rows.num_rows, n_classes))
        codes = np.searchsorted(self.classes_, best["class"].to_numpy().astype(self.classes_.dtype))
        margins[best["id"].to_numpy(), codes] = best["margin"].to_numpy()
        return margins

    def _learn_target(self, y: Any, rows: pa.Table) -> NDArray[Any]:
        y = self._read_target(y, rows)
        check_classification_targets(y)
        self.classes_ = np.unique(y)
        return y

    def _finish(self) -> None:
        if not hasattr(self, "classes_"):
            self.classes_ = np.array(self.model_.classes, dtype=object if isinstance(self.model_.classes[0], str) else None)
        super()._finish()


class ProbabilisticClassifier(Classifier):
    """A classifier that knows how likely its classes are."""

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """The probability of every class, [n_samples, n_classes]; collective."""
        rows = self._rows(X)
        lists = self.model_.predict(rows, output_type="probability_vector")
        return np.asarray(lists.combine_chunks().flatten().to_numpy().reshape(-1, len(self.classes_)))

    def predict_log_proba(self, X: Any) -> NDArray[np.float64]:
        """The logarithm of :meth:`predict_proba`."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))


class Regressor(RegressorMixin, Estimator):
    """Predicts numbers."""

    def predict(self, X: Any) -> NDArray[np.float64]:
        """The prediction for every sample, [n_samples]; collective."""
        rows = self._rows(X)
        return np.asarray(self.model_.predict(rows).to_numpy())

    def _read_target(self, y: Any, rows: pa.Table) -> NDArray[Any]:
        return np.asarray(super()._read_target(y, rows), dtype=np.float64)


def add_columns(features: pa.Table, y: NDArray[Any], target: str, sample_weight: Any, weight: str | None) -> pa.Table:
    """The features, the target and, if it has a name, the weights, 1 where there are none."""
    table = features.append_column(target, target_column(y))
    if weight is None:
        return table
    return table.append_column(weight, pa.array(_check_sample_weight(sample_weight, features, dtype=np.float64)))
