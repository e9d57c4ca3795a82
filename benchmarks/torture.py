"""Kill trainings at random moments and resume them on other numbers of ranks: ``python benchmarks/torture.py`` or ``make torture``.

A training writes a checkpoint every other iteration: of trees with samples of rows and columns, weights, validation rows and early
stopping, or, with ``--family``, of logistic regression by L-BFGS with weights and validation rows, or of a graph. It is ended by SIGKILL,
one rank or all of them, until that has happened ``--kills`` times; after each, ``resume_from_checkpoint='auto'`` goes on with another
number of ranks. Every model that comes to its end must have the bytes of the one that was never killed. ``--family jobs`` kills ranks,
agents, launchers and supervisors of jobs; with ``--folder`` and ``--seconds`` in pieces, each call going on with what
is kept there. What happened goes to ``benchmarks/results/torture_<family>.json``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np
import pyarrow as pa
from _job_torture import is_good, torture_jobs
from _result import write_result
from pyarrow import parquet
from same_bytes import hash_model

from engine.spec import GRAPH_TOOLKITS

SEED = 31
RANKS = (1, 2, 3, 4)
JOB_ROWS, JOB_ITERATIONS = 20_000, 40
PATIENCE = 600.0  # seconds that a training may take before it counts as hanging
SHARED = {"target": "y", "sample_weight": "weight", "validation_set": "auto", "model_checkpoint_interval": 2, "random_seed": 3}
FAMILIES: dict[str, dict[str, Any]] = {
    "trees": {
        "toolkit": "boosted_trees_classifier",
        "rows": 60_000,
        "options": {
            **SHARED,
            "max_iterations": 60,
            "max_depth": 6,
            "row_subsample": 0.8,
            "column_subsample": 0.7,
            "early_stopping_rounds": 30,
        },
    },
    "linear": {
        "toolkit": "logistic_classifier",
        "rows": 100_000,
        "options": {**SHARED, "solver": "lbfgs", "max_iterations": 100, "convergence_threshold": 1e-10, "l2_penalty": 0.0},
    },
    "pagerank": {
        "toolkit": "pagerank",
        "rows": 60_000,
        "options": {
            "dangling": "redistribute",
            "weight_field": "weight",
            "threshold": 0.0,
            "max_iterations": 200,
            "model_checkpoint_interval": 2,
        },
    },
    "label_propagation": {
        "toolkit": "label_propagation",
        "rows": 60_000,
        "options": {
            "label_field": "label",
            "weight_field": "weight",
            "undirected": True,
            "threshold": 0.0,
            "max_iterations": 120,
            "model_checkpoint_interval": 2,
        },
    },
}


def main() -> int:
    """Kill and resume until there were enough kills; 1 if any model differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--family", choices=[*FAMILIES, "jobs"], default="trees")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--output")
    parser.add_argument("--folder", type=pathlib.Path, help="jobs: where the run is kept, so that the same call goes on with it")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="jobs: begin no further job after so many")
    arguments = parser.parse_args()
    if arguments.family == "jobs":
        return main_of_jobs(arguments)
    family = FAMILIES[arguments.family]
    n_rows = arguments.rows or family["rows"]
    chance = random.Random(SEED)
    with tempfile.TemporaryDirectory(prefix="samesum-") as name:
        folder = pathlib.Path(name)
        (write_graph if family["toolkit"] in GRAPH_TOOLKITS else write_table)(folder / "data.parquet", n_rows)
        (folder / "family").write_text(arguments.family)
        began = time.monotonic()
        finish(start(folder, ranks=1))
        longest = time.monotonic() - began
        expected = hash_model(folder / "model")
        runs: list[dict[str, Any]] = []
        ranks = 0
        while sum(run["killed"] for run in runs) < arguments.kills or runs[-1]["killed"]:
            if not runs or not runs[-1]["killed"]:
                for left in ("model", "checkpoints"):
                    shutil.rmtree(folder / left, ignore_errors=True)
            ranks = chance.choice([each for each in RANKS if each != ranks])
            runs.append(run_once(folder, ranks=ranks, chance=chance, longest=longest))
            if not runs[-1]["killed"]:
                runs[-1]["same"] = hash_model(folder / "model") == expected
            print(json.dumps(runs[-1]), flush=True)
    kills = sum(run["killed"] for run in runs)
    ends = [run["same"] for run in runs if not run["killed"]]
    result = {
        "toolkit": family["toolkit"],
        "options": family["options"],
        "rows": n_rows,
        "sha256": expected,
        "kills": kills,
        "ended": len(ends),
        "runs": runs,
    }
    write_result(arguments.output or f"torture_{arguments.family}", result, seed=SEED, packages=("pyarrow", "mpi4py", "mpich"))
    print(f"{kills} kills; {sum(ends)} of {len(ends)} models that came to their end have the bytes of the one never killed")
    return 0 if all(ends) else 1


