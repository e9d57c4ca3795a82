"""A saved model in words, from its files alone: no toolkit is loaded for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from engine.model_io import read_model

_LABEL_WIDTH = 26
_FACTS = ("toolkit", "target", "num_examples", "num_vertices", "num_edges", "num_iterations", "converged", "stop_reason")


def describe_model(path: str) -> str:
    """What is known about the model in a folder, a line for each fact. Raises as :func:`engine.model_io.read_model` does."""
    document, _, run = read_model(path)
    classes = document.get("classes")
    counts = document.get("num_examples_per_class")
    facts = {name: document[name] for name in _FACTS if name in document}
    if "encoding" in document:
        facts["features"] = _count_names(name for name, _ in document["encoding"]["sources"])
    if classes and counts:
        facts["classes"] = ", ".join(f"{label!r} ({count})" for label, count in zip(classes, counts, strict=True))
    sections = [_lines("", facts), _lines("Options", document.get("options", {})), _lines("Metrics", document.get("metrics", {}))]
    if run:
        sections.append(
            _lines("Run", {name: value for name, value in run.items() if not isinstance(value, list | dict) or name == "hosts"})
        )
    return "\n\n".join("\n".join(section) for section in sections if section)


def _lines(title: str, facts: Mapping[str, Any]) -> list[str]:
    """A section: its title, then ``name : value`` lines; nothing if there are no facts."""
    heading = [title] if title and facts else []
    return heading + [f"{name:{_LABEL_WIDTH}}: {_word(value)}" for name, value in facts.items()]


def _word(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6f}".rstrip("0").rstrip(".") if 1e-4 <= abs(value) < 1e6 or value == 0 else f"{value:g}"
    return ", ".join(map(_word, value)) if isinstance(value, list) else str(value)


def _count_names(names: Iterable[str], shown: int = 8) -> str:
    """How many names, and the first of them."""
    every = list(names)
    rest = ", ..." if len(every) > shown else ""
    return f"{len(every)} ({', '.join(every[:shown])}{rest})"
