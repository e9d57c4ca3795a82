"""Chromium without a window, told over two pipes in its own protocol (CDP): what a page is once its scripts run, and pictures of it."""

from __future__ import annotations

import base64
import json
import os
import pathlib
import select
import shutil
import subprocess
import sys
import time
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe")
PATIENCE = 60.0  # seconds
# Its pipes are its files 3 and 4, whatever their numbers are here.
_START = """
import os, sys
read, write = (os.dup(os.dup(os.dup(int(word)))) for word in sys.argv[1:3])
os.dup2(read, 3), os.dup2(write, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


def find_browser() -> str | None:
    """The browser's program."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One browser with one page. Use it in a ``with`` statement; ``folder`` is for its files."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        program = find_browser()
        assert program is not None, f"none of {', '.join(NAMES)} is installed"
        its_read, write = os.pipe()
        read, its_write = os.pipe()
        command = [sys.executable, "-c", _START, str(its_read), str(its_write), program, *OPTIONS]
        command += [f"--user-data-dir={folder}", "about:blank"]
        self._process = subprocess.Popen(
            command, pass_fds=(its_read, its_write), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(its_read)
        os.close(its_write)
        self._read, self._write, self._unread, self._number = read, write, b"", 0
        self._session: str | None = None
        self.complaints: list[str] = []  # of scripts and of the policy for them
        targets = self.tell("Target.getTargets")["targetInfos"]
        page = next(each["targetId"] for each in targets if each["type"] == "page")
        self._session = self.tell("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.tell(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._write)
        try:
            self._process.wait(10.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._read)

    def tell(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Have it do something; its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                return dict(answer["result"])

    def _next(self) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while b"\0" not in self._unread:
            assert select.select([self._read], [], [], max(0.0, deadline - time.monotonic()))[0], "the browser does not answer"
            data = os.read(self._read, 1 << 16)
            assert data, "the browser has ended"
            self._unread += data
        line, self._unread = self._unread.split(b"\0", 1)
        found: dict[str, Any] = json.loads(line)
        if found.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(str(found["params"]["exceptionDetails"].get("exception", found["params"])))
        elif found.get("method") == "Log.entryAdded":
            self.complaints.append(found["params"]["entry"]["text"])
        return found

    def show(self, *, width: int, height: int = 900, is_dark: bool = False, scale: float = 1.0) -> None:
        """The size of the window in pixels of style sheets, how many of the screen each is, and the colours that its user likes."""
        self.tell("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=width < 600)
        liked = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        self.tell("Emulation.setEmulatedMedia", features=[liked])

    def open(self, url: str) -> None:
        """Go to a page, and wait until it is there."""
        self.complaints.clear()
        assert "errorText" not in (found := self.tell("Page.navigate", url=url)), found
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def ask(self, expression: str) -> Any:
        """The value of an expression of JavaScript in the page."""
        found = self.tell("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, expression: str, patience: float = PATIENCE) -> None:
        """Wait until an expression is true."""
        deadline = time.monotonic() + patience
        while not self.ask(expression):
            assert time.monotonic() < deadline, expression
            time.sleep(0.1)

    def picture(self, path: pathlib.Path, *, height: int | None = None) -> None:
        """Write a PNG of the whole page, or of its first so many pixels."""
        size = self.tell("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(height or size["height"], size["height"]), "scale": 1}
        found = self.tell("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(found["data"]))
