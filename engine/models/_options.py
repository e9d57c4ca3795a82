"""What options may be: limits as a table, and one sentence for every value outside them."""

from __future__ import annotations

import numbers
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from engine import storage
from engine.encode.features import near
from engine.errors import OptionError

LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class Limits:
    """The values that a numeric option may take: integers or any finite numbers, from ``low`` to ``high``, None having no limit."""

    kind: type
    low: float
    high: float | None = None
    none_means: int | None = None  # None is allowed and stands for this, if `allows_none`
    allows_none: bool = False
    is_open: bool = False  # the limits themselves are not allowed

    def __str__(self) -> str:
        """The limits in words: ``an integer in [1, 64]``."""
        noun = "an integer" if self.kind is int else "a number"
        left, right = "()" if self.is_open else "[]"
        scope = f">= {self.low}" if self.high is None else f"in {left}{self.low}, {self.high}{right}"
        return f"{noun} {scope}{' or None' if self.allows_none else ''}"

    def accepts(self, value: Any) -> bool:
        """Whether ``value`` is of this kind and within the limits; booleans are no numbers here."""
        if isinstance(value, bool) or not isinstance(value, numbers.Integral if self.kind is int else numbers.Real):
            return False
        number: Any = value
        high = self.high if self.high is not None else sys.float_info.max
        return bool(self.low < number < high if self.is_open else self.low <= number <= high)


LIMITS: Mapping[str, Limits] = {
    "max_iterations": Limits(int, 1),
    "max_depth": Limits(int, 1, 64),
    "step_size": Limits(float, 0, 1),
    "min_loss_reduction": Limits(float, 0),
    "min_child_weight": Limits(float, 0),
    "max_bins": Limits(int, 2, 65535),
    "max_categories": Limits(int, 1, 65535),
    "row_subsample": Limits(float, 1e-6, 1),
    "column_subsample": Limits(float, 0, 1),
    "reg_lambda": Limits(float, 0),
    "reg_alpha": Limits(float, 0),
    "max_leaves": Limits(int, 2, allows_none=True),
    "quantile": Limits(float, 0, 1, allows_none=True, is_open=True),
    "early_stopping_rounds": Limits(int, 1, allows_none=True),
    "model_checkpoint_interval": Limits(int, 0),
    "random_seed": Limits(int, 0, LARGEST_SEED, none_means=0, allows_none=True),
    "num_threads": Limits(int, 1, allows_none=True),
    "k": Limits(int, 1),
    "reset_probability": Limits(float, 0, 1),
    "threshold": Limits(float, 0),
    "self_weight": Limits(float, 0, 1e30),
}

CHOICES: Mapping[str, tuple[str, ...]] = {
    "objective": ("auto", "squared_error", "poisson", "quantile"),
    "categorical": ("onehot", "partition"),
    "averaging": ("margin", "probability"),
    "dangling": ("drop", "redistribute"),
    "precision": ("float64", "float32"),
}


def check_option(name: str, value: Any, own: Mapping[str, Limits] = MappingProxyType({})) -> Any:
    """``value`` as a plain int, float or None, if the limits of ``name`` allow it, or as one of its words; NumPy's scalars are numbers too.

    ``own``: limits of a toolkit that go before those of all. Raises :class:`OptionError` that says what is allowed and what came.
    """
    if name in CHOICES:
        return check_choice(name, value, CHOICES[name])
    limits = own.get(name) or LIMITS[name]
    if value is None and limits.allows_none:
        return limits.none_means
    if not limits.accepts(value):
        raise OptionError(f"{name} must be {limits}, got {value!r}")
    return limits.kind(value)


def check_flag(name: str, value: Any) -> bool:
    """A yes or no: ``True`` or ``False``, NumPy's too."""
    if not isinstance(value, bool) and type(value).__name__ not in ("bool", "bool_"):
        raise OptionError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def check_choice(name: str, value: Any, choices: Iterable[str]) -> str:
    """One word of ``choices``."""
    known = list(choices)
    if value not in known:
        raise OptionError(f"{name} must be one of {', '.join(map(repr, known))}, got {value!r}{near(str(value), known)}")
    return str(value)


def check_path(name: str, value: Any) -> str | None:
    """A path as text, or None."""
    if value is not None and (not isinstance(value, (str, os.PathLike)) or not os.fspath(value)):
        raise OptionError(f"{name} must be a path or None, got {value!r}")
    return None if value is None else str(os.fspath(value))


def check_column_name(name: str, value: Any) -> str:
    """The name of one column."""
    if not isinstance(value, str) or not value:
        raise OptionError(f"{name} must be the name of a column, got {value!r}")
    return value


def check_features(value: Any, target: str) -> list[str] | None:
    """The feature columns: None for all but the target, or a list of different names without it."""
    if value is None:
        return None
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise OptionError(f"features must be a list of column names or None, got {value!r}")
    names = list(value)
    for number, name in enumerate(names):
        if not isinstance(name, str):
            raise OptionError(f"features must be a list of column names or None, got {name!r} in it")
        if name == target:
            raise OptionError(f"features must not hold the target, got {target!r} in it")
        if name in names[:number]:
            raise OptionError(f"features must be different columns, got {name!r} twice")
    if not names:
        raise OptionError("features must name at least one column, got []; leave it out to use every column but the target")
    return names


def check_run_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of checkpoints."""
    options = {name: check_option(name, value) if name.endswith("interval") else check_path(name, value) for name, value in given.items()}
    if options["model_checkpoint_path"] is not None:
        storage.check_writable(options["model_checkpoint_path"])
    if options["resume_from_checkpoint"] == "auto" and options["model_checkpoint_path"] is None:
        raise OptionError("resume_from_checkpoint='auto' looks in model_checkpoint_path, got None: pass the folder of the checkpoints")
    return options


def kind_of(validation_set: Any) -> str | None:
    """What ranks compare of the validation set: its rows are agreed on when they are read."""
    return validation_set if validation_set is None or isinstance(validation_set, str) else "a dataset"


def refuse_unknown(unknown: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raise :class:`OptionError` if there are ``unknown`` options: which one, what may have been meant, and what there is."""
    for name in unknown:
        options = list(known)
        raise OptionError(f"unknown option {name!r}{near(name, options)}; the options are {', '.join(options)}")
