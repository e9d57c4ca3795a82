"""Trees beside XGBoost, LightGBM and scikit-learn on equal cores: ``python benchmarks/trees.py`` or ``make bench``.

Every measurement is processes of its own, each bound to its cores, the engines in turn, ``--repeats`` times, each time on data of another
seed. Writes every run of a scenario to ``benchmarks/results/trees_<scenario>.json``, and tables made of these files to
``benchmarks/results/trees.md`` and to ``benchmarks/README.md``. ``--quick`` runs everything on hardly any data, which shows that it works
and nothing else.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import importlib.util
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from _result import RESULTS, ROOT, write_result
from _trees.data import SEED, as_target, read_table, write_table
from _trees.engines import ENGINES, LIBRARIES, PARAMETERS, SUBJECT, Work
from _trees.report import read_results, result_path, summarise, update_readme, write_report
from _trees.scenarios import SCENARIOS, Scenario, Setting

TRIES = 3
QUICK_RESULTS = ROOT / ".build" / "benchmarks"


def main() -> int:
    """Measure the scenarios and report; 1 if a run failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenario", nargs="*", choices=SCENARIOS, default=list(SCENARIOS))
    parser.add_argument("--engines", nargs="*", choices=LIBRARIES, default=[name for name in LIBRARIES if is_installed(name)])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--report", action="store_true", help="measure nothing, write the tables again")
    parser.add_argument("--results", type=pathlib.Path, help="folder of the results")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        do_work(Work(**json.loads(arguments.worker)))
        return 0
    folder = arguments.results or (QUICK_RESULTS if arguments.quick else RESULTS)
    n_failed = 0
    for name in [] if arguments.report else arguments.scenario:
        if arguments.quick:
            n_failed += run_scenario(SCENARIOS[name].shrink(), arguments.engines, 1, folder, at_once=os.cpu_count() or 1)
        else:
            n_failed += run_scenario(SCENARIOS[name], arguments.engines, arguments.repeats, folder)
    for scenario, result in read_results(folder) if arguments.report else ():
        judged = {**result, **summarise(scenario, result["runs"])}
        result_path(folder, scenario).write_text(json.dumps(judged, indent=1) + "\n")
    print(write_report(folder).read_text())
    if folder == RESULTS:
        update_readme(ROOT / "benchmarks" / "README.md", folder)
    return 1 if n_failed else 0


def is_installed(library: str) -> bool:
    """Whether an engine can be imported."""
    return importlib.util.find_spec(library) is not None


def run_scenario(scenario: Scenario, libraries: Sequence[str], repeats: int, folder: pathlib.Path, *, at_once: int = 1) -> int:
    """Measure a scenario and write its result; the number of runs that failed. ``at_once``: more than 1 if times are of no interest."""
    runs: list[dict[str, Any]] = []
    sizes = {"rows": scenario.rows, "held_out": scenario.held_out, "columns": scenario.columns}
    for repeat in range(repeats):
        turns = [
            (setting, engine)
            for setting in scenario.settings
            for engine in setting.engines
            if engine.split()[0] in libraries and not (repeat and engine in scenario.once)
        ]
        with tempfile.TemporaryDirectory(prefix="samesum-") as tables, ThreadPoolExecutor(at_once) as pool:
            write_table(pathlib.Path(tables), scenario.table, **sizes, seed=SEED + repeat)
            for run in pool.map(functools.partial(measure, scenario, repeat, tables), *zip(*turns, strict=True)):
                runs.append(run)
                print(describe(scenario, run), flush=True)
    about = {"title": scenario.title, "rounds": scenario.rounds, "depth": scenario.depth, **sizes, "parameters": PARAMETERS}
    result = {**about, "repeats": repeats, **summarise(scenario, runs), "runs": runs}
    write_result(f"trees_{scenario.name}", result, seed=SEED, packages=LIBRARIES, folder=folder)
    return sum("failed" in run for run in runs)


def measure(scenario: Scenario, repeat: int, tables: str, setting: Setting, engine: str) -> dict[str, Any]:
    """One run: the slowest process's seconds, the memory of all of them, and the first one's quality; or why it failed.

    One that hangs is tried again, and ``hung`` says how often it did.
    """
    run = {"repeat": repeat, "setting": setting.label, "engine": engine, "hung": 0}
    while run["hung"] < TRIES:
        try:
            return {**run, **measure_once(scenario, setting, engine, tables)}
        except TimeoutError:
            run["hung"] += 1
    return {**run, "failed": f"hung {TRIES} times"}


