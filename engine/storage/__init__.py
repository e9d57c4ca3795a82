"""The one door to files: list them, ask their size, read a range, write them whole. Each scheme is one entry of ``_STORES``.

Paths without a scheme (and ``file://``) are local; ``hdfs://`` speaks WebHDFS, ``s3://`` what its name says; ``http(s)://`` addresses are
fetched once into the cache and read from there. Importing this imports no client: a store does, when it is first asked.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import importlib
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from engine.errors import MissingFileError, StorageError
from engine.storage.address import (
    PathLike,
    check_no_password,
    is_local,
    join,
    name_of,
    parent,
    reads_ranges,
    scheme_of,
    suffix_of,
    without_secrets,
)
from engine.storage.cache import file_cache, limit_file_cache
from engine.storage.retry import limit_patience
from engine.storage.settings import cache_dir
from engine.storage.store import Block, Entry, Readable, Store
from engine.storage.traffic import BytesRead, bytes_read, own_hosts

__all__ = [
    "Block",
    "BytesRead",
    "Entry",
    "PathLike",
    "block_hosts",
    "bytes_read",
    "cache_dir",
    "can_rename",
    "check_writable",
    "create_bytes",
    "exists",
    "file_cache",
    "file_size",
    "is_local",
    "is_public",
    "join",
    "limit_file_cache",
    "limit_patience",
    "list_files",
    "list_folder",
    "local_path",
    "make_folder",
    "move_folder",
    "name_of",
    "own_hosts",
    "open_file",
    "parent",
    "put_bytes",
    "put_file",
    "put_folder",
    "read_bytes",
    "read_fully",
    "read_range",
    "reads_ranges",
    "remove",
    "stamp",
    "suffix_of",
]

_STORES = {
    "": "local:LocalStore",
    "file": "local:LocalStore",
    "http": "web:WebStore",
    "https": "web:WebStore",
    "hdfs": "hdfs:HdfsStore",
    "s3": "s3:S3Store",
}


# --- reading ---


def list_files(paths: PathLike | Sequence[PathLike]) -> list[str]:
    """The files that ``paths`` stands for: one path, or a list of them in its own order; each a file, a glob or a folder.

    The files of one glob or folder come sorted by the UTF-8 bytes of their path. Raises ``MissingFileError`` if a path matches nothing.
    """
    each = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    if not each:
        raise MissingFileError("expected at least one path, got an empty list")
    return [file for path in each for file in _list_one(os.fspath(path))]


def list_folder(address: PathLike) -> list[Entry]:
    """What a folder has, sorted by the UTF-8 bytes of the name. Raises ``MissingFileError`` if there is no such folder."""
    with _opened(address, "list") as (store, text):
        return store.list_folder(text)


def exists(address: PathLike) -> bool:
    """Whether there is a file or a folder."""
    with _opened(address, "look for") as (store, text):
        return store.exists(text)


def file_size(address: PathLike) -> int:
    """Size of a file in bytes (of a cached copy, for ``http(s)://``)."""
    with _opened(address) as (store, text):
        return store.file_size(text)


def stamp(address: PathLike) -> tuple[int | str, ...]:
    """A file's size, and what changes when the file does: the time of its last change, or its tag."""
    with _opened(address) as (store, text):
        return store.stamp(text)


def open_file(address: PathLike, through: Sequence[tuple[int, int]] = ()) -> BinaryIO:
    """Open a file to read, at its beginning. Unbuffered: read in large pieces.

    ``through`` are the ranges, begin and end in bytes, that the reader will go through: a remote file reads ahead there, and elsewhere just
    what it is asked for.
    """
    with _opened(address) as (store, text):
        return store.open_file(text, through)


def read_range(address: PathLike, offset: int, length: int) -> bytes:
    """The bytes ``offset`` to ``offset + length`` of a file; fewer only where the file ends."""
    with _opened(address) as (store, text), store.open_file(text) as file:
        file.seek(offset)
        return read_fully(file, length)


def read_bytes(address: PathLike) -> bytes:
    """The whole of a small file."""
    with _opened(address) as (store, text), store.open_file(text) as file:
        return file.read()


def read_fully(file: Readable, length: int) -> bytes:
    """Read ``length`` bytes, however few each call gives; fewer only where the file ends."""
    first = file.read(length)
    if not first or len(first) == length:
        return first or b""
    parts = [first]
    missing = length - len(first)
    while missing and (part := file.read(missing)):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def local_path(address: PathLike) -> pathlib.Path:
    """Where a file can be read on this machine, fetched into the cache first if need be."""
    with _opened(address) as (store, text):
        return store.local_path(text)


def block_hosts(address: PathLike) -> list[Block]:
    """Which hosts hold which part of a file, in order; empty where this is unknown."""
    with _opened(address) as (store, text):
        return store.block_hosts(text)


def is_public(address: PathLike) -> bool:
    """Whether every user may read a file, and go through the folders above it; False where this is unknown."""
    with _opened(address) as (store, text):
        return store.is_public(text)


# --- writing ---


def put_bytes(address: PathLike, data: bytes) -> None:
    """Write a file whole or not at all, in place of what was there; makes its folders. Raises ``StorageError``."""
    with _opened(address, "write") as (store, text):
        store.put_bytes(text, data)


def put_file(address: PathLike, source: PathLike) -> None:
    """Copy the local file ``source``, whole or not at all, in place of what was there; makes its folders. Raises ``StorageError``."""
    with _opened(address, "write") as (store, text):
        store.put_file(text, pathlib.Path(source))


def create_bytes(address: PathLike, data: bytes) -> bool:
    """Write a file whole if there is none; False, and nothing is touched, if there is one.

    Of several that try at once, one gets True. Raises ``StorageError``.
    """
    with _opened(address, "write") as (store, text):
        return store.create_bytes(text, data)


def put_folder(address: PathLike, source: PathLike, *, last: str) -> None:
    """Write the files of the local folder ``source``, which appear together or not at all, in place of what was there.

    Its files may be moved: remove what is left of it. Where nothing can be renamed, the file ``last``, the manifest that readers look
    for, is removed first and written last. Raises ``StorageError``.
    """
    with _opened(address, "write") as (store, text):
        store.put_folder(text, pathlib.Path(source), last=last)


def check_writable(address: PathLike) -> None:
    """Raise ``StorageError`` for an address of which only reading makes sense; looks at nothing but its scheme."""
    with _opened(address, "write") as (store, text):
        store.check_writable(text)


def can_rename(address: PathLike) -> bool:
    """Whether :func:`move_folder` works there."""
    with _opened(address) as (store, _):
        return store.renames


def move_folder(source: PathLike, address: PathLike) -> None:
    """Rename the folder ``source``, whose files are whole, in place of what is at ``address`` on the same storage.

    Raises ``StorageError``, also where nothing can be renamed (see :func:`can_rename`).
    """
    with _opened(address, "write") as (store, text):
        store.move_folder(os.fspath(source), text)


def remove(address: PathLike) -> None:
    """Remove a file, or a folder with all in it; nothing if there is neither."""
    with _opened(address, "remove") as (store, text):
        store.remove(text)


def make_folder(address: PathLike, mode: int = 0o700) -> None:
    """Make a folder of this mode, and those above it; nothing if it is there, or where there are no folders."""
    with _opened(address, "make the folder") as (store, text):
        store.make_folder(text, mode)


@functools.cache
def _store(name: str) -> Store:
    module, _, kind = name.partition(":")
    made: Store = getattr(importlib.import_module(f"engine.storage.{module}"), kind)()
    return made


@contextlib.contextmanager
def _opened(address: PathLike, verb: str = "read") -> Iterator[tuple[Store, str]]:
    """The store of an address; gives the operating system's complaints our classes, and the address."""
    text = os.fspath(address)
    scheme = scheme_of(text)
    if scheme not in _STORES:
        known = ", ".join(f"{name}://" for name in _STORES if name)
        raise StorageError(f"expected a local path or one of {known}, got {text!r}")
    check_no_password(text)
    try:
        yield _store(_STORES[scheme]), text
    except StorageError:
        raise
    except FileNotFoundError as error:
        where = f" (working directory {os.getcwd()!r})" if is_local(text) else ""
        raise MissingFileError(f"could not {verb} {without_secrets(text)!r}: no such file{where}") from error
    except OSError as error:
        raise StorageError(f"could not {verb} {without_secrets(text)!r}: {error.strerror or error}") from error


def _list_one(path: str) -> list[str]:
    with _opened(path, "list") as (store, text):
        files = store.list_files(text)
    if not files:
        hint = "nothing matches the pattern" if glob.has_magic(path) else "no such file, or a folder without data files"
        where = f" (working directory {os.getcwd()!r})" if is_local(path) else ""
        raise MissingFileError(f"expected a file, a folder or a glob, got {path!r}: {hint}{where}")
    return files
