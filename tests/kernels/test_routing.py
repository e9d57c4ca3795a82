"""Routing rows by bin codes, and hashes of rows: what one element at a time would give, on any threads and in any parts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from engine._kernels.routing import add_tree_values, hash_rows
from hypothesis import given
from hypothesis import strategies as st

from engine.models._trees.ensemble import CATEGORY, LEAF, NUMERIC, SUBSET
from tests.oracles import naive_route

N_CODES = (5, 256, 300, 70)  # narrow, narrow, wide, narrow
IS_WIDE = np.array([0, 0, 1, 0], dtype=np.uint8)
POSITION = np.array([0, 1, 0, 2], dtype=np.int32)
MISSING = np.array([4, -1, 299, -1], dtype=np.int32)


def random_tree(rng: np.random.Generator, n_splits: int) -> dict[str, Any]:
    """A tree as lists; numbers are asked with thresholds, columns without a missing code may be asked for categories and sets too."""
    names = ("kind", "column", "code", "missing_yes", "yes", "no", "value")
    tree: dict[str, Any] = {name: [] for name in names} | {"sets": []}
    n_nodes, splits = 1, 0
    while len(tree["kind"]) < n_nodes:
        left = n_nodes - len(tree["kind"])
        row: tuple[Any, ...] = (LEAF, -1, -1, 0, -1, -1, rng.normal())
        if splits < n_splits and (left == 1 or rng.random() < 0.6):
            column = int(rng.integers(4))
            kind = int(rng.choice([NUMERIC, CATEGORY, SUBSET] if MISSING[column] < 0 else [NUMERIC]))
            code = int(rng.integers(N_CODES[column] - (MISSING[column] >= 0)))
            if kind == SUBSET:
                tree["sets"].append(set(rng.integers(0, N_CODES[column], rng.integers(0, 9)).tolist()))
                code = len(tree["sets"]) - 1
            row = (kind, column, code, int(rng.integers(2)), n_nodes, n_nodes + 1, 0.0)
            n_nodes, splits = n_nodes + 2, splits + 1
        for name, value in zip(names, row, strict=True):
            tree[name].append(value)
    return tree


def pack_sets(sets: list[set[int]]) -> tuple[np.ndarray, np.ndarray]:
    starts, words = [0], []
    for each in sets:
        n_words = max(each, default=-1) // 64 + 1
        words += [sum(1 << (c % 64) for c in each if c // 64 == word) for word in range(n_words)]
        starts.append(len(words))
    return np.array(starts, dtype=np.int64), np.array(words, dtype=np.uint64)


def layout(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes [n_columns, n] as narrow and wide ones."""
    return np.ascontiguousarray(codes[[0, 1, 3]]).astype(np.uint8), np.ascontiguousarray(codes[[2]]).astype(np.uint16)


def route(tree: dict[str, Any], codes: np.ndarray, rows: list[int] | None, num_threads: int) -> np.ndarray:
    types = {
        "kind": np.uint8,
        "column": np.int32,
        "code": np.int32,
        "missing_yes": np.uint8,
        "yes": np.int32,
        "no": np.int32,
        "value": float,
    }
    arrays = [np.array(tree[name], dtype=dtype) for name, dtype in types.items()]
    scores = np.arange(codes.shape[1], dtype=np.float64)
    picked = np.array(rows or [], dtype=np.uint32)
    add_tree_values(
        *layout(codes), IS_WIDE, POSITION, MISSING, *arrays, *pack_sets(tree["sets"]), picked, rows is None, scores, num_threads
    )  # fmt: skip
    return scores


@given(seed=st.integers(0, 2**32 - 1), n_splits=st.integers(0, 40), n=st.integers(0, 3000), num_threads=st.integers(1, 3))
def test_rows_go_where_they_would_one_by_one(seed: int, n_splits: int, n: int, num_threads: int) -> None:
    rng = np.random.default_rng(seed)
    tree = random_tree(rng, n_splits)
    codes = np.stack([rng.integers(0, n_codes, n) for n_codes in N_CODES])
    some = rng.permutation(n)[: n // 3].tolist()
    every, picked = route(tree, codes, None, num_threads), route(tree, codes, some, num_threads)
    for row in range(0, n, 1 + n // 50):
        leaf = naive_route(tree, codes[:, row].tolist(), MISSING.tolist())
        assert every[row] == row + tree["value"][leaf]
        assert picked[row] == (every[row] if row in some else row)


def test_a_root_without_columns() -> None:
    scores = np.zeros(3)
    no, leaf = np.empty(0, dtype=np.int32), np.full(1, -1, dtype=np.int32)
    add_tree_values(
        np.empty((0, 3), np.uint8), np.empty((0, 3), np.uint16), no.astype(np.uint8), no, no, np.zeros(1, np.uint8), leaf, leaf,
        np.zeros(1, np.uint8), leaf, leaf, np.array([0.5]), np.zeros(1, np.int64), np.empty(0, np.uint64), np.empty(0, np.uint32),
        True, scores, 2,
    )  # fmt: skip
    assert scores.tolist() == [0.5] * 3


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(0, 2500), cut=st.integers(0, 2500), num_threads=st.integers(1, 3))
def test_hashes_add_up_however_rows_are_dealt_out(seed: int, n: int, cut: int, num_threads: int) -> None:
    rng = np.random.default_rng(seed)
    codes, words = np.stack([rng.integers(0, n_codes, n) for n_codes in N_CODES]), rng.integers(0, 2**63, (2, n)).astype(np.uint64)

    def part(begin: int, end: int) -> int:
        cut_words = np.ascontiguousarray(words[:, begin:end])
        return hash_rows(*layout(codes[:, begin:end]), cut_words, begin, num_threads)

    cut = min(cut, n)
    assert part(0, n) == (part(0, cut) + part(cut, n)) % 2**64


@pytest.mark.parametrize("where", ["narrow", "wide", "words", "order"])
def test_any_change_of_a_row_changes_the_hash(where: str) -> None:
    rng = np.random.default_rng(5)
    arrays = {"narrow": rng.integers(0, 200, (2, 99), np.uint8), "wide": rng.integers(0, 999, (1, 99), np.uint16)}
    arrays["words"] = rng.integers(0, 99, (1, 99)).astype(np.uint64)
    before = hash_rows(*arrays.values(), 0, 1)
    if where == "order":
        arrays = {name: np.ascontiguousarray(array[:, ::-1]) for name, array in arrays.items()}
    else:
        arrays[where][0, 50] += 1
    assert hash_rows(*arrays.values(), 0, 1) != before
