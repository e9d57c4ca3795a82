"""Applications as the submitting machine sees them: submitted, asked about and ended through a driver of skein's, kept while Python runs.

The driver is a JVM that takes some seconds to start. One is kept for each folder of settings, never shared between users or clusters.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import tempfile
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import skein

from engine.errors import JobError, OptionError
from engine.storage import kerberos
from launch.yarn import hadoop

DEADLINE = 30.0  # seconds for a call
SUBMIT_WITHIN = 300.0  # seconds: files of this machine are uploaded
START_WITHIN = 60.0  # seconds for the driver
_KEYTAB = {"keytab": kerberos.KEYTAB, "principal": kerberos.PRINCIPAL}
_drivers: dict[str, _Driver] = {}
_lock = threading.Lock()


class Report(NamedTuple):
    """An application as YARN sees it."""

    state: str
    final: str
    diagnostics: str
    tracking_url: str
    started: float

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.state in ("FINISHED", "FAILED", "KILLED")


class Node(NamedTuple):
    """A node: its host's name for YARN, its memory in MB, its vcores, and what is used of them."""

    host: str
    memory: int
    used_memory: int
    vcores: int
    used_vcores: int


class _Driver(skein.Client):  # type: ignore[misc]  # skein has no types
    """A client whose calls have a deadline."""

    def _call(self, method: str, req: Any, timeout: float | None = None) -> Any:
        return super()._call(method, req, timeout=timeout or (SUBMIT_WITHIN if method == "submit" else DEADLINE))


def driver(folder: pathlib.Path) -> _Driver:
    """The driver for a folder of settings, started if there is none. Raises :class:`OptionError` with what is missing here."""
    with _lock:
        found = _drivers.get(str(folder))
        if found is None:
            hadoop.check_commands()
            hadoop.check_resource_manager(folder)
            found = _drivers[str(folder)] = _start(folder)
        return found


def _start(folder: pathlib.Path) -> _Driver:
    log = tempfile.NamedTemporaryFile(prefix="samesum-driver-", suffix=".log", delete=False).name  # noqa: SIM115
    keytab = {name: os.environ[variable] for name, variable in _KEYTAB.items() if kerberos.KEYTAB in os.environ}
    security = skein.Security.new_credentials()  # for this process alone: no file that another one would read
    result: list[_Driver] = []
    trouble: list[BaseException] = []

    def run() -> None:
        try:
            with _variables({"HADOOP_CONF_DIR": str(folder), "YARN_CONF_DIR": str(folder)}):
                result.append(_Driver(security=security, log=log, log_level="WARN", **keytab))
        except BaseException as error:
            trouble.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(START_WITHIN)
    if result:
        pathlib.Path(log).unlink(missing_ok=True)
        return result[0]
    words = " ".join(pathlib.Path(log).read_text(errors="replace")[-400:].split())
    raise JobError(f"skein's driver did not start within {START_WITHIN:.0f} s: {trouble[0] if trouble else words} (its log is {log})")


@contextlib.contextmanager
def _variables(said: dict[str, str]) -> Iterator[None]:
    """Say something in the environment for a process that is being started."""
    before = {name: os.environ.get(name) for name in said}
    os.environ.update(said)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _explained(folder: pathlib.Path) -> Iterator[None]:
    """Errors of YARN's as errors of a job, with the ResourceManager that was asked."""
    try:
        yield
    except TimeoutError:
        raise JobError(
            f"the ResourceManager at {hadoop.resource_manager(folder)} did not answer in time: is it running, and is {str(folder)!r} the "
            "folder of the cluster that you mean?"
        ) from None
    except (skein.SkeinError, OSError) as error:
        with _lock:
            _drivers.pop(str(folder), None)
        raise JobError(f"YARN at {hadoop.resource_manager(folder)} refused: {' '.join(str(error).split())}") from error


def submit(folder: pathlib.Path, description: dict[str, Any]) -> str:
    """Submit an application; returns its name. Raises :class:`OptionError` for what YARN does not take, :class:`JobError` else."""
    with _explained(folder):
        try:
            spec = skein.ApplicationSpec.from_dict(description)
            spec.master.security = skein.Security.new_credentials()
            return str(driver(folder).submit(spec))
        except (ValueError, TypeError) as error:
            raise OptionError(f"YARN does not take this application: {' '.join(str(error).split())}") from None


def report(folder: pathlib.Path, application: str) -> Report | None:
    """What YARN knows of an application, None where it has forgotten it."""
    with _explained(folder):
        try:
            found = driver(folder).application_report(application)
        except (KeyError, ValueError):
            return None
    started = found.start_time.timestamp() if found.start_time else 0.0
    return Report(str(found.state), str(found.final_status), found.diagnostics or "", found.tracking_url or "", started)


def kill(folder: pathlib.Path, application: str) -> None:
    """End an application and all its containers."""
    with _explained(folder), contextlib.suppress(KeyError, ValueError):
        driver(folder).kill_application(application)


def nodes(folder: pathlib.Path) -> list[Node]:
    """The running nodes."""
    with _explained(folder):
        found = driver(folder).get_nodes(states=["RUNNING"])
    return [
        Node(each.host, each.total_resources.memory, each.used_resources.memory, each.total_resources.vcores, each.used_resources.vcores)
        for each in found
    ]


def check_queue(folder: pathlib.Path, name: str) -> float:
    """See that YARN has the queue, and that it takes applications; the share of its parent that it may ever have, 0 to 1.

    Raises :class:`OptionError`.
    """
    with _explained(folder):
        try:
            queue = driver(folder).get_queue(name)
        except ValueError:
            known = ", ".join(repr(each.name) for each in driver(folder).get_all_queues())
            raise OptionError(f"queue must be one of YARN's, got {name!r}; there is {known}") from None
    if str(queue.state) != "RUNNING":
        raise OptionError(f"queue {name!r} takes no applications, it is {queue.state}: give another queue")
    return float(queue.max_capacity) / 100
