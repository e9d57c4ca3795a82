"""``samesum predict`` and ``samesum evaluate``: what a saved model says of rows."""

from __future__ import annotations

from engine.spec import JobSpec
from launch.cli import words
from launch.cli.groups import Reading, Running
from launch.cli.ranks import become_rank


def predict(
    model: words.ModelPath,
    data: words.DataPaths,
    *,
    output: words.PredictionsOutput,
    output_type: words.OutputType = None,
    reading: Reading,
    running: Running,
) -> None:
    """Predict every row of the data with a saved model, in input order."""
    job = JobSpec(
        task="predict",
        model=model,
        data=reading.data(data),
        output_type=output_type,
        output=output,
        num_threads=running.num_threads,
        debug=running.debug,
    )
    become_rank(job, running.ranks)


def evaluate(
    model: words.ModelPath, data: words.DataPaths, *, output: words.MetricsOutput = None, reading: Reading, running: Running
) -> None:
    """Compare a saved model's predictions with the data's target: metrics as JSON."""
    job = JobSpec(
        task="evaluate",
        model=model,
        data=reading.data(data),
        output=output,
        num_threads=running.num_threads,
        debug=running.debug,
    )
    become_rank(job, running.ranks)
