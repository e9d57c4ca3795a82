"""A newcomer's path: a bare Debian with what the README asks for, its commands as a new user, and what is said if something lacks.

``python benchmarks/newcomer.py``; needs root, Debian's mmdebstrap and a registry. Packages come layer by layer, so that each lack is
seen on the way; ``make demo`` is timed from a fresh clone to its model. Results go to ``benchmarks/results/newcomer.json``.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import re
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from benchmarks._result import ROOT, write_result

USER, HOME = "newcomer", "/home/newcomer"
CLONE = f"{HOME}/samesum"
TARGET = 300  # seconds from a fresh clone to the first model
COMMAND_WITHIN = 3600  # seconds
# How this machine reaches its registries is no part of a bare Debian, nor of the project.
OF_THIS_MACHINE = ("/etc/resolv.conf", "/etc/hosts", "/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt")
README_PACKAGES = ("python3-venv", "python3-dev", "build-essential")
CHUNK = 4000  # characters of a command's output that are kept

# What is installed one after the other, and what a newcomer tries who stops there: the lack, and what the message must name.
LAYERS: list[tuple[tuple[str, ...], dict[str, tuple[str, str]]]] = [
    (("git", "make"), {"no Python": ("make demo", "apt-get install python3-venv")}),
    (("python3",), {"no venv": ("make demo", "apt-get install python3-venv")}),
    (("python3-venv",), {"no compiler": ("make demo", "build-essential")}),
    (("build-essential",), {"no Python headers": ("make demo", "apt-get install python3-dev")}),
    (("python3-dev",), {}),
]
JOB = "samesum submit boosted_trees_classifier examples/data/mushroom.csv --target label --max-iterations 2 --cluster"
# What is tried in the environment of the demo: what is done before, the command, what the message must name. An empty text: it works.
LATER: dict[str, tuple[str, str, str]] = {
    "no MPI: one rank": (
        "python -m pip uninstall --quiet --yes mpi4py mpich",
        "samesum train boosted_trees_classifier examples/data/mushroom.csv --target label --max-iterations 2 --output first",
        "",
    ),
    "no MPI: two workers": ("samesum cluster create two --num-workers 2", f"{JOB} two --wait", "pip install"),
    "no MPI: mpirun of another library": ("true", "PMI_SIZE=2 PMI_RANK=0 python examples/mushroom.py", "pip install"),
    "no Slurm": ("samesum cluster slurm tower ~/jobs", f"{JOB} tower", "'sbatch' is not on this machine's PATH"),
    "no PBS": ("samesum cluster pbs cray ~/jobs", f"{JOB} cray", "'qsub' is not on this machine's PATH"),
    "no Java: the tests": ("true", "make test-cluster", "apt-get install openjdk-17-jre-headless"),
}


class Container:
    """A root of its own for commands: layers of files, the topmost of which takes what they write."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.layers = [folder / "base"]
        self.seconds: dict[str, float] = {}

    def make_base(self) -> None:
        """The smallest Debian, a user, and this machine's way to its registries."""
        archive = self.folder / "base.tar"
        subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", "bookworm", str(archive)], check=True)
        self.layers[0].mkdir()
        subprocess.run(["tar", "-xpf", str(archive), "-C", str(self.layers[0])], check=True)
        archive.unlink()
        self.reach_registries()
        self.run(f"useradd --create-home --shell /bin/bash {USER}", user="root").check_returncode()

    def reach_registries(self) -> None:
        """Let it reach what this machine reaches, also after a package has brought certificates of its own."""
        for name in filter(os.path.exists, OF_THIS_MACHINE):
            target = self.layers[-1] / name.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(name, target)

    def install(self, *packages: str) -> float:
        """Install Debian's packages, as their user would; how many seconds it took."""
        command = f"apt-get install -qy --no-install-recommends {' '.join(packages)}"
        self.run(command, user="root").check_returncode()
        self.reach_registries()
        return self.seconds[command]

    def add_layer(self) -> bool:
        """What is written from now on lies above all that is there; False for a layer of an earlier walk, which is as it was."""
        self.layers.append(self.folder / f"layer{len(self.layers)}")
        is_new = not self.layers[-1].exists()
        self.layers[-1].mkdir(exist_ok=True)
        return is_new

    def run(self, command: str, *, user: str = USER, folder: str = "/") -> subprocess.CompletedProcess[str]:
        """Run a command of the shell inside, with a process space of its own that ends with it; nothing of its mounts is seen outside."""
        root, work = self.folder / "root", self.folder / "work"
        for path in (root, work):
            path.mkdir(exist_ok=True)
        lower = ":".join(str(layer) for layer in reversed(self.layers[:-1]))
        mount = f"mount --bind {self.layers[0]} {root}"
        if lower:
            mount = f"mount -t overlay overlay -o lowerdir={lower},upperdir={self.layers[-1]},workdir={work} {root}"
        variables = {name: value for name, value in os.environ.items() if name.startswith("PIP_") or name.lower().endswith("_proxy")}
        variables |= {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive"}
        variables |= {"HOME": HOME if user == USER else "/root", "USER": user, "LANG": "C.UTF-8"}
        words = " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items() if name != "PIP_FIND_LINKS")
        inner = f"cd {folder} && {command}"
        enter = f"exec chroot {root} setpriv --reuid={user} --regid={user} --init-groups env -i {words} bash -c {shlex.quote(inner)}"
        outer = f"{mount} && mount -t proc proc {root}/proc && mount --rbind /dev {root}/dev && mount --rbind /sys {root}/sys && {enter}"
        began = time.monotonic()
        done = subprocess.run(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", "-c", outer],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_WITHIN,
            check=False,
        )
        self.seconds[command] = time.monotonic() - began
        return done


def try_it(container: Container, command: str, needed: str, *, prepare: str = "true") -> dict[str, Any]:
    """Run what a newcomer tries who lacks something; whether it ended with a message of one line that names what to do."""
    in_venv = "export PATH=$PWD/.venv/bin:$PATH; "
    prepared = container.run(in_venv + prepare, folder=CLONE)
    done = prepared if prepared.returncode else container.run(in_venv + command, folder=CLONE)
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    said = [line for line in lines if needed in line]
    is_right = done.returncode == 0 if not needed else done.returncode != 0 and bool(said)
    shown = said[-1] if needed and said else "" if is_right else done.stdout[-CHUNK:]
    return {
        "command": command,
        "exit_code": done.returncode,
        "is_right": is_right,
        "message": shown[:CHUNK],
        "lines": len(lines),
        "seconds": round(container.seconds.get(in_venv + command, 0.0), 1),
    }


def clone(container: Container) -> None:
    """A fresh clone of what is committed, the newcomer's own."""
    fresh = f"{CLONE}.fresh"
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(container.layers[-1] / fresh.lstrip("/"))], check=True)
    settle = f"rm -rf {CLONE} && mv {fresh} {CLONE} && chown -R {USER}:{USER} {HOME}"
    container.run(settle, user="root").check_returncode()


