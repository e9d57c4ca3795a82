"""The client of one HDFS: operations answered by whichever name node is active, bytes straight from data nodes.

Name nodes are asked through the ``hdfs`` package. Its answers are translated to three outcomes: it worked, it may work later
(:class:`RetriableError`), it will not (``StorageError``). Addresses of requests hold user names and tokens: no text of ours repeats them.
"""

from __future__ import annotations

import functools
import getpass
import http.client
import json
import logging
import os
import socket
import ssl
import threading
import urllib.parse
from collections.abc import Callable
from typing import Any, BinaryIO, NoReturn

import hdfs
import requests
from hdfs.client import Client, InsecureClient, TokenClient, _Request

from engine.errors import MissingFileError, StorageError
from engine.storage import kerberos
from engine.storage.hadoop_conf import Cluster
from engine.storage.retry import RetriableError
from engine.storage.tokens import VARIABLE, find_token

CONNECT_TIMEOUT, READ_TIMEOUT = 10.0, 60.0  # seconds
_LATER = (
    "StandbyException",
    "RetriableException",
    "SafeModeException",
    "BlockMissingException",
    "ConnectException",
    "ConnectTimeoutException",
    "NoRouteToHostException",
    "SocketException",
    "SocketTimeoutException",
    "EOFException",
    "ClosedChannelException",
)
_LATER_TEXTS = ("Failed to find datanode", "Could not obtain block", "There are 0 datanode(s) running", "Connection refused")
_NO_ROOM_TEXTS = ("could only be written to 0 of", "could only be replicated to 0 nodes")
_BUSY = (408, 429, 500, 502, 503, 504)
# The package logs what our errors say, and warns each time that it has asked all name nodes of a pair.
logging.getLogger("hdfs").addHandler(logging.NullHandler())
_TOKEN_TEXT = (
    "the token by which the job is known to HDFS has expired or was cancelled: YARN renews it for at most "
    "dfs.namenode.delegation.token.max-lifetime (7 days); submit again with resume_from_checkpoint"
)
_UNKNOWN_NAME = "no host has this name"


class RefusedError(Exception):
    """A name or data node said no; ``kind`` is Java's name of the exception."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class _BusyError(requests.ConnectionError):
    """A server that cannot answer now: the client asks the next name node."""


class _Checks(Client):  # type: ignore[misc]
    """What both kinds of clients do with every answer, before the package looks at it."""

    def _request(self, method: str, url: str, **options: Any) -> Any:
        answer = super()._request(method, url, **options)
        if answer.status_code == 401 and b"RemoteException" not in answer.content:
            raise StorageError(_authentication_text(answer.headers.get("WWW-Authenticate", "")))
        if answer.status_code in _BUSY and b"RemoteException" not in answer.content:
            raise _BusyError(f"the server answered {answer.status_code} {answer.reason}")
        return answer

    # The package reads through `requests`; opening without following gives the data node's address.
    _open_1 = _Request("GET", allow_redirects=False, stream=True)
    _get_file_block_locations = _Request("GET")


class _UserClient(_Checks, InsecureClient):  # type: ignore[misc]
    """Says who the user is, and is believed."""


class _TokenClient(_Checks, TokenClient):  # type: ignore[misc]
    """Shows the token that YARN gave this container."""


def make_client(cluster: Cluster) -> Client:
    """A client for the use of one thread."""
    session = requests.Session()
    session.trust_env = False  # data inside a cluster does not go through the proxies of the web
    session.verify = certificates() or True
    common: dict[str, Any] = {"session": session, "timeout": (CONNECT_TIMEOUT, READ_TIMEOUT)}
    urls = ";".join(cluster.urls)
    if not cluster.kerberos:
        return _UserClient(urls, user=user_name(), **common)
    if (token := find_token(cluster.services)) is not None:
        return _TokenClient(urls, token, **common)
    if VARIABLE in os.environ:
        raise StorageError(
            f"this container has no token for the HDFS at {host_of(cluster.urls[0])}: a job gets tokens for those that it names when it is "
            "submitted"
        )
    session.auth = kerberos.negotiation()
    return _Checks(urls, **common)


def user_name() -> str:
    """``HADOOP_USER_NAME``, else the user of this process."""
    return os.environ.get("HADOOP_USER_NAME") or getpass.getuser()


def certificates() -> str | None:
    """A file of certificates to trust besides the system's."""
    return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE") or None


