"""How much all ranks have read over a network, and how much of it from disks of their own hosts."""

from __future__ import annotations

from engine import storage
from engine.collectives.communicator import Communicator


def gather_bytes_read(comm: Communicator) -> dict[str, int | float | None]:
    """Bytes that all ranks have read from HDFS and S3 so far, and the share of them that came from the reader's host. Collective.

    The share is None where nothing was read. Bytes count once for each time that they were fetched.
    """
    read = [storage.BytesRead(*each) for each in comm.gather_objects(list(storage.bytes_read()), name="bytes read")]
    local, total = sum(each.local for each in read), sum(each.total for each in read)
    return {"total": total, "local": local, "share_local": local / total if total else None}
