"""What stands in the way of writing a folder: anything but what we wrote there ourselves."""

from __future__ import annotations

from collections.abc import Callable

from engine import storage
from engine.errors import StorageError


def check_replaceable_folder(address: str, *, what: str, manifest: str, is_ours: Callable[[str], bool]) -> None:
    """Refuse to write over anything but a folder that has the file ``manifest``, or nothing but files whose names are ours.

    The latter is what is left where a writer was killed. Raises :class:`StorageError` that names ``what`` was to be saved.
    """
    names = names_to_replace(address, what)
    if manifest not in names and not all(map(is_ours, names)):
        raise StorageError(f"cannot save the {what} to {address!r}: a directory that holds no {what} is there; choose another path")


def names_to_replace(address: str, what: str) -> list[str]:
    """What the folder at ``address`` has; nothing if there is none. Raises :class:`StorageError` if a file is there."""
    storage.check_writable(address)
    try:
        return [entry.name for entry in storage.list_folder(address)]
    except StorageError:
        if not storage.exists(address):
            return []
        if not _is_file(address):
            raise
        raise StorageError(f"cannot save the {what} to {address!r}: a file is there; choose another path") from None


def _is_file(address: str) -> bool:
    try:
        storage.file_size(address)
    except StorageError:
        return False
    return True
