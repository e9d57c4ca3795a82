"""The one door to files: list them, ask their size, read a range. Each scheme is one entry of ``_STORES``.

Paths without a scheme (and ``file://``) are local; ``http(s)://`` addresses are fetched once into the cache and read from there.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import http.client
import os
import pathlib
import re
import shutil
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from typing import BinaryIO, Protocol

from engine.errors import MissingFileError, StorageError

HTTP_TIMEOUT = 60.0  # seconds without a byte from the server
_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+)://")
PathLike = str | os.PathLike[str]


class Store(Protocol):
    """What a kind of storage must do. Addresses carry their scheme; listed ones can be opened as they are."""

    def list_files(self, address: str) -> list[str]:
        """The files that a file's, glob's or folder's ``address`` stands for, by bytes of the path; empty if there is none."""

    def local_path(self, address: str) -> pathlib.Path:
        """Where ``address`` can be read on this machine, after fetching it whole if need be."""

    def open_file(self, address: str) -> BinaryIO:
        """A seekable binary file, at its beginning."""

    def file_size(self, address: str) -> int:
        """Size in bytes."""


class Readable(Protocol):
    """Anything that gives bytes forward."""

    def read(self, length: int, /) -> bytes | None:
        """At most ``length`` bytes, none at the end."""


class LocalStore:
    """Files of this machine, or mounted on it."""

    def open_file(self, address: str) -> BinaryIO:
        """Unbuffered: our reads are large."""
        return open(self.local_path(address), "rb", buffering=0)

    def file_size(self, address: str) -> int:
        """Size in bytes."""
        return os.stat(self.local_path(address)).st_size

    def list_files(self, address: str) -> list[str]:
        """Folders are walked to the bottom; names there that begin with ``_`` or ``.`` are skipped."""
        path = str(self.local_path(address))
        if os.path.exists(path):
            return sorted(_walk(path), key=os.fsencode)
        matches = glob.glob(path, recursive=True) if glob.has_magic(path) else []
        return sorted({file for match in matches for file in _walk(match)}, key=os.fsencode)

    def local_path(self, address: str) -> pathlib.Path:
        """The path itself, ``~`` and ``file://`` resolved."""
        if _SCHEME.match(address):
            address = urllib.parse.unquote(urllib.parse.urlsplit(address).path)
        return pathlib.Path(address).expanduser()


class HttpStore(LocalStore):
    """Files behind ``http(s)://``, read from the cache: the first process of a node that asks fetches, the others wait."""

    def list_files(self, address: str) -> list[str]:
        """The address itself: web servers list nothing."""
        return [address]

    def local_path(self, address: str) -> pathlib.Path:
        """Path of the cached copy. Raises ``StorageError`` when the server refuses, stalls or hangs up early."""
        name = pathlib.PurePosixPath(urllib.parse.urlsplit(address).path).name or "index"
        folder = cache_dir() / "http" / hashlib.sha256(address.encode()).hexdigest()[:32]
        target = folder / name
        if target.exists():
            return target
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with _locked(folder / ".lock"):
                if not target.exists():
                    _fetch(address, target)
        except StorageError:
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise StorageError(f"could not fetch {address!r} into the cache {str(folder)!r}: {_reason(error)}") from error
        return target


_STORES: dict[str, Store] = {"": LocalStore(), "file": LocalStore(), "http": HttpStore(), "https": HttpStore()}


def list_files(paths: PathLike | Sequence[PathLike]) -> list[str]:
    """The files that ``paths`` stands for: one path, or a list of them in its own order; each a file, a glob or a folder.

    The files of one glob or folder come sorted by the UTF-8 bytes of their path. Raises ``MissingFileError`` if a path matches nothing.
    """
    each = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    if not each:
        raise MissingFileError("expected at least one path, got an empty list")
    return [file for path in each for file in _list_one(os.fspath(path))]


def file_size(path: str) -> int:
    """Size of a file in bytes (of a cached copy, for ``http(s)://``)."""
    with _explained(path):
        return _store_of(path).file_size(path)


