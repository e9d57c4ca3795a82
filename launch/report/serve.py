"""The page of a job, served while it runs to whoever comes through the proxy of its cluster.

It listens on the loopback of its own host and below a path that nobody else knows: the proxy, which sees to who may look, is a process of
the same container. It only ever reads, and answers nothing but the page and its parts.
"""

from __future__ import annotations

import contextlib
import http.server
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from engine.errors import EngineError
from engine.report.data import Report
from engine.report.page import PARTS_NAME, encode, render, render_parts

FRESH = 2.0  # seconds for which what was read is good
IDLE = 30.0  # seconds for a client to say what it wants


class PageServer:
    """Serves what ``collect`` gives, in threads, at ``address``, on the first of ``ports`` that is free, until it is closed.

    Raises :class:`OSError` if none is.
    """

    def __init__(self, collect: Callable[[], Report], ports: Sequence[int] = (0,)) -> None:
        self._collect = collect
        self._lock = threading.Lock()
        self._report: Report | None = None
        self._read_at = 0.0
        self._path = f"/{secrets.token_urlsafe(16)}/"
        server = self

        class Handler(_Handler):
            page_server = server

        self._server = _listen(ports, Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}{self._path}"
        threading.Thread(target=self._server.serve_forever, name="page", daemon=True).start()

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str) -> tuple[str, str] | None:
        """The type and the text for a path; None where there is nothing."""
        if not path.startswith(self._path):
            return None
        name = path.removeprefix(self._path).partition("?")[0]
        if name == "":
            return "text/html", render(self._fresh(), is_served=True)
        return ("application/json", render_parts(self._fresh())) if name == PARTS_NAME else None

    def _fresh(self) -> Report:
        """A report of the last seconds, read once for all who ask."""
        with self._lock:
            if self._report is None or time.monotonic() - self._read_at > FRESH:
                self._report = self._collect()
                self._read_at = time.monotonic()
            return self._report


def _listen(ports: Sequence[int], handler: type[_Handler]) -> http.server.ThreadingHTTPServer:
    for port in ports:
        with contextlib.suppress(OSError):
            return http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    raise OSError(f"no port from {ports[0]} to {ports[-1]} is free")


class _Handler(http.server.BaseHTTPRequestHandler):
    page_server: PageServer
    server_version = "samesum"
    sys_version = ""
    timeout = IDLE

    def do_GET(self) -> None:
        """Answer with the page, or its parts."""
        try:
            found = self.page_server.answer(self.path)
        except EngineError as error:
            self._send(503, "text/plain", f"the job's directory does not answer: {error}\n")
            return
        if found is None:
            self._send(404, "text/plain", "there is nothing here\n")
        else:
            self._send(200, *found)

    def do_HEAD(self) -> None:
        """The same without the page."""
        self.do_GET()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing: the supervisor's log is about the job."""

    def _send(self, code: int, kind: str, text: str) -> None:
        body = encode(text)
        self.send_response(code)
        headers = {
            "Content-Type": f"{kind}; charset=utf-8",
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "X-Frame-Options": "SAMEORIGIN",
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)
