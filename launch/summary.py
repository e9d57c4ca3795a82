"""What became of a job's workers, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

NO_REPORT = "Report not found in log."


def describe_containers(containers: Sequence[Mapping[str, Any]]) -> str:
    """The list of all containers, then each with its diagnosis."""
    names = [name_of_container(container) for container in containers]
    blocks = [f"{name}:\n  {container.get('diagnosis') or NO_REPORT}" for name, container in zip(names, containers, strict=True)]
    return "\n".join([f"Container list: {names}", *([""] if blocks else []), *blocks])


def name_of_container(container: Mapping[str, Any]) -> str:
    """What a worker's process is called: by its attempt and rank."""
    return f"container_{container['attempt']:02d}_{container['rank']:06d}"


def what_happened(end: Mapping[str, Any]) -> str:
    """How a job ended, and what to do where it failed: the words of whoever saw it end."""
    return str(end.get("summary") or end["state"])
