"""Estimators of trees: boosted and random forests."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from engine.models._trees.training import IterationRecord
from engine.sklearn._estimator import Estimator, ProbabilisticClassifier, Regressor


class Trees(Estimator):
    """An estimator whose model is made of trees; NaN is a missing value, and infinities are the largest numbers."""

    array_checks: ClassVar[dict[str, Any]] = {"dtype": [np.float64, np.float32], "ensure_all_finite": False}

    n_iter_: int

    @property
    def feature_importances_(self) -> NDArray[np.float64]:
        """The share of all splits that ask each feature, [n_features_in_]."""
        check_is_fitted(self, "model_")
        table = self.model_.get_feature_importance()
        place = {name: j for j, name in enumerate(self._names)}
        counts = np.zeros(self.n_features_in_)
        np.add.at(counts, [place[name] for name in table["name"].to_pylist()], table["count"].to_numpy())
        return counts / max(counts.sum(), 1.0)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.categorical = True
        return tags

    def _finish(self) -> None:
        """``n_iter_``: iterations whose trees are in the model."""
        super()._finish()
        n_classes = len(getattr(self, "classes_", ()))
        self.n_iter_ = self.model_.num_trees // (n_classes if n_classes > 2 else 1)


class BoostedTreesClassifier(Trees, ProbabilisticClassifier):
    """Boosted trees that predict classes; the parameters are those of :func:`engine.boosted_trees_classifier.create`."""

    toolkit: ClassVar[str] = "boosted_trees_classifier"

    def __init__(
        self,
        *,
        max_iterations: int = 10,
        validation_set: Any = None,
        class_weights: Any = None,
        max_depth: int = 6,
        step_size: float = 0.3,
        min_loss_reduction: float = 0.0,
        min_child_weight: float = 0.1,
        row_subsample: float = 1.0,
        column_subsample: float = 1.0,
        reg_lambda: float = 1.0,
        reg_alpha: float = 0.0,
        max_leaves: int | None = None,
        monotone_constraints: dict[str, int] | None = None,
        categorical: str = "onehot",
        max_bins: int = 256,
        max_categories: int = 65535,
        metric: str | list[str] | None = "auto",
        early_stopping_rounds: int | None = None,
        initial_model: Any = None,
        callback: Callable[[IterationRecord], Any] | None = None,
        random_seed: int | None = None,
        model_checkpoint_path: str | os.PathLike[str] | None = None,
        model_checkpoint_interval: int = 5,
        resume_from_checkpoint: str | os.PathLike[str] | None = None,
        verbose: bool = False,
        num_threads: int | None = None,
        memory_limit: int | str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        self._keep(locals())


class BoostedTreesRegressor(Trees, Regressor):
    """Boosted trees that predict numbers; the parameters are those of :func:`engine.boosted_trees_regression.create`."""

    toolkit: ClassVar[str] = "boosted_trees_regression"

    def __init__(
        self,
        *,
        max_iterations: int = 10,
        validation_set: Any = None,
        objective: str = "auto",
        quantile: float | None = None,
        max_depth: int = 6,
        step_size: float = 0.3,
        min_loss_reduction: float = 0.0,
        min_child_weight: float = 0.1,
        row_subsample: float = 1.0,
        column_subsample: float = 1.0,
        reg_lambda: float = 1.0,
        reg_alpha: float = 0.0,
        max_leaves: int | None = None,
        monotone_constraints: dict[str, int] | None = None,
        categorical: str = "onehot",
        max_bins: int = 256,
        max_categories: int = 65535,
        metric: str | list[str] | None = "auto",
        early_stopping_rounds: int | None = None,
        initial_model: Any = None,
        callback: Callable[[IterationRecord], Any] | None = None,
        random_seed: int | None = None,
        model_checkpoint_path: str | os.PathLike[str] | None = None,
        model_checkpoint_interval: int = 5,
        resume_from_checkpoint: str | os.PathLike[str] | None = None,
        verbose: bool = False,
        num_threads: int | None = None,
        memory_limit: int | str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        self._keep(locals())


class RandomForestClassifier(Trees, ProbabilisticClassifier):
    """A forest that predicts classes; the parameters are those of :func:`engine.random_forest_classifier.create`."""

    toolkit: ClassVar[str] = "random_forest_classifier"

    def __init__(
        self,
        *,
        max_iterations: int = 10,
        validation_set: Any = None,
        class_weights: Any = None,
        averaging: str = "margin",
        max_depth: int = 6,
        min_loss_reduction: float = 0.0,
        min_child_weight: float = 0.1,
        row_subsample: float = 0.8,
        column_subsample: float = 0.8,
        reg_lambda: float = 1.0,
        reg_alpha: float = 0.0,
        max_leaves: int | None = None,
        monotone_constraints: dict[str, int] | None = None,
        categorical: str = "onehot",
        max_bins: int = 256,
        max_categories: int = 65535,
        metric: str | list[str] | None = "auto",
        callback: Callable[[IterationRecord], Any] | None = None,
        random_seed: int | None = None,
        model_checkpoint_path: str | os.PathLike[str] | None = None,
        model_checkpoint_interval: int = 5,
        resume_from_checkpoint: str | os.PathLike[str] | None = None,
        verbose: bool = False,
        num_threads: int | None = None,
        memory_limit: int | str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        self._keep(locals())


class RandomForestRegressor(Trees, Regressor):
    """A forest that predicts numbers; the parameters are those of :func:`engine.random_forest_regression.create`."""

    toolkit: ClassVar[str] = "random_forest_regression"

    def __init__(
        self,
        *,
        max_iterations: int = 10,
        validation_set: Any = None,
        averaging: str = "margin",
        max_depth: int = 6,
        min_loss_reduction: float = 0.0,
        min_child_weight: float = 0.1,
        row_subsample: float = 0.8,
        column_subsample: float = 0.8,
        reg_lambda: float = 1.0,
        reg_alpha: float = 0.0,
        max_leaves: int | None = None,
        monotone_constraints: dict[str, int] | None = None,
        categorical: str = "onehot",
        max_bins: int = 256,
        max_categories: int = 65535,
        metric: str | list[str] | None = "auto",
        callback: Callable[[IterationRecord], Any] | None = None,
        random_seed: int | None = None,
        model_checkpoint_path: str | os.PathLike[str] | None = None,
        model_checkpoint_interval: int = 5,
        resume_from_checkpoint: str | os.PathLike[str] | None = None,
        verbose: bool = False,
        num_threads: int | None = None,
        memory_limit: int | str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        self._keep(locals())
