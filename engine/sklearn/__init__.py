"""scikit-learn estimators over the toolkits that learn from rows: ``fit`` and ``predict`` on arrays, frames and sparse matrices.

A fitted estimator's ``model_`` is the model that ``create`` would have made of the same columns, with its methods and its file format;
``from_model`` makes an estimator of a loaded one. Needs the package scikit-learn: ``samesum[sklearn]``.
"""

from __future__ import annotations

from engine.errors import MissingPackageError

try:
    from sklearn.utils.validation import validate_data as _needed  # noqa: F401 - came with the first release that will do
except ImportError as _error:
    raise MissingPackageError(
        "engine.sklearn needs the package scikit-learn, 1.6 or newer; install it with: pip install 'samesum[sklearn]'"
    ) from _error

from engine.sklearn.linear import LinearRegression, LogisticClassifier, SVMClassifier
from engine.sklearn.trees import BoostedTreesClassifier, BoostedTreesRegressor, RandomForestClassifier, RandomForestRegressor

__all__ = [
    "BoostedTreesClassifier",
    "BoostedTreesRegressor",
    "LinearRegression",
    "LogisticClassifier",
    "RandomForestClassifier",
    "RandomForestRegressor",
    "SVMClassifier",
]
