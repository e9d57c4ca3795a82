"""How much all ranks have read over a network, and how much of it from disks of their own hosts."""

from __future__ import annotations

from engine import storage
from engine.collectives.communicator import Communicator

NOTHING = storage.BytesRead(0, 0)


def sum_bytes_read(comm: Communicator, since: storage.BytesRead = NOTHING) -> storage.BytesRead:
    """Bytes that all ranks have read from HDFS and S3, each as often as it was fetched, but for what came before ``since``. Collective."""
    now = storage.bytes_read()
    each = comm.gather_objects([now.local - since.local, now.remote - since.remote], name="bytes read")
    return storage.BytesRead(*map(sum, zip(*each, strict=True)))


def describe_bytes_read(comm: Communicator) -> dict[str, int | float | None]:
    """:func:`sum_bytes_read` for the record, with the share from the readers' own hosts, None where nothing was read. Collective."""
    read = sum_bytes_read(comm)
    return {"total": read.total, "local": read.local, "share_local": read.local / read.total if read.total else None}
