"""The linear model that predicts numbers."""

from __future__ import annotations

import math
import os
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from engine.collectives.communicator import Communicator
from engine.models._linear.model import LinearModel
from engine.models._metrics.names import chosen_metrics
from engine.models._metrics.regression import compute_regression_metrics
from engine.models._options import check_choice
from engine.models._predicting import as_column, read_numbers_of
from engine.models._rows import Rows

METRICS = ("max_error", "rmse")


class LinearRegressionModel(LinearModel):
    """A prediction is ``x w + b``."""

    metrics: ClassVar[tuple[str, ...]] = METRICS
    output_types: ClassVar[tuple[str, ...]] = ("value",)

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

        ``dataset``: anything that ``create`` takes; other columns than features and offset are ignored, unseen categories count as the
        reference category, unseen keys as nothing. A list of dicts, or one dict, is answered on this rank alone, a missing key being a
        missing value; one dict gives one float. ``missing_value_action``: 'auto' or 'impute' (the mean of the training rows), or 'error'.
        ``output_type``: 'value'. ``sharded=True`` gives each rank its own rows alone. ``output``: a folder for them instead, at any
        address, as :meth:`engine.Dataset.save` writes one, in a column named as the output type, a value being 'prediction'. Returns a
        ``pyarrow.ChunkedArray``, or the :class:`engine.Dataset` of that folder. Raises :class:`OptionError`, :class:`DataError`,
        :class:`StorageError`.
        """
        delivery: dict[str, Any] = {"sharded": sharded, "output": output, "num_threads": num_threads, "comm": comm}
        return self._predict(dataset, output_type, missing_value_action, **delivery)

    def _check_output_type(self, output_type: Any) -> str:
        return check_choice("output_type", output_type, self.output_types)

    def _answer(self, rows: Rows, output_type: str, threads: int, *, sharded: bool) -> Any:
        values = rows.gather(self._margins(rows, threads)[:, 0], sharded=sharded)
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

        ``metric``: 'auto' for both, one name, or a list: max_error, rmse. Raises :class:`DataError` for a target that is missing or not
        finite in some row, and for no rows.
        """
        rows, threads, options = self._read(
            dataset,
            comm,
            missing_value_action,
            num_threads,
            lambda: {"metric": chosen_metrics(metric, self.metrics)},
            with_target=True,
        )
        actual = read_numbers_of(rows, self._document["target"])
        predictions = np.ascontiguousarray(self._margins(rows, threads)[:, 0])
        return compute_regression_metrics(rows.comm, predictions, actual, options["metric"], rows.n_rows, num_threads=threads)

    @property
    def r_squared(self) -> float:
        """One less the share of the target's (weighted) squares about its mean that the model leaves; NaN for a constant target."""
        total = self._document["total_squares"]
        return 1.0 - self._document["metrics"]["training_loss"] / total if total > 0.0 else math.nan

    def _freedom(self) -> float:
        return float(self._document["num_examples"] - self._arrays["coefficients"].size)

    def _error_scale(self) -> float:
        """The Hessian is ``2 X'WX``, and the variance of the residuals is their squares over the degrees of freedom."""
        freedom = self._freedom()
        return math.sqrt(2.0 * self._document["metrics"]["training_loss"] / freedom) if freedom > 0.0 else math.nan

    def _quality(self) -> list[tuple[str, Any]]:
        return [("R^2", self.r_squared)]
