"""From a call of ``create`` to a model: check and agree on options, train, describe the result."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from engine.collectives.agree import agree, agree_on_value
from engine.collectives.communicator import Communicator
from engine.collectives.default import resolve
from engine.memory import Memory
from engine.models._options import check_column_name, check_features, check_flag, check_option, refuse_unknown
from engine.models._trees.boosting import TrainedTrees, train_boosted_trees
from engine.models._trees.model import TIME_COLUMN, TreesModel
from engine.progress import ProgressTable

Trees = TypeVar("Trees", bound=TreesModel)


def create_boosted_trees(
    model: type[Trees],
    dataset: Any,
    target: Any,
    *,
    task: Literal["classifier", "regression"],
    options: Mapping[str, Any],
    unknown: Mapping[str, Any],
    features: Any,
    verbose: Any,
    num_threads: Any,
    comm: Communicator | None,
    memory_limit: Any = None,
    cache_dir: Any = None,
) -> Trees:
    """Train a model of class ``model``; collective. ``options``: the mathematical ones, ``unknown``: any that the caller did not know."""
    began = time.perf_counter()
    group = resolve(comm)
    with agree(group, "checking options"):
        refuse_unknown(unknown, [*options, "features", "verbose", "num_threads", "memory_limit", "cache_dir", "comm"])
        target = check_column_name("target", target)
        features = check_features(features, target)
        verbose = check_flag("verbose", verbose)
        num_threads = check_option("num_threads", num_threads)
        memory = Memory(memory_limit, cache_dir, group)
        checked = {name: check_option(name, value) for name, value in options.items()}
    agree_on_value(group, {"target": target, "features": features, **checked}, "options")
    table = ProgressTable(
        ["Iteration", TIME_COLUMN, *(f"Training-{metric}" for metric in model.tracked_metrics)],
        verbose=verbose,
        comm_rank=group.rank,
        total=checked["max_iterations"],
    )
    try:
        trained = train_boosted_trees(
            dataset,
            target=target,
            features=features,
            task=task,
            options=checked,
            num_threads=num_threads,
            comm=group,
            table=table,
            memory=memory,
        )
    finally:
        table.close()
    document = describe_trained(trained, toolkit=model.toolkit, target=target, options=checked)
    run = describe_run(trained, training_time=time.perf_counter() - began)
    return model(document, trained.encoding, trained.ensemble, run, rank=group.rank)


def describe_trained(trained: TrainedTrees, *, toolkit: str, target: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The document of a trained model: only what is the same however it was run, keys in a fixed order."""
    columns = [name for name in trained.progress[0] if name != TIME_COLUMN]
    counts = trained.num_examples_per_class
    return {
        "toolkit": toolkit,
        "target": target,
        "options": dict(options),
        "num_examples": trained.num_examples,
        "classes": trained.classes,
        "num_examples_per_class": None if counts is None or trained.classes is None else [counts[label] for label in trained.classes],
        "encoding": trained.encoding.to_json(),
        "ensemble": {"n_outputs": trained.ensemble.n_outputs, "base_score": trained.ensemble.base_score},
        "metrics": dict(trained.metrics),
        "progress": {"columns": columns, "rows": [[row[name] for name in columns] for row in trained.progress]},
    }


def describe_run(trained: TrainedTrees, *, training_time: float) -> dict[str, Any]:
    """How a model came about: times, ranks, threads, release."""
    from engine import __version__

    times = [row[TIME_COLUMN] for row in trained.progress]
    return {"release": __version__, "training_time": training_time, "elapsed_time": times, **trained.run}
