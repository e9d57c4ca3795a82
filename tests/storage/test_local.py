"""Local files: listing, sizes, ranges; whatever is written appears whole or not at all."""

from __future__ import annotations

import errno
import os
import pathlib
import subprocess
import sys
import threading

import pytest

from engine import storage
from engine.errors import MissingFileError, StorageError


@pytest.fixture
def tree(tmp_path):
    for name in (
        "b.csv",
        "a.csv",
        "é.csv",
        "Z.csv",
        "_meta.csv",
        ".hidden.csv",
        "sub/c.csv",
        "_logs/x.csv",
        ".git/x.csv",
        "sub/deep/d.csv",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"name\n{name}\n")
    return tmp_path


def names(files, folder):
    return [os.path.relpath(file, folder) for file in files]


def test_folders_are_walked_by_bytes_of_the_path(tree):
    assert names(storage.list_files(tree), tree) == ["Z.csv", "a.csv", "b.csv", "sub/c.csv", "sub/deep/d.csv", "é.csv"]


def test_globs_and_lists(tree):
    assert names(storage.list_files(f"{tree}/*.csv"), tree) == ["Z.csv", "_meta.csv", "a.csv", "b.csv", "é.csv"]
    assert names(storage.list_files(f"{tree}/s*"), tree) == ["sub/c.csv", "sub/deep/d.csv"]
    assert names(storage.list_files([tree / "b.csv", f"{tree}/a*"]), tree) == ["b.csv", "a.csv"]
    assert names(storage.list_files(f"{tree}/_meta.csv"), tree) == ["_meta.csv"]


def test_a_file_whose_name_looks_like_a_glob(tmp_path):
    (tmp_path / "what[1].csv").write_text("a\n1\n")
    assert names(storage.list_files(tmp_path / "what[1].csv"), tmp_path) == ["what[1].csv"]


def test_nothing_to_list(tree):
    for missing in (f"{tree}/*.parquet", tree / "no.csv", []):
        with pytest.raises(MissingFileError):
            storage.list_files(missing)


def test_home_and_file_scheme(tree, monkeypatch):
    monkeypatch.setenv("HOME", str(tree))
    assert names(storage.list_files("~/a.csv"), tree) == ["a.csv"]
    spaced = tree / "a b.csv"
    spaced.write_text("x\n1\n")
    assert storage.read_range(f"file://{tree}/a%20b.csv", 2, 1) == b"1"


def test_sizes_and_ranges(tree):
    path = str(tree / "a.csv")
    assert storage.file_size(path) == 11
    assert storage.read_range(path, 5, 3) == b"a.c"
    assert storage.read_range(path, 9, 100) == b"v\n"
    assert storage.read_range(path, 100, 5) == b""


def test_suffixes():
    assert storage.suffix_of("A/B.CSV") == ".csv"
    assert storage.suffix_of("https://host.example/data/x.parquet?version=2.1") == ".parquet"


def test_unreadable_paths_say_why(tree):
    with pytest.raises(MissingFileError, match="no such file"):
        storage.file_size(str(tree / "no.csv"))
    with pytest.raises(StorageError, match="could not read .*irectory"):
        storage.read_range(str(tree), 0, 1)
    with pytest.raises(StorageError, match=r"local path or one of file://, .*hdfs://, s3://, got 'gopher://x/y'"):
        storage.list_files("gopher://x/y")


def test_short_reads_are_continued():
    class Slow:
        parts = [b"ab", b"c", b"", b"never"]

        def read(self, length):
            return self.parts.pop(0)

    assert storage.read_fully(Slow(), 10) == b"abc"


def test_cache_folder(monkeypatch):
    monkeypatch.setenv("SAMESUM_CACHE_DIR", "/own")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert storage.cache_dir() == pathlib.Path("/own")
    monkeypatch.delenv("SAMESUM_CACHE_DIR")
    assert storage.cache_dir() == pathlib.Path("/xdg/samesum")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert storage.cache_dir() == pathlib.Path("/home/someone/.cache/samesum")


# --- writing ---


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_what_is_put_replaces_what_was_there(tmp_path):
    target = tmp_path / "new" / "folder" / "file"
    storage.put_bytes(target, b"one")
    storage.put_bytes(str(target), b"two")
    assert contents(tmp_path) == {"new/folder/file": b"two"}
    (tmp_path / "source").write_bytes(b"three")
    storage.put_file(target, tmp_path / "source")
    assert storage.read_bytes(target) == b"three"
    assert (tmp_path / "source").exists()


def test_permissions_of_new_files_are_the_usual_ones(tmp_path):
    old = os.umask(0o027)
    try:
        storage.put_bytes(tmp_path / "file", b"")
    finally:
        os.umask(old)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_a_put_that_fails_leaves_what_was_there(tmp_path):
    storage.put_bytes(tmp_path / "file", b"old")
    with pytest.raises(MissingFileError, match="could not write"):
        storage.put_file(tmp_path / "file", tmp_path / "missing")
    assert contents(tmp_path) == {"file": b"old"}


