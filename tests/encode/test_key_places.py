"""Places of keys of any type among text, against a dictionary of Python."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.encode.key_places import LEAST_TABLE, KeyPlaces

LARGEST = 2**63 - 1


def places(items: list[str], keys: list) -> list[int]:
    known = {item: place for place, item in enumerate(items)}
    return [known.get(str(key), -1) for key in keys]


@pytest.mark.parametrize(
    "keys",
    [
        pa.array([7, 0, -3, 8, 10**6, -LARGEST, LARGEST], pa.int64()),
        pa.array([7, 0, 8, 200], pa.uint8()),
        pa.array([], pa.int32()),
        pa.array(["7", "07", "", "ä", "-3", "-0", "1e2"]),
        pa.array(["7", "ä"], pa.large_string()),
        pa.array([7, 0], pa.int64()).slice(1),
    ],
)
def test_keys_of_every_type(keys: pa.Array) -> None:
    large = [str(2**63 - 1), str(-(2**63)), str(2**63), str(-(2**63) - 1), str(10**18), "9" * 18, "9" * 20]
    items = ["-3", "-0", "0", "07", "7", "7\n", "8", "ä", *large]
    assert KeyPlaces(items).find(keys).tolist() == places(items, keys.to_pylist())


def test_numbers_are_found_as_they_are_written() -> None:
    assert KeyPlaces(["0.5", "1", "true"]).find(pa.array([0.5, 1.0, 2.0])).tolist() == [0, 1, -1]
    assert KeyPlaces(["false", "true"]).find(pa.array([True, False])).tolist() == [1, 0]


@pytest.mark.parametrize("items", [[], ["a"], ["0", str(2**60)]])
def test_no_integers_and_integers_far_apart(items: list[str]) -> None:
    keys = [0, 1, 2**60, -(2**60)]
    assert KeyPlaces(items).find(pa.array(keys, pa.int64())).tolist() == places(items, keys)


@given(
    st.lists(st.integers(-(10**17), 10**17), unique=True, max_size=20),
    st.lists(st.integers(-LARGEST, LARGEST), max_size=20),
    st.integers(1, 2 * LEAST_TABLE),
)
def test_integers_against_a_dictionary(numbers: list[int], others: list[int], spread: int) -> None:
    items = [str(number % spread) for number in numbers] + [str(number) for number in numbers[:2]]
    items = list(dict.fromkeys(items))
    keys = [*numbers, *(number % spread for number in numbers), *others, 0, -1, spread]
    found = KeyPlaces(items).find(pa.array(keys, pa.int64()))
    assert found.dtype == np.int32
    assert found.tolist() == places(items, keys)
