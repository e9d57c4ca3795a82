"""What the shell may complete: jobs, clusters. A mistake here must never be seen, for somebody is typing."""

from __future__ import annotations


def complete_cluster(incomplete: str) -> list[str]:
    """Names of clusters."""
    return []


def complete_job(incomplete: str) -> list[str]:
    """Ids of jobs."""
    return []
