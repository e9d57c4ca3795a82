"""What is measured: every scenario, its settings, and the target it is judged by."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

BOOSTING = ("samesum", "xgboost", "lightgbm", "lightgbm quantized", "sklearn")
DISTRIBUTED = BOOSTING[:-1]  # scikit-learn trains in one process only
STREAMING = ("samesum", "xgboost", "lightgbm")
PARTITION = ("samesum partition", "xgboost", "lightgbm")
ONE_HOT = ("samesum", "xgboost one-hot")
PREDICTING = ("samesum", "xgboost", "lightgbm", "sklearn")
FOREST = ("samesum", "xgboost", "sklearn")


@dataclass(frozen=True)
class Setting:
    """Engines that are compared, each in ``processes`` of ``threads``; ``kind`` tells comparisons of a scenario apart."""

    label: str
    threads: int
    processes: int
    engines: tuple[str, ...]
    kind: str = ""
    quick: bool = False  # whether a quick run has it

    @property
    def cores(self) -> int:
        """Cores in use."""
        return self.threads * self.processes


@dataclass(frozen=True)
class Scenario:
    """Data, work, settings, and by figure how many times better than the best peer the engine is to be."""

    name: str
    title: str
    what: str
    rows: int
    columns: int
    rounds: int
    depth: int
    settings: tuple[Setting, ...]
    targets: dict[str, float]
    minutes: float  # of three repeats on two cores
    table: str = "floats"
    held_out: int = 200_000
    learner: str = "boosting"
    source: str = "arrays"
    patience: float = 900.0  # seconds after which a run is given up: distributed peers may hang without a word
    once: tuple[str, ...] = field(default=())  # engines that are measured once: too slow for more, and far off

    def shrink(self) -> Scenario:
        """The same with hardly any data, for a test that everything runs."""
        settings = tuple(setting for setting in self.settings if setting.quick)
        columns = self.columns if self.table == "strings" else min(self.columns, 12)
        return replace(self, rows=4000, held_out=1000, columns=columns, rounds=3, depth=4, settings=settings, patience=120.0)


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            name="floats",
            title="1,000,000 x 28 floats, 100 rounds of depth 6",
            what="Arrays to a model. Two ranks stand beside two processes of XGBoost (its tracker) and two of LightGBM (its machines list),"
            " each with half of the rows.",
            rows=1_000_000,
            columns=28,
            rounds=100,
            depth=6,
            settings=(
                Setting("1 thread", 1, 1, BOOSTING),
                Setting("2 threads", 2, 1, BOOSTING),
                Setting("2 ranks", 1, 2, DISTRIBUTED, quick=True),
            ),
            targets={"train": 2.5, "total": 3.0},
            minutes=7,
            once=("sklearn",),
        ),
        Scenario(
            name="parquet",
            title="5,000,000 x 28 floats from a Parquet file, 50 rounds of depth 6",
            what="File to a model on two cores. XGBoost reads by a DataIter over row groups, LightGBM by a Sequence over them. Peak memory"
            " is that of all processes, less what they took with their libraries imported.",
            rows=5_000_000,
            columns=28,
            rounds=50,
            depth=6,
            settings=(Setting("2 threads", 2, 1, STREAMING), Setting("2 ranks", 1, 2, STREAMING, quick=True)),
            targets={"total": 2.5, "peak_mb": 2.0},
            minutes=16,
            source="parquet",
        ),
        Scenario(
            name="wide",
            title="200,000 x 500 floats, 20 rounds of depth 8",
            what="Many columns and deeper trees.",
            rows=200_000,
            columns=500,
            rounds=20,
            depth=8,
            settings=(Setting("1 thread", 1, 1, BOOSTING, quick=True), Setting("2 threads", 2, 1, BOOSTING)),
            targets={"train": 1.5},
            minutes=14,
            once=("sklearn",),
        ),
        Scenario(
            name="strings",
            title="2,000,000 rows of 10 strings (10 to 10,000 levels) and 10 floats, 20 rounds of depth 6",
            what="An Arrow table to a model; peers turn its strings into pandas categories, which counts as binning."
            " categorical='partition' beside the categorical support of XGBoost and LightGBM, and one category against the rest beside"
            " XGBoost's one-hot mode.",
            rows=2_000_000,
            columns=20,
            rounds=20,
            depth=6,
            settings=(
                Setting("partition, 1 thread", 1, 1, PARTITION, "partition", quick=True),
                Setting("partition, 2 threads", 2, 1, PARTITION, "partition"),
                Setting("one-hot, 1 thread", 1, 1, ONE_HOT, "one-hot", quick=True),
                Setting("one-hot, 2 threads", 2, 1, ONE_HOT, "one-hot"),
            ),
            targets={"train": 3.0},
            minutes=7,
            table="strings",
        ),
        Scenario(
            name="forest",
            title="500,000 x 50 floats, a forest of 100 trees of depth 12",
            what="samesum and XGBoost draw 80% of rows and of columns a tree. scikit-learn draws as many rows, but its columns at every"
            " split, where it takes the square root of their number: 80% would take half an hour. It is measured once.",
            rows=500_000,
            columns=50,
            rounds=100,
            depth=12,
            settings=(Setting("2 threads", 2, 1, FOREST, quick=True),),
            targets={"train": 3.0},
            minutes=8,
            learner="forest",
            once=("sklearn",),
        ),
        Scenario(
            name="predict",
            title="Predicting 1,000,000 rows with 100 trees of depth 6",
            what="Probabilities by each engine's own model, trained on as many other rows.",
            rows=1_000_000,
            columns=28,
            rounds=100,
            depth=6,
            settings=(
                Setting("1 thread", 1, 1, PREDICTING, quick=True),
                Setting("2 threads", 2, 1, PREDICTING),
            ),
            targets={"predict": 2.0},
            minutes=7,
            held_out=1_000_000,
        ),
    )
}
