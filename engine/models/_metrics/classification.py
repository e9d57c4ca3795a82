"""How well classes are predicted: counts and exact sums over all ranks, and the ratios made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine._kernels.metrics import count_thresholds, fill_log_losses
from engine.collectives.communicator import Communicator
from engine.collectives.exact import sum_exact
from engine.models._metrics.auc import compute_auc, compute_macro_auc
from engine.models._metrics.labels import label_array

CLASSIFIER_METRICS = ("accuracy", "auc", "confusion_matrix", "f1_score", "log_loss", "precision", "recall", "roc_curve")
ROC_BINS = 1000
LARGEST_LOG_LOSS = 32.0  # -ln(1e-9) is 20.7


def compute_classifier_metrics(
    comm: Communicator,
    probabilities: NDArray[np.float64],
    predicted: NDArray[np.int64],
    actual: NDArray[np.int64],
    names: Sequence[str],
    *,
    classes: list[Any],
    unseen: list[Any],
) -> dict[str, Any]:
    """The metrics ``names`` over all ranks' rows; collective.

    ``probabilities``: [n_rows_local, n_classes]; ``predicted`` and ``actual``: class numbers, ``actual`` counting on into ``unseen``,
    the target's values that the model does not know. There must be a row on some rank.
    """
    n_classes = len(classes)
    counts = reduce_confusion(comm, predicted, actual, n_classes, len(unseen))
    values: dict[str, Any] = score_counts(counts)
    values["confusion_matrix"] = confusion_table(counts, classes, unseen)
    if "auc" in names:
        values["auc"] = (
            compute_auc(comm, np.ascontiguousarray(probabilities[:, 1]), actual == 1)
            if n_classes == 2
            else compute_macro_auc(comm, probabilities, actual)
        )
    if "log_loss" in names:
        losses = np.empty(len(actual))
        fill_log_losses(probabilities, actual, losses)
        values["log_loss"] = sum_exact(comm, losses, bound=LARGEST_LOG_LOSS, name="evaluate: log loss") / int(counts.sum())
    if "roc_curve" in names:
        values["roc_curve"] = reduce_roc_curve(comm, probabilities, actual, classes)
    return {name: values[name] for name in names}


def reduce_confusion(
    comm: Communicator, predicted: NDArray[np.int64], actual: NDArray[np.int64], n_classes: int, n_unseen: int
) -> NDArray[np.int64]:
    """Rows of every actual (classes, then unseen values) and predicted class, over all ranks: [n_classes + n_unseen, n_classes]."""
    shape = (n_classes + n_unseen, n_classes)
    counts = np.bincount(actual * n_classes + predicted, minlength=shape[0] * shape[1]).astype(np.int64)
    comm.allreduce_sum(counts, name="evaluate: confusion matrix")
    return counts.reshape(shape)


def confusion_table(counts: NDArray[np.int64], classes: list[Any], unseen: list[Any]) -> pa.Table:
    """The cells that are not 0, as a table of target_label, predicted_label, count."""
    rows, columns = np.nonzero(counts)
    return pa.table(
        {
            "target_label": label_array(classes + unseen).take(pa.array(rows)),
            "predicted_label": label_array(classes).take(pa.array(columns)),
            "count": pa.array(counts[rows, columns]),
        }
    )


def score_counts(counts: NDArray[np.int64]) -> dict[str, float | None]:
    """Accuracy, precision, recall and F1 of a confusion matrix.

    Two classes: of the greater one. More: the mean over classes, without those for which a ratio is undefined. None if all are.
    """
    n_classes = counts.shape[1]
    right = [int(counts[k, k]) for k in range(n_classes)] + [0] * (counts.shape[0] - n_classes)
    actual = [int(n) for n in counts.sum(axis=1)]
    predicted = [int(n) for n in counts.sum(axis=0)] + [0] * (counts.shape[0] - n_classes)
    chosen = [1] if n_classes == 2 else range(counts.shape[0])
    return {
        "accuracy": sum(right) / sum(actual),
        "f1_score": mean_known([ratio(2 * right[k], actual[k] + predicted[k]) for k in chosen]),
        "precision": mean_known([ratio(right[k], predicted[k]) for k in chosen]),
        "recall": mean_known([ratio(right[k], actual[k]) for k in chosen]),
    }


def ratio(part: int, whole: int) -> float | None:
    """``part / whole``, None where there is nothing to share."""
    return part / whole if whole else None


def mean_known(values: list[float | None]) -> float | None:
    """The mean of the values that are not None, added in order; None if all are."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def reduce_roc_curve(comm: Communicator, probabilities: NDArray[np.float64], actual: NDArray[np.int64], classes: list[Any]) -> pa.Table:
    """The ROC curve at 1001 thresholds: threshold, fpr, tpr, p, n; for more than two classes one curve a class, named in ``class``."""
    chosen = [1] if len(classes) == 2 else list(range(len(classes)))
    counts = np.zeros((len(chosen), 2, ROC_BINS + 1), dtype=np.int64)
    for place, k in enumerate(chosen):
        count_thresholds(np.ascontiguousarray(probabilities[:, k]), (actual == k).astype(np.uint8), counts[place])
    comm.allreduce_sum(counts, name="evaluate: ROC curve")
    curves = [roc_table(counts[place]) for place in range(len(chosen))]
    if len(classes) > 2:
        names = label_array(classes)
        curves = [curve.append_column("class", names.take(pa.array([k] * len(curve)))) for k, curve in zip(chosen, curves, strict=True)]
    return pa.concat_tables(curves)


def roc_table(counts: NDArray[np.int64]) -> pa.Table:
    """One curve: the share of rows at or above each threshold; null where there are no such rows. ``counts``: [2, n_bins + 1]."""
    at_least = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]
    n_bins = counts.shape[1] - 1
    negative, positive = (int(side[0]) for side in at_least)
    return pa.table(
        {
            "threshold": pa.array([b / n_bins for b in range(n_bins + 1)]),
            "fpr": pa.array([ratio(int(n), negative) for n in at_least[0]], type=pa.float64()),
            "tpr": pa.array([ratio(int(n), positive) for n in at_least[1]], type=pa.float64()),
            "p": pa.array([positive] * (n_bins + 1), type=pa.int64()),
            "n": pa.array([negative] * (n_bins + 1), type=pa.int64()),
        }
    )
