"""Files of HDFS, by WebHDFS.

Writing: a file is sent under another name beside its place and renamed, so it is there whole or not at all. A rename is one step of the
name node; whether it happened is asked where the answer was lost, as an answer of ``false`` is no success.
"""

from __future__ import annotations

import contextlib
import functools
import io
import pathlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, ClassVar

from engine.errors import MissingFileError, StorageError
from engine.storage.address import join, parent, split
from engine.storage.hadoop_conf import find_cluster
from engine.storage.remote import RemoteStore, Status, aside, by_name
from engine.storage.remote_file import RemoteHandle
from engine.storage.retry import Patience, RetriableError, persist
from engine.storage.store import Block, Entry
from engine.storage.traffic import count_read
from engine.storage.webhdfs import DataAnswer, NameNode, RefusedError, gone_node, open_range

_QUOTAS = ("NSQuotaExceededException", "DSQuotaExceededException", "QuotaByStorageTypeExceededException", "QuotaExceededException")


class HdfsStore(RemoteStore):
    """``hdfs://[host[:port]]/path``; names in the path are taken as they stand."""

    renames: ClassVar[bool] = True

    def __init__(self) -> None:
        self._name_node = functools.cache(NameNode)

    # --- reading ---

    def status(self, address: str) -> Status | None:
        """One question to the name node."""
        try:
            found = self._ask("read", "get_file_status", address).json()["FileStatus"]
        except MissingFileError:
            return None
        return Status(found["type"] == "DIRECTORY", int(found["length"]), _stamp(found), int(found.get("blockSize", 0)))

    def list_folder(self, address: str) -> list[Entry]:
        """What a folder has."""
        found = self._ask("list", "list_status", address).json()["FileStatuses"]["FileStatus"]
        if len(found) == 1 and not found[0]["pathSuffix"]:
            raise StorageError(f"could not list {address!r}: it is no folder")
        return by_name([Entry(each["pathSuffix"], each["type"] == "DIRECTORY", int(each["length"])) for each in found])

    def block_hosts(self, address: str) -> list[Block]:
        """Which hosts hold the blocks; empty for a server that does not say."""
        try:
            answer = self._ask("read", "get_file_block_locations", address).json()
        except MissingFileError:
            raise
        except StorageError:
            return []
        blocks = answer["BlockLocations"]["BlockLocation"]
        return [Block(int(each["offset"]), int(each["length"]), list(each["hosts"])) for each in blocks]

    def is_public(self, address: str) -> bool:
        """By the permissions of the file and of every folder above it: one question for each."""
        others, above = 4, address
        while int(self._ask("read", "get_file_status", above).json()["FileStatus"]["permission"], 8) & others:
            if parent(above) == above:
                return True
            others, above = 1, parent(above)
        return False

    def open_handle(self, address: str) -> RemoteHandle:
        """Ranges of a file, each from the data node that the name node names."""
        status = self._file_status(address)
        return _Handle(address, status, *self._find(address))

    # --- writing ---

    def put_bytes(self, address: str, data: bytes) -> None:
        """Write beside, then rename over what is there."""
        self._put(address, lambda: io.BytesIO(data))

    def put_file(self, address: str, source: pathlib.Path) -> None:
        """Send beside, then rename over what is there."""
        self._put(address, functools.partial(_opened, source))

    def create_bytes(self, address: str, data: bytes) -> bool:
        """Write beside, then rename, which fails where there is something already."""
        partial = aside(address, "partial")
        with self._discarding(partial):
            self._send(partial, address, lambda: io.BytesIO(data))
            is_new = self._rename(partial, address, replace=False)
        if not is_new:
            self._discard(partial)
        return is_new

    def put_folder(self, address: str, source: pathlib.Path, *, last: str) -> None:
        """Send everything beside, then rename what is there away and the new folder to its place."""
        fresh = aside(address, "new")
        self.make_folder(parent(address), 0o755)
        with self._discarding(fresh):
            self.make_folder(fresh, 0o755)
            for path in sorted(each for each in source.rglob("*") if each.is_file()):
                self._send(join(fresh, *path.relative_to(source).parts), address, functools.partial(_opened, path))
            self.move_folder(fresh, address)

    def move_folder(self, source: str, address: str) -> None:
        """Rename what is there away and the new folder to its place; what was there comes back if that fails."""
        old = aside(address, "old")
        had_one = self.exists(address)
        if had_one:
            self._rename(address, old, replace=False)
        if not self._rename(source, address, replace=False):
            if had_one:
                self._rename(old, address, replace=False)
            raise StorageError(f"could not write {address!r}: somebody else wrote it at the same time")
        if had_one:
            self._discard(old)

    def remove(self, address: str) -> None:
        """Remove, without a trash."""
        try:
            self._ask("remove", "delete", address, recursive=True)
        except MissingFileError:
            return

    def make_folder(self, address: str, mode: int) -> None:
        """Make it and those above it; only a new one gets the mode."""
        made = self._ask("make the folder", "mkdirs", address, permission=f"{mode:o}").json()
        if not made.get("boolean"):
            raise StorageError(f"could not make the folder {address!r}: the name node refused")

    def _put(self, address: str, source: Callable[[], BinaryIO]) -> None:
        partial = aside(address, "partial")
        with self._discarding(partial):
            self._send(partial, address, source)
            self._rename(partial, address, replace=True)

    @contextlib.contextmanager
    def _discarding(self, partial: str) -> Iterator[None]:
        """Remove what is half done if what follows fails."""
        try:
            yield
        except BaseException:
            self._discard(partial)
            raise

    def _discard(self, address: str) -> None:
        """Remove what nobody knows of; asked once, as what is left does no harm."""
        names, path = self._find(address)
        with contextlib.suppress(RetriableError, RefusedError, StorageError):
            names.ask("delete", path, recursive=True)

    def _send(self, target: str, address: str, source: Callable[[], BinaryIO]) -> None:
        """Write a file that nobody else knows of; errors name ``address``."""
        names, path = self._find(target)
        excluded: list[str] = []

        def send() -> None:
            try:
                more = {"excludedatanodes": ",".join(excluded)} if excluded else {}
                location = names.ask("create", path, overwrite=True, **more).headers["location"]
                with contextlib.closing(source()) as data:
                    names.put(location, data)
            except RetriableError as trouble:
                node = gone_node(trouble)
                excluded[:] = [*excluded, node] if node is not None and node not in excluded else []
                raise

        self._persist("write", address, send)

    def _rename(self, source: str, target: str, *, replace: bool) -> bool:
        """Move; False if there is something already and it is not to be replaced. Raises if neither happened."""
        names, path = self._find(source)
        destination = split(target)[2]
        is_unclear = False

        def move() -> bool:
            nonlocal is_unclear
            try:
                answer = names.ask("rename", path, destination=destination, renameoptions="OVERWRITE" if replace else "NONE")
            except RetriableError as trouble:
                is_unclear = is_unclear or trouble.is_unclear
                raise
            except MissingFileError:
                if is_unclear:
                    return True  # an earlier try whose answer was lost has done it
                raise
            except RefusedError as refusal:
                if refusal.kind == "FileAlreadyExistsException" and not replace:
                    return False
                raise
            return _is_true(answer)

        if self._persist("write", target, move):
            return True
        if is_unclear and not self.exists(source):
            return True
        if not self.exists(target):
            raise StorageError(f"could not write {target!r}: the name node did not rename {source!r}")
        if not replace:
            return False
        self.remove(target)  # a server that cannot rename over a file
        if not self._persist("write", target, move):
            raise StorageError(f"could not write {target!r}: the name node did not rename {source!r}")
        return True

    # --- asking ---

    def _find(self, address: str) -> tuple[NameNode, str]:
        """Who knows of an address, and the path there."""
        _, authority, path = split(address)
        return self._name_node(find_cluster(authority)), path or "/"

    def _ask(self, verb: str, operation: str, address: str, **parameters: Any) -> Any:
        names, path = self._find(address)
        return self._persist(verb, address, lambda: names.ask(operation, path, **parameters))

    def _persist(self, verb: str, address: str, action: Callable[[], Any]) -> Any:
        try:
            return persist(f"{verb} {address!r}", action)
        except RefusedError as refusal:
            raise refusal_error(verb, address, refusal) from None
        except StorageError as error:
            raise named(verb, address, error) from None