def test_one_of_many_creates(tmp_path):
    started, outcomes = threading.Barrier(8), []

    def create(number):
        started.wait()
        outcomes.append((storage.create_bytes(tmp_path / "claim", b"%d" % number * 1000), number))

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [number for won, number in outcomes if won]
    assert len(winners) == 1
    assert contents(tmp_path) == {"claim": b"%d" % winners[0] * 1000}


def test_creating_where_there_are_no_links(tmp_path, monkeypatch):
    def link(*_):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", link)
    assert [storage.create_bytes(tmp_path / "claim", data) for data in (b"first", b"second")] == [True, False]
    assert contents(tmp_path) == {"claim": b"first"}


def fill(folder, **files):
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def test_folders_appear_whole_in_place_of_what_was_there(tmp_path):
    target = tmp_path / "there" / "model"
    storage.put_folder(target, fill(tmp_path / "a", model="1", only_in_a="x"), last="model")
    storage.put_folder(target, fill(tmp_path / "b", model="2"), last="model")
    assert contents(tmp_path / "there") == {"model/model": b"2"}


def test_a_folder_that_cannot_be_put_leaves_what_was_there(tmp_path, monkeypatch):
    target = tmp_path / "there" / "model"
    storage.put_folder(target, fill(tmp_path / "a", model="1"), last="model")
    rename, calls = os.rename, []

    def fails_at_the_second(source, destination):
        calls.append(source)
        if str(destination) == str(target) and "fresh" in str(source):
            raise OSError(errno.EIO, "disk on fire")
        rename(source, destination)

    monkeypatch.setattr(os, "rename", fails_at_the_second)
    with pytest.raises(StorageError, match="could not write .*disk on fire"):
        storage.put_folder(target, fill(tmp_path / "b", model="2"), last="model")
    assert contents(tmp_path / "there") == {"model/model": b"1"}


def test_folders_are_listed_by_bytes(tree):
    entries = storage.list_folder(tree)
    assert [entry.name for entry in entries] == [
        ".git",
        ".hidden.csv",
        "Z.csv",
        "_logs",
        "_meta.csv",
        "a.csv",
        "b.csv",
        "sub",
        "é.csv",
    ]
    assert storage.Entry("a.csv", False, 11) in entries
    assert storage.Entry("sub", True, 0) in entries
    with pytest.raises(MissingFileError):
        storage.list_folder(tree / "no")
    with pytest.raises(StorageError):
        storage.list_folder(tree / "a.csv")


def test_removing(tree):
    for name in ("a.csv", "sub", "sub", "no"):
        storage.remove(tree / name)
    assert not storage.exists(tree / "a.csv")
    assert not storage.exists(tree / "sub")
    (tree / "link").symlink_to(tree / "_logs")
    storage.remove(tree / "link")
    assert storage.exists(tree / "_logs")


def test_folders_get_their_mode(tmp_path):
    for _ in range(2):
        storage.make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "a").stat().st_mode & 0o777 != 0o700


def test_stamps_change_with_the_file(tmp_path):
    storage.put_bytes(tmp_path / "file", b"1")
    before = storage.stamp(tmp_path / "file")
    assert storage.stamp(tmp_path / "file") == before
    assert before[0] == 1
    os.utime(tmp_path / "file", (1, 1))
    assert storage.stamp(tmp_path / "file") != before


def test_hosts_of_local_files_are_not_known(tree):
    assert storage.block_hosts(tree / "a.csv") == []


# --- addresses ---


@pytest.mark.parametrize(
    ("address", "joined", "parent", "name", "suffix"),
    [
        ("a/b.CSV", "a/b.CSV/x y", "a", "b.CSV", ".csv"),
        ("/b", "/b/x y", "/", "b", ""),
        ("b", "b/x y", ".", "b", ""),
        ("file:///a/b%20c.csv", "file:///a/b%20c.csv/x%20y", "file:///a", "b c.csv", ".csv"),
        ("hdfs://host:1/a/b%20c.csv", "hdfs://host:1/a/b%20c.csv/x y", "hdfs://host:1/a", "b%20c.csv", ".csv"),
        ("hdfs:///a", "hdfs:///a/x y", "hdfs:///", "a", ""),
        ("s3://bucket/a?b.gz", "s3://bucket/a?b.gz/x y", "s3://bucket/", "a?b.gz", ".gz"),
        ("s3://bucket", "s3://bucket/x y", "s3://bucket/", "", ""),
        ("https://host.example/a/b.csv", "https://host.example/a/b.csv/x%20y", "https://host.example/a", "b.csv", ".csv"),
    ],
)
def test_parts_of_addresses(address, joined, parent, name, suffix):
    assert storage.join(address, "x y") == joined
    assert storage.parent(address) == parent
    assert storage.name_of(address) == name
    assert storage.suffix_of(address) == suffix


def test_what_is_local():
    assert [storage.is_local(each) for each in ("a", "file:///a", "hdfs:///a", "s3://b/a", pathlib.Path("/x"))] == [
        True,
        True,
        False,
        False,
        True,
    ]


def test_the_door_imports_no_client():
    code = "import sys, engine.storage; print([m for m in ('numpy', 'pyarrow', 'requests', 'hdfs', 'botocore') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
