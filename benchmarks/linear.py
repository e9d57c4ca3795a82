"""Linear models beside scikit-learn's solvers at the same objective: ``python benchmarks/linear.py``.

Every measurement is a process of its own with one or two cores, the engines in turn, ``--repeats`` times, after one run of each of an
engine's tolerances, loosest first, until its objective is within 1e-8 of the best of all engines: that tolerance is timed. What an
engine does from arrays in memory to a model is on the clock, making the arrays is not. Writes
``benchmarks/results/linear_<scenario>.json`` and tables made of them, ``benchmarks/results/linear.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np
from _linear.data import SEED, judge, load, make, matrix_bytes
from _linear.scenarios import SCENARIOS, SUBJECT, Scenario
from _result import RESULTS, write_result

NEAR = 1e-8
NEAR_ACCURACY = 1e-3
WARM_BYTES = 1 << 29
PACKAGES = ("samesum", "sklearn", "scipy", "pyarrow", "mpi4py")
# NumPy's own settings: a machine may set these, which makes its BLAS slower
UNSET = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def main() -> int:
    """Measure the scenarios and write their tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenario", nargs="*", choices=SCENARIOS, default=list(SCENARIOS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", type=int, help="rows instead of those of the scenario, to try it out")
    parser.add_argument("--results", type=pathlib.Path, default=RESULTS)
    parser.add_argument("--report", action="store_true", help="measure nothing, write the tables again")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(**json.loads(arguments.worker))
        return 0
    for name in [] if arguments.report else arguments.scenario:
        run_scenario(name, arguments.repeats, arguments.rows, arguments.results)
    print(write_report(arguments.results))
    return 0


def run_scenario(name: str, repeats: int, rows: int | None, results: pathlib.Path) -> None:
    """Measure a scenario and write its result."""
    scenario = SCENARIOS[name]
    settings = [(cores, ranks) for cores in scenario.cores for ranks in scenario.ranks]
    with tempfile.TemporaryDirectory(prefix="samesum-") as folder:
        shape = resize(scenario, rows)
        make(shape, pathlib.Path(folder))
        tolerances = {setting: calibrate(name, scenario, setting, rows, folder) for setting in settings[:1]}
        chosen = tolerances[settings[0]]
        runs = [
            {"repeat": repeat, **measure(name, engine, tolerance, setting, rows=rows, folder=folder)}
            for repeat in range(repeats)
            for setting in settings
            for engine, (tolerance, _) in chosen.items()
        ]
    medians = summarise(scenario, runs)
    result = {
        "title": scenario.title,
        "rows": shape.rows,
        "columns": shape.columns,
        "per_row": shape.per_row,
        "matrix_mb": matrix_bytes(shape) / 1e6,
        "l1": scenario.l1,
        "l2": scenario.l2,
        "tolerances": {engine: {"tolerance": tolerance, "excess": excess} for engine, (tolerance, excess) in chosen.items()},
        "repeats": repeats,
        "medians": medians,
        "verdicts": judge_targets(scenario, medians),
        "runs": runs,
    }
    write_result(f"linear_{name}", result, seed=SEED, packages=PACKAGES, folder=results)


def resize(scenario: Scenario, rows: int | None) -> Any:
    """The shape, with other rows perhaps."""
    import dataclasses

    return scenario.shape if rows is None else dataclasses.replace(scenario.shape, rows=rows)


def calibrate(
    name: str, scenario: Scenario, setting: tuple[int, int], rows: int | None, folder: str
) -> dict[str, tuple[float | None, float]]:
    """Of every engine the loosest tolerance whose objective is within 1e-8 of the best, and its relative excess."""
    found: dict[str, list[tuple[float | None, float]]] = {}
    for engine, made in scenario.engines.items():
        found[engine] = []
        for tolerance in made.tolerances:
            objective = measure(name, engine, tolerance, setting, rows=rows, folder=folder)["objective"]
            found[engine].append((tolerance, objective))
            if len(found[engine]) > 1 and abs(found[engine][-2][1] - objective) <= 1e-11 * abs(objective):
                break  # no tolerance will bring more
    best = min(objective for ladder in found.values() for _, objective in ladder)
    chosen = {}
    for engine, ladder in found.items():
        reached = [(tolerance, objective / best - 1) for tolerance, objective in ladder if objective / best - 1 <= NEAR]
        chosen[engine] = reached[0] if reached else (ladder[-1][0], ladder[-1][1] / best - 1)
    return chosen