def open_file(path: str) -> BinaryIO:
    """Open a file to read, at its beginning. Unbuffered: read in large pieces."""
    with _explained(path):
        return _store_of(path).open_file(path)


def read_range(path: str, offset: int, length: int) -> bytes:
    """The bytes ``offset`` to ``offset + length`` of a file; fewer only where the file ends."""
    with _explained(path), open_file(path) as file:
        file.seek(offset)
        return read_fully(file, length)


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


def local_path(path: str) -> pathlib.Path:
    """Where a file can be read on this machine, fetched into the cache first if need be."""
    with _explained(path):
        return _store_of(path).local_path(path)


def suffix_of(path: str) -> str:
    """The file name's last suffix in lower case, as ``'.csv'``; of an address without its query."""
    name = urllib.parse.urlsplit(path).path if _SCHEME.match(path) else path
    return pathlib.PurePosixPath(name).suffix.lower()


def cache_dir() -> pathlib.Path:
    """The folder for fetched files: ``SAMESUM_CACHE_DIR``, else ``samesum`` under ``XDG_CACHE_HOME``, else under ``~/.cache``."""
    if own := os.environ.get("SAMESUM_CACHE_DIR"):
        return pathlib.Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (pathlib.Path(shared) if shared else pathlib.Path.home() / ".cache") / "samesum"


def _store_of(path: str) -> Store:
    match = _SCHEME.match(path)
    scheme = match.group(1).lower() if match else ""
    if scheme not in _STORES:
        known = ", ".join(f"{name}://" for name in _STORES if name)
        raise StorageError(f"expected a local path or one of {known}, got {path!r}")
    return _STORES[scheme]


def _list_one(path: str) -> list[str]:
    with _explained(path):
        files = _store_of(path).list_files(path)
    if not files:
        hint = "nothing matches the pattern" if glob.has_magic(path) else "no such file, or a folder without data files"
        raise MissingFileError(f"expected a file, a folder or a glob, got {path!r}: {hint} (working directory {os.getcwd()!r})")
    return files


def _walk(path: str) -> Iterator[str]:
    """The file itself, or every file under a folder whose name, and whose folders' names, begin with neither ``_`` nor ``.``."""
    if not os.path.isdir(path):
        yield path
        return
    for folder, folders, names in os.walk(path, followlinks=True, onerror=_raise):
        folders[:] = [name for name in folders if name[0] not in "_."]
        yield from (os.path.join(folder, name) for name in names if name[0] not in "_.")


def _raise(error: OSError) -> None:
    raise error


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
    """Give the operating system's complaints our classes, and the path."""
    try:
        yield
    except StorageError:
        raise
    except FileNotFoundError as error:
        raise MissingFileError(f"expected a file, got {path!r}: no such file (working directory {os.getcwd()!r})") from error
    except OSError as error:
        raise StorageError(f"could not read {path!r}: {_reason(error)}") from error


@contextlib.contextmanager
def _locked(path: pathlib.Path) -> Iterator[None]:
    """Hold an exclusive lock on ``path``; it goes with the process, whatever ends it."""
    with open(path, "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fetch(address: str, target: pathlib.Path) -> None:
    """Fetch into a file beside ``target``, then rename: readers see the whole file or none."""
    descriptor, partial = tempfile.mkstemp(prefix=".fetching-", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file, urllib.request.urlopen(address, timeout=HTTP_TIMEOUT) as response:
            shutil.copyfileobj(response, file, 1 << 20)
            expected = response.headers.get("Content-Length")
        got = os.path.getsize(partial)
        if expected is not None and got != int(expected):
            raise StorageError(f"could not fetch {address!r}: expected {expected} bytes, got {got} before the server hung up; try again")
        os.chmod(partial, 0o644)
        os.replace(partial, target)
    except urllib.error.HTTPError as error:
        error.close()
        kind = MissingFileError if error.code in (404, 410) else StorageError
        raise kind(f"could not fetch {address!r}: the server answered {error.code} {error.reason}") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial)


def _reason(error: BaseException) -> str:
    """The cause in a few words, without Python's decoration."""
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return (error.strerror or str(error)) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
