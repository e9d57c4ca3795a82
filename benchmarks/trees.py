"""Boosted trees beside XGBoost, LightGBM and scikit-learn, all in one run: ``python benchmarks/trees.py`` or ``make bench``.

Every measurement is a process of its own, in turn: samesum, peer, peer, peer, samesum, ... Prints medians and ratios, writes every run to
``benchmarks/results/trees.json``, and a table of the medians to ``benchmarks/results/trees.md``. Equal rounds, depth, bins and
penalties; quality on rows held out.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np
from _result import write_result

SEED = 11
ROUNDS, DEPTH, STEP, MIN_CHILD_WEIGHT, MAX_BINS = 100, 6, 0.3, 1.0, 256
HELD_OUT = 200_000
FIGURES = {"bin": 2, "train": 2, "total": 2, "predict": 2, "log_loss": 5, "auc": 5, "peak_mb": 0}  # with their decimals
PEERS = ("xgboost", "lightgbm", "sklearn")
SETTINGS = {"1 thread": {"threads": 1, "ranks": 1}, "2 threads": {"threads": 2, "ranks": 1}, "2 ranks": {"threads": 1, "ranks": 2}}


def main() -> None:
    """Run every engine in every setting, ``--repeats`` times in turn, and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=28)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--settings", nargs="*", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--engines", nargs="*", choices=("samesum", *PEERS), default=["samesum", *PEERS])
    parser.add_argument("--output", default="trees")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(**json.loads(arguments.worker))
        return
    runs = []
    for repeat in range(arguments.repeats):
        for setting in arguments.settings:
            for engine in arguments.engines:
                if engine != "samesum" and SETTINGS[setting]["ranks"] > 1:
                    continue
                runs.append(measure(engine, setting, rows=arguments.rows, columns=arguments.columns, repeat=repeat))
                print(describe(runs[-1]), flush=True)
    summary = summarise(runs)
    for line in summary["lines"]:
        print(line)
    parameters = {"rounds": ROUNDS, "depth": DEPTH, "step_size": STEP, "min_child_weight": MIN_CHILD_WEIGHT, "max_bins": MAX_BINS}
    sizes = {"rows": arguments.rows, "columns": arguments.columns, "held_out": HELD_OUT}
    result = {"parameters": parameters, **sizes, "summary": summary, "runs": runs}
    path = write_result(arguments.output, result, seed=SEED, packages=["samesum", *PEERS])
    path.with_suffix(".md").write_text(tabulate(summary, path.name, arguments))


def measure(engine: str, setting: str, *, rows: int, columns: int, repeat: int) -> dict[str, Any]:
    """One run in processes of its own."""
    ranks, threads = SETTINGS[setting]["ranks"], SETTINGS[setting]["threads"]
    work_order = json.dumps({"engine": engine, "rows": rows, "columns": columns, "threads": threads})
    command = [sys.executable, __file__, "--worker", work_order]
    if ranks > 1:
        command = [str(pathlib.Path(sys.executable).with_name("mpiexec")), "-n", str(ranks), *command]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return {"engine": engine, "setting": setting, "repeat": repeat, **json.loads(done.stdout.strip().splitlines()[-1])}