class _DataNodeGoneError(RetriableError):
    """A data node that cannot be reached, by the name under which a name node leaves it out."""

    def __init__(self, node: str, reason: str) -> None:
        super().__init__(f"data node {node}: {reason}")
        self.node = node


class NameNode:
    """Asks the name nodes of a cluster; every thread of every process has its own connections, which are kept."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._local = threading.local()

    def ask(self, operation: str, path: str, **parameters: Any) -> Any:
        """The answer of one operation of WebHDFS. Raises ``RetriableError``, ``RefusedError`` or ``StorageError``."""
        try:
            return getattr(self._client(), f"_{operation}")(path, **parameters)
        except hdfs.HdfsError as error:
            _raise_remote(str(error.exception or ""), _first_line(error.message))
        except requests.RequestException as error:
            raise self._trouble(error) from None
        except (KeyError, TypeError) as error:  # an answer that is not WebHDFS
            raise StorageError(f"the server at {self.cluster.urls[0]} does not answer as WebHDFS does") from error

    def put(self, url: str, data: BinaryIO) -> None:
        """Send a file to the data node that a name node named."""
        is_empty = data.seek(0, os.SEEK_END) == 0  # which would be sent in chunks
        data.seek(0)
        try:
            answer = self._client()._request("PUT", url, data=b"" if is_empty else data)
        except requests.RequestException as error:
            raise _DataNodeGoneError(host_of(url), reason_of(error)) from None
        if not answer.ok:
            raise_refusal(answer.status_code, answer.content)

    def _client(self) -> Any:
        owner = (os.getpid(), user_name(), *kerberos.identity(), os.environ.get(VARIABLE))
        if getattr(self._local, "owner", None) != owner:
            self._local.client, self._local.owner = make_client(self.cluster), owner
        return self._local.client

    def _trouble(self, error: requests.RequestException) -> Exception:
        hosts = " and ".join(host_of(url) for url in self.cluster.urls)
        reason = reason_of(error)
        if reason == _UNKNOWN_NAME:
            return StorageError(f"name node {hosts}: {reason}; check the name")
        return RetriableError(f"name node {hosts}: {reason}", is_unclear=True)


class DataAnswer:
    """Bytes ``position`` to ``end`` on their way from a data node (``host``), or from a gateway that has no such thing (None)."""

    def __init__(self, host: str | None, body: Any, close: Callable[[], object], position: int, end: int) -> None:
        self.host = host
        self.position = position
        self.end = end
        self.close = close
        self._body = body

    def read(self, length: int) -> bytes:
        """The next ``length`` bytes; fewer where the answer ends early. Raises ``RetriableError``."""
        try:
            data: bytes = self._body.read(length)
        except (OSError, http.client.HTTPException) as error:
            raise RetriableError(f"data node {self.host}: {reason_of(error)}") from None
        self.position += len(data)
        return data


def open_range(names: NameNode, path: str, offset: int, end: int, excluded: str) -> DataAnswer:
    """Ask for a range of a file, of another data node than those ``excluded``; who asked reads the answer and closes it."""
    more = {"excludedatanodes": excluded} if excluded else {}
    answer = names.ask("open_1", path, offset=offset, length=end - offset, **more)
    location = answer.headers.get("Location")
    if location is None:
        return DataAnswer(None, answer.raw, answer.close, offset, end)
    answer.close()
    connection, target = _connect(location)
    try:
        connection.request("GET", target)
        body = connection.getresponse()
        if body.status != 200:
            raise_refusal(body.status, body.read(1 << 16))
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        if isinstance(error, StorageError):
            raise
        raise _DataNodeGoneError(urllib.parse.urlsplit(location).netloc, reason_of(error)) from None
    except BaseException:
        connection.close()
        raise
    return DataAnswer(connection.host, body, connection.close, offset, end)


def gone_node(trouble: RetriableError) -> str | None:
    """The data node that could not be reached, if that was the trouble."""
    return trouble.node if isinstance(trouble, _DataNodeGoneError) else None


def _connect(location: str) -> tuple[http.client.HTTPConnection, str]:
    parts = urllib.parse.urlsplit(location)
    target = f"{parts.path}?{parts.query}"
    host = parts.hostname or ""
    if parts.scheme == "https":
        return http.client.HTTPSConnection(host, parts.port, timeout=READ_TIMEOUT, context=_trust(certificates())), target
    return http.client.HTTPConnection(host, parts.port, timeout=READ_TIMEOUT), target


@functools.cache
def _trust(certificates: str | None) -> ssl.SSLContext:
    """Whose certificates are good; to read them takes longer than to connect."""
    return ssl.create_default_context(cafile=certificates)


def raise_refusal(status: int, content: bytes) -> NoReturn:
    """Raise what a server means that answered with this status and body."""
    try:
        remote = json.loads(content)["RemoteException"]
        kind, message = str(remote.get("exception", "")), str(remote.get("message", ""))
    except (ValueError, KeyError, TypeError):
        if status in _BUSY:
            raise RetriableError(f"the server answered {status}", is_unclear=True) from None
        kind, message = "", f"the server answered {status}"
    _raise_remote(kind, _first_line(message))


def _raise_remote(kind: str, message: str) -> NoReturn:
    if kind == "FileNotFoundException":
        raise MissingFileError(message) from None
    if any(text in message for text in _NO_ROOM_TEXTS) and "There are 0 datanode(s) running" not in message:
        raise RefusedError(kind, "no data node has room for it: remove files, or add data nodes") from None
    if "InvalidToken" in kind + message:
        raise RefusedError(kind, _TOKEN_TEXT) from None
    if kind in _LATER or any(text in message for text in _LATER_TEXTS):
        raise RetriableError(message or kind) from None
    raise RefusedError(kind, message or kind) from None


def _first_line(message: object) -> str:
    text = message.decode(errors="replace") if isinstance(message, bytes) else str(message)
    return text.strip().partition("\n")[0][:500]


def host_of(url: str) -> str:
    """``host:port`` of an address, without what else it says."""
    return urllib.parse.urlsplit(url).netloc.rpartition("@")[2]


def reason_of(error: BaseException) -> str:
    """Why a connection failed, in words without addresses."""
    seen: list[BaseException] = [error]
    while seen:
        current = seen.pop()
        if isinstance(current, socket.gaierror):
            return "its name cannot be resolved now" if current.errno == socket.EAI_AGAIN else _UNKNOWN_NAME
        if isinstance(current, (TimeoutError, requests.Timeout)):
            return "timed out"
        if isinstance(current, _BusyError):
            return str(current)
        if isinstance(current, ssl.SSLError):
            return f"TLS: {current.reason or 'failed'}"
        if isinstance(current, OSError) and current.strerror and not isinstance(current, requests.RequestException):
            return current.strerror
        inner = (*current.args, getattr(current, "reason", None), current.__cause__, current.__context__)
        seen += [each for each in inner if isinstance(each, BaseException) and each is not current]
    return "the connection broke"


def _authentication_text(wanted: str) -> str:
    if "Negotiate" in wanted:
        return (
            "HDFS asks for Kerberos and took no ticket of yours: set HADOOP_CONF_DIR to settings with hadoop.security.authentication = "
            "kerberos, install 'samesum[kerberos]', and run kinit"
        )
    return "HDFS does not accept who you are; check HADOOP_USER_NAME, or run kinit"
