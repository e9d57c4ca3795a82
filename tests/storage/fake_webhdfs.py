"""A WebHDFS in memory on loopback: a name node that sends readers to itself as the data node, and does what tests tell it to."""

from __future__ import annotations

import http.server
import json
import threading
import urllib.parse

RENAMED_FALSE, RENAMED_OK = b'{"boolean": false}', b'{"boolean": true}'


class FakeWebHdfs(http.server.ThreadingHTTPServer):
    """``files`` are paths and their bytes; ``rules`` are asked first: each takes a request and may answer it: status, body, headers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str, dict[str, str]]] = []  # operation, path, parameters
        self.rules: list = []
        self.lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self.shutdown()
        self._thread.join()
        self.server_close()

    def operations(self) -> list[str]:
        """What was asked."""
        return [operation for operation, _, _ in self.asked]


def refusal(kind: str, message: str = "no", status: int = 403) -> tuple[int, bytes]:
    """An answer as name nodes refuse."""
    return status, json.dumps({"RemoteException": {"exception": kind, "javaClassName": f"x.{kind}", "message": message}}).encode()


def times(count: int, operation: str, answer: tuple[int, bytes]):
    """A rule that answers an operation so, a number of times."""
    left = [count]

    def rule(asked: str, path: str, parameters: dict[str, str]):
        if asked == operation and left[0] > 0:
            left[0] -= 1
            return answer
        return None

    return rule


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def _answer(self) -> None:
        parts = urllib.parse.urlsplit(self.path)
        path = urllib.parse.unquote(parts.path).removeprefix("/webhdfs/v1").removeprefix("/data")
        parameters = dict(urllib.parse.parse_qsl(parts.query))
        operation = ("DATA " if parts.path.startswith("/data") else "") + parameters["op"]
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with self.server.lock:
            self.server.asked.append((operation, path, parameters))
            answer = next((found for rule in self.server.rules if (found := rule(operation, path, parameters))), None)
            status, content, headers = (*answer, {})[:3] if answer else self._act(operation, path, parameters, body)
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), "Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _act(self, operation, path, parameters, body):
        files = self.server.files
        location = {
            "Location": f"{self.server.url}/data{urllib.parse.quote(path)}?{urllib.parse.urlencode({**parameters, 'delegation': 'TOKEN'})}"
        }
        if operation in ("OPEN", "CREATE"):
            if operation == "OPEN" and path not in files:
                return (*refusal("FileNotFoundException", f"File does not exist: {path}", 404), {})
            return 307, b"", location
        if operation == "DATA OPEN":
            offset = int(parameters["offset"])
            return 200, files[path][offset : offset + int(parameters["length"])], {}
        if operation == "DATA CREATE":
            files[path] = body
            return 201, b"", {}
        if operation == "GETFILESTATUS":
            if path in files:
                return 200, json.dumps({"FileStatus": _status(files[path])}).encode(), {}
            return (*refusal("FileNotFoundException", f"File does not exist: {path}", 404), {})
        if operation == "RENAME":
            return self._rename(path, parameters)
        if operation == "DELETE":
            return 200, json.dumps({"boolean": files.pop(path, None) is not None}).encode(), {}
        return 200, b'{"boolean": true}', {}

    def _rename(self, path, parameters):
        files, target = self.server.files, parameters["destination"]
        if path not in files:
            return (*refusal("FileNotFoundException", "rename source is not found", 404), {})
        if target in files and parameters.get("renameoptions") == "NONE":
            return (*refusal("FileAlreadyExistsException", "rename destination already exists"), {})
        files[target] = files.pop(path)
        return 200, b"", {}

    def log_message(self, *_) -> None:
        pass


def _status(data: bytes) -> dict:
    return {"type": "FILE", "length": len(data), "modificationTime": 1, "fileId": 7, "blockSize": 1 << 20, "pathSuffix": ""}
