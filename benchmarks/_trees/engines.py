"""Every engine, wrapped in the same three calls: ``load`` (not timed), ``train`` and ``predict``.

Equal rounds, depth, bins and penalties. A library's variants differ by keyword arguments alone: see ``ENGINES``.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from _trees.data import TARGET, as_columns, as_matrix, as_target, part_groups, read_table

STEP, MIN_CHILD_WEIGHT, MAX_BINS, LAMBDA, SAMPLED = 0.3, 1.0, 256, 1.0, 0.8
PARAMETERS = {"step_size": STEP, "min_child_weight": MIN_CHILD_WEIGHT, "max_bins": MAX_BINS, "lambda": LAMBDA, "forest_samples": SAMPLED}
HOST = "127.0.0.1"
Laps = dict[str, float]


@dataclass(frozen=True)
class Work:
    """What one process is to do; ``meeting`` is a folder that all processes of a measurement see."""

    engine: str
    meeting: str
    tables: str
    learner: str
    source: str
    rounds: int
    depth: int
    threads: int
    processes: int
    ports: tuple[int, ...]
    process: int = 0

    @property
    def training(self) -> pathlib.Path:
        """The rows to train on."""
        return pathlib.Path(self.tables, "training.parquet")

    @property
    def held_out(self) -> pathlib.Path:
        """The rows to judge on."""
        return pathlib.Path(self.tables, "held_out.parquet")

    def meet(self, word: str) -> None:
        """Wait until every process has come here."""
        folder = pathlib.Path(self.meeting)
        (folder / f"{word}-{self.process}").touch()
        while len(list(folder.glob(f"{word}-*"))) < self.processes:
            time.sleep(0.001)


class Engine(Protocol):
    """One library in one process; making it imports the library."""

    process: int

    def load(self) -> None:
        """Bring this process's rows into memory, laid out as the library likes them."""

    def train(self) -> Laps:
        """Seconds of ``train``, ``total``, and ``bin`` where the library tells it from training."""

    def predict(self) -> tuple[NDArray[np.float64], float]:
        """Probabilities of class 1 of the rows held out, and the seconds they took."""


class Samesum:
    """The engine under test; its processes are MPI ranks."""

    def __init__(self, work: Work, **options: Any) -> None:
        import samesum
        from engine.collectives.default import resolve

        self.work, self.comm = work, resolve(None)
        self.process = self.comm.rank
        self.dataset = samesum.Dataset
        toolkit = {"boosting": "boosted_trees_classifier", "forest": "random_forest_classifier"}[work.learner]
        self.create = getattr(samesum, toolkit).create
        learner = {"boosting": {"step_size": STEP}, "forest": {"row_subsample": SAMPLED, "column_subsample": SAMPLED}}[work.learner]
        common = {"max_iterations": work.rounds, "max_depth": work.depth, "min_child_weight": MIN_CHILD_WEIGHT, "max_bins": MAX_BINS}
        self.options = {**common, **learner, **options, "num_threads": work.threads, "verbose": False, "comm": self.comm}

    def load(self) -> None:
        if self.work.source == "parquet":
            self.data: Any = str(self.work.training)
            return
        table = read_table(self.work.training, self.process, self.work.processes)
        data = table if has_strings(table) else {**as_columns(table), TARGET: as_target(table)}
        self.data = self.dataset(data, sharded=True) if self.work.processes > 1 else data

    def train(self) -> Laps:
        began = time.perf_counter()
        self.model = self.create(self.data, target=TARGET, **self.options)
        total = time.perf_counter() - began
        train = self.model.progress["Elapsed Time"][-1].as_py()
        return {"bin": total - train, "train": train, "total": total}

    def predict(self) -> tuple[NDArray[np.float64], float]:
        table = read_table(self.work.held_out)
        data = table if has_strings(table) else as_columns(table)
        began = time.perf_counter()
        answer = self.model.predict(data, output_type="probability", num_threads=self.work.threads, comm=self.comm)
        return np.asarray(answer, dtype=np.float64), time.perf_counter() - began


