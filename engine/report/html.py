"""HTML from values: everything that comes from outside is escaped here, and nowhere else."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

NOTHING = "-"
LONGEST = 300  # characters of a value in a table
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def escape(value: Any, longest: int | None = None) -> Html:
    """Any value as text in HTML; what is HTML already stays. Characters that pages must not have are shown as question marks in a box."""
    if isinstance(value, Html):
        return value
    text = NOTHING if value is None else str(value)
    if longest is not None and len(text) > longest:
        text = text[: longest - 1] + "…"
    return Html(html.escape(_CONTROLS.sub("\ufffd", text)))


def tag(name: str, *content: Any, **attributes: Any) -> Html:
    """An element; attributes that are None are left out, an underscore at the end of a name too, others are dashes."""
    said = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"' for key, value in attributes.items() if value is not None)
    return Html(f"<{name}{said}>{''.join(map(escape, content))}</{name}>")


def table(
    caption: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    name: str,
    numbers: Iterable[int] = (),
    classes: Mapping[int, str] | None = None,
) -> Html:
    """A table that scrolls by itself where it is too wide; the first cell of a row heads it. ``numbers`` are columns set to the right."""
    right = set(numbers)
    head = tag("tr", *(tag("th", column, scope="col", class_="number" if place in right else None) for place, column in enumerate(columns)))
    body = []
    for number, row in enumerate(rows):
        cells = [
            tag(
                "td" if place else "th",
                escape(value, LONGEST),
                scope=None if place else "row",
                class_="number" if place in right else None,
            )
            for place, value in enumerate(row)
        ]
        body.append(tag("tr", *cells, class_=(classes or {}).get(number)))
    inner = tag("table", tag("caption", caption), tag("thead", head), tag("tbody", *body))
    return tag("div", inner, class_="scroll", id=f"scroll-{name}", tabindex="0", role="region", aria_label=caption)


def facts(pairs: Mapping[str, Any]) -> Html:
    """Names with values."""
    return tag(
        "dl", *(tag("div", tag("dt", name), tag("dd", escape(shown(value), 4 * LONGEST))) for name, value in pairs.items()), class_="facts"
    )


def details(summary: Any, content: Any, *, name: str, is_open: bool = False) -> Html:
    """What is shown when asked for."""
    return tag("details", tag("summary", summary), content, id=f"details-{name}", open="" if is_open else None)


def shown(value: Any) -> Any:
    """A value of JSON as people read it."""
    if isinstance(value, Html):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(str(shown(item)) for item in value) or NOTHING
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {shown(item)}" for key, item in value.items()) or NOTHING
    return value


def say_seconds(seconds: float | None) -> str | None:
    """How long something took."""
    if seconds is None:
        return None
    if seconds < 100:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes = int(seconds / 60)
    if minutes < 100:
        return f"{minutes} min {seconds - 60 * minutes:02.0f} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def say_bytes(size: float | None) -> str | None:
    """How large something is, in units of 1024 as memory is counted."""
    if size is None:
        return None
    for unit, power in (("GB", 30), ("MB", 20), ("KB", 10)):
        if size >= (10 if unit == "GB" else 1) * 2**power:
            return f"{size / 2**power:.4g} {unit}"
    return f"{int(size)} B"


def say_time(seconds: float | None) -> Html | None:
    """A moment, in UTC."""
    if not seconds:
        return None
    moment = time.gmtime(seconds)
    return tag("time", time.strftime("%Y-%m-%d %H:%M:%S UTC", moment), datetime=time.strftime("%Y-%m-%dT%H:%M:%SZ", moment))


def say_number(value: Any) -> Any:
    """A number of a row: integers as they are, floats with six digits that count."""
    return f"{value:.6g}" if isinstance(value, float) else value
