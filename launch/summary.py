"""What became of a job's workers, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

NO_REPORT = "Report not found in log."


def describe_containers(containers: Sequence[Mapping[str, Any]]) -> str:
    """The list of all containers, then each with its diagnosis: the last, of those that served several attempts."""
    diagnoses: dict[str, str] = {}
    for container in containers:
        name = name_of_container(container)
        diagnoses[name] = container.get("diagnosis") or diagnoses.get(name, NO_REPORT)
    blocks = [f"{name}:\n  {diagnosis}" for name, diagnosis in diagnoses.items()]
    return "\n".join([f"Container list: {list(diagnoses)}", *([""] if blocks else []), *blocks])


def name_of_container(container: Mapping[str, Any]) -> str:
    """What a worker's container is called by its scheduler, else what its process is, by attempt and rank."""
    return str(container.get("container") or f"container_{container['attempt']:02d}_{container['rank']:06d}")


def what_happened(end: Mapping[str, Any]) -> str:
    """How a job ended, and what to do where it failed: the words of whoever saw it end."""
    return str(end.get("summary") or end["state"])