def measure(name: str, engine: str, tolerance: float | None, setting: tuple[int, int], *, rows: int | None, folder: str) -> dict[str, Any]:
    """One run in a process of its own, or in two ranks; each has its cores to itself, and stays on them."""
    cores, ranks = setting
    job = {"scenario": name, "engine": engine, "tolerance": tolerance, "threads": cores, "ranks": ranks, "rows": rows, "folder": folder}
    command = [sys.executable, __file__, "--worker", json.dumps(job)]
    if ranks > 1:
        command = [str(pathlib.Path(sys.executable).with_name("mpiexec")), "-bind-to", "core", "-n", str(ranks), *command]
    environment = {key: value for key, value in os.environ.items() if key not in UNSET}
    environment |= {"OMP_NUM_THREADS": str(cores), "OPENBLAS_NUM_THREADS": str(cores), "PYTHONWARNINGS": "ignore"}
    allowed = sorted(os.sched_getaffinity(0))[: cores * ranks]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, preexec_fn=lambda: os.sched_setaffinity(0, allowed)
    )
    if done.returncode:
        raise SystemExit(f"{engine} of {name} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    run = {**setting_of(setting), "engine": engine, **json.loads(done.stdout.strip().splitlines()[-1])}
    print(f"{name:10} {run['setting']:8} {engine:28} {describe(run)}", flush=True)
    return run


def setting_of(setting: tuple[int, int]) -> dict[str, str]:
    """A setting's name."""
    cores, ranks = setting
    return {"setting": f"{ranks} ranks" if ranks > 1 else f"{cores} core{'s' if cores > 1 else ''}"}


def describe(run: dict[str, Any]) -> str:
    """A run in words."""
    passes = "" if run["passes"] is None else f"  {run['passes']} passes"
    return f"{run['seconds']:8.3f} s{passes}  objective {run['objective']:.10g}  {run['peak_mb']:.0f} MB"


def work(*, scenario: str, engine: str, tolerance: float | None, threads: int, ranks: int, rows: int | None, folder: str) -> None:
    """What a worker does; the first one prints the result."""
    chosen = SCENARIOS[scenario]
    shape = resize(chosen, rows)
    subject = chosen.engines[engine].open(shape, threads, ranks)
    data = load(shape, pathlib.Path(folder))
    subject.load(data)
    warm_memory()
    before = forget_peak()
    fitted = subject.fit(tolerance)
    peak = memory("VmHWM") - before
    if getattr(getattr(subject, "comm", None), "rank", 0) != 0:
        return
    figures = judge(shape, data, fitted.w, fitted.intercept, l1=chosen.l1, l2=chosen.l2)
    print(json.dumps({"seconds": fitted.seconds, "passes": fitted.passes, "peak_mb": peak, **figures}))


def warm_memory() -> None:
    """Use memory and give it back, so that every engine begins with pages that the machine has at hand.

    A virtual machine may have returned to its host what was not used for some seconds; to get it again takes milliseconds a megabyte.
    """
    np.ones(WARM_BYTES // 8)


def forget_peak() -> float:
    """Make this process's peak of memory what it holds now, MB, and return it."""
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def memory(what: str) -> float:
    """Memory of this process as Linux counts it, MB: VmRSS now, VmHWM at its peak."""
    found = re.search(rf"{what}:\s+(\d+)", pathlib.Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024 / 1e6


def summarise(scenario: Scenario, runs: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """Medians by setting and engine."""
    medians: dict[str, dict[str, dict[str, float]]] = {}
    for run in runs:
        medians.setdefault(run["setting"], {}).setdefault(run["engine"], {})
    for setting, engines in medians.items():
        for engine in engines:
            alike = [run for run in runs if (run["setting"], run["engine"]) == (setting, engine)]
            names = [name for name, value in alike[0].items() if isinstance(value, (int, float)) and name != "repeat"]
            engines[engine] = {name: statistics.median(run[name] for run in alike) for name in names}
    return medians


def judge_targets(scenario: Scenario, medians: dict[str, dict[str, dict[str, float]]]) -> list[dict[str, Any]]:
    """The fastest peer of every setting in units of the subject's time, and whether the target is reached."""
    if len(scenario.ranks) > 1:
        one, two = (engines[SUBJECT]["seconds"] for engines in medians.values())
        return [{"setting": "2 ranks", "peer": "1 rank", "own": two, "best": one, "ratio": one / two, "target": scenario.target}]
    verdicts = []
    for setting, engines in medians.items():
        own = engines[SUBJECT]
        rivals = {engine: figures for engine, figures in engines.items() if engine != SUBJECT}
        if scenario.same_objective:
            best = min(figures["objective"] for figures in engines.values())
            reached = {engine: figures for engine, figures in rivals.items() if figures["objective"] / best - 1 <= NEAR}
            rivals = reached or rivals
            quality = {"excess": own["objective"] / best - 1}
        else:
            quality = {"accuracy_difference": own["accuracy"] - max(figures["accuracy"] for figures in rivals.values())}
        peer = min(rivals, key=lambda engine: rivals[engine]["seconds"])
        times = {"own": own["seconds"], "best": rivals[peer]["seconds"], "ratio": rivals[peer]["seconds"] / own["seconds"]}
        verdicts.append({"setting": setting, "peer": peer, **times, "target": scenario.target, **quality})
    return verdicts


def write_report(folder: pathlib.Path) -> str:
    """Write ``linear.md``: every target, then the medians of every scenario that has a result."""
    results = {name: json.loads(path.read_text()) for name in SCENARIOS if (path := folder / f"linear_{name}.json").exists()}
    lines = ["# Linear models beside scikit-learn's solvers", "", *tabulate_verdicts(results)]
    for name, result in results.items():
        lines += [
            "",
            f"## {result['title']}",
            f"Medians of {result['repeats']} runs in turn, {result['processor']}; matrix {result['matrix_mb']:.0f} MB; every run and the "
            f"versions: [linear_{name}.json](linear_{name}.json). Passes of peers are their iterations.",
            "",
            *tabulate_medians(result),
        ]
    text = "\n".join([*lines, ""])
    (folder / "linear.md").write_text(text)
    return text


def tabulate_verdicts(results: dict[str, Any]) -> list[str]:
    """Every target and where we stand, as Markdown."""
    lines = ["| scenario | setting | samesum s | best peer s | | ratio | target | quality | |", "|---|---|---|---|---|---|---|---|---|"]
    for name, result in results.items():
        for verdict in result["verdicts"]:
            is_good = verdict["ratio"] >= verdict["target"]
            quality = ""
            if "excess" in verdict:
                quality = f"objective {verdict['excess']:+.1e}"
                is_good &= verdict["excess"] <= NEAR
            elif "accuracy_difference" in verdict:
                quality = f"accuracy {verdict['accuracy_difference']:+.5f}"
                is_good &= verdict["accuracy_difference"] >= -NEAR_ACCURACY
            figures = [f"{verdict['own']:.3f}", f"{verdict['best']:.3f}", verdict["peer"], f"{verdict['ratio']:.2f}"]
            cells = [name, verdict["setting"], *figures, f"{verdict['target']:g}", quality, "reached" if is_good else "**not reached**"]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def tabulate_medians(result: dict[str, Any]) -> list[str]:
    """The medians as Markdown."""
    lines = [
        "| | engine | tolerance | seconds | passes | objective | accuracy or rmse | peak / matrix |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for setting, engines in result["medians"].items():
        for engine, figures in engines.items():
            tolerance = result["tolerances"][engine]["tolerance"]
            quality = figures.get("accuracy", figures.get("rmse", float("nan")))
            cells = [
                setting,
                engine,
                "default" if tolerance is None else f"{tolerance:g}",
                f"{figures['seconds']:.3f}",
                f"{figures['passes']:.0f}" if "passes" in figures else "",
                f"{figures['objective']:.8g}",
                f"{quality:.5f}",
                f"{figures['peak_mb'] / result['matrix_mb']:.2f}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
