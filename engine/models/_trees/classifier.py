"""Trees that predict classes."""

from __future__ import annotations

import os
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from engine._kernels.exact import log_array
from engine.collectives.communicator import Communicator
from engine.models._classifier import ProbabilisticClassifier
from engine.models._rows import Rows
from engine.models._trees.ensemble import LEAST_PROBABILITY
from engine.models._trees.model import TreesModel


class TreesClassifier(TreesModel, ProbabilisticClassifier):
    """Trees whose sums are the log-odds of the second of two classes, or a score for each of more; or the probabilities of either."""

    plots: ClassVar[tuple[str, ...]] = (*TreesModel.plots, "roc_curve", "confusion_matrix")
    output_types: ClassVar[tuple[str, ...]] = (*ProbabilisticClassifier.output_types, "contributions")
    tracked_metrics: ClassVar[tuple[str, ...]] = ("accuracy", "log_loss")

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

        ``dataset``: anything that ``create`` takes; other columns than the features are ignored, unseen categories go where none of the
        known ones does. A list of dicts, or one dict, is answered on this rank alone, a missing key being a missing value; one dict gives
        one value. ``output_type``: 'class'; for two classes 'probability' of the greater one and 'margin', its log-odds;
        'probability_vector', one of each class, in class order. Forests that average probabilities clip those of two classes to [1e-9, 1 -
        1e-9], so that log-odds are finite. The class is the one of the largest margin, the lower one in a tie; of two, the greater at a
        margin of 0. 'contributions': what each of the ``unpacked_features`` adds to the margin, in their order, then the margin that is
        expected without knowing any; they sum to the margin. For more than two classes there is a list for each class; where probabilities
        are averaged, they sum to those. Exact Shapley values (Lundberg et al. 2018), by the covers of the training rows.
        ``missing_value_action``: 'auto' or 'none' (trees know where missing values go), or 'error'. ``sharded=True`` gives each rank its
        own rows alone. ``output``: a folder for them instead, at any address, as :meth:`engine.Dataset.save` writes one, in a column named
        as the output type, a value being 'prediction'. Returns a ``pyarrow.ChunkedArray``, or the :class:`engine.Dataset` of that folder.
        Raises :class:`OptionError`, :class:`DataError`, :class:`StorageError`.
        """
        delivery: dict[str, Any] = {"sharded": sharded, "output": output, "num_threads": num_threads, "comm": comm}
        return self._predict(dataset, output_type, missing_value_action, **delivery)

    def _answer(self, rows: Rows, output_type: str, threads: int, *, sharded: bool) -> Any:
        if output_type == "contributions":
            return self._contributions(rows, threads, sharded=sharded)
        return super()._answer(rows, output_type, threads, sharded=sharded)

    def _margins(self, rows: Rows, num_threads: int) -> NDArray[np.float64]:
        outputs = super()._margins(rows, num_threads)
        if self._ensemble.link == "margin":
            return outputs
        return log_odds(outputs) if outputs.shape[1] == 1 else normalize(outputs)

    def _probabilities(self, margins: NDArray[np.float64], num_threads: int) -> NDArray[np.float64]:
        if self._ensemble.link == "probability" and margins.shape[1] > 1:
            return margins
        return super()._probabilities(margins, num_threads)

    def _make_fields(self) -> dict[str, Any]:
        return {**super()._make_fields(), **self._class_fields()}

    def _schema_lines(self) -> list[tuple[str, Any]]:
        return [("Number of classes", self.get("num_classes"))]


def log_odds(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """ln(p / (1 - p)) of probabilities [n, 1], clipped first."""
    p = np.clip(probabilities.reshape(-1), LEAST_PROBABILITY, 1.0 - LEAST_PROBABILITY)
    yes, no = np.empty_like(p), np.empty_like(p)
    log_array(p, yes)
    log_array(1.0 - p, no)
    return (yes - no)[:, None]


def normalize(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores [n, n_classes] over their sum in each row, added in class order; equal shares where no score is above 0."""
    scores = np.maximum(scores, 0.0)
    total = np.zeros(len(scores))
    for k in range(scores.shape[1]):
        total += scores[:, k]
    return np.where(total[:, None] > 0.0, scores / np.where(total > 0.0, total, 1.0)[:, None], 1.0 / scores.shape[1])
