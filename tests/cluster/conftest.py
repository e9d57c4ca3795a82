"""Real storage, once per test run: ``hdfs`` and ``s3`` are servers, ``remote`` an empty folder on each of them in turn."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from engine import storage
from tests.cluster.daemons import wait_until
from tests.cluster.hadoop import USER, Hadoop, Hdfs
from tests.cluster.s3_server import S3Server
from tests.cluster.slurm import Slurm
from tests.cluster.yarn import Yarn

_SERVERS: list[Any] = []
_FOREIGN = ("SAMESUM_WEBHDFS_URL", "SAMESUM_S3_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN")


@pytest.fixture(scope="session")
def hdfs_server(tmp_path_factory) -> Iterator[Hdfs]:
    """A running HDFS."""
    server = Hdfs(Hadoop(tmp_path_factory.mktemp("hadoop")))
    _SERVERS.append(server)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory) -> Iterator[S3Server]:
    """A running S3 server with a bucket."""
    server = S3Server(tmp_path_factory.mktemp("s3"))
    _SERVERS.append(server)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def slurm_server() -> Iterator[Slurm]:
    """A running Slurm of two nodes."""
    server = Slurm()
    _SERVERS.append(server)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def hdfs(hdfs_server, monkeypatch) -> Hdfs:
    """HDFS, found by this process and those it starts."""
    enter(hdfs_server, monkeypatch)
    return hdfs_server


@pytest.fixture
def s3(s3_server, monkeypatch) -> S3Server:
    """S3, found by this process and those it starts."""
    enter(s3_server, monkeypatch)
    return s3_server


@pytest.fixture
def slurm(slurm_server, monkeypatch) -> Slurm:
    """Slurm, found by this process and those it starts."""
    for name in [name for name in os.environ if name.startswith(("SLURM_", "SBATCH_", "SRUN_"))]:
        monkeypatch.delenv(name)
    enter(slurm_server, monkeypatch)
    return slurm_server


@pytest.fixture(params=["hdfs", "s3"])
def remote(request) -> str:
    """The address of a new folder, on each kind of storage; on HDFS it is empty and there, on S3 there are no folders."""
    return new_folder(request.getfixturevalue(request.param))


def new_folder(server: Hdfs | S3Server) -> str:
    """The address of a folder that no other test has."""
    if isinstance(server, S3Server):
        return f"{server.url}/{uuid.uuid4()}"
    folder = f"{server.url}/user/{USER}/{uuid.uuid4()}"
    storage.make_folder(folder)
    return folder


def start(server: Any, running: contextlib.ExitStack) -> None:
    """Start a server, which is stopped with ``running``; what it said is shown after a failure."""
    _SERVERS.append(server)
    running.callback(server.stop)
    server.start()


def enter(server: Hdfs | S3Server | Slurm | Yarn, monkeypatch) -> None:
    for name in _FOREIGN:
        monkeypatch.delenv(name, raising=False)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("no_proxy", "*")


def pytest_collection_modifyitems(items) -> None:
    """Tests that take servers away from jobs come last."""
    items.sort(key=lambda item: "test_recovery" in item.nodeid)


def pytest_terminal_summary(terminalreporter) -> None:
    """After a failure, what the servers said."""
    if terminalreporter.stats.get("failed") or terminalreporter.stats.get("error"):
        for server in _SERVERS:
            for daemon in [server.daemon] if isinstance(server, S3Server) else server.daemons:
                terminalreporter.write_line(daemon.tail(15))


@pytest.fixture(scope="session")
def yarn_server(hdfs_server) -> Iterator[Yarn]:
    """A running YARN over the HDFS."""
    server = Yarn(hdfs_server)
    _SERVERS.append(server)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def yarn(hdfs, yarn_server, monkeypatch, tmp_path) -> Iterator[Yarn]:
    """YARN, found by this process and those it starts; clusters are kept in a folder of the test's own."""
    enter(yarn_server, monkeypatch)
    monkeypatch.setenv("SAMESUM_CONFIG_DIR", str(tmp_path / "config"))
    with leaving_none(yarn_server):
        yield yarn_server


@contextlib.contextmanager
def leaving_none(yarn_server: Yarn) -> Iterator[None]:
    """End the applications that were submitted meanwhile and still run, as after a failure: the next tests need their room."""
    before = yarn_server.running()
    try:
        yield
    finally:
        for name in (left := yarn_server.running() - before):
            yarn_server.end(name)
        wait_until(lambda: not left & yarn_server.running(), yarn_server.daemons, "the end of applications")