def make_table(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of normal floats and two classes: products, waves, steps and noise, so that trees of depth 6 keep finding splits."""
    random = np.random.default_rng(SEED)
    x = random.normal(size=(columns, rows)).astype(np.float32)
    margin = x[0] * x[1] + np.sin(3 * x[2]) + 0.5 * x[3] - 0.7 * (x[4] > 0.3) * x[5] + 0.3 * x[6] ** 2 - 0.3
    return x, (random.random(rows) < 1 / (1 + np.exp(-margin))).astype(np.int64)


def tabulate(summary: dict[str, Any], source: str, arguments: argparse.Namespace) -> str:
    """The medians as Markdown, for readers; made from the result, never by hand."""
    lines = [
        f"# {arguments.rows} x {arguments.columns} floats, two classes, {ROUNDS} rounds of depth {DEPTH}, {MAX_BINS} bins",
        f"Medians of {arguments.repeats} runs in turn; [{source}]({source}) has every run, the machine and the versions.",
        "",
        "| | engine | bin s | train s | total s | predict s | held-out log loss | AUC | peak MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for setting, engines in summary["medians"].items():
        for engine, median in engines.items():
            figures = [f"{median[name]:.{digits}f}" if name in median else "" for name, digits in FIGURES.items()]
            lines.append(f"| {setting} | {engine} | {' | '.join(figures)} |")
    return "\n".join([*lines, "", *(f"- {line}" for line in summary["lines"]), ""])


def work(engine: str, rows: int, columns: int, threads: int) -> None:
    """Train once and print, on rank 0, seconds of binning and training, peak memory, and held-out quality."""
    x, y = make_table(rows + HELD_OUT, columns)
    before = peak_memory()
    result, margin = globals()[f"train_{engine}"](x[:, :rows], y[:rows], x[:, rows:], threads)
    if margin is None:
        return
    truth = y[rows:]
    loss = float(np.mean(np.logaddexp(0.0, np.where(truth, -margin, margin))))
    print(json.dumps({**result, "log_loss": loss, "auc": area_under_curve(margin, truth), "peak_mb": peak_memory() - before}))


def peak_memory() -> float:
    """The most resident memory so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def area_under_curve(margin: np.ndarray, truth: np.ndarray) -> float:
    """The probability that a positive row has the greater margin, by ranks."""
    _, place, counts = np.unique(margin, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    positives = int(truth.sum())
    return float((ranks[place][truth == 1].sum() - positives * (positives + 1) / 2) / (positives * (len(truth) - positives)))


def train_samesum(x: np.ndarray, y: np.ndarray, held_out: np.ndarray, threads: int) -> tuple[dict[str, float], np.ndarray | None]:
    """The engine under test."""
    import samesum as ss
    from engine.collectives.default import resolve

    names = [f"f{j}" for j in range(len(x))]
    began = time.perf_counter()
    model = ss.boosted_trees_classifier.create(
        {**dict(zip(names, x, strict=True)), "y": y},
        target="y",
        max_iterations=ROUNDS,
        max_depth=DEPTH,
        step_size=STEP,
        min_child_weight=MIN_CHILD_WEIGHT,
        max_bins=MAX_BINS,
        num_threads=threads,
        verbose=False,
    )
    total = time.perf_counter() - began
    train = model.progress["Elapsed Time"][-1].as_py()
    asked = time.perf_counter()
    margin = model.predict(dict(zip(names, held_out, strict=True)), output_type="margin", num_threads=threads)
    result = {"bin": total - train, "train": train, "total": total, "predict": time.perf_counter() - asked}
    return result, np.asarray(margin) if resolve(None).rank == 0 else None


def train_xgboost(x: np.ndarray, y: np.ndarray, held_out: np.ndarray, threads: int) -> tuple[dict[str, float], np.ndarray]:
    """XGBoost's hist."""
    import xgboost

    table = np.ascontiguousarray(x.T)
    began = time.perf_counter()
    data = xgboost.QuantileDMatrix(table, y, max_bin=MAX_BINS, nthread=threads)
    binned = time.perf_counter()
    parameters = {
        "objective": "binary:logistic",
        "tree_method": "hist",
        "max_depth": DEPTH,
        "eta": STEP,
        "min_child_weight": MIN_CHILD_WEIGHT,
        "max_bin": MAX_BINS,
        "base_score": 0.5,
        "nthread": threads,
    }
    model = xgboost.train(parameters, data, ROUNDS)
    ended = time.perf_counter()
    table = np.ascontiguousarray(held_out.T)
    asked = time.perf_counter()
    margin = model.inplace_predict(table, predict_type="margin")
    answered = time.perf_counter()
    return {"bin": binned - began, "train": ended - binned, "total": ended - began, "predict": answered - asked}, margin


def train_lightgbm(x: np.ndarray, y: np.ndarray, held_out: np.ndarray, threads: int) -> tuple[dict[str, float], np.ndarray]:
    """LightGBM with trees of the same depth and as many leaves."""
    import lightgbm

    table = np.ascontiguousarray(x.T)
    parameters = {
        "objective": "binary",
        "max_depth": DEPTH,
        "num_leaves": 2**DEPTH,
        "learning_rate": STEP,
        "min_sum_hessian_in_leaf": MIN_CHILD_WEIGHT,
        "min_data_in_leaf": 1,
        "lambda_l2": 1.0,
        "max_bin": MAX_BINS - 1,
        "num_threads": threads,
        "verbosity": -1,
    }
    began = time.perf_counter()
    data = lightgbm.Dataset(table, y, params=parameters).construct()
    binned = time.perf_counter()
    model = lightgbm.train(parameters, data, ROUNDS)
    ended = time.perf_counter()
    table = np.ascontiguousarray(held_out.T)
    asked = time.perf_counter()
    margin = model.predict(table, raw_score=True, num_threads=threads)
    answered = time.perf_counter()
    return {"bin": binned - began, "train": ended - binned, "total": ended - began, "predict": answered - asked}, margin


def train_sklearn(x: np.ndarray, y: np.ndarray, held_out: np.ndarray, threads: int) -> tuple[dict[str, float], np.ndarray]:
    """scikit-learn's HistGradientBoosting; it does not tell binning from training. Its threads are OMP_NUM_THREADS."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    table = np.ascontiguousarray(x.T)
    model = HistGradientBoostingClassifier(
        max_iter=ROUNDS,
        max_depth=DEPTH,
        max_leaf_nodes=2**DEPTH,
        learning_rate=STEP,
        min_samples_leaf=1,
        l2_regularization=1.0,
        max_bins=MAX_BINS - 1,
        early_stopping=False,
    )
    began = time.perf_counter()
    model.fit(table, y)
    total = time.perf_counter() - began
    table = np.ascontiguousarray(held_out.T)
    asked = time.perf_counter()
    margin = model.decision_function(table)
    return {"train": total, "total": total, "predict": time.perf_counter() - asked}, margin


def describe(run: dict[str, Any]) -> str:
    """One line for a run."""
    seconds = "  ".join(f"{name} {run[name]:6.2f} s" for name in ("bin", "train", "total", "predict") if name in run)
    return f"{run['engine']:9} {run['setting']:9}  {seconds}  log loss {run['log_loss']:.5f}  AUC {run['auc']:.5f}  {run['peak_mb']:.0f} MB"


def summarise(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians, and ratios to samesum in the same setting."""
    medians: dict[str, dict[str, dict[str, float]]] = {}
    for run in runs:
        medians.setdefault(run["setting"], {})[run["engine"]] = {}
    for setting, engines in medians.items():
        for engine, figures in engines.items():
            chosen = [run for run in runs if run["setting"] == setting and run["engine"] == engine]
            figures.update({name: statistics.median(run[name] for run in chosen) for name in FIGURES if name in chosen[0]})
    lines = []
    for setting, engines in medians.items():
        own = engines.get("samesum")
        for engine, figures in engines.items():
            if own and engine != "samesum":
                train, total = figures["train"] / own["train"], figures["total"] / own["total"]
                lines.append(f"{setting}: train {train:.2f} and total {total:.2f} times as fast as {engine}")
    if "1 thread" in medians and "2 ranks" in medians:
        one, two = medians["1 thread"]["samesum"]["train"], medians["2 ranks"]["samesum"]["train"]
        lines.append(f"2 ranks train {one / two:.2f} times as fast as 1")
    return {"medians": medians, "lines": lines}


if __name__ == "__main__":
    main()
