"""A folder that all ranks write together, and that appears whole or not at all, on every kind of storage.

Where folders can be renamed, all goes into one beside the target, which takes its place at the end. Elsewhere the target is emptied first:
the mark that is written before everything else, and the manifest, written last, tell a whole folder from one that is not.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from engine import storage
from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator
from engine.data.shard_plan import share_from_root
from engine.errors import StorageError

INCOMPLETE = "_INCOMPLETE"
PARTIAL = ".new"
Result = TypeVar("Result")


class CommonFolder:
    """The folder at ``address``, being written; ``manifest`` names the file that is written last. Collective, as is :meth:`publish`.

    ``check`` is called on rank 0 before anything is touched, and raises for what must not be replaced.
    """

    def __init__(self, comm: Communicator, address: str, *, manifest: str, stage: str, check: Callable[[], None]) -> None:
        self.comm, self.address, self.manifest, self.stage = comm, address.rstrip("/") or "/", manifest, stage

        def begin() -> str:
            check()
            return _begin(self.address, manifest)

        self.written: str = share_from_root(comm, begin, stage=stage)

    def put(self, name: str, write: Callable[[str], Result]) -> Result:
        """A file of this rank, by what writes it to a local path; what that returned. Raises ``StorageError``: call it in :meth:`agree`."""
        address = storage.join(self.written, name)
        try:
            if storage.is_local(address):
                return write(str(storage.local_path(address)))
            with tempfile.TemporaryDirectory(prefix="samesum-") as scratch:
                path = os.path.join(scratch, name)
                made = write(path)
                storage.put_file(address, path)
                return made
        except StorageError:
            raise
        except OSError as error:
            hint = "" if self.comm.ranks_on_node == self.comm.size else "; ranks on several machines need a folder that all of them see"
            raise StorageError(f"could not write {storage.join(self.address, name)!r}: {error.strerror or error}{hint}") from error

    @contextlib.contextmanager
    def agree(self) -> Iterator[None]:
        """As :func:`engine.collectives.agree.agree`; where a rank fails, what was begun is removed."""
        try:
            with agree(self.comm, self.stage):
                yield
        except Exception:
            if self.comm.rank == 0 and self.written != self.address:
                with contextlib.suppress(StorageError):  # the error that brought us here says more
                    storage.remove(self.written)
            raise

    def publish(self, describe: Callable[[], dict[str, Any]]) -> None:
        """End with the manifest, which rank 0 makes, in place of what was there. Collective."""
        with self.agree():
            if self.comm.rank == 0:
                text = json.dumps(describe(), ensure_ascii=False, indent=1) + "\n"
                storage.put_bytes(storage.join(self.written, self.manifest), text.encode())
                if self.written != self.address:
                    storage.move_folder(self.written, self.address)
                else:
                    storage.remove(storage.join(self.address, INCOMPLETE))


def check_is_whole(address: str) -> None:
    """Refuse a folder that is being written, or whose writer was killed. Raises ``StorageError``."""
    if not storage.can_rename(address) and storage.exists(storage.join(address, INCOMPLETE)):
        raise StorageError(f"expected a whole folder, got {address!r}: it is being written, or its writer was killed; write it again")


def _begin(address: str, manifest: str) -> str:
    """Where to write, with nothing in it."""
    if storage.can_rename(address):
        above, mine = storage.parent(address), f".{storage.name_of(address)}."
        with contextlib.suppress(StorageError):  # what killed writers left does no harm, and may be nobody's to list
            _remove_partial(above, mine)
        fresh = storage.join(above, f"{mine}{uuid.uuid4().hex}{PARTIAL}")
        storage.make_folder(fresh, 0o755)
        return fresh
    storage.put_bytes(storage.join(address, INCOMPLETE), b"")
    storage.remove(storage.join(address, manifest))
    if storage.exists(address):
        for entry in storage.list_folder(address):
            if entry.name != INCOMPLETE:
                storage.remove(storage.join(address, entry.name))
    return address


def _remove_partial(above: str, mine: str) -> None:
    for entry in storage.list_folder(above):
        if entry.is_folder and entry.name.startswith(mine) and entry.name.endswith(PARTIAL):
            storage.remove(storage.join(above, entry.name))
