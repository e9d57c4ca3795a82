"""``samesum train``: this process, or each of those that a launcher started, becomes the rank that trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import typer

from engine.spec import GRAPH_TOOLKITS, TOOLKITS, JobSpec
from launch.cli import toolkit_words, words
from launch.cli.commands import Function, command
from launch.cli.groups import Columns, Reading, Running, parse_option, split_names
from launch.cli.ranks import become_rank

app = typer.Typer(no_args_is_help=True, help="Train a model and save it.")


def add_commands(app: typer.Typer, on_rows: Function, on_graph: Function, *, verb: str, submits: bool = False) -> None:
    """Add a command for every toolkit to ``app``: ``on_rows`` or ``on_graph``, with the toolkit's options as its ``options``."""
    for toolkit in (*TOOLKITS, *GRAPH_TOOLKITS):
        is_graph = toolkit in GRAPH_TOOLKITS
        options = toolkit_words.graph_options_of(toolkit) if is_graph else toolkit_words.options_of(toolkit)
        command(
            app,
            toolkit,
            options=toolkit_words.submitted(options) if submits else options,
            on_every_rank=not submits,
            text=f"{verb} a model of {toolkit.replace('_', ' ')}.",
        )(on_graph if is_graph else on_rows)


def train(
    context: typer.Context,
    data: words.DataPaths,
    *,
    target: words.Target,
    output: words.ModelOutput,
    features: words.Features = None,
    options: Mapping[str, Any],
    reading: Reading,
    running: Running,
    report: words.Report = None,
    quiet: words.Quiet = False,
) -> None:
    """Train a model of rows and save it."""
    job = JobSpec(
        task="train",
        toolkit=context.info_name,
        data=reading.data(data),
        target=target,
        features=split_names(features),
        options={name: parse_option(name, value) for name, value in options.items()},
        output=output,
        report=report,
        verbose=not quiet,
        num_threads=running.num_threads,
        debug=running.debug,
    )
    become_rank(job, running.ranks)


def train_on_graph(
    context: typer.Context,
    edges: words.EdgePaths,
    *,
    output: words.ModelOutput,
    options: Mapping[str, Any],
    columns: Columns,
    table: words.VertexTable = None,
    reading: Reading,
    running: Running,
    report: words.Report = None,
    quiet: words.Quiet = False,
) -> None:
    """Load a graph, train a model on it and save it."""
    job = JobSpec(
        task="train",
        toolkit=context.info_name,
        data=reading.data(edges),
        graph=replace(columns.graph(), table=table),
        options=dict(options),
        output=output,
        report=report,
        verbose=not quiet,
        num_threads=running.num_threads,
        debug=running.debug,
    )
    become_rank(job, running.ranks)


add_commands(app, train, train_on_graph, verb="Train")
