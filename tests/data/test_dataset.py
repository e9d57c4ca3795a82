"""A dataset is a description: lazy, selected from, split, looked at."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from engine import storage
from engine.collectives.serial import SerialComm
from engine.data import csv_text
from engine.data.dataset import Dataset, as_dataset
from engine.data.shard import read_shard
from engine.data.splits import Split, mix_ids
from engine.errors import DataError, MissingFileError, OptionError
from engine.run import open_rows
from engine.spec import JobSpec
from tests.reading import joined, read_everywhere, read_on

N_ROWS = 2000


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("id,x,s\n" + "".join(f"{i},{i / 4},t{i % 3}\n" for i in range(N_ROWS)))
    return str(path)


def test_nothing_is_opened_until_asked(monkeypatch):
    monkeypatch.setattr(storage, "list_files", lambda paths: pytest.fail("a file was listed"))
    monkeypatch.setattr(storage, "open_file", lambda path: pytest.fail("a file was opened"))
    dataset = Dataset("no/such/file.csv", column_types={"a": int})
    first, _ = dataset.select(["a", "b"]).random_split(0.5, seed=7)
    assert as_dataset(first) is first
    assert repr(first) == "Dataset('no/such/file.csv', column_types={'a': 'int64'}).select(['a', 'b']).random_split(0.5, seed=7)[0]"


def test_repr():
    assert repr(Dataset("a.csv")) == "Dataset('a.csv')"
    assert (
        repr(Dataset(["a", "b"], format="csv", delimiter=";", header=False))
        == "Dataset(['a', 'b'], format='csv', delimiter=';', header=False)"
    )
    assert repr(Dataset({"a": [1, 2]}, sharded=True)) == "Dataset(<table of 2 rows, 1 columns>, sharded=True)"


def test_accessors(path):
    dataset = Dataset(path)
    assert dataset.columns == ["id", "x", "s"]
    assert dataset.num_rows == N_ROWS
    assert dataset.schema == pa.schema([("id", pa.int64()), ("x", pa.float64()), ("s", pa.string())])
    assert dataset.to_table().num_rows == N_ROWS
    with pytest.raises(MissingFileError):
        Dataset("no.csv").schema  # noqa: B018


def test_select(path):
    chosen = Dataset(path).select(["s", "id"])
    assert (chosen.columns, chosen.num_rows, chosen.schema.names) == (["s", "id"], N_ROWS, ["s", "id"])
    assert read_everywhere(lambda: chosen.select(["id"])).column_names == ["id"]
    assert joined(read_on(2, lambda: chosen, ["id"])).column_names == ["id"]
    for wrong in ([], "id"):
        with pytest.raises(OptionError, match="columns: expected a list"):
            Dataset(path).select(wrong)
    with pytest.raises(DataError, match="more than once"):
        Dataset(path).select(["id", "id"])
    with pytest.raises(DataError, match="got 'x'; did you mean"):
        chosen.select(["x"])
    with pytest.raises(DataError, match="got 'x'"):
        read_on(2, lambda: chosen, ["x"])
    with pytest.raises(DataError, match="got 'ix'; did you mean 'x'|got 'ix'; did you mean 'id'"):
        Dataset(path).select(["ix"]).head()


def test_head_reads_little(path, monkeypatch):
    monkeypatch.setattr(csv_text, "HEADER_BYTES", 100)
    read = []
    original = csv_text.TextReader.read
    monkeypatch.setattr(csv_text.TextReader, "read", lambda self, length: read.append(original(self, length)) or read[-1])
    monkeypatch.setattr("engine.data.csv.SAMPLE_BYTES", 200)
    table = Dataset(path).select(["s", "x"]).head(3)
    assert table.to_pydict() == {"s": ["t0", "t1", "t2"], "x": [0.0, 0.25, 0.5]}
    assert sum(map(len, read)) < 1000


def test_head_of_everything(path, tmp_path):
    dataset = Dataset(path)
    assert dataset.head(10**6).equals(dataset.to_table().combine_chunks())
    assert dataset.head(0).num_rows == 0
    assert dataset.head().num_rows == 10
    with pytest.raises(OptionError, match="n: expected 0 or more, got -1"):
        dataset.head(-1)


def test_head_takes_the_type_of_all_rows_once_known(tmp_path):
    path = tmp_path / "late.csv"
    path.write_text("a\n" + "01\n" * 20000 + "x\n")
    dataset = Dataset(path)
    assert dataset.head(2).to_pydict() == {"a": [1, 1]}
    assert dataset.schema.field("a").type == pa.string()
    assert dataset.head(2).to_pydict() == {"a": ["01", "01"]}


def test_default_types_hold_where_the_user_says_nothing(tmp_path):
    path = tmp_path / "codes.csv"
    path.write_text("a,b\n01,02\n03,04\n")
    dataset = Dataset(path, column_types={"b": int})
    defaults = dataset.with_default_types({"a": pa.string(), "b": pa.string()})
    assert read_everywhere(lambda: defaults).to_pydict() == {"a": ["01", "03"], "b": [2, 4]}
    assert dataset.to_table().to_pydict() == {"a": [1, 3], "b": [2, 4]}
    table = Dataset({"a": [1]})
    assert table.with_default_types({"a": pa.string()}).to_table().to_pydict() == {"a": [1]}


def test_facts_are_read_once(path, monkeypatch):
    dataset = Dataset(path)
    read_shard(dataset, SerialComm())
    monkeypatch.setattr(csv_text, "read_pieces", lambda *_: pytest.fail("read again"))
    monkeypatch.setattr("engine.data.csv.read_pieces", lambda *_, **__: pytest.fail("read again"))
    assert dataset.num_rows == N_ROWS
    assert dataset.select(["x"]).schema == pa.schema([("x", pa.float64())])


# --- random_split ---


def test_splits_are_the_same_rows_on_any_number_of_ranks(path):
    first, second = Dataset(path).random_split(0.3, seed=5)
    kept, others = read_everywhere(lambda: first), read_everywhere(lambda: second)
    assert sorted(kept.column("id").to_pylist() + others.column("id").to_pylist()) == list(range(N_ROWS))
    assert kept.column("id").to_pylist() == sorted(kept.column("id").to_pylist())
    assert (first.num_rows, second.num_rows) == (kept.num_rows, others.num_rows)
    assert abs(kept.num_rows - 0.3 * N_ROWS) < 80
    table = Dataset(path).to_table()
    assert read_everywhere(lambda: Dataset(table).random_split(0.3, seed=5)[0]).equals(kept.combine_chunks())


def test_splits_of_splits_draw_anew(path):
    once, _ = Dataset(path).random_split(0.5, seed=1)
    twice, rest = once.random_split(0.5, seed=1)
    kept, others = read_everywhere(lambda: twice), read_everywhere(lambda: rest)
    assert (twice.num_rows, rest.num_rows) == (kept.num_rows, others.num_rows)
    assert kept.num_rows + others.num_rows == once.num_rows
    assert abs(kept.num_rows - N_ROWS / 4) < 80


def test_head_of_a_split(path):
    first, _ = Dataset(path).random_split(0.01, seed=2)
    assert first.head(5).equals(first.to_table().slice(0, 5).combine_chunks())
    assert first.head(10**4).num_rows == first.num_rows


def test_extreme_fractions(path):
    everything, nothing = Dataset(path).random_split(1.0)
    assert (everything.num_rows, nothing.num_rows) == (N_ROWS, 0)
    assert read_everywhere(lambda: nothing).num_rows == 0
    assert read_everywhere(lambda: Dataset(path).random_split(0)[1]).num_rows == N_ROWS


@pytest.mark.parametrize(("fraction", "seed"), [(1.5, 0), (-0.1, 0), (float("nan"), 0), (True, 0), ("half", 0), (0.5, 1.0), (0.5, None)])
def test_wrong_splits(fraction, seed):
    with pytest.raises(OptionError, match=r"(fraction|seed): expected"):
        Dataset("x.csv").random_split(fraction, seed)


def test_the_hash_is_splitmix64():
    mask = 2**64 - 1

    def scramble(x):
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & mask
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB & mask
        return x ^ (x >> 31)

    golden = 0x9E3779B97F4A7C15
    for seed in (0, 1, -1, 2**63, 12345):
        start = scramble(((seed & mask) + golden) & mask)
        expected = [scramble((start + i * golden) & mask) for i in (0, 1, 2, 10**12)]
        assert mix_ids(seed, np.array([0, 1, 2, 10**12], dtype=np.uint64)).tolist() == expected
    assert scramble(golden) == 0xE220A8397B1DCDAF  # the first output of splitmix64 seeded with 0, as published


def test_splits_depend_on_seed_and_id_alone():
    split = Split(seed=3, fraction=0.5, first=True)
    whole = split.keeps(0, 1000)
    assert np.array_equal(np.concatenate([split.keeps(0, 333), split.keeps(333, 667)]), whole)
    assert np.array_equal(~whole, Split(3, 0.5, first=False).keeps(0, 1000))
    assert 0.4 < np.mean(whole == Split(4, 0.5, first=True).keeps(0, 1000)) < 0.6


def test_a_job_can_say_what_a_dataset_is(path, monkeypatch):
    """Described, sent as JSON, and opened elsewhere: the same rows; nothing is opened to describe them."""
    files = Dataset([path, path], delimiter=",", null_values=["t1"], column_types={"id": pa.int32(), "s": str})
    derived = files.select(["s", "id"]).random_split(0.5, seed=9)[1].random_split(0.25, seed=-1)[0]
    with monkeypatch.context() as blind:
        blind.setattr(storage, "list_files", lambda paths: pytest.fail("a file was listed"))
        spec = derived.as_spec()
    assert spec.paths == (path, path)
    job = JobSpec(task="evaluate", model="m", data=spec)
    assert open_rows(JobSpec.from_json(job.to_json()).data).to_table().equals(derived.to_table())
    assert Dataset({"x": [1]}).as_spec() is None


def test_a_job_knows_no_time_zones(path):
    with pytest.raises(OptionError, match=r"column_types: a job knows no type of the name 'timestamp\[us, tz=UTC\]'"):
        Dataset(path, column_types={"x": pa.timestamp("us", "UTC")}).as_spec()


@pytest.mark.parametrize("kind", ["files", "memory", "split"])
def test_batches_are_the_rows_in_order(path, kind):
    data = {"files": Dataset(path), "memory": Dataset({"x": np.arange(9, dtype=np.float32)}), "split": Dataset(path).random_split(0.3)[0]}[
        kind
    ]
    batches = list(data.batches())
    assert pa.Table.from_batches(batches).equals(data.to_table())
    assert {batch.schema for batch in batches} == {data.schema}
