"""Estimators, and samples with numbers, categories and missing values to fit them on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

import engine.sklearn

NAMES = engine.sklearn.__all__
CLASSIFIERS = [name for name in NAMES if hasattr(getattr(engine.sklearn, name), "decision_function")]
LINEAR = ["LinearRegression", "LogisticClassifier", "SVMClassifier"]
TREES = [name for name in NAMES if name not in LINEAR]


def make(name: str, **parameters: Any) -> Any:
    return getattr(engine.sklearn, name)(num_threads=1, **parameters)


def frame(n_rows: int = 200, *, seed: int = 0) -> pd.DataFrame:
    """Numbers of two kinds, a category, text and a target of two classes that depends on them."""
    rng = np.random.default_rng(seed)
    made = pd.DataFrame(
        {
            "größe": rng.normal(size=n_rows),
            "count": rng.integers(0, 9, n_rows),
            "colour": pd.Categorical(rng.choice(["red", "green", "blue"], n_rows)),
            "town": rng.choice(["Zürich", "東京", "a" * 200], n_rows),
        }
    )
    score = made["größe"] + (made["colour"] == "red") - (made["town"] == "東京") + 0.1 * made["count"]
    made["sold"] = np.where(score > score.median(), "yes", "no")
    made["price"] = score
    made["w"] = rng.uniform(0.5, 2.0, n_rows)
    return made


def target_of(name: str) -> str:
    return "sold" if name in CLASSIFIERS else "price"


FEATURES = ["größe", "count", "colour", "town"]