class XGBoost:
    """XGBoost's hist on a QuantileDMatrix; its processes are joined by its tracker, which the first of them runs."""

    def __init__(self, work: Work, **parameters: Any) -> None:
        import xgboost

        self.xgboost, self.work, self.process = xgboost, work, work.process
        learner = {
            "boosting": {"eta": STEP},
            "forest": {"eta": 1.0, "num_parallel_tree": work.rounds, "subsample": SAMPLED, "colsample_bytree": SAMPLED},
        }[work.learner]
        self.parameters = {
            "objective": "binary:logistic",
            "tree_method": "hist",
            "max_depth": work.depth,
            "min_child_weight": MIN_CHILD_WEIGHT,
            "max_bin": MAX_BINS,
            "lambda": LAMBDA,
            "base_score": 0.5,
            "nthread": work.threads,
            **learner,
            **parameters,
        }

    def load(self) -> None:
        self.training = load_part(self.work)

    def train(self) -> Laps:
        with self.joined():
            began = time.perf_counter()
            if self.work.source == "parquet":
                data = self.xgboost.QuantileDMatrix(self.iterate_groups(), max_bin=MAX_BINS, nthread=self.work.threads)
            else:
                x, y = self.training
                self.levels = levels_of(x)
                data = self.xgboost.QuantileDMatrix(
                    as_frame(x, self.levels), y, max_bin=MAX_BINS, nthread=self.work.threads, enable_categorical=bool(self.levels)
                )
            binned = time.perf_counter()
            self.model = self.xgboost.train(self.parameters, data, 1 if self.work.learner == "forest" else self.work.rounds)
            ended = time.perf_counter()
            return {"bin": binned - began, "train": ended - binned, "total": ended - began}

    def predict(self) -> tuple[NDArray[np.float64], float]:
        table = read_table(self.work.held_out)
        data = as_frame(table.drop_columns(TARGET), self.levels) if has_strings(table) else as_matrix(table)
        began = time.perf_counter()
        answer = self.model.inplace_predict(data)
        return answer.astype(np.float64), time.perf_counter() - began

    @contextlib.contextmanager
    def joined(self) -> Iterator[None]:
        """While all processes are connected."""
        if self.work.processes == 1:
            yield
            return
        from xgboost.collective import CommunicatorContext
        from xgboost.tracker import RabitTracker

        address = pathlib.Path(self.work.meeting, "tracker.json")
        if self.process == 0:
            tracker = RabitTracker(n_workers=self.work.processes, host_ip=HOST)
            tracker.start()
            address.write_text(json.dumps(tracker.worker_args()))
        self.work.meet("tracker")
        with CommunicatorContext(**json.loads(address.read_text())):
            self.work.meet("connected")
            yield
        if self.process == 0:
            tracker.wait_for()

    def iterate_groups(self) -> Any:
        """The row groups of this process, one after the other, as often as XGBoost asks."""
        file = parquet.ParquetFile(self.work.training)
        groups = part_groups(self.work.training, self.process, self.work.processes)

        class Groups(self.xgboost.DataIter):  # type: ignore[misc, name-defined]
            def reset(self) -> None:
                self.left = iter(groups)

            def next(self, input_data: Callable[..., Any]) -> bool:
                group = next(self.left, None)
                if group is None:
                    return False
                table = file.read_row_group(group)
                input_data(data=as_matrix(table), label=as_target(table))
                return True

        iterator = Groups()
        iterator.reset()
        return iterator


class LightGBM:
    """LightGBM with as many leaves as its depth allows; its processes find each other by its machines list."""

    def __init__(self, work: Work, **parameters: Any) -> None:
        import lightgbm

        self.lightgbm, self.work, self.process = lightgbm, work, work.process
        machines = ",".join(f"{HOST}:{port}" for port in work.ports)
        network = {
            "tree_learner": "data",
            "pre_partition": True,
            "num_machines": work.processes,
            "machines": machines,
            "local_listen_port": work.ports[work.process],
        }
        self.parameters = {
            "objective": "binary",
            "max_depth": work.depth,
            "num_leaves": 2**work.depth,
            "learning_rate": STEP,
            "min_sum_hessian_in_leaf": MIN_CHILD_WEIGHT,
            "min_data_in_leaf": 1,
            "lambda_l2": LAMBDA,
            "max_bin": MAX_BINS - 1,
            "num_threads": work.threads,
            "verbosity": -1,
            **(network if work.processes > 1 else {}),
            **parameters,
        }

    def load(self) -> None:
        self.training = load_part(self.work)

    def train(self) -> Laps:
        """The Booster connects the processes, and only then may bins be found: they are made in it."""
        began = time.perf_counter()
        if self.work.source == "parquet":
            features, y = self.index_groups()
        else:
            x, y = self.training
            self.levels = levels_of(x)
            features = as_frame(x, self.levels)
        data = self.lightgbm.Dataset(features, y, params=self.parameters)
        model = self.lightgbm.Booster(self.parameters, data)
        binned = time.perf_counter()
        for _ in range(self.work.rounds):
            model.update()
        ended = time.perf_counter()
        self.model = model
        return {"bin": binned - began, "train": ended - binned, "total": ended - began}

    def predict(self) -> tuple[NDArray[np.float64], float]:
        table = read_table(self.work.held_out)
        data = as_frame(table.drop_columns(TARGET), self.levels) if has_strings(table) else as_matrix(table)
        began = time.perf_counter()
        answer = self.model.predict(data, num_threads=self.work.threads)
        return answer, time.perf_counter() - began

    def index_groups(self) -> tuple[Any, NDArray[np.int64]]:
        """The row groups of this process, one in memory at a time, and the classes of their rows."""
        file = parquet.ParquetFile(self.work.training)
        groups = part_groups(self.work.training, self.process, self.work.processes)
        group_rows = file.metadata.row_group(0).num_rows
        n_rows = sum(file.metadata.row_group(group).num_rows for group in groups)

        class Groups(self.lightgbm.Sequence):  # type: ignore[misc, name-defined]
            batch_size = group_rows
            held = -1

            def __len__(self) -> int:
                return n_rows

            def __getitem__(self, index: int | slice) -> NDArray[Any]:
                first = index.start if isinstance(index, slice) else index
                if self.held != first // group_rows:
                    self.held = first // group_rows
                    self.rows = as_matrix(file.read_row_group(groups[self.held]))
                start = self.held * group_rows
                if isinstance(index, slice):
                    return self.rows[index.start - start : index.stop - start]
                return self.rows[index - start].astype(np.float64)  # which LightGBM wants of the rows that it samples

        return Groups(), as_target(file.read_row_groups(groups, columns=[TARGET]))


