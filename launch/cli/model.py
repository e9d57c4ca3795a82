"""``samesum model``: a saved model in words, from its files alone; no toolkit is loaded for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import typer

from launch.cli import words
from launch.cli.answers import Answer
from launch.cli.commands import command

_FACTS = ("toolkit", "target", "num_examples", "num_vertices", "num_edges", "num_iterations", "converged", "stop_reason")

app = typer.Typer(no_args_is_help=True, help="Look at a saved model.")


@command(app)
def show(model: words.ModelPath, *, answer: Answer) -> None:
    """Show what a saved model is and how it was trained."""
    answer.facts(describe_model(model, shortly=not answer.as_json))


def describe_model(path: str, *, shortly: bool) -> dict[str, dict[str, Any]]:
    """What is known about the model in a folder: facts, options, metrics and the run. Raises as ``engine.model_io.read_model`` does.

    ``shortly``: of many features the first, of classes a line of words.
    """
    from engine.model_io import read_model

    document, _, run = read_model(path)
    facts = {name: document[name] for name in _FACTS if name in document}
    if "encoding" in document:
        names = [name for name, _ in document["encoding"]["sources"]]
        facts["features"] = _count_names(names) if shortly else names
    if document.get("classes") and (counts := document.get("num_examples_per_class")):
        classes = list(zip(document["classes"], counts, strict=True))
        facts["classes"] = ", ".join(f"{label!r} ({count})" for label, count in classes) if shortly else document["classes"]
    of_run = {name: value for name, value in (run or {}).items() if not isinstance(value, list | dict) or name == "hosts"}
    return {"": facts, "Options": document.get("options", {}), "Metrics": document.get("metrics", {}), "Run": of_run}


def _count_names(names: Iterable[str], shown: int = 8) -> str:
    """How many names, and the first of them."""
    every = list(names)
    rest = ", ..." if len(every) > shown else ""
    return f"{len(every)} ({', '.join(every[:shown])}{rest})"
