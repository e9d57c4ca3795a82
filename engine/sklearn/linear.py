"""Estimators of linear models."""

from __future__ import annotations

import os
import warnings
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_is_fitted

from engine.models._linear.iterating import SUCCESS
from engine.sklearn._estimator import Classifier, Estimator, ProbabilisticClassifier, Regressor


class Linear(Estimator):
    """An estimator whose model is linear; it takes sparse matrices."""

    array_checks: ClassVar[dict[str, Any]] = {"dtype": [np.float64, np.float32], "accept_sparse": "csr"}

    n_iter_: int

    @property
    def coef_(self) -> NDArray[np.float64]:
        """Coefficients of the features, [n_features] of a regression, [1, n_features] of two classes, else [n_classes, n_features].

        Columns of strings have one for every category but the first, in the order of ``model_.coefficients``. Of more than two classes the
        first is the reference, whose coefficients are 0.
        """
        return self._shape(self._coefficients[:, 1:])

    @property
    def intercept_(self) -> Any:
        """The intercept of a regression, else one for each row of :attr:`coef_`."""
        return self._shape(self._coefficients[:, 0])

    @property
    def _coefficients(self) -> NDArray[np.float64]:
        """[n_outputs, 1 + n_features], the intercept first."""
        check_is_fitted(self, "model_")
        table = self.model_.coefficients
        n_outputs = table["name"].to_pylist().count("(intercept)")
        values = table["value"].to_numpy().reshape(n_outputs, -1)
        if not self._is_sparse:
            return values
        places = [int(key) for key in table["index"].to_pylist()[1 : values.shape[1]]]
        out = np.zeros((n_outputs, 1 + self.n_features_in_))
        out[:, 0], out[:, 1 + np.array(places, dtype=np.int64)] = values[:, 0], values[:, 1:]
        return out

    def _shape(self, values: NDArray[np.float64]) -> Any:
        """What there is of values [n_outputs, ...] for the outside."""
        return values[0]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = tags.input_tags.categorical = True
        return tags

    def _finish(self) -> None:
        """``n_iter_``: iterations of the solver; warns where they did not do."""
        super()._finish()
        self.n_iter_ = self.model_.training_iterations
        if self.model_.training_solver_status != SUCCESS:
            warnings.warn(
                f"the solver stopped before the optimum: {self.model_.training_solver_status.strip()} Raise max_iterations or "
                "convergence_threshold",
                ConvergenceWarning,
                stacklevel=3,
            )


class LinearClassifier(Linear, Classifier):
    """Of more than two classes the reference has coefficients too, all 0."""

    def _shape(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values if len(self.classes_) == 2 else np.concatenate([np.zeros_like(values[:1]), values])


class LinearRegression(Linear, Regressor):
    """Least squares with penalties; the parameters are those of :func:`engine.linear_regression.create`."""

    toolkit: ClassVar[str] = "linear_regression"

    def __init__(
        self,
        *,
        l2_penalty: float = 0.01,
        l1_penalty: float = 0.0,
        solver: str = "auto",
        feature_rescaling: bool = True,
        convergence_threshold: float = 0.01,
        step_size: float = 1.0,
        lbfgs_memory_level: int = 11,
        max_iterations: int = 10,
        validation_set: Any = None,
        random_seed: int | None = None,
        model_checkpoint_path: str | os.PathLike[str] | None = None,
        model_checkpoint_interval: int = 5,
        resume_from_checkpoint: str | os.PathLike[str] | None = None,
        verbose: bool = False,
        num_threads: int | None = None,
        memory_limit: int | str | None = None,
    ) -> None:
        self._keep(locals())


class LogisticClassifier(LinearClassifier, ProbabilisticClassifier):
    """Logistic regression; the parameters are those of :func:`engine.logistic_classifier.create`."""

    toolkit: ClassVar[str] = "logistic_classifier"

    def __init__(
        self,
        *,
        l2_penalty: float = 0.01,
        l1_penalty: float = 0.0,
        solver: str = "auto",
        feature_rescaling: bool = True,
        convergence_threshold: float = 0.01,
        step_size: float = 1.0,
        lbfgs_memory_level: int = 11,
        max_iterations: int = 10,
        class_weights: Any = None,
        validation_set: Any = None,
        random_seed: int | None = None,
        model_checkpoint_path: str | os.PathLike[str] | None = None,
        model_checkpoint_interval: int = 5,
        resume_from_checkpoint: str | os.PathLike[str] | None = None,
        verbose: bool = False,
        num_threads: int | None = None,
        memory_limit: int | str | None = None,
    ) -> None:
        self._keep(locals())


class SVMClassifier(LinearClassifier):
    """A linear support vector machine of two classes; the parameters are those of :func:`engine.svm_classifier.create`."""

    toolkit: ClassVar[str] = "svm_classifier"

    def __init__(
        self,
        *,
        penalty: float = 1.0,
        solver: str = "auto",
        feature_rescaling: bool = True,
        convergence_threshold: float = 0.01,
        lbfgs_memory_level: int = 11,
        max_iterations: int = 10,
        class_weights: Any = None,
        validation_set: Any = None,
        random_seed: int | None = None,
        model_checkpoint_path: str | os.PathLike[str] | None = None,
        model_checkpoint_interval: int = 5,
        resume_from_checkpoint: str | os.PathLike[str] | None = None,
        verbose: bool = False,
        num_threads: int | None = None,
        memory_limit: int | str | None = None,
    ) -> None:
        self._keep(locals())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    def _learn_target(self, y: Any, rows: pa.Table) -> NDArray[Any]:
        kind = type_of_target(y, input_name="y", raise_unknown=True)
        if kind == "multiclass":
            raise ValueError(f"Only binary classification is supported. The type of the target is {kind}.")
        return super()._learn_target(y, rows)
