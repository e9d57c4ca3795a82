"""Following a job: its progress as it comes, a bar below it on a terminal, its events where JSON was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from engine import storage
from engine.working_dir import WorkingDir
from launch.cli.answers import Answer, is_terminal, make_console, print_line, say
from launch.cli.codes import ExitCode
from launch.cli.outcomes import code_of_job, word_of

if TYPE_CHECKING:
    from launch.job import Job

# Seconds between two looks at a job: in a folder of this machine, and on a server.
_PAUSE, _REMOTE_PAUSE = 0.2, 2.0


def follow(job: Job, answer: Answer) -> ExitCode:
    """Show what the job says until it has ended; the code says how. Interrupted, this ends and the job does not."""
    try:
        if answer.as_json:
            for event in job.events():
                answer.event(event)
        elif is_terminal():
            _follow_on_terminal(job)
        else:
            for lines in new_lines(job):
                for line in lines:
                    print_line(line)
    except KeyboardInterrupt:
        say(f"The job goes on. samesum progress --follow {job.job_id} shows it again, samesum cancel {job.job_id} ends it.")
        return ExitCode.INTERRUPTED
    code = code_of_job(word_of(job))
    if code != ExitCode.DONE:
        say(str(job))
    elif is_terminal():
        answer.note(f"{job.job_id} ended in SUCCESS: samesum results {job.job_id} shows what came of it.")
    return code


def new_lines(job: Job) -> Iterator[list[str]]:
    """At every look the lines of progress that have come since the last one, until the job has ended."""
    pause = _PAUSE if storage.is_local(job.working_dir) else _REMOTE_PAUSE
    shown: list[str] = []
    is_over = job.wait(0) is not None
    while True:
        lines = job.get_progress().splitlines(keepends=True)
        if not is_over and lines and not lines[-1].endswith("\n"):
            lines.pop()  # being written
        n_same = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(shown, lines, strict=False))))
        yield [line.rstrip("\n") for line in lines[n_same:]]
        if is_over:
            return
        shown = lines
        is_over = job.wait(pause) is not None


def _follow_on_terminal(job: Job) -> None:
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = make_console()
    directory = WorkingDir(job.working_dir)
    total = directory.spec().options.get("max_iterations")
    count: list[Any] = [BarColumn(), TextColumn("{task.completed} of {task.total}")] if total else []
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), *count, TimeElapsedColumn(), console=console, transient=True) as bar:
        task = bar.add_task(_describe(job, 0), total=total)
        for lines in new_lines(job):
            for line in lines:
                console.print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)
            events = directory.events()
            rows = [event["number"] for event in events if event["event"] == "row"]
            attempts = sum(event["event"] == "attempt" for event in events)
            bar.update(task, completed=max(rows, default=0), description=_describe(job, attempts))


def _describe(job: Job, attempts: int) -> str:
    state = job.get_state()
    again = f", attempt {attempts}" if attempts > 1 else ""
    return f"{job.job_id}  {state.name}{again}"
