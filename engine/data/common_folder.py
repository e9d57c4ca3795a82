"""A folder that all ranks write together, and that appears whole or not at all, on every kind of storage.

Where folders can be renamed, all goes into one beside the target, which takes its place at the end. Elsewhere the target is emptied first:
the mark that is written before everything else, and the manifest, written last, tell a whole folder from one that is not.
"""

from __future__ import annotations

import json
import os
import pathlib
import tempfile
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from engine import storage
from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator
from engine.data.shard_plan import share_from_root
from engine.errors import StorageError

INCOMPLETE = "_INCOMPLETE"
Result = TypeVar("Result")


class CommonFolder:
    """The folder at ``address``, being written; ``manifest`` names the file that is written last. Collective, as is :meth:`publish`.

    ``check`` is called on rank 0 before anything is touched, and raises for what must not be replaced.
    """

    def __init__(self, comm: Communicator, address: str, *, manifest: str, stage: str, check: Callable[[], None]) -> None:
        self.comm, self.address, self.manifest, self.stage = comm, address, manifest, stage

        def begin() -> str:
            check()
            return _begin(address)

        self.written: str = share_from_root(comm, begin, stage=stage)

    def write(self, *files: tuple[str, Callable[[str], Any]]) -> None:
        """Write files of this rank, each a name and what writes it to a local path. Collective, each rank with its own."""
        with self.agree():
            for name, write in files:
                _write_file(storage.join(self.written, name), write)

    def agree(self) -> Any:
        """As :func:`engine.collectives.agree.agree`; what was begun is removed where a rank fails."""
        return _Agreement(self)

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


class _Agreement:
    """A block whose error on one rank is every rank's, and ends the folder."""

    def __init__(self, folder: CommonFolder) -> None:
        self._folder = folder
        self._agree = agree(folder.comm, folder.stage)

    def __enter__(self) -> None:
        self._agree.__enter__()

    def __exit__(self, *error: Any) -> bool:
        try:
            return bool(self._agree.__exit__(*error))
        except BaseException:
            self._clean()
            raise

    def _clean(self) -> None:
        folder = self._folder
        if folder.comm.rank == 0 and folder.written != folder.address:
            try:
                storage.remove(folder.written)
            except StorageError:
                pass  # the error that brought us here says more
