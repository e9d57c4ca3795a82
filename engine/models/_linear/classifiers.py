"""Linear models that predict classes: with probabilities (logistic), and without (SVM)."""

from __future__ import annotations

import os
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine.collectives.communicator import Communicator
from engine.models._classifier import Classifier, ProbabilisticClassifier, choose_classes
from engine.models._linear.model import LinearModel
from engine.models._metrics.labels import label_array
from engine.models._options import check_flag
from engine.models._rows import Rows


class LinearClassifier(LinearModel, Classifier):
    """A linear model of classes; the first class is the reference, whose margin is 0."""

    plots: ClassVar[tuple[str, ...]] = (*LinearModel.plots, "confusion_matrix")

    def predict(
        self,
        dataset: Any,
        output_type: str = "class",
        missing_value_action: str = "auto",
        *,
        sharded: bool = False,
        output: str | os.PathLike[str] | None = None,
        num_threads: int | None = None,
        comm: Communicator | None = None,
    ) -> Any:
        """Predict one value a row, in input order. Collective: every rank calls it and gets the whole result.

        ``dataset``: anything that ``create`` takes; other columns than features and offset are ignored, unseen categories count as the
        reference category, unseen keys as nothing. A list of dicts, or one dict, is answered on this rank alone, a missing key being a
        missing value; one dict gives one value. ``output_type``: 'class', the one of the largest margin, the lower one in a tie, and of two
        the greater at a margin of 0; of two classes 'margin', ``x w + b``; and of logistic classifiers 'probability' of the greater of two
        classes, and 'probability_vector', one of each class, in class order. ``missing_value_action``: 'auto' or 'impute' (the mean of the
        training rows), or 'error'. ``sharded=True`` gives each rank its own rows alone. ``output``: a folder for them instead, at any
        address, as :meth:`engine.Dataset.save` writes one, in a column named as the output type, a value being 'prediction'. Returns a
        ``pyarrow.ChunkedArray``, or the :class:`engine.Dataset` of that folder. Raises :class:`OptionError`, :class:`DataError`,
        :class:`StorageError`.
        """
        delivery: dict[str, Any] = {"sharded": sharded, "output": output, "num_threads": num_threads, "comm": comm}
        return self._predict(dataset, output_type, missing_value_action, **delivery)

    def _margins(self, rows: Rows, num_threads: int) -> NDArray[np.float64]:
        """One column for two classes, else one for each, the reference's being 0."""
        margins = super()._margins(rows, num_threads)
        if len(self._document["classes"]) == 2:
            return margins
        return np.concatenate([np.zeros((len(margins), 1)), margins], axis=1)

    def _make_fields(self) -> dict[str, Any]:
        return {**super()._make_fields(), **self._class_fields()}


class LogisticModel(LinearClassifier, ProbabilisticClassifier):
    """Margins are log-odds against the reference class."""

    plots: ClassVar[tuple[str, ...]] = (*LinearClassifier.plots, "roc_curve")


class SvmModel(LinearClassifier):
    """Of two classes; the margin's sign decides."""

    has_errors: ClassVar[bool] = False
    output_types: ClassVar[tuple[str, ...]] = ("class", "margin")
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "confusion_matrix", "f1_score", "precision", "recall")

    def classify(
        self,
        dataset: Any,
        missing_value_action: str = "auto",
        *,
        sharded: bool = False,
        num_threads: int | None = None,
        comm: Communicator | None = None,
    ) -> Any:
        """A table of one column, class, a row for each row; for one dict, a dict. Collective as :meth:`predict`."""
        rows, threads, _ = self._read(dataset, comm, missing_value_action, num_threads, lambda: {"sharded": check_flag("sharded", sharded)})
        codes = rows.gather(choose_classes(self._margins(rows, threads)), sharded=sharded)
        table = pa.table({"class": label_array(self._classes).take(pa.array(codes))})
        return table.to_pylist()[0] if rows.single else table
