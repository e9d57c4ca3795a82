"""``samesum submit`` and ``samesum run``: jobs for a cluster; they go on when this command has ended."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

import launch
from launch.cli import words
from launch.cli.answers import Answer, is_terminal, print_fields, say
from launch.cli.codes import leave
from launch.cli.commands import command
from launch.cli.finding import find_cluster
from launch.cli.following import follow
from launch.cli.groups import Columns, Reading, parse_option, split_names
from launch.cli.training import add_commands

if TYPE_CHECKING:
    from engine import Dataset
    from launch.job import Job

app = typer.Typer(
    no_args_is_help=True, help="Submit a job to a cluster; print its id and working directory, with a tab between them, at once."
)


@dataclass(frozen=True, kw_only=True)
class Submitting:
    """Where a job goes, and whether this command waits for it."""

    cluster: words.OnCluster
    working_dir: words.JobDirectory = None
    waits: words.Wait = False


def submit(
    context: typer.Context,
    data: words.DataPaths,
    *,
    target: words.Target,
    features: words.Features = None,
    options: Mapping[str, Any],
    submitting: Submitting,
    reading: Reading,
    answer: Answer,
) -> None:
    """Submit the training of a model of rows."""
    said = {name: parse_option(name, value) for name, value in options.items()}
    if (validation := said.get("validation_set", "auto")) != "auto":
        said["validation_set"] = reading.dataset([validation] if isinstance(validation, str) else validation)
    names = split_names(features)
    job = _toolkit(context).submit_training_job(
        find_cluster(submitting.cluster),
        reading.dataset(data),
        target,
        features=None if names is None else list(names),
        working_dir=submitting.working_dir,
        **_with_checkpoints(said),
    )
    _finish(job, submitting, answer)


def submit_graph(
    context: typer.Context,
    edges: words.EdgePaths,
    *,
    options: Mapping[str, Any],
    columns: Columns,
    submitting: Submitting,
    reading: Reading,
    answer: Answer,
) -> None:
    """Submit the training of a model of a graph."""
    job = _toolkit(context).submit_training_job(
        find_cluster(submitting.cluster),
        graph=columns.source(edges, reading),
        working_dir=submitting.working_dir,
        **_with_checkpoints(options),
    )
    _finish(job, submitting, answer)


@command(app)
def predict(
    model: words.ModelPath,
    data: words.DataPaths,
    *,
    output_type: words.OutputType = None,
    output: words.JobOutput = None,
    submitting: Submitting,
    reading: Reading,
    answer: Answer,
) -> None:
    """Submit the prediction of every row of the data with a saved model."""
    _submit_rows(model, reading.dataset(data), submitting, answer, task="predict", output=output, output_type=output_type)


@command(app)
def evaluate(
    model: words.ModelPath,
    data: words.DataPaths,
    *,
    output: words.JobOutput = None,
    submitting: Submitting,
    reading: Reading,
    answer: Answer,
) -> None:
    """Submit the comparison of a saved model's predictions with the data's target."""
    _submit_rows(model, reading.dataset(data), submitting, answer, task="evaluate", output=output)


def run(program: words.Program, arguments: words.ProgramArguments = None, *, submitting: Submitting, answer: Answer) -> None:
    """Submit a program of your own: every worker runs it as one rank of MPI."""
    job = launch.run_script(find_cluster(submitting.cluster), program, arguments or [], working_dir=submitting.working_dir)
    _finish(job, submitting, answer)


def _submit_rows(model: str, dataset: Dataset, submitting: Submitting, answer: Answer, **more: Any) -> None:
    cluster = find_cluster(submitting.cluster)
    _finish(launch.submit_prediction_job(cluster, model, dataset, working_dir=submitting.working_dir, **more), submitting, answer)


def _finish(job: Job, submitting: Submitting, answer: Answer) -> None:
    """Say which job it is; with --wait go on with what it says, and end as it ended."""
    if answer.as_json:
        answer.event({"job_id": job.job_id, "working_dir": job.working_dir})
    elif is_terminal():
        answer.facts({"": {"job_id": job.job_id, "working_dir": job.working_dir}})
    else:
        print_fields((job.job_id, job.working_dir))
        sys.stdout.flush()
    if submitting.waits:
        raise leave(follow(job, answer))
    if is_terminal() and not answer.as_json:
        say(f"samesum progress --follow {job.job_id} shows how it goes.")


def _toolkit(context: typer.Context) -> Any:
    return getattr(launch, context.info_name or "")


def _with_checkpoints(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with None for the folder of checkpoints that is called none."""
    return {name: None if (name, value) == ("model_checkpoint_path", "none") else value for name, value in options.items()}


add_commands(app, submit, submit_graph, verb="Submit the training of", submits=True)