class ScikitLearn:
    """scikit-learn's HistGradientBoosting, whose threads are OMP_NUM_THREADS, and its forest; neither tells binning from training."""

    def __init__(self, work: Work) -> None:
        from sklearn import ensemble

        self.work, self.process = work, work.process
        if work.learner == "forest":
            self.model = ensemble.RandomForestClassifier(work.rounds, max_depth=work.depth, max_samples=SAMPLED, n_jobs=work.threads)
            return
        self.model = ensemble.HistGradientBoostingClassifier(
            max_iter=work.rounds,
            max_depth=work.depth,
            max_leaf_nodes=2**work.depth,
            learning_rate=STEP,
            min_samples_leaf=1,
            l2_regularization=LAMBDA,
            max_bins=MAX_BINS - 1,
            early_stopping=False,
        )

    def load(self) -> None:
        self.training = load_part(self.work)

    def train(self) -> Laps:
        began = time.perf_counter()
        self.model.fit(*self.training)
        total = time.perf_counter() - began
        return {"train": total, "total": total}

    def predict(self) -> tuple[NDArray[np.float64], float]:
        data = as_matrix(read_table(self.work.held_out))
        began = time.perf_counter()
        answer = self.model.predict_proba(data)[:, 1]
        return answer, time.perf_counter() - began


ENGINES: dict[str, Callable[[Work], Engine]] = {
    "samesum": Samesum,
    "samesum partition": partial(Samesum, categorical="partition"),
    "xgboost": XGBoost,
    "xgboost one-hot": partial(XGBoost, max_cat_to_onehot=2**31 - 1),
    "lightgbm": LightGBM,
    "lightgbm quantized": partial(LightGBM, use_quantized_grad=True),
    "sklearn": ScikitLearn,
}
LIBRARIES = tuple(dict.fromkeys(name.split()[0] for name in ENGINES))
SUBJECT = LIBRARIES[0]


def has_strings(table: pa.Table) -> bool:
    """Whether a column needs categories."""
    return any(pa.types.is_string(kind) for kind in table.schema.types)


def load_part(work: Work) -> tuple[Any, NDArray[np.int64]] | None:
    """Features and classes of a process's rows as peers take them: a matrix, or an Arrow table of strings; None if they read a file."""
    if work.source == "parquet":
        return None
    table = read_table(work.training, work.process, work.processes)
    return table.drop_columns(TARGET) if has_strings(table) else as_matrix(table), as_target(table)


def levels_of(features: Any) -> dict[str, pa.Array]:
    """The levels of every string column of an Arrow table; none of a matrix."""
    if not isinstance(features, pa.Table):
        return {}
    return {name: features[name].unique() for name in features.column_names if pa.types.is_string(features[name].type)}


def as_frame(features: Any, levels: dict[str, pa.Array]) -> Any:
    """An Arrow table as a pandas frame with categories, a level that is not known being missing; a matrix as it is."""
    if not levels:
        return features
    import pandas as pd
    import pyarrow.compute as pc

    columns: dict[str, Any] = {name: features[name].to_numpy() for name in features.column_names if name not in levels}
    for name, known in levels.items():
        codes = pc.fill_null(pc.index_in(features[name], known), -1).to_numpy()
        columns[name] = pd.Categorical.from_codes(codes, known.to_pylist())
    return pd.DataFrame(columns)