def demo(container: Container) -> dict[str, Any]:
    """Time the first of the README's commands."""
    before = children_seconds()
    done = container.run("make demo", folder=CLONE)
    accuracy = re.findall(r"^\| 12 +\| [\d.]+ +\| ([\d.]+)", done.stdout, re.MULTILINE)
    model = container.layers[-1] / CLONE.lstrip("/") / "bst_mushroom" / "model.json"
    return {
        "command": "make demo",
        "exit_code": done.returncode,
        "seconds": round(container.seconds["make demo"], 1),
        "processor_seconds": round(children_seconds() - before, 1),
        "target_seconds": TARGET,
        "training_accuracy": float(accuracy[-1]) if accuracy else None,
        "is_right": done.returncode == 0 and model.exists() and container.seconds["make demo"] < TARGET,
        "output": done.stdout[-CHUNK:],
    }


def children_seconds() -> float:
    """Processor seconds of what this process has started and waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def walk(container: Container) -> dict[str, Any]:
    """The whole path, from nothing to what lacks when all is there."""
    result: dict[str, Any] = {"lacks": {}, "install_seconds": 0.0}
    if not container.layers[0].exists():
        container.make_base()
        container.run("apt-get update -q", user="root").check_returncode()
    for number, (packages, lacks) in enumerate(LAYERS):
        if not container.add_layer():
            result["install_seconds"] = None  # as they were installed before
        else:
            result["install_seconds"] += round(container.install(*packages), 1)
            if not number:
                clone(container)
        for lack, (command, needed) in lacks.items():
            result["lacks"][lack] = show(lack, try_it(container, command, needed))
    shutil.rmtree(container.folder / f"layer{len(container.layers)}", ignore_errors=True)
    container.add_layer()
    clone(container)
    result["demo"] = show("make demo", demo(container))
    if result["demo"]["exit_code"]:
        sys.exit(result["demo"]["output"])
    for lack, (prepare, command, needed) in LATER.items():
        result["lacks"][lack] = show(lack, try_it(container, command, needed, prepare=prepare))
    return result


def show(what: str, found: dict[str, Any]) -> dict[str, Any]:
    """Print one line of what was seen."""
    print(f"{'ok ' if found['is_right'] else 'NOT'} {what:36} {found['seconds']:6.1f} s  {found.get('message', '')}", flush=True)
    return found


def main() -> int:
    """Walk the path; 1 if anything was not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=pathlib.Path, help="where the container is made and kept, so that packages are installed once")
    arguments = parser.parse_args()
    if os.getuid() or shutil.which("mmdebstrap") is None:
        sys.exit("a container of one's own takes root and mmdebstrap; on Debian: apt-get install mmdebstrap")
    folder = arguments.folder or pathlib.Path(tempfile.mkdtemp(prefix="samesum-newcomer-"))
    folder.mkdir(exist_ok=True)
    try:
        result = walk(Container(folder))
    finally:
        if arguments.folder is None:
            shutil.rmtree(folder)
    path = write_result("newcomer", {"packages": README_PACKAGES, **result})
    print(f"written to {path.relative_to(ROOT)}")
    return 0 if all(each["is_right"] for each in [result["demo"], *result["lacks"].values()]) else 1


if __name__ == "__main__":
    sys.exit(main())
