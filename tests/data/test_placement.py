"""Shares are read by ranks of the hosts that have them, and it does not matter to any number who reads what."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linear_sum_assignment

from engine import storage
from engine.collectives.serial import SerialComm
from engine.data import placement
from engine.data.placement import FileBlocks, count_local_bytes, near_blocks, place_ranks
from engine.data.shard import read_shard
from engine.errors import MissingFileError
from engine.models import linear_regression
from tests.threads_comm import run_ranks


def file_of(*hosts, length=100, is_whole=False):
    """A file of one block per list of hosts."""
    blocks = [storage.Block(length * number, length, list(names)) for number, names in enumerate(hosts)]
    return FileBlocks(length * len(hosts), is_whole, blocks)


class TestCountLocalBytes:
    def test_blocks_and_shares_that_do_not_meet(self):
        files = [file_of(["a"], ["b"], ["A", "c"])]  # 300 bytes: shares are 0-150 and 150-300
        assert count_local_bytes(files, [["a"], ["b", "x"]]).tolist() == [[100, 100], [50, 50]]

    def test_files_that_cannot_be_cut_and_empty_ones(self):
        files = [file_of(["a"], ["a"], is_whole=True), file_of(), file_of(["b"])]
        assert count_local_bytes(files, [["b"], ["a"]]).tolist() == [[0, 100], [200, 0]]

    def test_more_ranks_than_bytes(self):
        local = count_local_bytes([file_of(["a"], length=2)], [["a"]] * 5)
        assert local.shape == (5, 5)
        assert local.sum(axis=1).tolist() == [2] * 5

    def test_nothing_at_all(self):
        assert not count_local_bytes([], [["a"], ["b"]]).any()


class TestPlaceRanks:
    def test_each_share_goes_to_its_host(self):
        local = np.array([[0, 7, 0], [0, 0, 5], [9, 0, 0]])
        assert place_ranks(local) == [2, 0, 1]

    def test_a_root_that_stays(self):
        local = np.array([[0, 7, 0], [0, 0, 5], [9, 6, 0]])
        assert place_ranks(local, root_stays=True) == [0, 2, 1]
        assert place_ranks(np.array([[0, 1], [1, 0]]), root_stays=True) == [0, 1]

    def test_numbers_stay_where_nothing_is_gained(self):
        assert place_ranks(np.ones((4, 4), dtype=np.int64)) == [0, 1, 2, 3]
        assert place_ranks(np.zeros((1, 1), dtype=np.int64), root_stays=True) == [0]

    @given(st.integers(1, 6).flatmap(lambda n: arrays(np.int64, (n, n), elements=st.integers(0, 20))), st.booleans())
    def test_nothing_is_left_to_gain(self, local, root_stays):
        order = place_ranks(local, root_stays=root_stays)
        assert sorted(order) == list(range(len(local)))
        gained = local[order, np.arange(len(local))].sum()
        assert gained >= np.trace(local)
        if not root_stays:
            assert gained == local[linear_sum_assignment(local, maximize=True)].sum()
        again = place_ranks(local[order], root_stays=root_stays)
        assert again == list(range(len(local)))


def read_as(monkeypatch, path, hosts, blocks, *, root_stays=False):
    """What ranks on these hosts read of a local file that is said to lie so: by the number they began with, rows and first row."""
    monkeypatch.setattr(placement.storage, "block_hosts", lambda file: blocks)

    def read(comm):
        named = _OnHost(comm, hosts)
        near = near_blocks(named, str(path), root_stays=root_stays)
        shard = read_shard(placement.as_dataset(str(path)), near)
        return near.rank, shard.first_row, shard.table["x"].to_pylist()

    return run_ranks(len(hosts), read)


class _OnHost:
    """A rank's communicator whose first exchange, of names of hosts, says what the test wants."""

    def __init__(self, comm, hosts):
        self._comm, self._hosts = comm, hosts

    def __getattr__(self, name):
        return getattr(self._comm, name)

    def gather_objects(self, value, *, name):
        if name == "reading: hosts":
            return [[host] for host in self._hosts]
        return self._comm.gather_objects(value, name=name)


@pytest.fixture
def path(tmp_path):
    """Rows that say where they are."""
    (tmp_path / "t.csv").write_text("x,y\n" + "".join(f"{k:07d},{k % 7}\n" for k in range(400)))
    return tmp_path / "t.csv"


def test_rows_keep_their_order_whoever_reads_them(monkeypatch, path):
    size = path.stat().st_size
    blocks = [storage.Block(0, size // 2, ["b"]), storage.Block(size // 2, size - size // 2, ["a"])]
    found = read_as(monkeypatch, path, ["a", "a", "b", "b"], blocks)
    assert sorted(number for number, _, _ in found[:2]) == [2, 3]
    in_order = sorted(found)
    assert [row for _, _, rows in in_order for row in rows] == list(range(400))
    assert all(rows[0] == first for _, first, rows in in_order if rows)
    stays = read_as(monkeypatch, path, ["a", "a", "b", "b"], blocks, root_stays=True)
    assert stays[0][0] == 0
    assert stays[1][0] in (2, 3)


def test_more_ranks_than_rows(monkeypatch, tmp_path):
    (tmp_path / "t.csv").write_text("x\n7\n")
    found = read_as(monkeypatch, tmp_path / "t.csv", ["a", "b", "c"], [storage.Block(0, 4, ["c"])])
    assert [rows for _, _, rows in sorted(found) if rows] == [[7]]


@pytest.mark.parametrize("hosts", [["a"] * 3, ["a", "b", "c"]])
def test_numbers_stay_on_one_host_and_where_nobody_knows_of_blocks(monkeypatch, path, hosts):
    assert [number for number, _, _ in read_as(monkeypatch, path, hosts, [])] == [0, 1, 2]


def test_what_is_wrong_with_the_data_is_said_by_who_reads_it(tmp_path):
    comm = SerialComm()
    assert near_blocks(comm, str(tmp_path / "none.csv")) is comm

    def look(comm):
        return near_blocks(_OnHost(comm, ["a", "b"]), str(tmp_path / "none.csv")).rank

    assert run_ranks(2, look) == [0, 1]

    def train(comm):
        with pytest.raises(MissingFileError):
            linear_regression.create(str(tmp_path / "none.csv"), target="y", comm=_OnHost(comm, ["a", "b"]))

    run_ranks(2, train)


def test_the_model_is_the_same_for_every_numbering(monkeypatch, path, tmp_path):
    size = path.stat().st_size

    def train(hosts, owners, folder):
        blocks = [storage.Block(k * size // 3, (k + 1) * size // 3 - k * size // 3, [owner]) for k, owner in enumerate(owners)]
        monkeypatch.setattr(placement.storage, "block_hosts", lambda file: blocks)

        def create(comm):
            linear_regression.create(str(path), target="y", comm=_OnHost(comm, hosts), verbose=False).save(folder)

        run_ranks(len(hosts), create)
        return [(folder / name).read_bytes() for name in ("model.json", "arrays.safetensors")]

    alone = train(["a"], "abc", tmp_path / "alone")
    for number, owners in enumerate(("abc", "acb", "bca", "cab", "ccc")):
        assert train(["a", "b", "c"], owners, tmp_path / f"m{number}") == alone
