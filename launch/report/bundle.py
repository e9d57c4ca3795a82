"""A job as one file to attach to a bug report: what it was to do, what it did, how it ended, with which versions; and no secrets.

Files have the same names and the same order for every job, and the same bytes for the same state of one.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from engine import storage
from engine.errors import EngineError
from engine.masking import HIDDEN, mask, mask_text
from engine.report.page import encode, render
from engine.spec import JobSpec
from engine.working_dir import RUN_FILE, WorkingDir
from launch.report.collect import Collector
from launch.versions import versions

LOG_BYTES = 1 << 16  # of the end of each log
MOST_LOGS = 1000
README = """This is what samesum knows of the job {name}, for a bug report.

  job.json         what it was to do
  state.json       how far it was, or how it ended
  attempts.json    its attempts: hosts, times, versions, errors
  containers.json  every rank of every attempt, and how it ended
  events.jsonl     what happened, in order
  progress.log     what training printed
  run.json         times, bytes read
  versions.json    of the job, and of the machine that made this file
  logs/            the last {kilobytes} KB of every log
  report.html      all of it as a page

What looks like a secret is replaced by {hidden}: passwords and signatures in addresses, values beside names such as token or password.
Logs of your own programs may hold what nobody can tell from other text: look through them before you give this away.
"""


def write_bundle(wd: WorkingDir, path: str, *, state: str, note: str | None = None) -> None:
    """Write the bundle of a job, whose scheduler says ``state``, or, in ``note``, why it says nothing. Raises :class:`StorageError`."""
    files = make_files(wd, state=state, note=note)
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            about = zipfile.ZipInfo(f"{wd.job_id}/{name}")
            about.external_attr = 0o600 << 16
            about.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(about, files[name])
    storage.put_bytes(path, data.getvalue())


def make_files(wd: WorkingDir, *, state: str, note: str | None = None) -> dict[str, bytes]:
    """The bundle's files. What cannot be read is said in the place of what it would be."""
    spec = wd.spec()
    collector = Collector(wd, spec)
    report = collector.collect(state=state, log_bytes=LOG_BYTES)
    said = {"state": report.state, "result": wd.result(), "scheduler": note or state}
    files = {
        "README.txt": README.format(name=wd.job_id, kilobytes=LOG_BYTES >> 10, hidden=HIDDEN).encode(),
        "job.json": as_file(describe_spec(spec)),
        "state.json": as_file(said),
        "attempts.json": taken(lambda: [attempt_of(wd, number) for number in wd.attempts()]),
        "containers.json": taken(wd.containers),
        "run.json": taken(lambda: json.loads(storage.read_bytes(wd.path(RUN_FILE)))),
        "versions.json": as_file({"job": report.versions, "here": versions()}),
        "events.jsonl": encode("".join(json.dumps(mask(event), ensure_ascii=False) + "\n" for event in wd.events())),
        "progress.log": encode(mask_text(wd.progress())),
        "report.html": encode(render(report)),
    }
    return files | {f"logs/{log.name}": encode(log.text) for log in collector.logs(None, LOG_BYTES, MOST_LOGS)}


def describe_spec(spec: JobSpec) -> dict[str, Any]:
    """The job as JSON, of its environment the names alone."""
    found: dict[str, Any] = json.loads(spec.to_json())
    if spec.resources is not None:
        found["resources"]["environment"] = dict.fromkeys(spec.resources.environment, HIDDEN)
    return found


def attempt_of(wd: WorkingDir, number: int) -> Mapping[str, Any]:
    """All that is said of an attempt but for its events."""
    return {"attempt": number, **wd.attempt(number), "last_sign": wd.last_sign(number), "error": wd.error(number), "run": wd.run(number)}


def taken(take: Callable[[], Any]) -> bytes:
    """What ``take`` gives as a file, or why it gives nothing."""
    try:
        return as_file(take())
    except EngineError as error:
        return as_file({"missing": str(error)})


def as_file(value: Any) -> bytes:
    """A value as JSON, without secrets."""
    return encode(json.dumps(mask(value), ensure_ascii=False, indent=1) + "\n")


def as_facts(wd: WorkingDir, *, state: str) -> dict[str, Any]:
    """The job as one object: its description, its state, and all that its page shows but for logs."""
    report = asdict(Collector(wd).collect(state=state, most=0))
    rows = report.pop("rows")
    del report["logs"], report["taken"]
    report["last_row"] = dict(rows[-1].values) if rows else None
    return {**report, "spec": mask(describe_spec(wd.spec())), "events": mask([e for e in wd.events() if e["event"] != "row"])}
