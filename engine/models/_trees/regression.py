"""Trees that predict numbers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine._kernels.gradients import fill_means
from engine.collectives.communicator import Communicator
from engine.models._metrics.names import chosen_metrics
from engine.models._metrics.regression import compute_regression_metrics
from engine.models._metrics.tracked import METRICS
from engine.models._options import check_choice
from engine.models._predicting import as_column, read_numbers_of
from engine.models._rows import Rows
from engine.models._trees.model import TreesModel

OUTPUT_TYPES = ("value", "contributions")


class TreesRegression(TreesModel):
    """Trees whose sum is the prediction."""

    tracked_metrics: ClassVar[tuple[str, ...]] = ("max_error", "rmse")

    def predict(
        self,
        dataset: Any,
        missing_value_action: str = "auto",
        *,
        output_type: str = "value",
        sharded: bool = False,
        output: str | os.PathLike[str] | None = None,
        num_threads: int | None = None,
        comm: Communicator | None = None,
    ) -> Any:
        """Predict one float a row, in input order. Collective: every rank calls it and gets the whole result.

        ``dataset``: anything that ``create`` takes; other columns than the features are ignored, unseen categories go where none of the
        known ones does. A list of dicts, or one dict, is answered on this rank alone, a missing key being a missing value; one dict gives
        one float. ``output_type``: 'value', or 'contributions': what each of the ``unpacked_features`` adds to the prediction, in their
        order, then the prediction that is expected without knowing any; they sum to the prediction (of Poisson: to its logarithm). Exact
        Shapley values (Lundberg et al. 2018), by the covers of the training rows. ``missing_value_action``: 'auto' or 'none' (trees know
        where missing values go), or 'error'. ``sharded=True`` gives each rank its own rows alone. ``output``: a folder for them instead, at
        any address, as :meth:`engine.Dataset.save` writes one, in a column named as the output type, a value being 'prediction'. Returns a
        ``pyarrow.ChunkedArray``, or the :class:`engine.Dataset` of that folder. Raises :class:`OptionError`, :class:`DataError`,
        :class:`StorageError`.
        """
        delivery: dict[str, Any] = {"sharded": sharded, "output": output, "num_threads": num_threads, "comm": comm}
        return self._predict(dataset, output_type, missing_value_action, **delivery)

    def _check_output_type(self, output_type: Any) -> str:
        return check_choice("output_type", output_type, OUTPUT_TYPES)

    def _answer(self, rows: Rows, output_type: str, threads: int, *, sharded: bool) -> Any:
        if output_type == "contributions":
            return self._contributions(rows, threads, sharded=sharded)
        values = rows.gather(self._predictions(rows, threads), sharded=sharded)
        return as_column(pa.array(values), single=rows.single)

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

        ``metric``: 'auto' for all, one name, or a list: max_error, rmse, and poisson_deviance or quantile_loss of models trained on
        these. Raises :class:`DataError` for a target that is missing or not
        finite in some row, and for no rows.
        """
        rows, threads, options = self._read(
            dataset,
            comm,
            missing_value_action,
            num_threads,
            lambda: {"metric": chosen_metrics(metric, self._metrics)},
            with_target=True,
        )
        actual = read_numbers_of(rows, self._document["target"])
        return compute_regression_metrics(
            rows.comm,
            self._predictions(rows, threads),
            actual,
            options["metric"],
            rows.n_rows,
            quantile=self._document["options"].get("quantile") or 0.5,
            num_threads=threads,
        )

    @property
    def _metrics(self) -> Sequence[str]:
        """The metrics of the loss that the model was trained on."""
        return METRICS[self._document["options"].get("objective", "squared_error")]

    def _predictions(self, rows: Rows, num_threads: int) -> NDArray[np.float64]:
        """Predictions of this rank's rows; collective as :func:`engine.models._trees.predictor.compute_margins`."""
        values = np.ascontiguousarray(self._margins(rows, num_threads)[:, 0])
        if self._ensemble.link == "log":
            fill_means(values, values, num_threads)
        return values
