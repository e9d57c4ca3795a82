"""Files of this machine, or mounted on it."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from typing import BinaryIO, ClassVar

from engine.storage.address import local_form
from engine.storage.store import Entry, Store

_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)


class LocalStore(Store):
    """Writes go to a file beside the target, then to the disk, then to their name by one rename."""

    renames: ClassVar[bool] = True

    def list_files(self, address: str) -> list[str]:
        """Folders are walked to the bottom; names there that begin with ``_`` or ``.`` are skipped."""
        path = str(local_form(address))
        if os.path.exists(path):
            return sorted(_walk(path), key=os.fsencode)
        matches = glob.glob(path, recursive=True) if glob.has_magic(path) else []
        return sorted({file for match in matches for file in _walk(match)}, key=os.fsencode)

    def local_path(self, address: str) -> pathlib.Path:
        """The path itself, ``~`` and ``file://`` resolved."""
        return local_form(address)

    def open_file(self, address: str, through: Sequence[tuple[int, int]] = ()) -> BinaryIO:
        """Unbuffered: our reads are large."""
        return open(self.local_path(address), "rb", buffering=0)

    def file_size(self, address: str) -> int:
        """Size in bytes."""
        return os.stat(self.local_path(address)).st_size

    def stamp(self, address: str) -> tuple[int | str, ...]:
        """Size and time of the last change."""
        status = os.stat(self.local_path(address))
        return status.st_size, status.st_mtime_ns

    def exists(self, address: str) -> bool:
        """Whether there is a file or a folder."""
        return local_form(address).exists()

    def list_folder(self, address: str) -> list[Entry]:
        """What a folder has, links followed; what vanishes meanwhile is left out."""
        entries = []
        with os.scandir(local_form(address)) as found:
            for each in found:
                with contextlib.suppress(FileNotFoundError):
                    entries.append(Entry(each.name, each.is_dir(), 0 if each.is_dir() else each.stat().st_size))
        return sorted(entries, key=lambda entry: os.fsencode(entry.name))

    def put_bytes(self, address: str, data: bytes) -> None:
        """Write beside the target, then rename."""
        target = _prepared(address)
        with _aside(target) as partial:
            _write(partial, data)
            os.replace(partial, target)
        sync(target.parent)

    def put_file(self, address: str, source: pathlib.Path) -> None:
        """Copy beside the target, then rename."""
        target = _prepared(address)
        with _aside(target) as partial:
            shutil.copyfile(source, partial)
            sync(partial)
            os.replace(partial, target)
        sync(target.parent)

    def create_bytes(self, address: str, data: bytes) -> bool:
        """Write beside the target, then link, which fails where the target is there already."""
        target = _prepared(address)
        with _aside(target) as partial:
            _write(partial, data)
            try:
                os.link(partial, target)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                return _create_without_links(target, data)
        sync(target.parent)
        return True

    def put_folder(self, address: str, source: pathlib.Path, *, last: str) -> None:
        """Move the folder beside the target, copying where that is another file system, then swap the two by renames."""
        target = _prepared(address)
        holder = pathlib.Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".new", dir=target.parent))
        try:
            shutil.move(source, holder / "fresh")
            self.move_folder(str(holder / "fresh"), str(target))
        finally:
            shutil.rmtree(holder, ignore_errors=True)

    def move_folder(self, source: str, address: str) -> None:
        """Swap the two by renames, once all files are on the disk."""
        fresh, target = local_form(source), _prepared(address)
        for path in (*fresh.rglob("*"), fresh):
            sync(path)
        old = pathlib.Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".new", dir=target.parent))
        try:
            _swap(fresh, target, old / "old")
            sync(target.parent)
        finally:
            shutil.rmtree(old, ignore_errors=True)

    def remove(self, address: str) -> None:
        """Remove a file, a link or a folder."""
        path = local_form(address)
        with contextlib.suppress(FileNotFoundError):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def make_folder(self, address: str, mode: int) -> None:
        """The folders above get the usual mode."""
        path = local_form(address)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=mode, exist_ok=True)


def sync(path: pathlib.Path) -> None:
    """Wait until a file's or a folder's content is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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


def _prepared(address: str) -> pathlib.Path:
    """The target, its folder made."""
    target = pathlib.Path(os.path.abspath(local_form(address)))
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


@contextlib.contextmanager
def _aside(target: pathlib.Path) -> Iterator[pathlib.Path]:
    """A new file beside the target, gone at the end unless it was renamed."""
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name[:200]}.", suffix=".partial", dir=target.parent)
    os.fchmod(descriptor, 0o666 & ~_umask())
    os.close(descriptor)
    try:
        yield pathlib.Path(name)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)


def _umask() -> int:
    """Read where it can be read without changing it for other threads."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("Umask:"):
            return int(line.split()[1], 8)
    return 0o077


def _write(path: pathlib.Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _create_without_links(target: pathlib.Path, data: bytes) -> bool:
    """On file systems without hard links: exclusive, but seen by readers while it is written."""
    try:
        with open(target, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        return False
    return True


def _swap(fresh: pathlib.Path, target: pathlib.Path, old: pathlib.Path) -> None:
    """Put a complete folder in its place; what was there stays until then."""
    had_one = os.path.lexists(target)
    if had_one:
        os.rename(target, old)
    try:
        os.rename(fresh, target)
    except OSError:
        if had_one:
            os.rename(old, target)
        raise
