"""An application's description for YARN: a pure function of a job, which starts nothing."""

from __future__ import annotations

import pathlib
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from engine.errors import OptionError
from engine.spec import JobSpec
from launch.yarn import hadoop

MASTER_MB = 1024  # the application master's JVM and the supervisor
ATTEMPTS = 2  # of the application master: one that is lost is started anew, and goes on from the last checkpoint
ENVIRONMENT = "environment"


def describe(spec: JobSpec, address: str, *, conf: pathlib.Path, user: str) -> dict[str, Any]:
    """The application of the job in the working directory ``address``, as skein takes it."""
    resources = spec.resources
    assert resources is not None
    assert resources.yarn is not None
    yarn = resources.yarn
    if resources.worker_memory is None:
        raise OptionError("expected 'resources.worker_memory' in a job on YARN, got none: say how large its containers are")
    files = files_of(yarn.archive, conf)
    said = {"HADOOP_USER_NAME": user, "LC_ALL": "C.UTF-8"}
    python = yarn.python or f"$PWD/{ENVIRONMENT}/bin/python"
    return {
        "name": f"samesum {address.rstrip('/').rpartition('/')[2]}",
        "queue": yarn.queue,
        "node_label": yarn.node_label or "",
        "tags": sorted({"samesum", *yarn.tags}),
        "max_attempts": ATTEMPTS,
        "master": {
            "resources": {"memory": f"{MASTER_MB} MiB", "vcores": 1},
            "script": script(python, yarn.python is not None, "launch.yarn.supervisor", [address], said),
            "files": files,
            "log_level": "WARN",
        },
        "services": {
            "worker": {
                "instances": resources.num_workers,
                "resources": {"memory": f"{resources.worker_memory} MiB", "vcores": resources.num_threads or 1},
                "script": script(python, yarn.python is not None, "launch.yarn.worker", [], said),
                "files": files,
                "max_restarts": 0,  # the supervisor asks for others
                "allow_failures": True,
            }
        },
    }


def files_of(archive: str | None, conf: pathlib.Path) -> dict[str, Any]:
    """What containers bring along: the settings of HDFS and the environment, which nodes keep for the user's next jobs."""
    files: dict[str, Any] = {
        name: {"source": f"file://{(conf / name).absolute()}", "type": "FILE"} for name in hadoop.SHIPPED if (conf / name).is_file()
    }
    if archive is not None:
        files[ENVIRONMENT] = {"source": archive, "type": "ARCHIVE", "visibility": "PRIVATE"}
    return files


def script(python: str, is_given: bool, module: str, arguments: Sequence[str], said: Mapping[str, str]) -> str:
    """The lines of shell that start a process in a container."""
    interpreter = shlex.quote(python) if is_given else f'"{python}"'
    lines = [f"export {name}={shlex.quote(value)}" for name, value in said.items()]
    lines += ['export HADOOP_CONF_DIR="$PWD"', "unset PYTHONPATH PYTHONHOME"]
    return "\n".join([*lines, shlex.join(["exec"]) + f" {interpreter} -u -m {module} {shlex.join(arguments)}".rstrip(), ""])
