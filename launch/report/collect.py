"""What the page of a job shows, from its working directory alone."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from engine import storage
from engine.errors import EngineError, StorageError
from engine.masking import mask, mask_text
from engine.report.data import Log, Report, Row
from engine.spec import GRAPH_TOOLKITS, DataSpec, JobSpec
from engine.spec_fields import as_json
from engine.working_dir import EVENTS_FILE, RUN_FILE, WorkingDir
from launch.gang import USED
from launch.summary import name_of_container

USAGE_FILE = "ranks.json"
LOG_BYTES = 6000  # of the end of each log
MOST_LOGS = 24
_CHECKPOINT = re.compile(r"model_checkpoint_(\d+)")
_BACKENDS = {"local": "this machine", "yarn": "YARN", "slurm": "Slurm", "pbs": "PBS"}


def collect(address: str, *, state: str | None = None) -> Report:
    """The job in a working directory as it is now; ``state``: what its scheduler says of one that has no result.

    Raises :class:`MissingFileError` if there is no job, :class:`StorageError` for what cannot be read.
    """
    return Collector(WorkingDir(address)).collect(state=state)


class Collector:
    """Takes reports of one job, again and again: what was read of its events is not read again."""

    def __init__(self, wd: WorkingDir, spec: JobSpec | None = None) -> None:
        self.wd = wd
        self.spec = spec or wd.spec()
        self._events: dict[int, _Events] = {}

    def collect(
        self,
        *,
        state: str | None = None,
        usage: Sequence[Mapping[str, Any]] | None = None,
        log_bytes: int = LOG_BYTES,
        most: int = MOST_LOGS,
    ) -> Report:
        """The job now. ``usage``: what its ranks have used, None for what the working directory says of it."""
        wd, spec = self.wd, self.spec
        result, numbers = wd.result(), wd.attempts()
        last = max(numbers, default=0)
        rows, restarts, checkpoints = self._read_events(numbers)
        containers = wd.containers()
        if result is None and usage is None:
            usage = _json(wd.attempt_path(last, USAGE_FILE)) if last else None
        ranks = _ranks_of(containers, last, usage if result is None else None)
        attempts = [self._attempt(number, containers) for number in numbers]
        said = result["state"] if result else state or ("RUNNING" if numbers else "PENDING")
        resources = spec.resources
        return Report(
            name=wd.job_id,
            state=said,
            note=_note(result),
            taken=time.time(),
            facts=mask(self._facts(attempts, result)),
            data=mask(describe_data(spec)),
            options=mask({**spec.options}),
            versions=dict(next((each["versions"] for each in reversed(attempts) if each.get("versions")), {})),
            rows=rows,
            total=total_of(spec),
            began=next((each["began"] for each in attempts if each.get("began")), None),
            ended=result["time"] if result else None,
            ranks=ranks,
            memory_limit=resources.worker_memory << 20 if resources and resources.worker_memory else None,
            attempts=[{**each, "message": mask_text(str(each.get("message") or ""))} for each in attempts],
            restarts=restarts,
            checkpoints=self._checkpoints(checkpoints),
            containers=mask([{**each, "name": name_of_container(each)} for each in containers]),
            files=mask(self._files(result, last)),
            logs=self.logs(last, log_bytes, most),
        )

    def logs(self, attempt: int | None, n_bytes: int, most: int) -> list[Log]:
        """The ends of the logs of an attempt, of all where it is None, and of those that belong to none."""
        addresses = self.wd.logs()
        if attempt is not None:
            wanted = (self.wd.logs_path(attempt, ""), self.wd.path("logs", ""))
            folders = {each.rstrip("/") for each in wanted}
            addresses = [each for each in addresses if each.rpartition("/")[0] in folders]
        return [log for address in addresses[:most] if (log := self._log(address, n_bytes)) is not None]

    def _log(self, address: str, n_bytes: int) -> Log | None:
        with contextlib.suppress(StorageError):
            size = storage.file_size(address)
            data = storage.read_range(address, max(0, size - n_bytes), n_bytes)
            text = data.decode(errors="replace")
            if size > n_bytes:
                text = text.partition("\n")[2] or text
            return Log(address.removeprefix(self.wd.path("logs")).lstrip("/"), mask_text(text), size)
        return None

    def _read_events(self, numbers: Sequence[int]) -> tuple[list[Row], list[dict[str, Any]], list[dict[str, Any]]]:
        """Rows, each iteration once, restarts and checkpoints."""
        rows: list[Row] = []
        restarts: list[dict[str, Any]] = []
        checkpoints: dict[str, dict[str, Any]] = {}
        for number in numbers:
            found = self._events.setdefault(number, _Events(self.wd.attempt_path(number, EVENTS_FILE)))
            found.read()
            last = rows[-1].number if rows else 0
            rows += [row for row in found.rows if row.number > last]
            restarts += [{"iteration": event["iteration"], "time": event["time"], "attempt": number} for event in found.of("restart")]
            for event in found.of("checkpoint"):
                name = storage.name_of(event["path"])
                checkpoints[name] = {"iteration": _iteration_of(name), "name": name, "time": event["time"]}
        return rows, restarts, list(checkpoints.values())

    def _checkpoints(self, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Checkpoints with whether they are there still."""
        folder = self.wd.checkpoint_folder(self.spec)
        names: set[str] = set()
        if folder is not None and found:
            with contextlib.suppress(StorageError):
                names = {entry.name for entry in storage.list_folder(folder)}
        return [{**each, "kept": each["name"] in names} for each in found]

    def _attempt(self, number: int, containers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """What is known of an attempt: what its supervisor wrote at the end, until then what is known of its containers."""
        about = self.wd.attempt(number)
        own = [each for each in containers if each.get("attempt") == number]
        known = {
            "ended": max((each["ended"] for each in own if each.get("ended")), default=None),
            "message": next((each.get("diagnosis") for each in own if each.get("cause")), None),
        }
        run = _json(self.wd.path(RUN_FILE)) or {}
        ended: dict[str, Any] = next((each for each in run.get("attempts", []) if each["attempt"] == number), {})
        return {
            "attempt": number,
            "host": about.get("host"),
            "began": about.get("time"),
            "versions": about.get("versions"),
            **known,
            **ended,
        }

    def _facts(self, attempts: Sequence[Mapping[str, Any]], result: Mapping[str, Any] | None) -> dict[str, Any]:
        spec, resources = self.spec, self.spec.resources
        read = next((each for each in reversed(attempts) if each.get("bytes_read")), None)
        facts: dict[str, Any] = {"Toolkit" if spec.toolkit else "Task": (spec.toolkit or spec.task).replace("_", " ")}
        if spec.target:
            facts["Target"] = spec.target
        if resources is not None:
            facts |= {"Runs on": _BACKENDS[resources.backend], "Ranks": resources.num_workers}
            facts["Threads of each"] = spec.num_threads or resources.num_threads or "its share of the cores"
            facts["Memory of each"] = f"{resources.worker_memory} MB" if resources.worker_memory else "not limited"
            if resources.yarn is not None:
                facts["Queue"] = resources.yarn.queue
            facts["Restarts"] = f"{max(0, len(attempts) - 1)} (losses: {resources.max_restarts} at most)"
        if self.spec.submitted:
            facts["Submitted"] = _utc(self.spec.submitted)
        if result:
            facts["Ended"] = _utc(result["time"])
        if read:
            facts["Read over the network"] = f"{read['bytes_read'] / 2**20:.1f} MB, {read['bytes_read_locally'] / 2**20:.1f} MB locally"
        return facts

    def _files(self, result: Mapping[str, Any] | None, last: int) -> dict[str, Any]:
        wd = self.wd
        files: dict[str, Any] = {"working directory": wd.address}
        if result and result.get("model"):
            files["model"] = wd.path(*str(result["model"]).split("/"))
        if result and result.get("output"):
            files["output"] = result["output"]
        if folder := wd.checkpoint_folder(self.spec):
            files["checkpoints"] = folder
        if last:
            files |= {"progress": wd.attempt_path(last, "progress.log"), "logs": wd.logs_path(last)}
        return files


class _Events:
    """The events of one attempt, of which only what is new is read."""

    def __init__(self, address: str) -> None:
        self.rows: list[Row] = []
        self._address = address
        self._others: list[dict[str, Any]] = []
        self._read = 0

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The events of a kind other than rows."""
        return [event for event in self._others if event["event"] == kind]

    def read(self) -> None:
        """Read what has been added; a line that is being written waits."""
        data = self._new_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            with contextlib.suppress(ValueError, KeyError):
                event = json.loads(line)
                if event["event"] == "row":
                    self.rows.append(Row(event["number"], event["values"]))
                elif event["event"] != "message":
                    self._others.append(event)

    def _new_bytes(self) -> bytes:
        try:
            if storage.is_local(self._address):
                with storage.local_path(self._address).open("rb") as file:
                    file.seek(self._read)
                    return file.read()
            return storage.read_bytes(self._address)[self._read :]
        except FileNotFoundError:
            return b""


def describe_data(spec: JobSpec) -> dict[str, Any]:
    """Where the rows come from, and how they are read where that is not the usual."""
    found: dict[str, Any] = {}
    names: tuple[tuple[str, DataSpec | None], ...] = (("data", spec.data), ("validation", spec.validation))
    for name, data in names:
        if data is not None:
            found[name] = list(data.paths)
            usual = as_json(DataSpec(paths=data.paths))
            found |= {f"{name}, {key}": value for key, value in as_json(data).items() if value != usual[key]}
    if spec.graph is not None:
        found |= {key: value for key, value in as_json(spec.graph).items() if value is not None and key != "vertex_data"}
    if spec.features is not None:
        found["features"] = list(spec.features)
    if spec.model is not None:
        found["model"] = spec.model
    if spec.script is not None:
        found["program"] = [spec.script.path, *spec.script.args]
    return found


def total_of(spec: JobSpec) -> int | None:
    """How many iterations there are at most; None where the job does not say."""
    if spec.task != "train":
        return None
    name = "num_trees" if "num_trees" in spec.options else "max_iterations"
    value = spec.options.get(name)
    if spec.toolkit in GRAPH_TOOLKITS or not isinstance(value, int):
        return None
    return value


def tolerant(take: Callable[[], Any]) -> Any:
    """What ``take`` gives; None where storage does not."""
    with contextlib.suppress(EngineError):
        return take()
    return None


def _ranks_of(containers: Sequence[Mapping[str, Any]], last: int, usage: Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]]:
    """What ranks have used: as they are now, or as the last attempt's ended."""
    if usage:
        return [dict(each) for each in usage]
    ended = [each for each in containers if each.get("attempt") == last and each.get("rank") is not None]
    names = ("rank", "host", "pid", "peak_memory", *USED)
    return [{**{name: each.get(name) for name in names}, "doing": "ended"} for each in ended if each.get("seconds") is not None]


def _note(result: Mapping[str, Any] | None) -> str | None:
    return mask_text(str(result.get("summary") or "")) or None if result else None


def _iteration_of(name: str) -> int | None:
    found = _CHECKPOINT.search(name)
    return int(found[1]) if found else None


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def _json(address: str) -> Any:
    try:
        return json.loads(storage.read_bytes(address))
    except (FileNotFoundError, ValueError):
        return None