def measure_once(scenario: Scenario, setting: Setting, engine: str, tables: str) -> dict[str, Any]:
    """What :func:`measure` returns of a run that did not hang; raises ``TimeoutError`` for one that did."""
    with tempfile.TemporaryDirectory(prefix="samesum-") as meeting:
        work = Work(
            engine=engine,
            meeting=meeting,
            tables=tables,
            learner=scenario.learner,
            source=scenario.source,
            rounds=scenario.rounds,
            depth=scenario.depth,
            threads=setting.threads,
            processes=setting.processes,
            ports=find_free_ports(setting.processes),
        )
        failed = run_together(list_commands(work), pathlib.Path(meeting), threads=setting.threads, patience=scenario.patience)
        if failed:
            return {"failed": failed}
        found = [json.loads(pathlib.Path(meeting, f"result-{process}.json").read_text()) for process in range(setting.processes)]
    slowest = {name: max(each[name] for each in found) for name in ("bin", "train", "total", "predict") if name in found[0]}
    return {**slowest, "peak_mb": sum(each["peak_mb"] for each in found), "log_loss": found[0]["log_loss"], "auc": found[0]["auc"]}


def list_commands(work: Work) -> list[list[str]]:
    """What to start: the ranks by mpiexec for samesum, else every process."""
    if work.engine.startswith(SUBJECT):
        mpiexec = [str(pathlib.Path(sys.executable).with_name("mpiexec")), "-n", str(work.processes)]
        return [[*(mpiexec if work.processes > 1 else []), *worker_command(work)]]
    return [worker_command(dataclasses.replace(work, process=process)) for process in range(work.processes)]


def worker_command(work: Work) -> list[str]:
    """This script as a worker."""
    return [sys.executable, __file__, "--worker", json.dumps(dataclasses.asdict(work))]


def run_together(commands: list[list[str]], folder: pathlib.Path, *, threads: int, patience: float) -> str:
    """Run commands until all end or one fails, which ends the others; a failed one's error, '' if none failed.

    Raises ``TimeoutError`` if they take more than ``patience`` seconds.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    logs = [folder / f"log-{number}" for number in range(len(commands))]
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(log.open("w")) for log in logs]
        processes = [
            subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
            for command, file in zip(commands, files, strict=True)
        ]
        try:
            deadline = time.monotonic() + patience
            while any(process.poll() is None for process in processes) and not any(process.poll() for process in processes):
                if time.monotonic() > deadline:
                    raise TimeoutError
                time.sleep(0.02)
            codes = [process.poll() for process in processes]
        finally:
            for process in processes:
                process.terminate()  # which mpiexec passes on to its ranks
                process.wait()
    if not any(codes):
        return ""
    written = next(log for log, code in zip(logs, codes, strict=True) if code).read_text().strip().splitlines()
    return next((line for line in reversed(written) if "Error" in line), written[-1] if written else "no message")


def find_free_ports(count: int) -> tuple[int, ...]:
    """Ports that nobody listens to."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return tuple(each.getsockname()[1] for each in sockets)


def do_work(work: Work) -> None:
    """Train and predict in this process and write what came of it beside the others' results."""
    engine = ENGINES[work.engine](work)
    work = dataclasses.replace(work, process=engine.process)
    bind(work)
    engine.load()
    work.meet("loaded")
    before = forget_peak()
    laps = engine.train()
    peak = memory("VmHWM") - before
    probabilities, seconds = engine.predict()
    if work.processes == 1:
        laps["predict"] = seconds
    truth = as_target(read_table(work.held_out))
    clipped = np.clip(probabilities, 1e-9, 1 - 1e-9)
    loss = -float(np.mean(np.log(np.where(truth == 1, clipped, 1 - clipped))))
    result = {**laps, "peak_mb": peak, "log_loss": loss, "auc": area_under_curve(probabilities, truth)}
    pathlib.Path(work.meeting, f"result-{work.process}.json").write_text(json.dumps(result))


def bind(work: Work) -> None:
    """Keep this process, and the threads that it is going to start, on cores of its own, if there are enough."""
    cores = sorted(os.sched_getaffinity(0))[work.process * work.threads :][: work.threads]
    if len(cores) == work.threads:
        os.sched_setaffinity(0, cores)


def forget_peak() -> float:
    """Make this process's peak of memory what it holds now, MB, and return it."""
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def memory(what: str) -> float:
    """Memory of this process as Linux counts it, MB: VmRSS now, VmHWM at its peak."""
    return int(re.search(rf"{what}:\s+(\d+)", pathlib.Path("/proc/self/status").read_text())[1]) / 1024


def area_under_curve(scores: np.ndarray, truth: np.ndarray) -> float:
    """The probability that a positive row has the greater score, by ranks."""
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    positives = int(truth.sum())
    return float((ranks[place][truth == 1].sum() - positives * (positives + 1) / 2) / (positives * (len(truth) - positives)))


def describe(scenario: Scenario, run: dict[str, Any]) -> str:
    """One line for a run."""
    start = f"{scenario.name:8} {run['setting']:21} {run['engine']:18}"
    if "failed" in run:
        return f"{start} failed: {run['failed']}"
    seconds = "  ".join(f"{name} {run[name]:6.2f} s" for name in ("bin", "train", "total", "predict") if name in run)
    return f"{start} {seconds}  log loss {run['log_loss']:.5f}  AUC {run['auc']:.5f}  {run['peak_mb']:.0f} MB"


if __name__ == "__main__":
    sys.exit(main())
