"""What stands in the way of writing a folder: anything but what we wrote there ourselves."""

from __future__ import annotations

from collections.abc import Callable

from engine import storage
from engine.errors import StorageError


def check_replaceable_folder(address: str, *, what: str, manifest: str, is_ours: Callable[[str], bool]) -> None:
    """Refuse to write over anything but a folder that has the file ``manifest``, or nothing but files whose names are ``ours``.

    The latter is what is left where a writer was killed. Raises :class:`StorageError` that names ``what`` was to be saved.
    """
    refusal = f"cannot save the {what} to {address!r}"
    storage.check_writable(address)
    try:
        names = [entry.name for entry in storage.list_folder(address)]
    except StorageError:
        if not storage.exists(address):
            return
        if not _is_file(address):
            raise
        raise StorageError(f"{refusal}: a file is there; choose another path") from None
    if manifest not in names and not all(map(is_ours, names)):
        raise StorageError(f"{refusal}: a directory that holds no {what} is there; choose another path")


def _is_file(address: str) -> bool:
    try:
        storage.file_size(address)
    except StorageError:
        return False
    return True
