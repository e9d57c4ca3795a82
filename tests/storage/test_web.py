"""Fetching over HTTP once, however many ask, and never half a file; nothing is written there."""

from __future__ import annotations

import functools
import http.server
import multiprocessing
import threading

import pytest

from engine import storage
from engine.data.dataset import Dataset
from engine.errors import MissingFileError, StorageError
from engine.storage import web
from tests.reading import raised_everywhere, read_everywhere

TEXT = b"a,b\n" + b"1,x\n" * 5000


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves good and bad answers, and counts what was asked for."""

    def do_GET(self):
        self.server.asked.append(self.path)
        name = self.path.partition("?")[0]
        if name == "/cut.csv":
            self.send_response(200)
            self.send_header("Content-Length", str(len(TEXT)))
            self.end_headers()
            self.wfile.write(TEXT[:100])
        elif name == "/stalls.csv":
            self.server.release.wait(20)
        elif name in ("/no.csv", "/broken.csv"):
            self.send_error(404 if name == "/no.csv" else 503)
        elif name == "/moved.csv":
            self.send_response(302)
            self.send_header("Location", "/good.csv")
            self.end_headers()
        else:
            self.send_response(200)
            self.end_headers()  # no length: the end of the answer is the end of the file
            self.wfile.write(TEXT)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMESUM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.asked = []
    running.release = threading.Event()
    running.url = f"http://127.0.0.1:{running.server_port}"
    thread = threading.Thread(target=functools.partial(running.serve_forever, poll_interval=0.01))
    thread.start()
    yield running
    running.release.set()
    running.shutdown()
    thread.join()
    running.server_close()


def test_addresses_are_fetched_once(server):
    address = f"{server.url}/good.csv"
    table = read_everywhere(lambda: Dataset(address))
    assert (table.num_rows, table.column_names) == (5000, ["a", "b"])
    assert server.asked == ["/good.csv"]
    assert storage.local_path(address).read_bytes() == TEXT
    assert storage.read_range(address, 4, 3) == b"1,x"
    assert storage.file_size(address) == len(TEXT)


def test_other_queries_are_other_files(server):
    paths = {storage.local_path(f"{server.url}/good.csv?v={version}") for version in (1, 2)}
    assert len(paths) == 2
    assert server.asked == ["/good.csv?v=1", "/good.csv?v=2"]


def test_nothing_secret_in_messages(server):
    with pytest.raises(MissingFileError, match=r"no\.csv\?\.\.\.'") as caught:
        storage.read_bytes(f"{server.url}/no.csv?X-Amz-Signature=s3cr3t")
    assert "s3cr3t" not in str(caught.value)
    for address in ("http://me:s3cr3t@host.example/x", "hdfs://me:s3cr3t@nn.example/x", "s3://key:s3cr3t@bucket/x"):
        with pytest.raises(StorageError, match=r"without user and password, got one of \w+://(host|nn|bucket)") as caught:
            storage.read_bytes(address)
        assert "s3cr3t" not in str(caught.value)


def test_redirects_are_followed(server):
    assert storage.local_path(f"{server.url}/moved.csv").read_bytes() == TEXT


def test_processes_that_ask_at_once_fetch_once(server):
    address = f"{server.url}/good.csv"
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        sizes = pool.map(storage.file_size, [address] * 6)
    assert sizes == [len(TEXT)] * 6
    assert server.asked == ["/good.csv"]


def test_threads_that_ask_at_once_fetch_once(server):
    threads = [threading.Thread(target=storage.local_path, args=(f"{server.url}/good.csv",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.asked == ["/good.csv"]


def test_refusals(server):
    raised_everywhere(lambda: Dataset(f"{server.url}/no.csv"), MissingFileError, f"{server.url}/no.csv", "404")
    raised_everywhere(lambda: Dataset(f"{server.url}/broken.csv"), StorageError, "503")


def test_half_a_file_is_no_file(server, tmp_path):
    for _ in range(2):
        with pytest.raises(StorageError, match=rf"cut\.csv'.*expected {len(TEXT)} bytes, got 100"):
            storage.local_path(f"{server.url}/cut.csv")
    assert server.asked == ["/cut.csv"] * 2
    assert [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()] == [".lock"]


def test_stalling_servers_are_given_up(server, monkeypatch):
    monkeypatch.setattr(web, "HTTP_TIMEOUT", 0.2)
    with pytest.raises(StorageError, match=r"could not fetch .*stalls\.csv.*timed out"):
        storage.local_path(f"{server.url}/stalls.csv")


def test_nobody_there(server):
    with pytest.raises(StorageError, match="could not fetch .*refused"):
        storage.local_path("http://127.0.0.1:1/x.csv")


def test_a_cache_that_cannot_be_written(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SAMESUM_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="into the cache"):
        storage.local_path(f"{server.url}/good.csv")


def test_web_addresses_are_read_only(server, tmp_path):
    address = f"{server.url}/good.csv"
    for write in (
        lambda: storage.put_bytes(address, b""),
        lambda: storage.create_bytes(address, b""),
        lambda: storage.put_file(address, tmp_path / "x"),
        lambda: storage.put_folder(address, tmp_path, last="x"),
        lambda: storage.remove(address),
        lambda: storage.make_folder(address),
    ):
        with pytest.raises(StorageError, match=r"good\.csv.*read only"):
            write()
    with pytest.raises(StorageError, match="name files only"):
        storage.list_folder(address)
    assert storage.exists(address)
    assert not storage.exists(f"{server.url}/no.csv")
    assert storage.read_bytes(address) == TEXT
