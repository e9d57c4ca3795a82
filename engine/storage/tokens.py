"""The tokens by which a container of YARN is known to HDFS: a file that only its process can read, named by the environment.

Whoever submits gets them for the application, YARN gives them to its containers and has them renewed. Hadoop calls the file's format
Credentials; its oldest version, the one that YARN writes, is read here.
"""

from __future__ import annotations

import base64
import os
import pathlib
import socket
from collections.abc import Iterable
from typing import NamedTuple

from engine.errors import StorageError

VARIABLE = "HADOOP_TOKEN_FILE_LOCATION"
_MAGIC, _WRITABLE = b"HDTS", 0
_KINDS = ("HDFS_DELEGATION_TOKEN", "WEBHDFS delegation", "SWEBHDFS delegation")


class Token(NamedTuple):
    """One token; ``text`` is what WebHDFS takes as ``delegation``, and is as secret as a password."""

    kind: str
    service: str
    text: str

    def __repr__(self) -> str:
        """Without the secret."""
        return f"Token({self.kind!r}, {self.service!r})"


def find_token(services: Iterable[str]) -> str | None:
    """The token for one of these services, ``host:port`` or ``ha-hdfs:name``, from the file of this process; None if it has none."""
    path = os.environ.get(VARIABLE)
    if not path:
        return None
    wanted = {name for service in services for name in _names(service)}
    return next((token.text for token in read_tokens(path) if token.kind in _KINDS and wanted & _names(token.service)), None)


def read_tokens(path: str) -> list[Token]:
    """The tokens of a file. Raises ``StorageError`` that names it."""
    try:
        data = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise StorageError(f"could not read the tokens that {VARIABLE} names, {path!r}: {error.strerror}") from None
    if data[:4] != _MAGIC or data[4:5] != bytes([_WRITABLE]):
        raise StorageError(f"expected tokens in Hadoop's 'java' format in {path!r}, which {VARIABLE} names, got another format")
    try:
        return list(_Reader(data, 5).tokens())
    except (IndexError, UnicodeDecodeError):
        raise StorageError(f"the file of tokens {path!r}, which {VARIABLE} names, is damaged") from None


class _Reader:
    """Values as Java's WritableUtils writes them."""

    def __init__(self, data: bytes, position: int) -> None:
        self._data, self._position = data, position

    def tokens(self) -> Iterable[Token]:
        for _ in range(self._number()):
            self._field()  # the name under which it is kept
            begin = self._position
            self._field()  # who it is for
            self._field()  # its password
            kind, service = self._field().decode(), self._field().decode()
            raw = self._data[begin : self._position]
            yield Token(kind, service, base64.urlsafe_b64encode(raw).rstrip(b"=").decode())

    def _field(self) -> bytes:
        return self._bytes(self._number())

    def _number(self) -> int:
        """From -112 to 127 as one byte, else how many bytes follow and the sign in the first."""
        first = int.from_bytes(self._bytes(1), "big", signed=True)
        if first >= -112:
            return first
        is_negative = first < -120
        value = int.from_bytes(self._bytes((-120 if is_negative else -112) - first), "big")
        return ~value if is_negative else value

    def _bytes(self, length: int) -> bytes:
        end = self._position + length
        if not 0 <= length <= len(self._data) - self._position:
            raise IndexError
        found, self._position = self._data[self._position : end], end
        return found


def _names(service: str) -> set[str]:
    """A service as settings and tokens may call it: by its host's name or by its address."""
    host, _, port = service.rpartition(":")
    found = {service.lower()}
    if host and host != "ha-hdfs":
        try:
            found |= {f"{each[4][0]}:{port}" for each in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
        except (OSError, UnicodeError):
            return found
    return found
