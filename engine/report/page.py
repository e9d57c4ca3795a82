"""The page: one file of HTML that needs no other, on paper, on a telephone, by day and by night.

A page that is served renews its parts by itself, one that lies on a disk by being loaded again; either is what it is without scripts too.
Its own script is the only one that a browser may run in it: the policy in its head names the script's hash.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import pathlib

from engine.report.data import Report
from engine.report.html import Html, escape, say_time, tag
from engine.report.sections import PARTS, header

RENEW_SERVED, RENEW_FILE = 2, 5  # seconds
PARTS_NAME = "parts.json"  # what a page that is served asks for, beside itself


def render(report: Report, *, is_served: bool = False) -> str:
    """The whole page. While ``report`` has not ended it renews itself: if ``is_served`` from :func:`render_parts`, else by loading anew."""
    style, script = _asset("page.css"), _asset("page.js")
    policy = f"default-src 'none'; style-src '{_hash_of(style)}'; script-src '{_hash_of(script)}'; connect-src 'self'; img-src data:"
    renews = not report.has_ended
    reload = f'<meta http-equiv="refresh" content="{RENEW_FILE}">' if renews else ""
    if is_served and reload:
        reload = f"<noscript>{reload}</noscript>"
    parts = make_parts(report)
    body = "".join(tag("section" if name in PARTS else "header", Html(content), id=name) for name, content in parts.items())
    live = f' data-renew="{RENEW_SERVED}" data-from="{PARTS_NAME}"' if is_served and renews else ""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
        f'<meta name="robots" content="noindex"><link rel="icon" href="data:,">{reload}'
        f"<title>{escape(report.state)} · {escape(report.name)}</title><style>{style}</style></head>"
        f'<body{live}><main>{body}</main><footer><p id="taken">{_taken(report)}</p><p id="silence" role="status"></p></footer>'
        f"<script>{script}</script></body></html>\n"
    )


def render_parts(report: Report) -> str:
    """What a page that is served puts in the place of what it shows, as JSON."""
    title = f"{report.state} · {report.name}"
    return json.dumps({"parts": {**make_parts(report), "taken": _taken(report)}, "title": title, "ended": report.has_ended})


def encode(text: str) -> bytes:
    """Text as the bytes of a file."""
    return text.encode("utf-8", "replace")


def make_parts(report: Report) -> dict[str, str]:
    """The HTML of each part."""
    return {"header": str(header(report)), **{name: str(make(report)) for name, make in PARTS.items()}}


def _taken(report: Report) -> str:
    return f"As of {say_time(report.taken)}. Made by samesum."


@functools.cache
def _asset(name: str) -> str:
    return pathlib.Path(__file__).with_name(name).read_text(encoding="utf-8").strip()


def _hash_of(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
