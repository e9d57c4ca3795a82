"""``samesum cluster``: where jobs run, kept by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import typer

from engine.errors import OptionError
from launch.cli import words
from launch.cli.answers import Answer, say
from launch.cli.commands import command
from launch.cli.finding import find_cluster

app = typer.Typer(no_args_is_help=True, help="Describe where jobs run.")


@command(app)
def create(
    name: words.NewCluster,
    *,
    num_workers: words.NumWorkers = 1,
    num_threads: words.WorkerThreads = None,
    worker_memory: words.WorkerMemory = None,
    working_dir: words.WorkingDirectory = None,
    node_tmp_dir: words.NodeFolder = None,
    hdfs_tmp_dir: words.StagingFolder = None,
    max_restarts: words.MaxRestarts = 3,
    hang_timeout: words.HangTimeout = 600.0,
    environment: words.Variables = None,
) -> None:
    """Describe this machine as a cluster and keep the description by its name, in place of one that was there."""
    from launch import local_cluster

    cluster = local_cluster.create(
        name,
        num_workers,
        num_threads=num_threads,
        worker_memory=worker_memory,
        working_dir=working_dir,
        node_tmp_dir=node_tmp_dir,
        hdfs_tmp_dir=hdfs_tmp_dir,
        max_restarts=max_restarts,
        hang_timeout=hang_timeout,
        environment=dict(map(_split_variable, environment or [])),
    )
    say(f"{cluster.name}: {cluster.num_workers} workers of {cluster.num_threads} threads and {cluster.worker_memory} MB")


@command(app, "list", needs_words=False)
def list_(*, answer: Answer) -> None:
    """List the clusters that are kept."""
    from launch.clusters import environments

    columns = ("name", "kind", "num_workers", "num_threads", "worker_memory", "working_dir")
    answer.table(columns, [[getattr(cluster, column) for column in columns] for cluster in environments.values()])


@command(app)
def show(name: words.Cluster, *, answer: Answer) -> None:
    """Show a cluster's settings."""
    cluster = find_cluster(name)
    settings = asdict(cluster)
    facts: Mapping[str, Any] = {"name": settings.pop("name"), "kind": cluster.kind, **settings}
    answer.facts({"": facts})


@command(app)
def remove(name: words.Cluster) -> None:
    """Forget a cluster. Its jobs go on, and are found by their working directories."""
    from launch.clusters import environments

    del environments[find_cluster(name).name]


def _split_variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise OptionError(f"expected --env NAME=VALUE, got {text!r}")
    return name, value
