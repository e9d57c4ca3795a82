"""What every benchmark result carries: commit, processor, date, seed, versions, beside the runs themselves."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
from collections.abc import Iterable
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
DISTRIBUTIONS = {"sklearn": "scikit-learn", "xgboost": "xgboost-cpu"}


def write_result(
    name: str, result: dict[str, Any], *, seed: int | None = None, packages: Iterable[str] = (), folder: pathlib.Path = RESULTS
) -> pathlib.Path:
    """Write ``result`` with all that is needed to judge and repeat it to ``<folder>/<name>.json``; returns the path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps({**describe_machine(), "seed": seed, "versions": versions(packages), **result}, indent=1) + "\n")
    return path


def describe_machine() -> dict[str, Any]:
    """Where and when: commit, date, processor, cores, system."""
    return {
        "commit": commit(),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
    }


def commit() -> str:
    """The commit that was run, marked if the sources differ from it."""
    git = ["git", "-C", str(ROOT)]
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    sources = [*git, "status", "--porcelain", "engine", "launch", "setup.py"]
    changes = subprocess.run(sources, capture_output=True, text=True, check=False).stdout
    return head + ("+changes" if changes.strip() else "")


def processor() -> str:
    """The processor's name as Linux says it."""
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def versions(packages: Iterable[str]) -> dict[str, str | None]:
    """The versions of Python, NumPy and ``packages``; None for one that is not installed as a distribution."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in ("numpy", *packages):
        names = [package, DISTRIBUTIONS.get(package, package)]
        found[package] = next((version for version in map(version_of, names) if version), None)
    return found


def version_of(distribution: str) -> str | None:
    """The installed version of a distribution."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
