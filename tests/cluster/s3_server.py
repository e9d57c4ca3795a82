"""A real S3 server in a process of its own: moto's, with a record of what it served.

``python -m tests.cluster.s3_server PORT LOG`` runs it; every answer to a GET is a line ``path offset bytes`` in LOG.
"""

from __future__ import annotations

import os
import pathlib
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tests.cluster.daemons import Daemon, free_ports, python_module, wait_until

BUCKET = "samesum-tests"
ACCESS_KEY, SECRET_KEY = "AKIASAMESUMTESTS0000", "not-a-secret-but-looks-like-one"


class S3Server:
    """The server; ``url`` of its bucket, ``environment`` what a client process needs to find it."""

    def __init__(self, folder: pathlib.Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (port,) = free_ports(1)
        self.endpoint = f"http://127.0.0.1:{port}"
        self.url = f"s3://{BUCKET}"
        self.environment = {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self._served = folder / "served.log"
        self._served.touch()
        root = str(pathlib.Path(__file__).resolve().parents[2])
        command = python_module("tests.cluster.s3_server", str(port), str(self._served))
        self.daemon = Daemon("s3", command, folder / "s3.log", {"PYTHONPATH": root})

    def start(self) -> None:
        """Start it, wait for it, make the bucket."""
        self.daemon.start()
        wait_until(lambda: self.ask("GET", "/moto-api/data.json") != b"", [self.daemon], "the S3 server")
        self.ask("PUT", f"/{BUCKET}")

    def stop(self) -> None:
        """End it."""
        self.daemon.stop()

    def ask(self, verb: str, path: str, data: bytes | None = None) -> bytes:
        """One plain request, not signed."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        request = urllib.request.Request(self.endpoint + path, data, {"Content-Type": "text/plain"}, method=verb)
        with opener.open(request, timeout=10) as answer:
            return bytes(answer.read())

    def check_credentials(self, does: bool) -> None:
        """Whether requests must be signed with keys that the server knows; it begins without."""
        self.ask("POST", "/moto-api/reset-auth", b"0" if does else b"inf")

    def served(self) -> list[tuple[str, int, int]]:
        """Path, offset and number of bytes of every answer to a GET."""
        reads = []
        for line in self._served.read_text().splitlines():
            path, offset, length = line.rsplit(" ", 2)
            reads.append((path.removeprefix(f"/{BUCKET}"), int(offset), int(length)))
        return reads


class _Recording:
    """A WSGI application around another that notes what GETs were answered with."""

    def __init__(self, application: Callable[..., Iterable[bytes]], log: str) -> None:
        self._application = application
        self._log = open(log, "a", buffering=1)  # noqa: SIM115
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        offset = environ.get("HTTP_RANGE", "bytes=0-").partition("=")[2].partition("-")[0] or "0"
        length = 0
        for part in self._application(environ, start_response):
            length += len(part)
            yield part
        if environ["REQUEST_METHOD"] == "GET":
            with self._lock:
                self._log.write(f"{environ['PATH_INFO']} {offset} {length}\n")


def main() -> None:
    """Serve until ended."""
    os.environ.setdefault("MOTO_S3_DEFAULT_KEY_BUFFER_SIZE", str(1 << 30))  # objects in memory, not in files
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"  # connections are kept

        def log_request(self, *_: Any) -> None:
            pass

    application = DomainDispatcherApplication(create_backend_app)
    make_server("127.0.0.1", int(sys.argv[1]), _Recording(application, sys.argv[2]), threaded=True, request_handler=Quiet).serve_forever()


if __name__ == "__main__":
    main()
