"""What became of jobs: ``samesum status``, ``progress``, ``logs``, ``results`` and their like, for jobs on any cluster."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import typer

from engine import storage
from engine.errors import EngineError, JobError, MissingFileError, OptionError
from engine.working_dir import WorkingDir
from launch.cli import words
from launch.cli.answers import Answer, exact, print_line, say, text_of
from launch.cli.codes import ExitCode, leave
from launch.cli.commands import group
from launch.cli.finding import find_cluster, find_job
from launch.cli.following import follow
from launch.cli.model import describe_model
from launch.cli.outcomes import code_of_job, facts_of, say_time, word_of

if TYPE_CHECKING:
    from launch.job import Job


LAST_EVENTS = 20  # that `samesum jobs show` prints; `samesum events` has all

app = typer.Typer(help="List jobs, show one, or bundle what a bug report needs.")


@group(app)
def jobs(context: typer.Context, *, cluster: words.OfCluster = None, clean: words.Clean = False, answer: Answer) -> None:
    """List the jobs of all clusters that are kept, the newest first."""
    if context.invoked_subcommand is not None:
        return
    from launch.clusters import environments
    from launch.job import list_jobs
    from launch.leftovers import clear_staged

    clusters = [find_cluster(cluster)] if cluster is not None else list(environments.values())
    for each in clusters if clean else ():
        for folder in clear_staged(each):
            say(f"removed {folder}")
    found: dict[str, Job] = {}
    for each in {known.working_dir: known for known in clusters}.values():
        try:
            found.update((job.working_dir, job) for job in list_jobs(each))
        except EngineError as error:  # one cluster out of reach hides no job of another
            say(f"samesum: warning: the jobs of cluster {each.name} cannot be listed: {error}")
    rows = []
    for job in sorted(found.values(), key=lambda job: job.submitted, reverse=True):
        spec = WorkingDir(job.working_dir).spec()
        rows.append((job.job_id, word_of(job), spec.toolkit or spec.task, say_time(job.submitted), job.working_dir))
    answer.table(("job_id", "state", "task", "submitted", "working_dir"), rows, for_programs=1)


def show(job: words.Job, *, answer: Answer) -> None:
    """Show all that is known of a job: what it is to do, its attempts, containers and events, versions, where its files are."""
    from launch.report.bundle import as_facts

    found = find_job(job)
    state, note = say_state(found)
    facts = as_facts(WorkingDir(found.working_dir), state=state)
    if answer.as_json:
        answer.json({**facts, "scheduler": note})
        return
    head = {"job_id": found.job_id, "state": facts["state"], "reason": facts["note"], "scheduler": note, "page": page_of(found)}
    last = list(enumerate(facts["events"], start=1))[-LAST_EVENTS:]
    events = {f"{number}, {say_time(event.get('time'))}": _event_in_words(event) for number, event in last}
    containers = {f"{each.get('attempt')}, {each['name']}": _container_in_words(each) for each in facts["containers"]}
    attempts = {str(each["attempt"]): _attempt_in_words(each) for each in facts["attempts"]}
    sections = {"": head, "Job": facts["facts"], "Data": facts["data"], "Options": facts["options"], "Attempts": attempts}
    sections |= {"Containers": containers, "Last events": events, "Last row": facts["last_row"] or {}, "Versions": facts["versions"]}
    answer.facts({**sections, "Files": facts["files"]})


def page(job: words.Job, *, output: words.PageOutput = None) -> None:
    """Say where a job's page is, with its learning curves, ranks and logs; with --output write it to a file as it is now."""
    found = find_job(job)
    print_line(found.page_url if output is None else found.report(output))


def bundle(job: words.Job, output: words.BundleOutput) -> None:
    """Write a zip file for a bug report: spec, versions, events, containers, ends of logs, page; what looks like a secret is hidden."""
    print_line(find_job(job).bundle(output))


def status(job: words.Job, *, answer: Answer) -> None:
    """Show how far a job is; the exit code says it too."""
    facts = facts_of(find_job(job))
    answer.facts({"": facts})
    raise leave(code_of_job(facts["state"]))


def wait(job: words.Job, *, timeout: words.Timeout = None) -> None:
    """Wait until a job has ended, and exit as it ended."""
    found = find_job(job)
    try:
        found.wait(timeout)
    except KeyboardInterrupt:
        say("The job goes on.")
        raise leave(ExitCode.INTERRUPTED) from None
    raise leave(code_of_job(word_of(found)))


def progress(job: words.Job, *, follows: words.Follow = False, answer: Answer) -> None:
    """Show what a job has printed so far; followed, exit as it ended."""
    found = find_job(job)
    if follows:
        raise leave(follow(found, answer))
    text = found.get_progress()
    answer.text(text, job_id=found.job_id, progress=text)


def events(job: words.Job, *, follows: words.Follow = False, answer: Answer) -> None:
    """Show what happened to a job, a line for each event; followed, exit as it ended."""
    found = find_job(job)
    every = found.events() if follows else iter(WorkingDir(found.working_dir).events())
    for event in every:
        answer.event(event if answer.as_json else _in_words(event))
    if follows:
        raise leave(code_of_job(word_of(found)))


