"""How many bytes this process has read, and how many of them from a disk of its own host."""

from __future__ import annotations

import functools
import os
import socket
import threading
from typing import NamedTuple


class BytesRead(NamedTuple):
    """Bytes read from HDFS and S3 since the process began; ``local`` ones came from this host, by the name under which HDFS knows it."""

    local: int
    remote: int

    @property
    def total(self) -> int:
        """Both."""
        return self.local + self.remote


_lock = threading.Lock()
_read = BytesRead(0, 0)


def count_read(length: int, host: str | None) -> None:
    """Note bytes that came from a host; None: from nobody knows where."""
    global _read  # noqa: PLW0603
    is_local = host is not None and host.lower() in own_hosts()
    with _lock:
        _read = BytesRead(_read.local + length, _read.remote) if is_local else BytesRead(_read.local, _read.remote + length)


def bytes_read() -> BytesRead:
    """What this process has read so far."""
    return _read


@functools.cache
def own_hosts() -> frozenset[str]:
    """The names and addresses of this machine, in lower case: those of ``SAMESUM_HOST_NAMES``, else what the system says."""
    if given := os.environ.get("SAMESUM_HOST_NAMES", "").replace(",", " ").split():
        return frozenset(name.lower() for name in given)
    names = {socket.gethostname(), socket.getfqdn(), "localhost", "127.0.0.1"}
    try:
        found, aliases, addresses = socket.gethostbyname_ex(socket.gethostname())
        names |= {found, *aliases, *addresses}
    except OSError:
        pass  # a machine without a name that resolves
    return frozenset(name.lower() for name in names)
