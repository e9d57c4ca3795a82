"""Option limits: every value is accepted as a plain number or refused in one sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.errors import OptionError
from engine.models._options import LIMITS, check_choice, check_features, check_flag, check_option, refuse_unknown


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("max_depth", 1, 1),
        ("max_depth", np.int32(64), 64),
        ("step_size", 0, 0.0),
        ("step_size", np.float32(0.5), 0.5),
        ("min_child_weight", 1e300, 1e300),
        ("max_bins", 65535, 65535),
        ("random_seed", None, 0),
        ("random_seed", 2**63 - 1, 2**63 - 1),
        ("num_threads", None, None),
    ],
)
def test_values_within_limits(name: str, value: Any, expected: Any) -> None:
    checked = check_option(name, value)
    assert checked == expected
    assert type(checked) is type(expected)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("max_depth", 0, "max_depth must be an integer in [1, 64], got 0"),
        ("max_depth", 6.0, "max_depth must be an integer in [1, 64], got 6.0"),
        ("max_depth", True, "max_depth must be an integer in [1, 64], got True"),
        ("max_depth", "6", "max_depth must be an integer in [1, 64], got '6'"),
        ("max_depth", None, "max_depth must be an integer in [1, 64], got None"),
        ("max_iterations", 0, "max_iterations must be an integer >= 1, got 0"),
        ("step_size", 1.5, "step_size must be a number in [0, 1], got 1.5"),
        ("step_size", float("nan"), "step_size must be a number in [0, 1], got nan"),
        ("min_loss_reduction", -1e-9, "min_loss_reduction must be a number >= 0, got -1e-09"),
        ("min_child_weight", float("inf"), "min_child_weight must be a number >= 0, got inf"),
        ("max_bins", 1, "max_bins must be an integer in [2, 65535], got 1"),
        ("random_seed", -1, "random_seed must be an integer in [0, 9223372036854775807] or None, got -1"),
        ("random_seed", 2**63, "random_seed must be an integer in [0, 9223372036854775807] or None, got 9223372036854775808"),
        ("num_threads", 0, "num_threads must be an integer >= 1 or None, got 0"),
    ],
)
def test_one_sentence_for_every_other_value(name: str, value: Any, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        check_option(name, value)
    assert str(caught.value) == message
    assert isinstance(caught.value, ValueError)


def test_numbers_too_large_for_a_float_are_refused() -> None:
    with pytest.raises(OptionError, match="min_child_weight must be"):
        check_option("min_child_weight", 10**400)


def test_unknown_option_names_the_near_ones_and_all() -> None:
    refuse_unknown({}, LIMITS)
    with pytest.raises(OptionError) as caught:
        refuse_unknown({"max_dept": 3}, ["max_iterations", "max_depth"])
    assert str(caught.value) == "unknown option 'max_dept' (did you mean 'max_depth'?); the options are max_iterations, max_depth"


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ("a", "features must be a list of column names or None, got 'a'"),
        ([1], "got 1 in it"),
        (["a", "y"], "must not hold the target, got 'y'"),
        (["a", "a"], "got 'a' twice"),
        ([], "at least one column"),
        (3, "got 3"),
    ],
)
def test_features_that_cannot_be(features: Any, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        check_features(features, "y")
    assert message in str(caught.value)


def test_features_flags_and_choices() -> None:
    assert check_features(None, "y") is None
    assert check_features(("b", "a"), "y") == ["b", "a"]
    assert check_flag("verbose", np.True_) is True
    with pytest.raises(OptionError, match="verbose must be True or False, got 1"):
        check_flag("verbose", 1)
    assert check_choice("output_type", "rank", ["rank", "margin"]) == "rank"
    with pytest.raises(OptionError, match=r"output_type must be one of 'rank', 'margin', got 'ranks' \(did you mean 'rank'\?\)"):
        check_choice("output_type", "ranks", ["rank", "margin"])
