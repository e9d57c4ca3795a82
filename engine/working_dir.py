"""The working directory of a job, on any storage: what each file in it is called, and which of them decide.

``job.json`` says what to do. Whoever starts the ranks takes an attempt by creating ``attempts/<n>/attempt.json``, which one can do once;
what an attempt writes lies under its own number, and ``result.json``, created once, makes it visible and ends the job. Before anything is
published its writer asks :meth:`WorkingDir.may_publish`: a later attempt, or a result, means that it is out of date and must write nothing.
"""

from __future__ import annotations

import json
import re
from typing import Any

from engine import storage
from engine.errors import MissingFileError, OptionError, StorageError
from engine.spec import JobSpec

JOB_FILE, RESULT_FILE, ATTEMPT_FILE, ALIVE_FILE = "job.json", "result.json", "attempt.json", "alive.json"
PROGRESS_FILE, EVENTS_FILE, ERROR_FILE = "progress.log", "events.jsonl", "error.json"
CONTAINERS_FILE, RUN_FILE, END_FILE, REPORT_FILE = "containers.json", "run.json", "end.json", "report.html"
STATES = ("SUCCESS", "FAILURE", "KILLED")
_CHECKPOINT = re.compile(r"model_checkpoint_(\d+)")


class WorkingDir:
    """A job's files, read or written by whoever holds its address: the one who submitted it, its supervisor, its ranks.

    Making one reads nothing. Its methods raise :class:`StorageError` with the address of what could not be read or written.
    """

    def __init__(self, address: str) -> None:
        self.address = str(address)
        self.job_id = storage.name_of(self.address)

    def __repr__(self) -> str:
        return f"WorkingDir({self.address!r})"

    @classmethod
    def create(cls, address: str, spec: JobSpec) -> WorkingDir:
        """Make the folder, which only its owner may read, and put the job into it. Raises :class:`StorageError` if a job is there."""
        if spec.resources is None:
            raise OptionError("expected 'resources' in a job with a working directory, got none: add them")
        made = cls(address)
        storage.make_folder(made.address)
        if not storage.create_bytes(made.path(JOB_FILE), spec.to_json().encode()):
            raise StorageError(f"a job is in {made.address!r} already: choose another working directory")
        return made

    def path(self, *names: str) -> str:
        """The address of a file or folder in the working directory."""
        return storage.join(self.address, *names)

    def attempt_path(self, number: int, *names: str) -> str:
        """The address of a file or folder of an attempt."""
        return self.path("attempts", str(number), *names)

    def logs_path(self, number: int, *names: str) -> str:
        """The address of the folder of an attempt's logs, or of one of them."""
        return self.path("logs", str(number), *names)

    def exists(self) -> bool:
        """Whether there is a job."""
        return storage.exists(self.path(JOB_FILE))

    def spec(self) -> JobSpec:
        """The job. Raises :class:`MissingFileError` if there is none."""
        try:
            text = storage.read_bytes(self.path(JOB_FILE)).decode()
        except MissingFileError:
            raise MissingFileError(f"expected the working directory of a job, got {self.address!r}: it has no {JOB_FILE}") from None
        return JobSpec.from_json(text)

    # --- attempts and the result ---

    def attempts(self) -> list[int]:
        """The numbers of all attempts that were taken, in order."""
        numbers = sorted(int(name) for name in self._names("attempts") if name.isdecimal())
        while numbers and not storage.exists(self.attempt_path(numbers[-1], ATTEMPT_FILE)):
            numbers.pop()  # its folder alone: whoever was about to take it has not, or not yet
        return numbers

    def attempt(self, number: int) -> dict[str, Any]:
        """What was said when the attempt was taken: ``host``, ``pid`` and ``started`` of its supervisor, ``time``, ``scratch``."""
        return self._json(self.attempt_path(number, ATTEMPT_FILE)) or {}

    def take_attempt(self, about: dict[str, Any]) -> int:
        """Take the next attempt, which nobody else can from then on; returns its number."""
        number = max(self.attempts(), default=0) + 1
        while not storage.create_bytes(self.attempt_path(number, ATTEMPT_FILE), _encode(about)):
            number += 1
        return number

    def renew(self, number: int, time: float) -> None:
        """Say that the supervisor of an attempt is alive."""
        storage.put_bytes(self.attempt_path(number, ALIVE_FILE), _encode({"time": time}))

    def last_sign(self, number: int) -> float:
        """When the supervisor of an attempt last said that it is alive; when it took the attempt, if it never did."""
        said = self._json(self.attempt_path(number, ALIVE_FILE)) or self.attempt(number)
        return float(said.get("time", 0.0))

    def end_attempt(self, number: int, cause: dict[str, Any]) -> None:
        """Write down why an attempt has ended: ``cause``, ``message``, and ``is_free`` if it does not count as a restart."""
        storage.put_bytes(self.attempt_path(number, END_FILE), _encode({"cause": cause["cause"], **cause}))

    def attempt_end(self, number: int) -> dict[str, Any]:
        """What :meth:`end_attempt` wrote; ``cause`` is unknown for an attempt that is under way, or whose supervisor was lost."""
        return self._json(self.attempt_path(number, END_FILE)) or {"cause": "unknown"}

    def error(self, number: int) -> dict[str, Any] | None:
        """The error that all ranks of an attempt found: ``class`` and ``message``."""
        return self._json(self.attempt_path(number, ERROR_FILE))

    def run(self, number: int) -> dict[str, Any]:
        """What is known of how an attempt ran, once it has ended well: bytes read, and how many of them locally."""
        return self._json(self.attempt_path(number, RUN_FILE)) or {}

    def may_publish(self, number: int) -> bool:
        """Whether this attempt still is the job's: there is neither a result nor a later attempt."""
        return not storage.exists(self.path(RESULT_FILE)) and not storage.exists(self.attempt_path(number + 1, ATTEMPT_FILE))

    def result(self) -> dict[str, Any] | None:
        """How the job ended, None while it has not: ``state``, ``attempt``, ``summary``, ``time``, and what belongs to the task."""
        return self._json(self.path(RESULT_FILE))

    def publish(self, state: str, *, attempt: int, summary: str, time: float, **more: Any) -> bool:
        """End the job, unless it has ended: the first result counts, and False says that this was not it."""
        assert state in STATES
        result = {"state": state, "attempt": attempt, "summary": summary, "time": time, **more}
        return storage.create_bytes(self.path(RESULT_FILE), _encode(result))

    # --- what the job has to say ---

    def progress(self) -> str:
        """The progress log so far: that of the last attempt that has one, which begins with those before it."""
        for number in reversed(self.attempts()):
            if (text := self._text(self.attempt_path(number, PROGRESS_FILE))) is not None:
                return text
        return ""

    def events(self) -> list[dict[str, Any]]:
        """What happened, in order: attempts, then the rows, checkpoints and lines of each, each iteration once, then the end."""
        events: list[dict[str, Any]] = []
        rows = 0
        for number in self.attempts():
            events.append({"event": "attempt", "attempt": number, "time": self.attempt(number).get("time")})
            for line in (self._text(self.attempt_path(number, EVENTS_FILE)) or "").splitlines(keepends=True):
                if not line.endswith("\n"):
                    break  # being written
                event = {**json.loads(line), "attempt": number}
                if event["event"] == "row":
                    if event["number"] <= rows:
                        continue
                    rows = event["number"]
                events.append(event)
        if result := self.result():
            events.append({"event": "end", **{name: result.get(name) for name in ("state", "attempt", "time")}})
        return events

    def containers(self) -> list[dict[str, Any]]:
        """Every rank of every attempt: ``attempt, rank, host, pid, exit_code`` or ``signal``, ``diagnosis``, ``peak_memory`` in bytes."""
        return (self._json(self.path(CONTAINERS_FILE)) or {}).get("containers", [])

    def put_containers(self, containers: list[dict[str, Any]]) -> None:
        """Write what :meth:`containers` gives."""
        storage.put_bytes(self.path(CONTAINERS_FILE), _encode({"containers": containers}))

    def logs(self) -> list[str]:
        """The addresses of all log files, by attempt and name."""
        numbers = sorted(int(name) for name in self._names("logs") if name.isdecimal())
        found = [self.path("logs", name) for name in self._names("logs") if not name.isdecimal()]
        return found + [self.logs_path(number, name) for number in numbers for name in self._names("logs", str(number))]

    # --- checkpoints ---

    def checkpoint_folder(self, spec: JobSpec) -> str | None:
        """Where the job's checkpoints are; None if it writes none."""
        if spec.task != "train":
            return None
        given = spec.options.get("model_checkpoint_path", "auto")
        return self.path("checkpoints") if given == "auto" else given

    def last_checkpoint(self) -> str | None:
        """The address of the newest whole checkpoint, None if there is none (yet)."""
        folder = self.checkpoint_folder(self.spec())
        if folder is None:
            return None
        from engine.checkpoint import read_checkpoint
        from engine.errors import ModelFileError

        try:
            names = [entry.name for entry in storage.list_folder(folder)]
        except MissingFileError:
            return None
        for _, name in sorted(((int(match[1]), match[0]) for match in map(_CHECKPOINT.fullmatch, names) if match), reverse=True):
            try:
                read_checkpoint(storage.join(folder, name))
            except (ModelFileError, MissingFileError):
                continue
            return storage.join(folder, name)
        return None

    def _names(self, *folder: str) -> list[str]:
        try:
            return [entry.name for entry in storage.list_folder(self.path(*folder))]
        except MissingFileError:
            return []

    def _text(self, address: str) -> str | None:
        try:
            return storage.read_bytes(address).decode(errors="replace")
        except MissingFileError:
            return None

    def _json(self, address: str) -> dict[str, Any] | None:
        text = self._text(address)
        if text is None:
            return None
        try:
            value = json.loads(text)
        except ValueError as error:
            raise StorageError(f"{address!r} is damaged: expected JSON, got {text[:80]!r} ({error})") from None
        return dict(value)


def _encode(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()
