"""Run a script as several ranks from a test that is not under MPI itself."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
LAUNCHER_VARIABLES = re.compile(r"^(PMI|PMIX|OMPI|PRTE|HYD|MPI_|SLURM|MV2|PALS|JSM|FLUX)")


@dataclasses.dataclass(frozen=True)
class Job:
    """How a job ended. Seconds count from the moment at which a rank printed ``mark_moment()``, else from the start."""

    code: int
    out: str
    err: str
    seconds: float


def plain_environment(**changes: str) -> dict[str, str]:
    """The environment without what a launcher left in it."""
    kept = {name: value for name, value in os.environ.items() if not LAUNCHER_VARIABLES.match(name)}
    ompi = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe"}
    return {**kept, **ompi, "PYTHONPATH": str(ROOT), **changes}


def mpiexec() -> str:
    """The launcher that belongs to this Python's MPI library, else the first on the path."""
    beside = pathlib.Path(sys.executable).with_name("mpiexec")
    return str(beside) if beside.exists() else (shutil.which("mpiexec") or "mpiexec")


def run_python(source: str, *, timeout: float = 60.0, **environment: str) -> Job:
    """Run ``source`` in one new process that no launcher started."""
    return _run([sys.executable, "-c", source], timeout, environment)


def run_ranks(n_ranks: int, source: str | list[str], *, timeout: float = 60.0, **environment: str) -> Job:
    """Run ``source``, or Python with a list of arguments, on ``n_ranks`` ranks by plain ``mpiexec python``, as users do."""
    arguments = ["-c", source] if isinstance(source, str) else source
    return _run([mpiexec(), "-n", str(n_ranks), sys.executable, *arguments], timeout, environment)


def left_in_shared_memory() -> set[pathlib.Path]:
    """The segments of MPI libraries in /dev/shm."""
    return {path for pattern in ("mpich_shm_*", "sm_segment.*") for path in pathlib.Path("/dev/shm").glob(pattern)}


def remove_segments(left: set[pathlib.Path]) -> None:
    """Remove segments that no process maps: MPI libraries leave theirs behind when a job aborts, and shared memory is small."""
    maps = []
    for path in pathlib.Path("/proc").glob("[0-9]*/maps"):
        with contextlib.suppress(OSError):
            maps.append(path.read_text())
    for path in left:
        if not any(str(path) in text for text in maps):
            path.unlink(missing_ok=True)


def _run(command: list[str], timeout: float, environment: dict[str, str]) -> Job:
    began, before = time.time(), left_in_shared_memory()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=plain_environment(**environment)
    ) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.terminate()  # which a launcher passes on to its ranks, unlike a kill
            out, err = process.communicate(timeout=20)
            raise AssertionError(f"the job did not end within {timeout} s; it wrote\n{out}\n{err}") from None
    ended = time.time()
    moments = [float(moment) for moment in re.findall(r"moment=([\d.]+)", out)]
    if process.returncode:
        remove_segments(left_in_shared_memory() - before)
    return Job(process.returncode, out, err, ended - max([began, *moments]))