def main_of_jobs(arguments: argparse.Namespace) -> int:
    """Kill processes of jobs until there were enough kills; 1 if any job did not end as it must."""
    n_rows = arguments.rows or JOB_ROWS
    options = {**FAMILIES["trees"]["options"], "max_iterations": JOB_ITERATIONS}
    del options["target"]
    with contextlib.ExitStack() as stack:
        folder = arguments.folder or pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="samesum-")))
        result = torture_jobs(
            folder.resolve(), arguments.kills, seed=SEED, options=options, write=write_table, n_rows=n_rows, seconds=arguments.seconds
        )
    result = {"toolkit": FAMILIES["trees"]["toolkit"], "options": options, "rows": n_rows, **result, "good": is_good(result)}
    write_result(arguments.output or "torture_jobs", result, seed=SEED, packages=("pyarrow", "mpi4py", "mpich"))
    same = sum(job.get("same", False) for job in result["jobs"])
    failed = sum(job["state"] == "FAILURE" for job in result["jobs"])
    print(f"{result['kills']} kills; {same} models with the same bytes, {failed} jobs failed; all as they must: {result['good']}")
    if not result["complete"]:
        print(f"to be continued by the same call, to {arguments.kills} kills")
    return 0 if result["good"] else 1


def write_table(path: pathlib.Path, n_rows: int) -> None:
    """Numbers, a category, weights of very different sizes, and three classes."""
    draw = np.random.default_rng(SEED)
    x = draw.normal(size=(n_rows, 8))
    word = draw.choice(["a", "b", "c", "é"], n_rows)
    score = x[:, 0] * x[:, 1] + np.sin(3 * x[:, 2]) + (word == "b") + draw.normal(size=n_rows)
    columns = {f"x{j}": x[:, j] for j in range(8)}
    y = np.array(["low", "middle", "high"])[np.digitize(score, [-0.5, 1.0])]
    parquet.write_table(pa.table({**columns, "word": word, "weight": draw.lognormal(0.0, 2.0, n_rows), "y": y}), path, row_group_size=5000)


def write_graph(path: pathlib.Path, n_rows: int) -> None:
    """Edges of text, skewed, with weights of very different sizes; in the row of an edge, a label or none for its source."""
    draw = np.random.default_rng(SEED)
    names = np.array([f"vertex {number} é" for number in range(n_rows // 4)])
    ends = names[(len(names) * draw.random((2, n_rows)) ** 2).astype(np.int64)]
    label = draw.choice(["low", "middle", None], n_rows, p=[0.02, 0.02, 0.96])
    columns = {"from": ends[0], "to": ends[1], "weight": draw.lognormal(0.0, 2.0, n_rows), "label": label}
    parquet.write_table(pa.table(columns), path, row_group_size=5000)


def start(folder: pathlib.Path, *, ranks: int) -> subprocess.Popen[str]:
    """Start a training that resumes where there is a checkpoint, in a process group of its own."""
    command = [sys.executable, __file__, "--rank", str(folder)]
    if ranks > 1:
        command = [str(pathlib.Path(sys.executable).with_name("mpiexec")), "-n", str(ranks), *command]
    log = (folder / "log").open("w")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with log:
        return subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, text=True
        )


def finish(process: subprocess.Popen[str]) -> None:
    """Wait for a training that must succeed."""
    if process.wait(PATIENCE):
        raise SystemExit(f"a training failed with exit code {process.returncode}")


def run_once(folder: pathlib.Path, *, ranks: int, chance: random.Random, longest: float) -> dict[str, Any]:
    """One training, killed at a random moment or come to its end before."""
    resumed_from = newest_checkpoint(folder)
    process = start(folder, ranks=ranks)
    seconds = chance.uniform(0.2, 1.2) * longest
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        victims = list_ranks(process.pid)
        only_one = bool(victims) and chance.random() < 0.5
        if only_one:
            os.kill(chance.choice(victims), signal.SIGKILL)
            began = time.monotonic()
            process.wait(PATIENCE)  # the others must not hang
            others = time.monotonic() - began
        else:
            os.killpg(process.pid, signal.SIGKILL)
            others = 0.0
        process.wait(PATIENCE)
        kill_left(victims)
        kind = "one rank" if only_one else "all"
        return {
            "ranks": ranks,
            "resumed_from": resumed_from,
            "killed": True,
            "kind": kind,
            "after": round(seconds, 3),
            "others": round(others, 3),
        }
    if process.returncode:
        raise SystemExit(f"a training on {ranks} ranks failed with exit code {process.returncode}:\n{(folder / 'log').read_text()}")
    return {"ranks": ranks, "resumed_from": resumed_from, "killed": False}


def list_ranks(launcher: int) -> list[int]:
    """The processes below the launcher, or itself, that train."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                session = int((entry / "stat").read_text().rpartition(")")[2].split()[3])
            except OSError:
                continue
            if session == launcher and b"--rank" in words and pathlib.Path(words[0].decode()).name.startswith("python"):
                found.append(int(entry.name))
    return found


def kill_left(processes: list[int]) -> None:
    """End ranks that outlived their launcher."""
    for process in processes:
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            continue


def newest_checkpoint(folder: pathlib.Path) -> int:
    """The iteration of the newest checkpoint, 0 for none."""
    return max((int(path.name.rpartition("_")[2]) for path in folder.glob("checkpoints/model_checkpoint_*")), default=0)


def train(folder: pathlib.Path) -> None:
    """What each rank runs."""
    import samesum as ss

    family = FAMILIES[(folder / "family").read_text()]
    checkpoints = {"model_checkpoint_path": folder / "checkpoints", "resume_from_checkpoint": "auto"}
    data: Any = str(folder / "data.parquet")
    if family["toolkit"] in GRAPH_TOOLKITS:
        data = ss.Graph(data, data, src="from", dst="to", vid="from", vertex_fields=["label"])
    getattr(ss, family["toolkit"]).create(data, verbose=False, **checkpoints, **family["options"]).save(folder / "model")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--rank"]:
        train(pathlib.Path(sys.argv[2]))
    else:
        sys.exit(main())
