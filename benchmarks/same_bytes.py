"""Prove the promise: the same model, byte for byte, however it is trained. ``python benchmarks/same_bytes.py`` or ``make prove``.

Makes twenty-four models on 1, 2, 3, 4 and 7 ranks, on 1 and 2 threads, and with environments that send NumPy, OpenBLAS and libc down other
code paths; prints the hash of each saved model, and fails if two differ. What was run goes to ``benchmarks/results/same_bytes.json``.
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np
import pyarrow as pa
from _result import ROOT, write_result
from pyarrow import parquet

SEED = 20
MODEL_FILES = ("model.json", "arrays.safetensors")


def main() -> int:
    """Run every case; 1 if any model differs from that of one rank and one thread."""
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="samesum-") as folder:
        tables = write_tables(pathlib.Path(folder))
        for number, case in enumerate(list_cases()):
            began = time.monotonic()
            hashes = train_case(pathlib.Path(folder, str(number)), tables, **case)
            differ = [table for table in hashes if runs and hashes[table] != runs[0]["sha256"][table]]
            runs.append({**case, "seconds": round(time.monotonic() - began, 2), "sha256": hashes, "differ": differ})
            print(describe(runs[-1]), flush=True)
    failed = [run for run in runs if run["differ"]]
    what = "SHA-256 of model.json and arrays.safetensors after 12 iterations"
    result = {"what": what, "failed": len(failed), "runs": runs}
    write_result("same_bytes", result, seed=SEED, packages=("pyarrow", "mpi4py", "mpich"))
    print(f"{len(runs) - len(failed)} of {len(runs)} runs gave the same bytes for {', '.join(tables)}")
    return 1 if failed else 0


def list_cases() -> list[dict[str, Any]]:
    """Ranks, threads and changed environment variables of every run; the first is what the others are compared with."""
    cases: list[dict[str, Any]] = [
        {"ranks": ranks, "threads": threads, "environment": {}} for ranks in (1, 2, 3, 4, 7) for threads in (1, 2)
    ]
    environments = [
        {"OPENBLAS_CORETYPE": "Prescott"},
        {"OPENBLAS_NUM_THREADS": "1"},
        {"NPY_DISABLE_CPU_FEATURES": dispatched_features()},
        {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX512F,-ERMS"},
    ]
    return cases + [{"ranks": ranks, "threads": 1, "environment": changed} for ranks in (1, 2) for changed in environments]


def dispatched_features() -> str:
    """The processor features that NumPy would use here beyond its baseline."""
    from numpy._core import _multiarray_umath as core

    return " ".join(name for name in core.__cpu_dispatch__ if core.__cpu_features__.get(name))


def write_tables(folder: pathlib.Path) -> dict[str, dict[str, Any]]:
    """The tables, from the seed alone: what to train on each, by name."""
    random = np.random.default_rng(SEED)
    n_rows = 2000
    wide = random.normal(size=(n_rows, 4))
    holes = np.where(random.random(n_rows) < 0.2, np.nan, wide[:, 0])
    words = random.choice(["", "a", "b", "é", "zz", None], n_rows)
    outliers = np.where(random.random(n_rows) < 0.001, 1e6, 1.0)
    columns = {
        "x": pa.array(holes, from_pandas=True),
        "count": pa.array(random.poisson(3, n_rows)),
        "word": pa.array(words),
        "v": pa.array(list(wide)),
    }
    amount = outliers * (wide[:, 1] + 0.5 * random.normal(size=n_rows))
    score = wide[:, 2] + 0.3 * random.normal(size=n_rows)
    three = np.array(["low", "middle", "high"])[np.digitize(score, [-0.5, 0.5])]
    parquet.write_table(pa.table({**columns, "target": amount}), folder / "regression.parquet", row_group_size=300)
    parquet.write_table(pa.table({**columns, "target": three}), folder / "three_classes.parquet", row_group_size=300)
    parquet.write_table(pa.table({**columns, "target": three}).slice(0, 5), folder / "five_rows.parquet")
    weights = {"weight": random.lognormal(0.0, 2.5, n_rows), "events": random.poisson(np.exp(wide[:, 1]))}
    parquet.write_table(pa.table({**columns, **weights, "target": three}), folder / "weighted.parquet", row_group_size=300)
    classifier, regression = "boosted_trees_classifier", "boosted_trees_regression"
    sampled = {"row_subsample": 0.7, "column_subsample": 0.6, "random_seed": 5}
    weighted = {"path": str(folder / "weighted.parquet"), "target": "target"}
    sparse = pa.array(
        [
            [(f"k{k}", float(v)) for k, v in zip(random.choice(300, 5, replace=False), random.normal(size=5), strict=True)]
            for _ in range(n_rows)
        ],
        pa.map_(pa.string(), pa.float64()),
    )
    tags = pa.array([["odd", "new"][: k % 3] for k in range(n_rows)], pa.list_(pa.string()))
    linear = {"count": columns["count"], "word": columns["word"], "v": columns["v"], "m": sparse, "tags": tags, **weights}
    offset = 0.1 * random.normal(size=n_rows)
    linear |= {"offset": offset, "amount": amount, "three": three, "two": np.where(score > 0, "yes", "no")}
    parquet.write_table(pa.table(linear), folder / "linear.parquet", row_group_size=300)
    return {
        "mushroom": {"toolkit": classifier, "path": str(ROOT / "examples" / "data" / "mushroom.csv"), "target": "label"},
        "regression": {"toolkit": "boosted_trees_regression", "path": str(folder / "regression.parquet"), "target": "target"},
        "three_classes": {"toolkit": classifier, "path": str(folder / "three_classes.parquet"), "target": "target"},
        "five_rows": {"toolkit": classifier, "path": str(folder / "five_rows.parquet"), "target": "target"},
        "every_option": {
            **weighted,
            "toolkit": classifier,
            "options": {
                **sampled,
                "sample_weight": "weight",
                "class_weights": "auto",
                "validation_set": "auto",
                "early_stopping_rounds": 3,
                "max_leaves": 9,
                "categorical": "partition",
                "monotone_constraints": {"count": 1},
                "reg_alpha": 0.1,
                "metric": ["auc", "log_loss"],
            },
        },
        "poisson": {**weighted, "target": "events", "toolkit": regression, "options": {**sampled, "objective": "poisson"}},
        "quantile": {
            **weighted,
            "target": "events",
            "toolkit": regression,
            "options": {**sampled, "objective": "quantile", "quantile": 0.9},
        },
        "forest": {**weighted, "toolkit": "random_forest_classifier", "options": {"sample_weight": "weight", "max_depth": 9}},
        "forest_of_frequencies": {**weighted, "toolkit": "random_forest_classifier", "options": {"averaging": "probability"}},
        "forest_of_numbers": {**weighted, "target": "weight", "toolkit": "random_forest_regression"},
        **list_linear(str(folder / "linear.parquet")),
        **list_graphs(folder, random),
    }


def list_linear(path: str) -> dict[str, dict[str, Any]]:
    """Linear models by each solver, on dense, one-hot and sparse columns, with weights, offsets, several classes and a validation set."""
    features = {"features": ["count", "word", "v", "m", "tags"]}
    weighted = {**features, "sample_weight": "weight", "offset": "offset", "validation_set": "auto", "convergence_threshold": 1e-8}
    regression = {"toolkit": "linear_regression", "path": path, "target": "amount"}
    logistic = {"toolkit": "logistic_classifier", "path": path, "target": "two"}
    svm = {"toolkit": "svm_classifier", "path": path, "target": "two"}
    mushroom = {"path": str(ROOT / "examples" / "data" / "mushroom.csv"), "target": "label"}
    return {
        "squares_newton": {**regression, "options": weighted},
        "squares_lbfgs": {**regression, "options": {**weighted, "solver": "lbfgs"}},
        "squares_lasso": {**regression, "options": {**weighted, "l1_penalty": 100.0}},
        "logistic_newton": {**logistic, "options": weighted},
        "logistic_lbfgs": {**logistic, "options": {**weighted, "solver": "lbfgs"}},
        "logistic_lasso": {**logistic, "options": {**weighted, "l1_penalty": 10.0}},
        "logistic_fista": {**logistic, "options": {**weighted, "l1_penalty": 10.0, "solver": "fista"}},
        "softmax": {**logistic, "target": "three", "options": {**features, "class_weights": "auto"}},
        "svm": {**svm, "options": {**features, "class_weights": "auto"}},
        "mushroom_logistic": {**mushroom, "toolkit": "logistic_classifier"},
    }


def list_graphs(folder: pathlib.Path, random: np.random.Generator) -> dict[str, dict[str, Any]]:
    """What to make of a graph with ids of text, parallel edges, self-loops, weights of very different sizes and isolated vertices."""
    n_vertices, n_edges = 3000, 20_000
    names = np.array([f"vertex {number} é" for number in random.permutation(n_vertices)])
    ends = (n_vertices * random.random((2, n_edges)) ** 3).astype(np.int64)
    weights = {"weight": random.lognormal(0.0, 2.5, n_edges)}
    parquet.write_table(pa.table({"from": names[ends[0]], "to": names[ends[1]], **weights}), folder / "edges.parquet", row_group_size=3000)
    labels = random.choice(["a", "b", "é", None], n_vertices, p=[0.02, 0.02, 0.02, 0.94])
    vertices = {"id": names, "wish": random.integers(0, 3, n_vertices), "label": labels}
    parquet.write_table(pa.table(vertices), folder / "vertices.parquet", row_group_size=500)
    graph = {"edges": str(folder / "edges.parquet"), "vertices": str(folder / "vertices.parquet")}
    ranks, labels = {"graph": graph, "toolkit": "pagerank"}, {"graph": graph, "toolkit": "label_propagation"}
    return {
        "ranks": {**ranks, "options": {"threshold": 1e-9}},
        "ranks_by_every_rule": {
            **ranks,
            "options": {
                "dangling": "redistribute",
                "normalize": True,
                "weight_field": "weight",
                "personalization": "wish",
                "initial": "wish",
                "precision": "float32",
            },
        },
        "labels": {**labels, "options": {"label_field": "label", "threshold": 1e-9}},
        "labels_by_every_rule": {
            **labels,
            "options": {"label_field": "label", "weight_field": "weight", "undirected": True, "self_weight": 0.5, "threshold": 1e-9},
        },
    }


def train_case(
    folder: pathlib.Path, tables: dict[str, dict[str, Any]], *, ranks: int, threads: int, environment: dict[str, str]
) -> dict[str, str]:
    """Train every table in new processes; the hash of each saved model."""
    work = {"folder": str(folder), "threads": threads, "tables": tables}
    command = [sys.executable, __file__, "--rank", json.dumps(work)]
    if ranks > 1:
        command = [str(pathlib.Path(sys.executable).with_name("mpiexec")), "-n", str(ranks), *command]
    done = subprocess.run(command, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{ranks} ranks, {threads} threads, {environment}: training failed\n{done.stdout}\n{done.stderr}")
    return {table: hash_model(folder / table) for table in tables}


def train_as_rank(work: dict[str, Any]) -> None:
    """What each rank runs."""
    import samesum as ss

    for name, table in work["tables"].items():
        toolkit = getattr(ss, table["toolkit"])
        arguments = {"max_iterations": 12, "num_threads": work["threads"], "verbose": False}
        if "graph" in table:
            data = ss.Graph(**table["graph"], src="from", dst="to", vid="id", num_threads=work["threads"])
        else:
            data, arguments["target"] = table["path"], table["target"]
        model = toolkit.create(data, **arguments, **table.get("options", {}))
        model.save(os.path.join(work["folder"], name))


def hash_model(folder: pathlib.Path) -> str:
    """SHA-256 of the files that are the model."""
    digest = hashlib.sha256()
    for name in MODEL_FILES:
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def describe(run: dict[str, Any]) -> str:
    """One line for a run."""
    changed = " ".join(f"{name}={value}" for name, value in run["environment"].items())
    verdict = "differs: " + ", ".join(run["differ"]) if run["differ"] else "same"
    hashes = " ".join(value[:12] for value in run["sha256"].values())
    return f"{run['ranks']} ranks {run['threads']} threads  {hashes}  {verdict}  {changed}"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--rank"]:
        train_as_rank(json.loads(sys.argv[2]))
    else:
        sys.exit(main())
