"""What a kind of storage must do. Every method takes whole addresses, and raises the classes of :mod:`engine.errors` or ``OSError``."""

from __future__ import annotations

import pathlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import BinaryIO, ClassVar, NamedTuple, Protocol

from engine.errors import StorageError
from engine.storage.address import scheme_of, without_secrets


class Entry(NamedTuple):
    """What a folder has: a file of ``size`` bytes, or a folder (its size is 0)."""

    name: str
    is_folder: bool
    size: int


class Block(NamedTuple):
    """Part of a file, and the names of the hosts that hold it."""

    offset: int
    length: int
    hosts: list[str]


class Readable(Protocol):
    """Anything that gives bytes forward."""

    def read(self, length: int, /) -> bytes | None:
        """At most ``length`` bytes, none at the end."""


class Store(ABC):
    """A kind of storage that can be read. What writes refuses here; stores that can be written override it."""

    writes: ClassVar[bool] = True
    renames: ClassVar[bool] = False  # whether a folder can be moved at once, by :meth:`move_folder`

    @abstractmethod
    def list_files(self, address: str) -> list[str]:
        """The files that a file's, glob's or folder's ``address`` stands for, by bytes of the path; empty if there is none."""

    @abstractmethod
    def local_path(self, address: str) -> pathlib.Path:
        """Where ``address`` can be read on this machine, after fetching it whole if need be."""

    @abstractmethod
    def open_file(self, address: str, through: Sequence[tuple[int, int]] = ()) -> BinaryIO:
        """A seekable binary file, at its beginning, of which the reader will go through these ranges."""

    @abstractmethod
    def file_size(self, address: str) -> int:
        """Size in bytes."""

    @abstractmethod
    def stamp(self, address: str) -> tuple[int | str, ...]:
        """Size, and what changes when the file does."""

    @abstractmethod
    def exists(self, address: str) -> bool:
        """Whether there is a file or a folder."""

    def list_folder(self, address: str) -> list[Entry]:
        """What a folder has, by bytes of the name."""
        raise StorageError(f"could not list {without_secrets(address)!r}: {scheme_of(address)}:// addresses name files only")

    def block_hosts(self, address: str) -> list[Block]:
        """Which hosts hold which part of a file; empty where this is unknown."""
        return []

    def is_public(self, address: str) -> bool:
        """Whether every user may read a file; False where this is unknown."""
        return False

    def put_bytes(self, address: str, data: bytes) -> None:
        """Write a file whole or not at all, in place of what was there."""
        raise self._refusal(address)

    def put_file(self, address: str, source: pathlib.Path) -> None:
        """Copy a local file, whole or not at all, in place of what was there."""
        raise self._refusal(address)

    def create_bytes(self, address: str, data: bytes) -> bool:
        """Write a file whole if there is none; whether there was none."""
        raise self._refusal(address)

    def put_folder(self, address: str, source: pathlib.Path, *, last: str) -> None:
        """Write a folder that appears whole, in place of what was there."""
        raise self._refusal(address)

    def move_folder(self, source: str, address: str) -> None:
        """Rename a folder of this store that is whole to ``address``, in place of what was there; only where ``renames``."""
        raise self._refusal(address)

    def remove(self, address: str) -> None:
        """Remove a file, or a folder with all in it; nothing if there is neither."""
        raise self._refusal(address)

    def make_folder(self, address: str, mode: int) -> None:
        """Make a folder and those above it; nothing if it is there."""
        raise self._refusal(address)

    def check_writable(self, address: str) -> None:
        """Raise where nothing can ever be written."""
        if not self.writes:
            raise self._refusal(address)

    def _refusal(self, address: str) -> StorageError:
        return StorageError(
            f"could not write {without_secrets(address)!r}: {scheme_of(address)}:// addresses are read only; name a local path, hdfs:// or s3://"
        )
