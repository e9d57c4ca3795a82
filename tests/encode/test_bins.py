"""Bins: midpoints or quantiles, the same for any partition of the rows, and codes in the layouts that kernels read."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.collectives.communicator import Communicator
from engine.collectives.serial import SerialComm
from engine.data import stream
from engine.data.stream import table_stream
from engine.encode import bins
from engine.encode.bins import BinMatrix, BinSpec, encode_bins, fit_bins
from engine.encode.categories import fit_encoding
from engine.encode.encoding import Encoding
from tests.encode.test_panels import codes_of_panel
from tests.oracles import naive_bins
from tests.threads_comm import run_ranks


def fit(
    table: pa.Table,
    *,
    comm: Communicator | None = None,
    max_bins: int = 256,
    seed: int = 0,
    first_row: int = 0,
    n_rows: int | None = None,
    num_threads: int = 1,
) -> tuple[Encoding, list[BinSpec]]:
    comm = comm or SerialComm()
    rows = table_stream(table, first_row, n_rows)
    encoding = fit_encoding(rows, table.column_names, comm)
    return encoding, fit_bins(rows, encoding, max_bins=max_bins, seed=seed, comm=comm, num_threads=num_threads)


def spec_of(values: object, **options: int) -> BinSpec:
    column = values if isinstance(values, pa.Array) else pa.array(np.array(values, dtype=np.float64), from_pandas=True)
    (spec,) = fit(pa.table({"c": column}), **options)[1]
    return spec


def fit_parts(table: pa.Table, bounds: list[int], **options: int) -> list[list[BinSpec]]:
    """The bins that every rank chooses where rank r holds rows bounds[r] to bounds[r + 1]."""

    def run(comm: Communicator) -> list[BinSpec]:
        first, end = bounds[comm.rank], bounds[comm.rank + 1]
        return fit(table.slice(first, end - first), first_row=first, n_rows=table.num_rows, comm=comm, **options)[1]

    return run_ranks(len(bounds) - 1, run)


def same(a: list[BinSpec], b: list[BinSpec]) -> bool:
    return [(s.thresholds.tobytes(), s.has_missing, s.n_categories) for s in a] == [
        (s.thresholds.tobytes(), s.has_missing, s.n_categories) for s in b
    ]


def codes(matrix: BinMatrix, column: int) -> list[int]:
    kind = matrix.wide if matrix.is_wide[column] else matrix.narrow
    return kind[matrix.position[column]].tolist()


def test_midpoints_where_distinct_values_fit() -> None:
    spec = spec_of([3, 1, 3, 2, 1])
    assert (spec.thresholds.tolist(), spec.has_missing, spec.n_codes) == ([1.5, 2.5], False, 3)
    spec = spec_of([3, 1, np.nan, 2, 1])
    assert (spec.thresholds.tolist(), spec.has_missing, spec.n_codes) == ([1.5, 2.5], True, 4)


def test_missing_values_take_one_of_the_codes() -> None:
    values = [1.0, 2.0, 3.0, 4.0]
    assert spec_of(values, max_bins=4).thresholds.tolist() == [1.5, 2.5, 3.5]
    spec = spec_of([*values, np.nan], max_bins=4)
    assert len(spec.thresholds) == 2
    assert spec.n_codes == 4


@pytest.mark.parametrize(("values", "n_codes"), [([5.0], 1), ([np.nan], 2), ([np.nan, 5.0], 2), ([], 1)])
def test_columns_that_say_nothing(values: list[float], n_codes: int) -> None:
    spec = spec_of(values)
    assert (spec.thresholds.tolist(), spec.n_codes) == ([], n_codes)


def test_the_fewest_bins() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=1001)
    spec = spec_of(values, max_bins=2)
    assert spec.n_codes == 2
    assert (values < spec.thresholds[0]).sum() in (500, 501)
    assert spec_of([*values, np.nan], max_bins=2).n_codes == 2
    assert spec_of(pa.array([["a"], [], ["a"]]), max_bins=2).n_codes == 2


@pytest.mark.parametrize("max_bins", [3, 255, 256, 257, 1000])
def test_quantiles_hold_equally_many_rows(max_bins: int) -> None:
    values = np.random.default_rng(1).normal(size=5000)
    table = pa.table({"c": values})
    encoding, specs = fit(table, max_bins=max_bins)
    assert specs[0].n_codes == max_bins
    matrix = encode_bins(table_stream(table), encoding, specs, num_threads=2)
    assert bool(matrix.is_wide[0]) == (max_bins > 256)
    counts = np.bincount(codes(matrix, 0), minlength=max_bins)
    assert counts.max() - counts.min() <= 1


def test_the_most_bins() -> None:
    values = np.random.default_rng(2).permutation(70_000).astype(np.float64)
    values[:3] = np.nan
    table = pa.table({"c": pa.array(values, from_pandas=True)})
    encoding, specs = fit(table, max_bins=65_535)
    assert specs[0].n_codes == 65_535
    matrix = encode_bins(table_stream(table), encoding, specs, num_threads=1)
    assert matrix.wide.max() == 65_534
    assert codes(matrix, 0)[:3] == [65_534] * 3
    counts = np.bincount(matrix.wide[0, 3:], minlength=65_534)
    assert (counts.min(), counts.max()) == (1, 2)


def test_a_spike_leaves_bins_for_the_rest() -> None:
    values = np.concatenate([np.zeros(10_000), np.random.default_rng(3).normal(size=1000)])
    spec = spec_of(values, max_bins=64)
    assert spec.n_codes > 55
    zeros = naive_bins(np.zeros(1), spec.thresholds.tolist(), 0)
    assert np.bincount(naive_bins(values, spec.thresholds.tolist(), 0))[zeros[0]] <= 10_040


def test_extreme_values_get_bins_of_their_own() -> None:
    largest = np.finfo(np.float64).max
    spec = spec_of([-np.inf, -largest, -1.0, -5e-324, -0.0, 0.0, 5e-324, 1.0, np.inf])
    assert spec.n_codes == 7  # infinity is the largest number, and there is one zero
    assert np.isfinite(spec.thresholds).all()


def test_categories_keep_their_numbers() -> None:
    table = pa.table({"c": ["b", None, "a", "b"]})
    encoding, specs = fit(table, max_bins=2)
    assert specs[0].n_codes == 3
    assert codes(encode_bins(table_stream(table), encoding, specs, num_threads=1), 0) == [1, 2, 0, 1]


def test_many_categories_are_wide() -> None:
    words = [f"{i:04}" for i in range(257)]
    table = pa.table({"wide": words, "narrow": [*words[:256], "0000"]})
    encoding, specs = fit(table)
    matrix = encode_bins(table_stream(table), encoding, specs, num_threads=1)
    assert (matrix.is_wide.tolist(), matrix.position.tolist()) == ([1, 0], [0, 0])
    assert codes(matrix, 0) == list(range(257))
    assert codes(matrix, 1) == [*range(256), 0]


columns = st.lists(
    st.tuples(st.none() | st.floats(), st.none() | st.integers(0, 4), st.none() | st.sampled_from(["a", "b"])), min_size=0, max_size=40
)


@settings(max_examples=40)
@given(columns, st.lists(st.integers(0, 40), max_size=6), st.sampled_from([2, 3, 8, 300]), st.integers(1, 3), st.sampled_from([10, 1000]))
def test_any_partition_gives_the_same_bins(rows: list[tuple], cuts: list[int], max_bins: int, batch: int, quantile_rows: int) -> None:
    types = (pa.float64(), pa.int64(), pa.string())
    table = pa.table({name: pa.array([row[i] for row in rows], type=types[i]) for i, name in enumerate("xns")})
    bounds = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bins, "QUANTILE_ROWS", quantile_rows)
        alone = fit(table, max_bins=max_bins)[1]
        patch.setattr(bins, "BATCH_BYTES", 8 * quantile_rows * batch)
        for specs in fit_parts(table, bounds, max_bins=max_bins):
            assert same(specs, alone)
    for spec in alone:
        assert (np.diff(spec.thresholds) > 0).all()
        assert spec.n_categories or spec.n_codes <= max_bins


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
def test_sampled_quantiles_are_the_same_on_any_rank_count(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bins, "QUANTILE_ROWS", 500)
    rng = np.random.default_rng(4)
    n = 3000
    table = pa.table({"a": rng.normal(size=n), "b": pa.array(np.where(rng.random(n) < 0.3, np.nan, rng.random(n)), from_pandas=True)})
    alone = fit(table, max_bins=32, seed=9)[1]
    for specs in fit_parts(table, [n * r // size for r in range(size + 1)], max_bins=32, seed=9):
        assert same(specs, alone)
    assert not same(fit(table, max_bins=32, seed=10)[1], alone)
    counts = np.bincount(naive_bins(table["a"].to_numpy(), alone[0].thresholds.tolist(), 0), minlength=32)
    assert counts.min() > n / 32 / 3
    assert counts.max() < n / 32 * 3


@pytest.mark.parametrize("bounds", [[0, 1000], [0, 0, 400, 400, 1000], [0, 1000, 1000]])
def test_the_sample_is_that_of_the_smallest_hashes(bounds: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bins, "QUANTILE_ROWS", 300)
    hashes = np.empty(1000, dtype=np.uint64)
    bins.hash_counters(7, 0, hashes)

    def sample(comm: Communicator) -> NDArray[np.int64]:
        first, end = bounds[comm.rank], bounds[comm.rank + 1]
        return first + bins.sample_rows(end - first, first_row=first, n_rows=1000, seed=7, comm=comm)

    chosen = np.concatenate(run_ranks(len(bounds) - 1, sample))
    assert chosen.tolist() == sorted(np.argsort(hashes)[:300].tolist())


def test_codes_and_panels_hold_the_same() -> None:
    rng = np.random.default_rng(5)
    n = 999
    table = pa.table({f"x{j}": rng.integers(0, 300 if j % 7 == 0 else 9, n) for j in range(40)})
    encoding, specs = fit(table, max_bins=400)
    matrix = encode_bins(table_stream(table), encoding, specs, num_threads=2)
    assert matrix.is_wide.tolist() == [int(j % 7 == 0) for j in range(40)]
    for j, spec in enumerate(specs):
        assert codes(matrix, j) == naive_bins(table.column(j).to_numpy().astype(float), spec.thresholds.tolist(), spec.n_codes - 1)
    assert_panels_hold_the_codes(matrix)


def assert_panels_hold_the_codes(matrix: BinMatrix) -> None:
    for panel in matrix.panel.tolist():
        narrow, wide = codes_of_panel(panel, matrix.panels, matrix.n_rows_local)
        assert (matrix.narrow[panel[0] : panel[1]] == narrow.T).all()
        assert (matrix.wide[panel[2] : panel[3]] == wide.T).all()


def test_no_rows_and_no_columns() -> None:
    table = pa.table({"x": pa.array([], type=pa.float64()), "s": pa.array([], type=pa.string())})
    encoding, specs = fit(table)
    matrix = encode_bins(table_stream(table), encoding, specs, num_threads=2)
    assert (matrix.n_rows_local, matrix.narrow.shape) == (0, (len(specs), 0))
    nothing = pa.table({"v": pa.array([[], []], type=pa.list_(pa.float64()))})
    encoding, specs = fit(nothing)
    matrix = encode_bins(table_stream(nothing), encoding, specs, num_threads=1)
    assert (specs, matrix.n_rows_local, matrix.narrow.shape, matrix.wide.shape) == ([], 2, (0, 2), (0, 2))


@pytest.mark.parametrize("quantile_rows", [100, 10_000])
def test_batches_and_threads_change_nothing(quantile_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bins, "QUANTILE_ROWS", quantile_rows)
    monkeypatch.setattr(bins, "HASHED_ROWS", 77)
    rng = np.random.default_rng(6)
    n = 1000
    table = pa.table(
        {
            "single": pa.array(np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)).astype(np.float32)),
            "few": rng.integers(0, 9, n).astype(np.float32),
            "double": rng.normal(size=n),
            "holes": pa.array(rng.integers(0, 99, n), mask=rng.random(n) < 0.2),
            "words": rng.choice(["a", "b", "c"], n),
            "v": pa.array(list(rng.normal(size=(n, 20))), type=pa.list_(pa.float64())),
            "m": pa.array([[("a", 1.0), ("b", float(i))][: i % 3] for i in range(n)], type=pa.map_(pa.string(), pa.float64())),
            "tags": pa.array([["red", "big"][: i % 3] for i in range(n)], type=pa.list_(pa.string())),
        }
    )
    encoding, specs = fit(table, max_bins=32)
    matrix = encode_bins(table_stream(table), encoding, specs, num_threads=1)
    monkeypatch.setattr(stream, "MOST_BATCH_ROWS", 37)
    monkeypatch.setattr(bins, "BATCH_BYTES", 8 * 5 * 1000)
    other, others = fit(table, max_bins=32, num_threads=2)
    assert other == encoding
    assert same(others, specs)
    made: list[str] = []

    def allocate(name: str, shape: tuple[int, ...], dtype: type) -> NDArray:
        made.append(name)
        return np.full(shape, 99, dtype=dtype)

    parts = encode_bins(table_stream(table), other, others, num_threads=2, allocate=allocate)
    assert sorted(made) == ["narrow bins", "panels of bins", "wide bins"]
    for name in ("narrow", "wide", "panel"):
        assert getattr(parts, name).tobytes() == getattr(matrix, name).tobytes(), name
    assert_panels_hold_the_codes(parts)


def test_single_precision_gives_the_bins_of_its_values() -> None:
    values = np.random.default_rng(8).normal(size=4000).astype(np.float32)
    values[:4] = [np.inf, -np.inf, -0.0, np.nan]
    (encoding, single), (_, double) = fit(pa.table({"c": values})), fit(pa.table({"c": values.astype(np.float64)}))
    assert same(single, double)
    found = [encode_bins(table_stream(pa.table({"c": c})), encoding, single, num_threads=1) for c in (values, values.astype(np.float64))]
    assert codes(found[0], 0) == codes(found[1], 0)


def test_columns_that_hold_nothing() -> None:
    table = pa.table({"none": pa.nulls(3, pa.float64()), "words": pa.nulls(3, pa.string()), "some": [None, 1.0, None], "zero": [0.0] * 3})
    for size in (1, 2):
        for specs in fit_parts(table, [0, *[2] * (size - 1), 3]):
            assert [spec.has_values for spec in specs] == [False, False, True, True]
