"""Models that predict classes: the questions asked of them, whatever they are made of."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine._kernels.prediction import fill_probabilities
from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator
from engine.errors import OptionError
from engine.models._metrics.classification import CLASSIFIER_METRICS, compute_classifier_metrics
from engine.models._metrics.labels import label_array, number_labels
from engine.models._metrics.names import chosen_metrics
from engine.models._options import check_choice, check_flag, check_option
from engine.models._predicting import PredictingModel, as_column, as_lists
from engine.models._rows import Rows, check_any_rows

TOPK_TYPES = ("probability", "rank", "margin")
PROBABILISTIC = {"auc", "log_loss", "roc_curve"}  # metrics


class Classifier(PredictingModel):
    """A model whose ``_margins`` are one column, the log-odds of the second of two classes, or a score for each class."""

    output_types: ClassVar[tuple[str, ...]] = ("class", "probability", "margin", "probability_vector")
    metrics: ClassVar[tuple[str, ...]] = CLASSIFIER_METRICS

    def evaluate(
        self,
        dataset: Any,
        metric: Any = "auto",
        missing_value_action: str = "auto",
        *,
        num_threads: int | None = None,
        comm: Communicator | None = None,
    ) -> dict[str, Any]:
        """Compare predictions with the target column of ``dataset``; the same numbers for any number of ranks. Collective.

        ``metric``: 'auto' for all, one name, or a list: accuracy; auc (exact; for more than two classes the mean of one class against
        the rest; None if no class has both); confusion_matrix (target_label, predicted_label, count; cells with rows); f1_score,
        precision, recall (of the greater of two classes; for more the mean over classes, leaving out those where it is undefined; None
        if it is undefined); log_loss (probabilities clipped to [1e-9, 1 - 1e-9]); roc_curve (threshold, fpr, tpr, p, n, and class if more
        than two; 1001 thresholds). A target value that is no class of the model counts as wrong, with probability 0, and has its rows in
        the confusion matrix. Raises :class:`DataError` for missing target values and for no rows.
        """
        rows, threads, options = self._read(
            dataset,
            comm,
            missing_value_action,
            num_threads,
            lambda: {"metric": chosen_metrics(metric, self.metrics)},
            with_target=True,
        )
        with agree(rows.comm, "reading the target"):
            check_any_rows(rows)
        target = self._document["target"]
        actual, unseen = number_labels(rows.comm, rows.table.column(target), self._classes, target=target, first_row=rows.first_row)
        margins = self._margins(rows, threads)
        predicted = choose_classes(margins)
        judged = self._probabilities(margins, threads) if PROBABILISTIC & set(options["metric"]) else margins
        return compute_classifier_metrics(rows.comm, judged, predicted, actual, options["metric"], classes=self._classes, unseen=unseen)

    def _answer(self, rows: Rows, output_type: str, threads: int, *, sharded: bool) -> Any:
        """What :meth:`predict` returns for one of :attr:`output_types` above; collective."""
        margins = self._margins(rows, threads)
        if output_type == "class":
            codes = rows.gather(choose_classes(margins), sharded=sharded)
            return as_column(label_array(self._classes).take(pa.array(codes)), single=rows.single)
        if output_type == "margin":
            return as_column(pa.array(rows.gather(margins[:, 0], sharded=sharded)), single=rows.single)
        probabilities = self._probabilities(margins, threads)
        if output_type == "probability":
            return as_column(pa.array(rows.gather(probabilities[:, 1], sharded=sharded)), single=rows.single)
        return as_lists(rows.gather(probabilities, sharded=sharded), single=rows.single)

    @property
    def _classes(self) -> list[Any]:
        return list(self._document["classes"])

    def _probabilities(self, margins: NDArray[np.float64], num_threads: int) -> NDArray[np.float64]:
        """Probabilities of the classes, [n_rows_local, n_classes], for the metrics and output types that are made of them."""
        out = np.empty((len(margins), len(self._document["classes"])))
        fill_probabilities(margins, out, num_threads)
        return out

    def _check_output_type(self, output_type: Any) -> str:
        n_classes = len(self._document["classes"])
        if check_choice("output_type", output_type, self.output_types) in ("probability", "margin") and n_classes > 2:
            raise OptionError(
                f"output_type {output_type!r} is for two classes, the model has {n_classes}; use 'probability_vector', or predict_topk"
            )
        return str(output_type)

    def _class_fields(self) -> dict[str, Any]:
        """The fields that classifiers have beyond others."""
        classes, counts = self._document["classes"], self._document["num_examples_per_class"]
        weights = self._document.get("class_weights") or [1.0] * len(classes)
        return {
            "classes": lambda: list(classes),
            "num_classes": len(classes),
            "num_examples_per_class": lambda: dict(zip(classes, counts, strict=True)),
            "class_weights": lambda: dict(zip(classes, weights, strict=True)),
        }


class ProbabilisticClassifier(Classifier):
    """A classifier that knows how likely its classes are."""

    def classify(
        self,
        dataset: Any,
        missing_value_action: str = "auto",
        *,
        sharded: bool = False,
        num_threads: int | None = None,
        comm: Communicator | None = None,
    ) -> Any:
        """A table of class and probability (of that class), a row for each row; for one dict, a dict. Collective as :meth:`predict`."""
        rows, threads, _ = self._read(dataset, comm, missing_value_action, num_threads, lambda: {"sharded": check_flag("sharded", sharded)})
        margins = self._margins(rows, threads)
        codes = choose_classes(margins)
        probability = self._probabilities(margins, threads)[np.arange(len(codes)), codes]
        labels = label_array(self._classes).take(pa.array(rows.gather(codes, sharded=sharded)))
        table = pa.table({"class": labels, "probability": pa.array(rows.gather(probability, sharded=sharded))})
        return table.to_pylist()[0] if rows.single else table

    def predict_topk(
        self,
        dataset: Any,
        output_type: str = "probability",
        k: int = 3,
        missing_value_action: str = "auto",
        *,
        sharded: bool = False,
        num_threads: int | None = None,
        comm: Communicator | None = None,
    ) -> pa.Table:
        """The ``k`` likeliest classes of each row, the likeliest first, ties in class order: a table of id, class, and ``output_type``.

        ``id`` is the row's number in the input. ``output_type``: 'probability', 'rank' (from 0), or 'margin' (of two classes: the log-odds
        of the class; of more, in forests that average probabilities: the probability). Collective as :meth:`predict`.
        """
        rows, threads, options = self._read(
            dataset,
            comm,
            missing_value_action,
            num_threads,
            lambda: {**self._check_topk(output_type, k), "sharded": check_flag("sharded", sharded)},
        )
        margins = self._margins(rows, threads)
        order = order_classes(margins)[:, : options["k"]]
        scores = margins if margins.shape[1] > 1 else np.concatenate([-margins, margins], axis=1)
        value: NDArray[Any] = np.broadcast_to(np.arange(order.shape[1]), order.shape)
        if output_type != "rank":
            value = np.take_along_axis(scores if output_type == "margin" else self._probabilities(margins, threads), order, axis=1)
        ids = np.broadcast_to(rows.first_row + np.arange(rows.n_rows_local)[:, None], order.shape)
        ids, order, value = (rows.gather(each, sharded=sharded).reshape(-1) for each in (ids, order, value))
        return pa.table({"id": pa.array(ids), "class": label_array(self._classes).take(pa.array(order)), output_type: pa.array(value)})

    def _check_topk(self, output_type: Any, k: Any) -> dict[str, Any]:
        n_classes = len(self._document["classes"])
        if check_option("k", k) > n_classes:
            raise OptionError(f"k must be an integer in [1, {n_classes}], the number of classes, got {k!r}")
        return {"output_type": check_choice("output_type", output_type, TOPK_TYPES), "k": int(k)}


def choose_classes(margins: NDArray[np.float64]) -> NDArray[np.int64]:
    """Class numbers: the largest margin, the lower class in a tie; for one margin column, class 1 where it is not negative."""
    if margins.shape[1] == 1:
        return (margins[:, 0] >= 0.0).astype(np.int64)
    return np.argmax(margins, axis=1).astype(np.int64)


def order_classes(margins: NDArray[np.float64]) -> NDArray[np.int64]:
    """Class numbers of each row, [n, n_classes], the one that :func:`choose_classes` takes first, then by margin, ties in class order."""
    if margins.shape[1] == 1:
        first = choose_classes(margins)
        return np.stack([first, 1 - first], axis=1)
    return np.argsort(-margins, axis=1, kind="stable").astype(np.int64)
