"""HDFS where it misbehaves: standby name nodes, lost answers, renames that say no, data nodes that hang up; nothing secret in a text."""

from __future__ import annotations

import os
import threading
import time

import pytest

from engine import storage
from engine.errors import MissingFileError, OptionError, StorageError
from engine.storage import retry
from tests.storage.fake_webhdfs import FakeWebHdfs, refusal, times


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("HADOOP_CONF_DIR", "HADOOP_HOME", "SAMESUM_WEBHDFS_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HADOOP_USER_NAME", "someone")
    monkeypatch.setenv("SAMESUM_STORAGE_TIMEOUT", "5")
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.01)
    storage.file_cache().clear()


@pytest.fixture
def server():
    running = FakeWebHdfs()
    yield running
    running.stop()


@pytest.fixture
def second():
    running = FakeWebHdfs()
    yield running
    running.stop()


def address(server, path="/folder/file"):
    return f"hdfs://127.0.0.1:{server.server_port}{path}"


def ha_settings(folder, *servers, **more):
    """A name service ``pair`` of these servers."""
    nodes = {f"dfs.namenode.http-address.pair.nn{k}": f"127.0.0.1:{server.server_port}" for k, server in enumerate(servers)}
    settings = {
        "fs.defaultFS": "hdfs://pair",
        "dfs.nameservices": "other, pair",
        "dfs.ha.namenodes.pair": ",".join(f"nn{k}" for k in range(len(servers))),
        **nodes,
        **more,
    }
    rows = "".join(f"<property><name>{name}</name><value>{value}</value></property>" for name, value in settings.items())
    (folder / "hdfs-site.xml").write_text(f"<configuration>{rows}</configuration>")
    return {"HADOOP_CONF_DIR": str(folder)}


# --- two name nodes ---


@pytest.mark.parametrize("first_is_standby", [True, False])
def test_the_active_name_node_is_found(server, second, tmp_path, monkeypatch, first_is_standby):
    active, standby = (second, server) if first_is_standby else (server, second)
    standby.rules.append(lambda *_: refusal("StandbyException", "Operation category READ is not supported in state standby"))
    for name, value in ha_settings(tmp_path, server, second).items():
        monkeypatch.setenv(name, value)
    for base in ("hdfs://pair", "hdfs://"):
        storage.put_bytes(f"{base}/f", b"data")
        assert storage.read_bytes(f"{base}/f") == b"data"
    assert active.files == {"/f": b"data"}
    assert len(standby.asked) <= 1  # who has learnt which one is active asks it


def test_a_name_node_that_is_down_is_passed_over(server, second, tmp_path, monkeypatch):
    server.stop()
    for name, value in ha_settings(tmp_path, server, second).items():
        monkeypatch.setenv(name, value)
    storage.put_bytes("hdfs://pair/f", b"data")
    assert storage.read_bytes("hdfs://pair/f") == b"data"
    server.__init__()  # so that the fixture can stop it


def test_a_failover_is_waited_for(server, second, tmp_path, monkeypatch):
    for each in (server, second):
        each.rules.append(times(2, "GETFILESTATUS", refusal("StandbyException")))
    second.files["/f"] = server.files["/f"] = b"data"
    for name, value in ha_settings(tmp_path, server, second).items():
        monkeypatch.setenv(name, value)
    assert storage.file_size("hdfs://pair/f") == 4


# --- trying again, and not ---


def test_what_may_come_right_is_tried_again(server):
    server.files["/folder/file"] = b"data"
    server.rules += [
        times(2, "GETFILESTATUS", (503, b"busy")),
        times(1, "OPEN", refusal("RetriableException")),
        times(1, "OPEN", refusal("IOException", "Failed to find datanode, suggest to check cluster health. excludeDatanodes=null")),
        times(1, "DATA OPEN", refusal("BlockMissingException", "Could not obtain block: x")),
        times(1, "DATA OPEN", (500, b"")),
    ]
    assert storage.read_bytes(address(server)) == b"data"


@pytest.mark.parametrize(
    ("kind", "status", "words"),
    [
        ("AccessControlException", 403, "Permission denied.*HADOOP_USER_NAME"),
        ("DSQuotaExceededException", 403, "quota"),
        ("IOException", 403, "Permission denied"),
        ("IllegalArgumentException", 400, "Permission denied"),
    ],
)
def test_what_will_not_come_right_is_said_at_once(server, kind, status, words):
    server.rules.append(lambda *_: refusal(kind, "Permission denied: user=someone\n\tat java.Something", status))
    began = time.monotonic()
    with pytest.raises(StorageError, match=rf"could not read 'hdfs://.*file'.*{words}") as caught:
        storage.read_bytes(address(server))
    assert "java" not in str(caught.value)
    assert time.monotonic() - began < 1
    assert len(server.asked) == 1


def test_no_room(server):
    message = "File /x could only be written to 0 of the 1 minReplication nodes. There are 2 datanode(s) running"
    server.rules.append(times(9, "DATA CREATE", refusal("IOException", message)))
    with pytest.raises(StorageError, match=r"could not write 'hdfs://.*no data node has room"):
        storage.put_bytes(address(server), b"1")
    assert server.operations() == ["CREATE", "DATA CREATE", "DELETE"]


def test_time_is_bounded(server, monkeypatch):
    monkeypatch.setenv("SAMESUM_STORAGE_TIMEOUT", "0.3")
    server.rules.append(lambda *_: (503, b"busy"))
    began = time.monotonic()
    with pytest.raises(StorageError, match=r"could not read 'hdfs://.*503.*tried \d+ times"):
        storage.read_bytes(address(server))
    assert 0.2 < time.monotonic() - began < 3
    monkeypatch.setenv("SAMESUM_STORAGE_TIMEOUT", "soon")
    with pytest.raises(OptionError, match="SAMESUM_STORAGE_TIMEOUT: expected seconds"):
        storage.read_bytes(address(server))


