"""Network links of a known speed on one machine: what goes through one is passed on no faster than that, connection by connection.

``python _links.py RATE HOST:PORT=HOST:PORT ...`` listens at the left of each pair and connects to the right; RATE is in bytes a second of
what comes back. Passing on costs little, so that readers behind links wait for the link, as on a cluster, and not for this machine's cores.
"""

from __future__ import annotations

import contextlib
import pathlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

PIECE = 256 << 10
BURST = 512 << 10  # bytes that may come at once after a pause
PATIENCE = 60.0  # seconds in which a link must be there


@contextlib.contextmanager
def links(rate: float, pairs: list[tuple[str, str]]) -> Iterator[None]:
    """Links from the first address of each pair to its second, in a process of their own."""
    words = [f"{own}={other}" for own, other in pairs]
    command = [sys.executable, str(pathlib.Path(__file__)), str(rate), *words]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline().strip() != "ready":
                raise SystemExit("the links did not come up")
            yield
        finally:
            process.terminate()


class Pace:
    """Holds a sender back to ``rate`` bytes a second."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._due = time.monotonic()

    def wait(self, length: int) -> None:
        """Until ``length`` more bytes may have gone."""
        now = time.monotonic()
        self._due = max(self._due, now - BURST / self._rate) + length / self._rate
        if self._due > now:
            time.sleep(self._due - now)


def pass_on(source: socket.socket, target: socket.socket, pace: Pace | None) -> None:
    """Everything from one to the other, to its end."""
    buffer = bytearray(PIECE)
    view = memoryview(buffer)
    with contextlib.suppress(OSError):
        while length := source.recv_into(buffer):
            if pace is not None:
                pace.wait(length)
            target.sendall(view[:length])
    for end, how in ((source, socket.SHUT_RD), (target, socket.SHUT_WR)):
        with contextlib.suppress(OSError):
            end.shutdown(how)


def serve(listener: socket.socket, target: tuple[str, int], rate: float) -> None:
    """A connection for each that comes."""
    while True:
        near, _ = listener.accept()
        far = socket.create_connection(target, timeout=PATIENCE)
        far.settimeout(None)
        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=pass_on, args=(near, far, None), daemon=True).start()
        threading.Thread(target=pass_on, args=(far, near, Pace(rate)), daemon=True).start()


def address_of(text: str) -> tuple[str, int]:
    """``host:port``."""
    host, _, port = text.rpartition(":")
    return host, int(port)


def main() -> None:
    """Listen until ended."""
    for pair in sys.argv[2:]:
        own, _, other = pair.partition("=")
        listener = socket.create_server(address_of(own), backlog=64)
        threading.Thread(target=serve, args=(listener, address_of(other), float(sys.argv[1])), daemon=True).start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    threading.Event().wait()


if __name__ == "__main__":
    main()
