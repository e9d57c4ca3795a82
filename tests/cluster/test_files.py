"""What every storage promises, on a real HDFS and a real S3 server."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from engine import storage
from engine.errors import MissingFileError, StorageError
from tests.cluster.conftest import new_folder
from tests.cluster.hadoop import BLOCK_BYTES, USER
from tests.cluster.s3_server import ACCESS_KEY, SECRET_KEY

NAMES = ("plain.csv", "with space.csv", "percent%20.csv", "plus+&=#?.csv", "ünï.csv", "名前.csv")


@pytest.fixture(autouse=True)
def short_patience(monkeypatch, tmp_path):
    monkeypatch.setenv("SAMESUM_STORAGE_TIMEOUT", "20")
    monkeypatch.setenv("SAMESUM_CACHE_DIR", str(tmp_path / "cache"))


def fill(folder, **files):
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def names(address):
    return [entry.name for entry in storage.list_folder(address)]


@pytest.mark.parametrize("name", NAMES)
def test_bytes_come_back(remote, name):
    address = storage.join(remote, "deep", name)
    for data in (b"first", b"", bytes(range(256)) * 3000):
        storage.put_bytes(address, data)
        assert storage.read_bytes(address) == data
        assert storage.file_size(address) == len(data)
    assert names(storage.join(remote, "deep")) == [name]
    assert storage.list_files(remote) == [address]
    assert storage.read_range(address, 250, 10) == bytes(range(250, 256)) + bytes(range(4))
    assert storage.read_range(address, len(data) - 2, 10) == data[-2:]
    assert storage.read_range(address, len(data) + 5, 10) == b""
    assert storage.local_path(address).read_bytes() == data


def test_files_of_several_blocks(remote, tmp_path):
    data = os.urandom(3 * BLOCK_BYTES + 17)
    (tmp_path / "source").write_bytes(data)
    address = storage.join(remote, "blocks.bin")
    storage.put_file(address, tmp_path / "source")
    with storage.open_file(address) as file:
        assert file.read() == data
        assert file.seek(BLOCK_BYTES - 3) == BLOCK_BYTES - 3
        assert file.read(6) == data[BLOCK_BYTES - 3 : BLOCK_BYTES + 3]
        buffer = bytearray(10)
        assert file.readinto(buffer) == 10
        assert bytes(buffer) == data[BLOCK_BYTES + 3 : BLOCK_BYTES + 13]
        assert file.seek(-4, os.SEEK_END) == len(data) - 4
        assert file.read() == data[-4:]
    with storage.open_file(address, [(5, 2 * BLOCK_BYTES)]) as file:
        file.seek(5)
        assert storage.read_fully(file, len(data)) == data[5:]


def test_hosts_of_blocks(hdfs):
    address = storage.join(new_folder(hdfs), "blocks.bin")
    storage.put_bytes(address, bytes(3 * BLOCK_BYTES + 17))
    blocks = storage.block_hosts(address)
    assert [(block.offset, block.length) for block in blocks] == [(k * BLOCK_BYTES, BLOCK_BYTES) for k in range(3)] + [
        (3 * BLOCK_BYTES, 17)
    ]
    assert {host for block in blocks for host in block.hosts} <= set(hdfs.hosts)


def test_listing_and_globs(remote):
    paths = ("b.csv", "a.csv", "Z.csv", "_meta", ".hidden", "sub/c.csv", "sub/deep/d.csv", "_logs/x.csv", "odd[1].csv")
    for path in paths:
        storage.put_bytes(f"{remote}/{path}", b"x")

    def found(pattern):
        return [file.removeprefix(f"{remote}/") for file in storage.list_files(pattern)]

    assert found(remote) == ["Z.csv", "a.csv", "b.csv", "odd[1].csv", "sub/c.csv", "sub/deep/d.csv"]
    assert found(f"{remote}/*.csv") == ["Z.csv", "a.csv", "b.csv", "odd[1].csv"]
    assert found(f"{remote}/[ab].csv") == ["a.csv", "b.csv"]
    assert found(f"{remote}/s*") == ["sub/c.csv", "sub/deep/d.csv"]
    assert found(f"{remote}/**/*.csv") == ["Z.csv", "_logs/x.csv", "a.csv", "b.csv", "odd[1].csv", "sub/c.csv", "sub/deep/d.csv"]
    assert found(f"{remote}/*/?.csv") == ["_logs/x.csv", "sub/c.csv"]
    assert found(f"{remote}/odd[1].csv") == ["odd[1].csv"]
    assert storage.list_folder(remote) == [
        storage.Entry(".hidden", False, 1),
        storage.Entry("Z.csv", False, 1),
        storage.Entry("_logs", True, 0),
        storage.Entry("_meta", False, 1),
        storage.Entry("a.csv", False, 1),
        storage.Entry("b.csv", False, 1),
        storage.Entry("odd[1].csv", False, 1),
        storage.Entry("sub", True, 0),
    ]


def test_what_is_not_there(remote):
    missing = f"{remote}/no/such.csv"
    for read in (storage.read_bytes, storage.file_size, storage.stamp, storage.list_folder, storage.list_files, storage.block_hosts):
        if read is storage.block_hosts and missing.startswith("s3:"):
            continue
        with pytest.raises(MissingFileError, match=r"no/such\.csv"):
            read(missing)
    with pytest.raises(MissingFileError):
        storage.list_files(f"{remote}/*.parquet")
    assert not storage.exists(missing)
    storage.remove(missing)
    storage.put_bytes(f"{remote}/folder/file", b"")
    with pytest.raises(StorageError, match="folder"):
        storage.read_bytes(f"{remote}/folder")
    with pytest.raises(StorageError, match="no folder"):
        storage.list_folder(f"{remote}/folder/file")


def test_one_of_many_creates(remote):
    address = f"{remote}/claims/1"
    with ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(lambda number: storage.create_bytes(address, b"%d" % number * 100), range(6)))
    assert outcomes.count(True) == 1
    assert storage.read_bytes(address) == b"%d" % outcomes.index(True) * 100
    assert names(f"{remote}/claims") == ["1"]


def test_folders_take_the_place_of_others(remote, tmp_path):
    target = f"{remote}/models/m"
    storage.put_folder(target, fill(tmp_path / "a", manifest="1", only_in_a="x", empty=""), last="manifest")
    assert names(target) == ["empty", "manifest", "only_in_a"]
    storage.put_folder(target, fill(tmp_path / "b", manifest="2"), last="manifest")
    assert names(target) == ["manifest"]
    assert storage.read_bytes(f"{target}/manifest") == b"2"
    assert names(f"{remote}/models") == ["m"]


def test_removing(remote):
    for path in ("a", "sub/b", "sub/deep/c"):
        storage.put_bytes(f"{remote}/{path}", b"")
    storage.remove(f"{remote}/a")
    storage.remove(f"{remote}/sub")
    assert not storage.exists(f"{remote}/a")
    assert not storage.exists(f"{remote}/sub")
    assert not storage.exists(f"{remote}/sub/deep/c")


def test_stamps_change_with_the_file(remote):
    address = f"{remote}/file"
    storage.put_bytes(address, b"1")
    before = storage.stamp(address)
    assert storage.stamp(address) == before
    assert before[0] == 1
    storage.put_bytes(address, b"2")
    assert storage.stamp(address) != before
    assert storage.read_bytes(address) == b"2"


def test_threads_and_forks_share_a_storage(remote):
    address = f"{remote}/file"
    data = os.urandom(200_000)
    storage.put_bytes(address, data)
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda k: storage.read_range(address, 100 * k, 5000) == data[100 * k : 100 * k + 5000], range(40)))
    if address.startswith("s3:"):
        return  # Arrow's client has threads, which do not live on in a fork
    child = os.fork()
    if child == 0:
        os._exit(0 if storage.read_bytes(address) == data else 1)
    assert os.waitpid(child, 0)[1] == 0


# --- refusals ---


def test_no_permission(hdfs):
    hdfs.as_superuser("MKDIRS", "/private", permission="700")
    for attempt in (
        lambda: storage.put_bytes(f"{hdfs.url}/private/file", b""),
        lambda: storage.create_bytes(f"{hdfs.url}/private/file", b""),
        lambda: storage.list_folder(f"{hdfs.url}/private"),
        lambda: storage.read_bytes(f"{hdfs.url}/private/file"),
        lambda: storage.make_folder(f"{hdfs.url}/private/folder"),
        lambda: storage.remove(f"{hdfs.url}/private"),
    ):
        with pytest.raises(StorageError, match=rf"hdfs://.*/private.*Permission denied: user={USER}.*HADOOP_USER_NAME") as caught:
            attempt()
        assert type(caught.value) is StorageError


def test_another_user_may_not(hdfs, monkeypatch):
    folder = new_folder(hdfs)
    storage.put_bytes(f"{folder}/file", b"secret")
    monkeypatch.setenv("HADOOP_USER_NAME", "somebody")
    with pytest.raises(StorageError, match="Permission denied: user=somebody"):
        storage.read_bytes(f"{folder}/file")


def test_quotas(hdfs):
    folder = new_folder(hdfs)
    hdfs.as_superuser("SETQUOTA", folder.removeprefix(hdfs.url), storagespacequota=str(2 * BLOCK_BYTES))
    with pytest.raises(StorageError, match=r"could not write .*big.*quota.*remove files"):
        storage.put_bytes(f"{folder}/big", bytes(5 * BLOCK_BYTES))
    assert names(folder) == []


def test_buckets_that_are_not_there(s3):
    for attempt in (
        lambda: storage.put_bytes("s3://no-such-bucket/file", b"1"),
        lambda: storage.create_bytes("s3://no-such-bucket/file", b"1"),
        lambda: storage.list_folder("s3://no-such-bucket/"),
    ):
        with pytest.raises(StorageError, match=r"s3://no-such-bucket/.*no such bucket"):
            attempt()


def test_credentials_that_are_wrong(s3, monkeypatch):
    address = f"{new_folder(s3)}/file"
    storage.put_bytes(address, b"1")
    s3.check_credentials(True)
    try:
        for key, secret, words in (("AKIAWRONGWRONGWRONG1", "s3cr3t-wrong", "access key"), (ACCESS_KEY, "s3cr3t-wrong", "")):
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
            for attempt in (
                lambda: storage.read_bytes(address),
                lambda: storage.put_bytes(address, b"2"),
                lambda: storage.create_bytes(address, b"2"),
            ):
                with pytest.raises(StorageError, match=r"s3://.*credentials") as caught:
                    attempt()
                assert type(caught.value) is StorageError
                assert secret not in str(caught.value)
                assert words in str(caught.value) or "denied" in str(caught.value)
    finally:
        s3.check_credentials(False)
    assert SECRET_KEY != "s3cr3t-wrong"


def test_nobody_there(monkeypatch):
    monkeypatch.setenv("SAMESUM_STORAGE_TIMEOUT", "1")
    monkeypatch.delenv("HADOOP_CONF_DIR", raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    for address, words in (("hdfs://127.0.0.1:9/x", "name node 127.0.0.1:9: Connection refused"), ("s3://bucket/x", "connect")):
        for attempt in (lambda address=address: storage.read_bytes(address), lambda address=address: storage.put_bytes(address, b"")):
            with pytest.raises(StorageError, match=rf"{address}'.*{words}.*SAMESUM_STORAGE_TIMEOUT"):
                attempt()
    with pytest.raises(StorageError, match=r"no host has this name"):
        storage.read_bytes("hdfs://no.such.host.invalid/x")