def test_an_answer_that_ends_early_is_read_on_where_it_ended(server):
    data = os.urandom(300_000)
    server.files["/folder/file"] = data
    cut = []

    def hang_up(operation, path, parameters):
        if operation == "DATA OPEN" and len(cut) < 3:
            cut.append(int(parameters["offset"]))
            return 200, data[cut[-1] : cut[-1] + 1000]
        return None

    server.rules.append(hang_up)
    assert storage.read_bytes(address(server)) == data
    assert cut == [0, 1000, 2000]


def test_a_data_node_that_is_gone_is_left_out(server):
    server.files["/folder/file"] = b"data"

    def send_to_nobody(operation, path, parameters):
        if operation == "OPEN" and "excludedatanodes" not in parameters:
            return 307, b"", {"Location": "http://127.0.0.1:9/gone?delegation=TOKEN"}
        return None

    server.rules.append(send_to_nobody)
    assert storage.read_bytes(address(server)) == b"data"
    assert [parameters.get("excludedatanodes") for operation, _, parameters in server.asked if operation == "OPEN"] == [None, "127.0.0.1:9"]


# --- renames ---


def test_a_rename_that_says_false_is_no_success(server):
    server.files["/folder/file"] = b"old"
    server.rules.append(lambda operation, *_: (200, b'{"boolean": false}') if operation == "RENAME" else None)
    assert storage.create_bytes(address(server), b"new") is False
    with pytest.raises(StorageError, match="did not rename"):
        storage.put_bytes(address(server, "/folder/other"), b"new")
    assert server.files == {"/folder/file": b"old"}


def test_a_server_that_cannot_rename_over_a_file(server):
    """As HttpFS, which knows no options of a rename."""
    server.files["/folder/file"] = b"old"

    def plain_rename(operation, path, parameters):
        if operation == "RENAME" and parameters["destination"] in server.files:
            return 200, b'{"boolean": false}'
        return None

    server.rules.append(plain_rename)
    storage.put_bytes(address(server), b"new")
    assert server.files == {"/folder/file": b"new"}


def test_a_rename_whose_answer_is_lost_has_happened(server):
    lost = []

    def lose(operation, path, parameters):
        if operation == "RENAME" and not lost:
            lost.append(path)
            server.files[parameters["destination"]] = server.files.pop(path)
            return 503, b""
        return None

    server.rules.append(lose)
    assert storage.create_bytes(address(server), b"mine") is True
    assert server.files == {"/folder/file": b"mine"}
    assert storage.create_bytes(address(server), b"late") is False


def test_files_appear_under_their_name_when_they_are_whole(server):
    seen = []
    server.rules.append(lambda operation, path, parameters: seen.append((operation, path, sorted(server.files))))
    storage.put_bytes(address(server), b"data")
    assert all("/folder/file" not in files for _, _, files in seen)
    assert [operation for operation, _, _ in seen] == ["CREATE", "DATA CREATE", "RENAME"]
    assert seen[0][1].startswith("/folder/.file.")


# --- who and where ---


def test_the_user_is_said(server, monkeypatch):
    server.files["/folder/file"] = b""
    storage.read_bytes(address(server))
    monkeypatch.setenv("HADOOP_USER_NAME", "other")
    storage.read_bytes(address(server))
    monkeypatch.delenv("HADOOP_USER_NAME")
    monkeypatch.setenv("LOGNAME", "unix-user")
    storage.file_size(address(server))
    users = [parameters["user.name"] for _, _, parameters in server.asked]
    assert list(dict.fromkeys(users)) == ["someone", "other", "unix-user"]


def test_no_token_in_an_error(server, monkeypatch):
    monkeypatch.setenv("SAMESUM_STORAGE_TIMEOUT", "0")
    server.files["/folder/file"] = b"data"
    for rule in (times(1, "DATA OPEN", (404, b"?delegation=TOKEN")), times(1, "DATA OPEN", (503, b""))):
        server.rules.append(rule)
        with pytest.raises(StorageError) as caught:
            storage.read_bytes(address(server))
        assert "TOKEN" not in str(caught.value)
        assert "someone" not in str(caught.value)
        assert address(server) in str(caught.value)


def test_servers_that_do_not_know_who_asks(server):
    server.rules.append(lambda *_: (401, b""))
    with pytest.raises(StorageError, match=r"hdfs://.*does not accept who you are"):
        storage.read_bytes(address(server))


def test_what_is_not_webhdfs(server):
    server.rules.append(lambda *_: (404, b'{"other": 1}'))
    with pytest.raises(StorageError, match=r"hdfs://.*does not answer as WebHDFS"):
        storage.read_bytes(address(server))


def test_connections_are_kept(server):
    server.files["/folder/file"] = b"data"
    ports = set()
    original = server.process_request

    def process_request(request, client):
        ports.add(client)
        original(request, client)

    server.process_request = process_request
    for _ in range(20):
        storage.file_size(address(server))
    assert len(ports) <= 2


def test_threads_have_their_own_connections(server):
    server.files["/folder/file"] = bytes(1000)
    found = []
    threads = [threading.Thread(target=lambda: found.append(storage.read_bytes(address(server)))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [bytes(1000)] * 16


def test_missing_files(server):
    with pytest.raises(MissingFileError, match=r"could not read 'hdfs://.*no such file"):
        storage.read_bytes(address(server))
    assert not storage.exists(address(server))
