"""HTML for notebooks: small, escaped, and readable on light and on dark pages, whose colours it takes over."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

LONGEST = 80  # characters of a value
FRAME = "display:inline-block;max-width:100%;overflow-x:auto;border:1px solid rgba(128,128,128,.45);border-radius:6px;padding:.5em .9em"
TABLE = "border-collapse:collapse;margin:.2em 0;color:inherit;font-size:inherit"  # pages of an old kind give tables a colour of their own
CELL = "border:0;border-bottom:1px solid rgba(128,128,128,.3);padding:.15em .9em .15em 0;background:none;text-align:left"

Lines = Iterable[tuple[str, Any]]


def escape(value: Any) -> str:
    """Any value as text in HTML, cut where it is long."""
    text = str(value)
    return html.escape(text if len(text) <= LONGEST else text[: LONGEST - 1] + "…")


def sections_to_html(title: str, sections: Iterable[tuple[str, Lines]]) -> str:
    """A frame with a title and, for every section, a table of labels and values."""
    return frame(title, "".join(f"{heading(name)}{lines_to_html(lines)}" for name, lines in sections))


def table_to_html(title: str, columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[Any]], note: str) -> str:
    """A frame with a title, a table whose columns have names and types, and a note below it."""
    head = "".join(
        cell("th", f"{escape(name)}<br><span style='opacity:.65;font-weight:normal'>{escape(kind)}</span>") for name, kind in columns
    )
    body = "".join(f"<tr>{''.join(cell('td', escape(value)) for value in row)}</tr>" for row in rows)
    table = f"<table style='{TABLE}'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return frame(title, (table if columns else "") + f"<div style='opacity:.75'>{html.escape(note)}</div>")


def frame(title: str, content: str) -> str:
    """A frame with a title."""
    return f"<div style='{FRAME}'><div style='font-weight:bold'>{html.escape(title)}</div>{content}</div>"


def heading(text: str) -> str:
    """The title of a section."""
    return f"<div style='margin-top:.6em;opacity:.75'>{escape(text)}</div>"


def lines_to_html(lines: Lines) -> str:
    """A table of labels and values."""
    rows = "".join(f"<tr>{cell('td', escape(label))}{cell('td', escape(value))}</tr>" for label, value in lines)
    return f"<table style='{TABLE}'><tbody>{rows}</tbody></table>"


def cell(tag: str, content: str) -> str:
    """A cell of what is HTML already, its lines to the left."""
    return f"<{tag} style='{CELL}'>{content}</{tag}>"
