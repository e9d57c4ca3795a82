"""What storages that are reached over a network have in common: walking, globbing, reading by ranges, fetching whole."""

from __future__ import annotations

import fnmatch
import glob
import hashlib
import os
import pathlib
import re
import tempfile
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple, cast

from engine.errors import MissingFileError, StorageError
from engine.storage.address import join, name_of, parent, split
from engine.storage.cache import file_cache
from engine.storage.locks import locked
from engine.storage.remote_file import CHUNK_BYTES, Range, RemoteFile, RemoteHandle
from engine.storage.settings import cache_dir
from engine.storage.store import Entry, Store


class Status(NamedTuple):
    """What is at an address; ``stamp`` changes when a file does."""

    is_folder: bool
    size: int
    stamp: tuple[int | str, ...]
    block: int = 0  # bytes of each part that lies on one host; 0 where there is no such thing


class RemoteStore(Store):
    """A store of which subclasses say what is at an address, what a folder has, and how bytes come."""

    @abstractmethod
    def status(self, address: str) -> Status | None:
        """What is there; None if nothing is."""

    @abstractmethod
    def open_handle(self, address: str) -> RemoteHandle:
        """A file to fetch ranges from. Raises ``MissingFileError`` if it is none."""

    def list_files(self, address: str) -> list[str]:
        """Folders are walked to the bottom; names there that begin with ``_`` or ``.`` are skipped."""
        status = self.status(address)
        if status is None:
            found = [file for match in self._matches(address) for file in self._walk(*match)] if glob.has_magic(address) else []
            return sorted(set(found), key=os.fsencode)
        return sorted(self._walk(address, status.is_folder), key=os.fsencode)

    def open_file(self, address: str, through: Sequence[Range] = ()) -> BinaryIO:
        """A file that reads by ranges, those in ``through`` ahead."""
        return cast(BinaryIO, RemoteFile(self.open_handle(address), file_cache(), through))

    def file_size(self, address: str) -> int:
        """Size in bytes."""
        return self._file_status(address).size

    def stamp(self, address: str) -> tuple[int | str, ...]:
        """Size and what else tells versions apart."""
        return self._file_status(address).stamp

    def exists(self, address: str) -> bool:
        """Whether there is a file or a folder."""
        return self.status(address) is not None

    def local_path(self, address: str) -> pathlib.Path:
        """Path of a copy in the cache, fetched by the first process of a node that asks."""
        handle = self.open_handle(address)
        key = hashlib.sha256(repr((address, handle.stamp)).encode()).hexdigest()[:32]
        folder = cache_dir() / split(address)[0] / key
        target = folder / name_of(address)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder / ".lock"):
                if not target.exists():
                    _copy(handle, target)
        except OSError as error:
            if isinstance(error, StorageError):
                raise
            raise StorageError(f"could not fetch {address!r} into the cache {str(folder)!r}: {error.strerror or error}") from error
        return target

    def _file_status(self, address: str) -> Status:
        status = self.status(address)
        if status is None:
            raise MissingFileError(f"could not read {address!r}: no such file")
        if status.is_folder:
            raise StorageError(f"could not read {address!r}: it is a folder")
        return status

    def _walk(self, address: str, is_folder: bool) -> Iterator[str]:
        if not is_folder:
            yield address
            return
        for entry in self.list_folder(address):
            if entry.name[0] not in "_.":
                yield from self._walk(join(address, entry.name), entry.is_folder)

    def _matches(self, pattern: str) -> list[tuple[str, bool]]:
        """Addresses that a glob means, and whether each is a folder: ``*``, ``?`` and ``[]`` within a name, ``**`` for any folders."""
        scheme, authority, path = split(pattern)
        names = [name for name in path.split("/") if name]
        plain = next((place for place, name in enumerate(names) if glob.has_magic(name)), len(names))
        root = "/".join([f"{scheme}://{authority}", *names[:plain]]) if plain else f"{scheme}://{authority}/"
        return sorted(set(self._expand(root, names[plain:])))

    def _expand(self, folder: str, names: list[str]) -> Iterator[tuple[str, bool]]:
        try:
            entries = self.list_folder(folder)
        except MissingFileError:
            return
        name, rest = names[0], names[1:]
        if name == "**":
            yield from self._expand(folder, rest) if rest else []
            for entry in entries:
                if entry.name[0] != ".":
                    address = join(folder, entry.name)
                    if not rest:
                        yield address, entry.is_folder
                    if entry.is_folder:
                        yield from self._expand(address, names)
            return
        accepts = re.compile(fnmatch.translate(name)).match
        for entry in entries:
            if accepts(entry.name) and (entry.name[0] != "." or name[0] == "."):
                address = join(folder, entry.name)
                if not rest:
                    yield address, entry.is_folder
                elif entry.is_folder:
                    yield from self._expand(address, rest)


def by_name(entries: list[Entry]) -> list[Entry]:
    """Sorted by the bytes of the name."""
    return sorted(entries, key=lambda entry: os.fsencode(entry.name))


def aside(address: str, kind: str) -> str:
    """The address of something new beside ``address`` that listings skip."""
    name = f".{name_of(address)[:200]}.{os.urandom(8).hex()}.{kind}"
    return join(parent(address), name)


def _copy(handle: RemoteHandle, target: pathlib.Path) -> None:
    """Write beside ``target``, then rename: readers see the whole file or none."""
    descriptor, partial = tempfile.mkstemp(prefix=".fetching-", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            for begin in range(0, handle.size, CHUNK_BYTES):
                file.write(handle.fetch(begin, min(CHUNK_BYTES, handle.size - begin), handle.size))
        os.chmod(partial, 0o644)
        os.replace(partial, target)
    finally:
        pathlib.Path(partial).unlink(missing_ok=True)
