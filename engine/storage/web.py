"""Files behind ``http(s)://``, read from the cache: the first process of a node that asks fetches, the others wait."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import pathlib
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import BinaryIO, ClassVar

from engine.errors import MissingFileError, StorageError
from engine.storage.address import name_of, without_secrets
from engine.storage.local import LocalStore
from engine.storage.locks import locked
from engine.storage.settings import cache_dir
from engine.storage.store import Store

HTTP_TIMEOUT = 60.0  # seconds without a byte from the server


class WebStore(Store):
    """Read only; a web server lists nothing, so an address is one file."""

    writes: ClassVar[bool] = False

    def __init__(self) -> None:
        self._files = LocalStore()

    def list_files(self, address: str) -> list[str]:
        """The address itself."""
        return [address]

    def open_file(self, address: str, through: Sequence[tuple[int, int]] = ()) -> BinaryIO:
        """The cached copy."""
        return self._files.open_file(str(self.local_path(address)))

    def file_size(self, address: str) -> int:
        """Size of the cached copy."""
        return self._files.file_size(str(self.local_path(address)))

    def stamp(self, address: str) -> tuple[int | str, ...]:
        """Size and time of the cached copy."""
        return self._files.stamp(str(self.local_path(address)))

    def exists(self, address: str) -> bool:
        """Whether the server has it; fetches it."""
        try:
            return self.local_path(address).exists()
        except MissingFileError:
            return False

    def local_path(self, address: str) -> pathlib.Path:
        """Path of the cached copy. Raises ``StorageError`` when the server refuses, stalls or hangs up early."""
        folder = cache_dir() / "http" / hashlib.sha256(address.encode()).hexdigest()[:32]
        target = folder / (name_of(address) or "index")
        if target.exists():
            return target
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder / ".lock"):
                if not target.exists():
                    _fetch(address, target)
        except StorageError:
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise StorageError(f"could not fetch {without_secrets(address)!r} into the cache {str(folder)!r}: {_reason(error)}") from error
        return target


def _reason(error: BaseException) -> str:
    """The cause in a few words, without Python's decoration."""
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return (error.strerror or str(error)) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"


def _fetch(address: str, target: pathlib.Path) -> None:
    """Fetch into a file beside ``target``, then rename: readers see the whole file or none."""
    descriptor, partial = tempfile.mkstemp(prefix=".fetching-", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file, urllib.request.urlopen(address, timeout=HTTP_TIMEOUT) as response:
            shutil.copyfileobj(response, file, 1 << 20)
            expected = response.headers.get("Content-Length")
        got = os.path.getsize(partial)
        if expected is not None and got != int(expected):
            raise StorageError(
                f"could not fetch {without_secrets(address)!r}: expected {expected} bytes, got {got} before the server hung up; try again"
            )
        os.chmod(partial, 0o644)
        os.replace(partial, target)
    except urllib.error.HTTPError as error:
        error.close()
        kind = MissingFileError if error.code in (404, 410) else StorageError
        raise kind(f"could not fetch {without_secrets(address)!r}: the server answered {error.code} {error.reason}") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial)
