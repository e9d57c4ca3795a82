"""A storage in memory, for tests: with renames as file systems have, or without as object stores; it can be killed at the k-th write."""

from __future__ import annotations

import io
import pathlib
import threading
from collections.abc import Sequence
from typing import BinaryIO

from engine import storage
from engine.storage.store import Entry, Store


class KilledError(BaseException):
    """The process is gone: no error that anybody handles."""


class MemoryStore(Store):
    """Files by address. From the ``dies_at``-th change on (counted from 1), every change raises and changes nothing."""

    def __init__(self, *, renames: bool) -> None:
        self.renames = renames
        self.files: dict[str, bytes] = {}
        self.folders: set[str] = set()
        self.dies_at: int | None = None
        self.changes = 0
        self._lock = threading.RLock()

    def restart(self, files: dict[str, bytes], dies_at: int | None) -> None:
        """These files and no others, and a new process."""
        self.files, self.folders, self.dies_at, self.changes = dict(files), {storage.parent(name) for name in files}, dies_at, 0

    @property
    def is_dead(self) -> bool:
        """Whether the last process was killed."""
        return self.dies_at is not None and self.changes >= self.dies_at

    def list_files(self, address: str) -> list[str]:
        """Names that begin with ``_`` or ``.`` are skipped."""
        if address in self.files:
            return [address]
        below = [name for name in self.files if name.startswith(address.rstrip("/") + "/")]
        return sorted(name for name in below if not any(each[0] in "_." for each in name[len(address) :].strip("/").split("/")))

    def local_path(self, address: str) -> pathlib.Path:
        """There is none."""
        raise AssertionError(f"{address} was asked for as a local file")

    def open_file(self, address: str, through: Sequence[tuple[int, int]] = ()) -> BinaryIO:
        """From memory."""
        return io.BytesIO(self._content(address))

    def file_size(self, address: str) -> int:
        """Size in bytes."""
        return len(self._content(address))

    def stamp(self, address: str) -> tuple[int | str, ...]:
        """Size, and the object."""
        return len(self._content(address)), id(self._content(address))

    def exists(self, address: str) -> bool:
        """Whether there is a file or a folder."""
        return address in self.files or self._is_folder(address)

    def list_folder(self, address: str) -> list[Entry]:
        """What a folder has."""
        if not self._is_folder(address):
            raise FileNotFoundError(address)
        start = address.rstrip("/") + "/"
        names = {name[len(start) :].split("/")[0] for name in [*self.files, *self.folders] if name.startswith(start)}
        return sorted(Entry(name, start + name not in self.files, len(self.files.get(start + name, b""))) for name in names)

    def put_bytes(self, address: str, data: bytes) -> None:
        """One change."""
        with self._change():
            self.files[address] = bytes(data)
            self.folders.add(storage.parent(address))

    def put_file(self, address: str, source: pathlib.Path) -> None:
        """One change."""
        self.put_bytes(address, source.read_bytes())

    def create_bytes(self, address: str, data: bytes) -> bool:
        """One change."""
        if address in self.files:
            return False
        self.put_bytes(address, data)
        return True

    def put_folder(self, address: str, source: pathlib.Path, *, last: str) -> None:
        """File by file."""
        names = sorted((path.name for path in source.iterdir()), key=lambda name: (name == last, name))
        target = f"{storage.parent(address)}/.{storage.name_of(address)}.new" if self.renames else address
        if not self.renames:
            self.remove(storage.join(address, last))
        for name in names:
            self.put_bytes(storage.join(target, name), (source / name).read_bytes())
        if self.renames:
            self.move_folder(target, address)

    def move_folder(self, source: str, address: str) -> None:
        """Two renames and a removal."""
        if not self.renames:
            raise AssertionError("nothing can be renamed here")
        old = f"{storage.parent(address)}/.{storage.name_of(address)}.old.new"
        if self._is_folder(address):
            self._rename(address, old)
        self._rename(source, address)
        self.remove(old)

    def remove(self, address: str) -> None:
        """All files below are one change where there are folders, else each is one."""
        gone = [name for name in self.files if name == address or name.startswith(address.rstrip("/") + "/")]
        for group in [gone] if self.renames and gone else [[name] for name in sorted(gone)]:
            with self._change():
                for name in group:
                    del self.files[name]
        self.folders -= {name for name in self.folders if f"{name}/".startswith(address.rstrip("/") + "/")}

    def make_folder(self, address: str, mode: int) -> None:
        """One change."""
        with self._change():
            self.folders.add(address)

    def _rename(self, source: str, address: str) -> None:
        with self._change():
            moved = {name: address + name[len(source) :] for name in self.files if name.startswith(f"{source}/")}
            self.files = {moved.get(name, name): data for name, data in self.files.items()}
            self.folders = {address if name == source else name for name in self.folders}

    def _change(self) -> threading.RLock:
        with self._lock:
            self.changes += 1
            if self.is_dead:
                raise KilledError
        return self._lock

    def _content(self, address: str) -> bytes:
        if address not in self.files:
            raise FileNotFoundError(address)
        return self.files[address]

    def _is_folder(self, address: str) -> bool:
        bare = address.rstrip("/")
        in_use = any(name.startswith(f"{bare}/") for name in [*self.files, *(self.folders if self.renames else ())])
        return in_use or (self.renames and bare in self.folders)