class _Handle:
    """A file that is being read. An answer that has more to say is kept for who reads on where it stands."""

    streams = True

    def __init__(self, address: str, status: Status, names: NameNode, path: str) -> None:
        self.address = address
        self.size = status.size
        self.stamp = status.stamp
        self._names = names
        self._path = path
        self._block = status.block or status.size
        self._waiting: DataAnswer | None = None
        self._lock = threading.Lock()

    def fetch(self, offset: int, length: int, until: int = 0) -> bytes:
        """Block by block: the name node names the nearest host of the one that it is asked for."""
        parts = []
        end = offset + length
        while offset < end:
            block_end = offset - offset % self._block + self._block
            part = self._read(offset, min(end, block_end) - offset, min(block_end, max(until, end)))
            parts.append(part)
            offset += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Hang up."""
        if (answer := self._taken()) is not None:
            answer.close()

    def _read(self, offset: int, length: int, until: int) -> bytes:
        """Some of the bytes, at least one; from another data node if one is gone."""
        excluded: list[str] = []
        patience = Patience(f"read {self.address!r}")
        while True:
            try:
                return self._read_from_one(offset, length, until, excluded)
            except RetriableError as trouble:
                node = gone_node(trouble)
                if node is not None and node not in excluded:
                    excluded.append(node)
                    continue
                excluded.clear()
                patience.wait(trouble)
            except RefusedError as refusal:
                raise refusal_error("read", self.address, refusal) from None
            except StorageError as error:
                raise named("read", self.address, error) from None

    def _read_from_one(self, offset: int, length: int, until: int, excluded: list[str]) -> bytes:
        """What one answer gives, at least one byte."""
        answer = self._taken(offset)
        if answer is None:
            answer = open_range(self._names, self._path, offset, until, ",".join(excluded))
        data = b""
        try:
            data = answer.read(length)
        finally:
            count_read(len(data), answer.host)
            if len(data) == length and answer.position < answer.end:
                self._keep_waiting(answer)
            else:
                answer.close()
        if not data:
            raise RetriableError("the answer ended early")
        return data

    def _taken(self, offset: int | None = None) -> DataAnswer | None:
        """The answer that waits, if it stands at ``offset``."""
        with self._lock:
            answer = self._waiting
            if answer is None or (offset is not None and answer.position != offset):
                return None
            self._waiting = None
            return answer

    def _keep_waiting(self, answer: DataAnswer) -> None:
        with self._lock:
            before, self._waiting = self._waiting, answer
        if before is not None:
            before.close()


def refusal_error(verb: str, address: str, refusal: RefusedError) -> StorageError:
    """What a refusal means for who asked."""
    hint = ""
    if refusal.kind == "AccessControlException":
        hint = "; HADOOP_USER_NAME says who you are, or ask for the permission"
    elif refusal.kind in _QUOTAS:
        hint = "; remove files, or ask for a larger quota"
    return StorageError(f"could not {verb} {address!r}: {refusal}{hint}")


def named(verb: str, address: str, error: StorageError) -> StorageError:
    """The same error with the address in it."""
    return error if address in str(error) else type(error)(f"could not {verb} {address!r}: {error}")


def _stamp(status: dict[str, Any]) -> tuple[int | str, ...]:
    return int(status["length"]), int(status["modificationTime"]), int(status.get("fileId", 0))


def _is_true(answer: Any) -> bool:
    """Whether a name node says that it did what was asked: an answer without content is yes, ``{"boolean": false}`` no."""
    return not answer.content or bool(answer.json().get("boolean"))


def _opened(path: pathlib.Path) -> BinaryIO:
    return open(path, "rb")
