"""Arrays in a file: any range comes back as it was written, and a changed byte is noticed wherever it is read."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from engine import array_file
from engine.array_file import ArrayFile, write_arrays
from engine.errors import MissingFileError, ModelFileError

ARRAYS = {
    "text": np.arange(101, dtype=np.uint8),
    "numbers": np.arange(50, dtype=np.uint32) * 7,
    "ends": np.arange(-20, 20, dtype=np.int64),
    "none": np.zeros(0, dtype=np.int64),
    "large": np.array([2**64 - 1], dtype=np.uint64),
}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(array_file, "BLOCK", 16)


@pytest.fixture
def written(tmp_path):
    path = str(tmp_path / "arrays")
    return path, write_arrays(path, ARRAYS)


def test_every_range(written):
    with ArrayFile(*written) as file:
        for name, array in ARRAYS.items():
            assert file.read(name).dtype == array.dtype
            for begin in range(len(array) + 1):
                for end in {begin, min(begin + 1, len(array)), min(begin + 5, len(array)), len(array)}:
                    assert file.read(name, begin, end).tolist() == array[begin:end].tolist()


@given(st.lists(st.integers(0, 2**32 - 1), max_size=40), st.data())
def test_any_values(tmp_path_factory, values, data):
    path = str(tmp_path_factory.mktemp("any") / "arrays")
    facts = write_arrays(path, {"a": np.array(values, dtype=np.uint32)})
    begin = data.draw(st.integers(0, len(values)))
    end = data.draw(st.integers(begin, len(values)))
    with ArrayFile(path, facts) as file:
        assert file.read("a", begin, end).tolist() == values[begin:end]


def test_it_is_a_safetensors_file(written):
    found = load_file(written[0])
    assert {name: array.tolist() for name, array in found.items()} == {name: array.tolist() for name, array in ARRAYS.items()}


def test_read_only_and_strided_arrays(tmp_path):
    array = np.arange(40, dtype=np.int64)[::3]
    array.flags.writeable = False
    facts = write_arrays(str(tmp_path / "a"), {"a": array})
    with ArrayFile(str(tmp_path / "a"), facts) as file:
        assert file.read("a", 2).tolist() == list(range(6, 40, 3))


def test_a_changed_byte_is_noticed_where_it_is_read(written, tmp_path):
    path, facts = written
    content = (tmp_path / "arrays").read_bytes()
    begin = facts["arrays"]["numbers"]["begin"]
    for at in range(0, 200, 3):
        (tmp_path / "arrays").write_bytes(content[: begin + at] + bytes([content[begin + at] ^ 64]) + content[begin + at + 1 :])
        with ArrayFile(path, facts) as file:
            element = at // 4
            with pytest.raises(ModelFileError, match="numbers is not what was written"):
                file.read("numbers", element, element + 1)
            elsewhere = (element + 16) % 50
            assert file.read("numbers", elsewhere, elsewhere + 1).tolist() == [7 * elsewhere]


def test_wrong_sizes_and_ranges(written, tmp_path):
    path, facts = written
    with ArrayFile(path, facts) as file, pytest.raises(ModelFileError, match="numbers has 50 elements, got 49 to 51 to read"):
        file.read("numbers", 49, 51)
    (tmp_path / "arrays").write_bytes((tmp_path / "arrays").read_bytes()[:-1])
    with pytest.raises(ModelFileError, match=r"cut short: expected \d+ bytes, got \d+"):
        ArrayFile(path, facts)
    with pytest.raises(MissingFileError):
        ArrayFile(path + "x", facts)
