"""What the shell may complete: names of clusters and ids of jobs. What goes wrong here is kept quiet, for somebody is typing."""

from __future__ import annotations

from collections.abc import Callable, Iterable

Complete = Callable[[str], list[tuple[str, str]]]


def quietly(find: Callable[[], Iterable[tuple[str, str]]]) -> Complete:
    """A completion from what ``find`` finds, words with their help: those that begin as what was typed; none if it fails."""

    def complete(incomplete: str) -> list[tuple[str, str]]:
        try:
            return [(word, text) for word, text in find() if word.startswith(incomplete)]
        except Exception:  # whatever it is, a line that is being typed is no place for it
            return []

    return complete


@quietly
def complete_cluster() -> Iterable[tuple[str, str]]:
    """The clusters that are kept."""
    from launch.clusters import environments

    return [(cluster.name, f"{cluster.num_workers} workers, {cluster.kind}") for cluster in environments.values()]


@quietly
def complete_job() -> Iterable[tuple[str, str]]:
    """The jobs of these clusters."""
    from launch.cli.finding import list_ids

    return [(job_id, "") for job_id in list_ids()]