def summary(job: words.Job, *, answer: Answer) -> None:
    """Show a job's workers, how each of them ended, and what to do if it failed."""
    found = find_job(job)
    text = found.summary()
    answer.text(text, job_id=found.job_id, summary=text, containers=WorkingDir(found.working_dir).containers())


def logs(job: words.Job, *, rank: words.Rank = None, attempt: words.Attempt = None, answer: Answer) -> None:
    """Show the logs of a job's last attempt: those of its ranks, agents and supervisor."""
    found = find_job(job)
    directory = WorkingDir(found.working_dir)
    addresses = directory.logs()
    number = attempt if attempt is not None else max(directory.attempts(), default=0)
    wanted = [each for each in addresses if _belongs(each, directory, number, rank)]
    if not wanted:
        of_rank = "" if rank is None else f" of rank {rank}"
        raise MissingFileError(f"job {found.job_id} has no log{of_rank} in attempt {number}; it has {_say_logs(addresses, directory)}")
    texts = {each: storage.read_bytes(each).decode(errors="replace") for each in wanted}
    if answer.as_json:
        answer.json([{"log": each, "text": text} for each, text in texts.items()])
    for address, text in () if answer.as_json else texts.items():
        if rank is None:
            sys.stdout.write(f"==> {_short(address, directory)} <==\n")
        answer.text(text)


def results(job: words.Job, *, output: words.ResultOutput = None, answer: Answer) -> None:
    """Show what a job was for: its model, its metrics, the address of its predictions; with --output save it."""
    found = find_job(job)
    word = word_of(found)
    if (code := code_of_job(word)) != ExitCode.DONE:
        say(f"samesum: error: job {found.job_id} has no results: it is {word}" if code == ExitCode.UNFINISHED else str(found))
        raise leave(code)
    task = WorkingDir(found.working_dir).spec().task
    value = found.get_results()
    if output is not None:
        _save(found, task, value, output)
        return
    if task == "train":
        answer.facts(describe_model(_model_address(found), shortly=not answer.as_json))
    elif task == "evaluate":
        answer.json({name: metric for name, metric in value.items() if answer.as_json or name != "roc_curve"})
    else:
        name = {"predict": "output"}.get(task, "exit_code")
        answer.text(str(value), **{name: value})


def cancel(job: words.Job) -> None:
    """End a job, all its processes with it. A job that had ended before stays as it is."""
    found = find_job(job)
    found.cancel()
    say(f"{found.job_id} is {word_of(found)}")


def say_state(job: Job) -> tuple[str, str | None]:
    """How far a job is; UNKNOWN, and why, where its cluster does not answer."""
    try:
        return word_of(job), None
    except EngineError as error:
        return "UNKNOWN", str(error)


def page_of(job: Job) -> str | None:
    """Where a job's page is, if its cluster says so."""
    try:
        return job.page_url
    except EngineError:
        return None


def _event_in_words(event: dict[str, Any]) -> str:
    rest = {name: value for name, value in event.items() if name not in ("time", "event")}
    return f"{event['event']} {text_of(rest)}"


def _container_in_words(container: dict[str, Any]) -> str:
    names = ("host", "pid", "exit_code", "signal", "peak_memory", "diagnosis")
    return text_of({name: container[name] for name in names if container.get(name) is not None})


def _attempt_in_words(attempt: dict[str, Any]) -> str:
    times = {name: say_time(attempt.get(name)) for name in ("began", "ended")}
    found = {"host": attempt.get("host"), **times, "message": attempt.get("message")}
    return text_of({name: value for name, value in found.items() if value})


def _in_words(event: dict[str, Any]) -> dict[str, Any]:
    """An event as a line: when, which attempt, what, and what else there is to it."""
    rest = {name: value for name, value in event.items() if name not in ("time", "attempt", "event")}
    return {"time": say_time(event.get("time")), "attempt": event.get("attempt"), "event": event["event"], "rest": rest}


def _save(job: Job, task: str, value: Any, output: str) -> None:
    if task == "train":
        value.save(output)
    elif task == "evaluate":
        if not output.endswith(".json"):
            raise OptionError(f"expected an output file with the extension .json, got {output!r}")
        storage.put_bytes(output, (json.dumps(exact(value)) + "\n").encode())
    else:
        raise OptionError(f"a job to {task} has nothing to save, got --output {output!r}: what it wrote is where it was told to")
    say(f"saved in {output}")


def _model_address(job: Job) -> str:
    result = WorkingDir(job.working_dir).result()
    if result is None:
        raise JobError(f"job {job.job_id} has no result any more: its directory {job.working_dir!r} may have been removed")
    return storage.join(job.working_dir, *result["model"].split("/"))


def _belongs(address: str, directory: WorkingDir, attempt: int, rank: int | None) -> bool:
    """Whether a log is of this attempt and rank; those of no attempt belong to all ranks together."""
    place = _short(address, directory).split("/")[1:]
    if rank is not None:
        return place == [str(attempt), f"rank-{rank}.log"]
    return place[0] == str(attempt) or len(place) == 1


def _short(address: str, directory: WorkingDir) -> str:
    return address.removeprefix(directory.address).lstrip("/")


def _say_logs(addresses: list[str], directory: WorkingDir) -> str:
    return ", ".join(_short(address, directory) for address in addresses) or "none yet"
