"""What all linear models share: their fields and files, coefficients and what is known of them, predictions, an ONNX file."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine import storage
from engine.collectives.agree import agree
from engine.encode.design_encoding import INTERCEPT, DesignEncoding
from engine.encode.design_matrix import predict_margins
from engine.encode.features import numbers, single_chunk
from engine.encode.labels import check_finite, check_present
from engine.errors import ModelFileError, OptionError
from engine.model_io import Arrays
from engine.models._linear.distributions import quantile, two_sided
from engine.models._linear.objective_protocol import Floats
from engine.models._linear.onnx_file import onnx_bytes
from engine.models._metrics.labels import label_array
from engine.models._model import Sections
from engine.models._options import check_choice
from engine.models._predicting import PredictingModel
from engine.models._rows import Rows

SHOWN = 5  # coefficients of either sign in a summary
MOST_DESCRIBED = 20  # coefficients whose statistics a summary lists


class LinearModel(PredictingModel):
    """A model whose output is ``x w + b``, or one of these for every class but the first.

    Built from a document (what ``model.json`` holds), the encoding of its columns, arrays and the run (what may differ between equal runs).
    The arrays: coefficients and variances [n_outputs, n_columns + 1] with the intercept last (variances may be empty), means, scales.
    """

    plots: ClassVar[tuple[str, ...]] = (*PredictingModel.plots, "coefficients")
    has_errors: ClassVar[bool] = True  # standard errors mean something

    def __init__(
        self, document: Mapping[str, Any], design: DesignEncoding, arrays: Arrays, run: Mapping[str, Any] | None, *, rank: int | None
    ) -> None:
        self._document, self._design, self._arrays, self._run = document, design, arrays, run
        self._encoding = design.encoding
        super().__init__(self._make_fields(), rank=rank)

    @classmethod
    def from_saved(cls, document: Mapping[str, Any], arrays: Arrays, run: Mapping[str, Any] | None, *, path: str) -> LinearModel:
        """The model in the files of :meth:`save`. Raises :class:`ModelFileError` for what no release has written."""
        try:
            design = DesignEncoding.from_json(document["encoding"], arrays)
            shape = (max(1, len(document["classes"] or []) - 1), design.n_columns + 1)
            for name, expected in (("coefficients", shape), ("means", shape[1:]), ("scales", shape[1:])):
                got = arrays[name].shape if name == "coefficients" else (len(arrays[name]) + 1,)
                if got != expected or arrays[name].dtype != np.float64:
                    raise ModelFileError(f"{path!r} is damaged: {name} has shape {got}, expected {expected}; train or copy it again")
            return cls(document, design, arrays, run, rank=None)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            if isinstance(error, ModelFileError):
                raise
            raise ModelFileError(
                f"{path!r} is damaged: {error!r} where coefficients were expected; train or copy the model again"
            ) from error

    def get_coefficient_statistics(self, confidence: float = 0.95) -> pa.Table:
        """The table ``coefficients`` with what its standard errors say, in more columns.

        ``statistic``: value / stderr, Student's t of a regression, else z. ``p_value``: the chance of one as far from 0, were the true
        coefficient 0.
        ``lower`` and ``upper``: the interval of this ``confidence``, between 0 and 1. All are null without standard errors. They suppose
        that there is no penalty: with one, coefficients are nearer to 0. Raises :class:`OptionError`.
        """
        if isinstance(confidence, bool) or not isinstance(confidence, (int, float)) or not 0.0 < confidence < 1.0:
            raise OptionError(f"confidence must be a number in (0, 1), got {confidence!r}")
        table = self._coefficient_table()
        errors = self._standard_errors()
        if errors is None:
            nothing = pa.nulls(len(table), pa.float64())
            for name in (() if "stderr" in table.column_names else ("stderr",)) + ("statistic", "p_value", "lower", "upper"):
                table = table.append_column(name, nothing)
            return table
        freedom = self._freedom()
        width = quantile(confidence, freedom) if freedom > 0 else math.nan
        values = table.column("value").to_pylist()
        stderrs = table.column("stderr").to_pylist()
        ratios = [value / error if error and error > 0.0 else math.nan for value, error in zip(values, stderrs, strict=True)]
        columns = {
            "statistic": ratios,
            "p_value": [two_sided(ratio, freedom) for ratio in ratios],
            "lower": [value - width * (math.nan if error is None else error) for value, error in zip(values, stderrs, strict=True)],
            "upper": [value + width * (math.nan if error is None else error) for value, error in zip(values, stderrs, strict=True)],
        }
        for name, column in columns.items():
            table = table.append_column(name, pa.array(column, pa.float64()))
        return table

    def column_deviations(self) -> Floats:
        """The standard deviation of every coefficient's column over the training rows, in the order of ``coefficients``, without intercept.

        Raises :class:`OptionError` for models trained without feature_rescaling, which do not keep them.
        """
        if not self._document["options"]["feature_rescaling"]:
            raise OptionError("deviations of columns are kept with feature_rescaling=True, got a model trained without it: train it again")
        return np.sqrt(np.maximum(self._design.scales**2 - self._design.means**2, 0.0))

    def export_onnx(self, path: str | os.PathLike[str]) -> None:
        """Write the model as an ONNX file, at any address. Needs the package ``onnx``: ``samesum[onnx]``.

        It is for ``onnxruntime.InferenceSession(path)``. The one input, ``columns``, is a float64 matrix [n, n_columns] of what
        :meth:`encode` makes, in that order: ``np.column_stack(model.encode(data).columns)``. The file's metadata name the ``columns`` and
        their ``categories``. Outputs: ``margins`` [n, n_outputs] float64 (of a regression the predictions), and of a logistic classifier
        ``probabilities`` [n, n_classes], in class order. Offsets are not in it. All ranks may call this, or rank 0 alone: rank 0 writes.
        Raises :class:`OptionError` without the package, :class:`StorageError`.
        """
        if self._writes:
            links = {"logistic_classifier": "softmax" if len(self._document["classes"] or []) > 2 else "logistic"}
            storage.put_bytes(path, onnx_bytes(self._design, self._arrays["coefficients"], link=links.get(self.toolkit)))

    def _check_missing_value_action(self, value: Any) -> None:
        """'auto' is 'impute': the mean of the training rows, nothing of a map or list."""
        if value == "none":
            raise OptionError("missing_value_action 'none' is for trees; use 'impute', which takes means of the training rows, or 'error'")
        check_choice("missing_value_action", value, ["auto", "impute", "error"])

    def _extra(self) -> list[str]:
        """Columns that predictions need beside the features."""
        offset = self._document["options"]["offset"]
        return [] if offset is None else [offset]

    def _margins(self, rows: Rows, num_threads: int) -> NDArray[np.float64]:
        """Outputs of this rank's rows, with the offset, if training had one; collective."""
        margins = np.empty((0, 1))
        with agree(rows.comm, "predicting"):
            margins = predict_margins(rows.table, self._design, self._arrays["coefficients"], num_threads=num_threads)
            for name in self._extra():
                column = single_chunk(rows.table.column(name))
                check_present(column, name, rows.first_row, "offset")
                offset = np.asarray(numbers(column, name), dtype=np.float64)
                check_finite(offset, name, rows.first_row, most=math.inf, role="offset")
                margins = margins + offset[:, None]
        return margins

    def _freedom(self) -> float:
        """Degrees of freedom of the distribution of value / stderr."""
        return math.inf

    def _error_scale(self) -> float:
        """What a standard error is, relative to the root of the inverse Hessian's diagonal."""
        return 1.0

    def _standard_errors(self) -> Floats | None:
        """[n_outputs, n_columns + 1]; None if training did not come by them."""
        variances = self._arrays["variances"]
        return np.sqrt(variances) * self._error_scale() if self.has_errors and variances.size else None

    def _coefficient_table(self) -> pa.Table:
        """name, index, class (of classifiers), value and, where it means something, stderr; intercept first, a block for each class."""
        values, errors = self._arrays["coefficients"], self._standard_errors()
        n_outputs, width = values.shape
        order = [width - 1, *range(width - 1)]
        names = [(INTERCEPT, None), *self._design.coefficient_index]
        table = {
            "name": pa.array([name for name, _ in names] * n_outputs, pa.string()),
            "index": pa.array([None if index is None else str(index) for _, index in names] * n_outputs, pa.string()),
        }
        if self._document["classes"] is not None:
            classes = label_array(self._document["classes"])
            table["class"] = classes.take(pa.array(np.repeat(np.arange(1, n_outputs + 1), width)))
        table["value"] = pa.array(values[:, order].reshape(-1))
        if self.has_errors:
            found = [None] * values.size if errors is None else errors[:, order].reshape(-1).tolist()
            table["stderr"] = pa.array(found, pa.float64())
        return pa.table(table)

    def _make_fields(self) -> dict[str, Any]:
        document = self._document
        metrics = {name: value for name, value in document["metrics"].items() if name.partition("_")[2] in self._tracked()}
        return {
            **self._common_fields(),
            "coefficients": self._coefficient_table,
            "num_coefficients": self._arrays["coefficients"].size,
            "training_iterations": document["training_iterations"],
            "training_solver_status": document["training_solver_status"],
            **{f"{side}_{name}": None for side in ("training", "validation") for name in self._tracked()},
            **metrics,
        }

    def _tracked(self) -> tuple[str, ...]:
        """The metrics that are fields."""
        return ("loss", "max_error", "rmse") if self._document["classes"] is None else ("loss", "accuracy")

    def _sections(self) -> Sections:
        fields = self.list_fields()
        schema = [
            ("Number of coefficients", self.get("num_coefficients")),
            ("Number of examples", self.get("num_examples")),
            *([("Number of classes", self.get("num_classes"))] if "num_classes" in fields else []),
            ("Number of feature columns", self.get("num_features")),
            ("Number of unpacked features", self.get("num_unpacked_features")),
        ]
        penalties = ("l1_penalty", "l2_penalty", "penalty")
        hyper = [(name, f"{self.get(name):g}") for name in penalties if name in fields]
        training = [
            ("Solver", self.get("solver")),
            ("Solver iterations", self.get("training_iterations")),
            ("Solver status", self.get("training_solver_status").strip()),
            ("Training time (sec)", self.get("training_time")),
        ]
        settings = [("convergence_threshold", f"{self.get('convergence_threshold'):g}")]
        settings += [(name, self.get(name)) for name in ("feature_rescaling", "max_iterations")]
        settings += [("Training " + name, self.get(f"training_{name}")) for name in self._tracked()] + self._quality()
        table = self._coefficient_table().to_pylist()
        return [
            ("Schema", schema),
            ("Hyperparameters", hyper),
            ("Training Summary", training),
            ("Settings", settings),
            ("Highest Positive Coefficients", self._extremes(table, 1.0)),
            ("Lowest Negative Coefficients", self._extremes(table, -1.0)),
            *self._statistics(),
        ]

    def _quality(self) -> list[tuple[str, Any]]:
        """More lines of how well the model fits."""
        return []

    def _extremes(self, table: list[dict[str, Any]], sign: float) -> list[tuple[str, Any]]:
        """The largest coefficients of a sign."""
        found = sorted((row for row in table if sign * row["value"] > 0.0), key=lambda row: -sign * row["value"])
        return [(label_of(row), row["value"]) for row in found[:SHOWN]] or [("None", "")]

    def _statistics(self) -> Sections:
        """What the standard errors say of the first coefficients, if there are any."""
        if self._standard_errors() is None:
            return []
        title = f"Coefficients: value, stderr, {'t' if math.isfinite(self._freedom()) else 'z'}, p-value, 95% interval"
        rows = self.get_coefficient_statistics().slice(0, MOST_DESCRIBED).to_pylist()
        return [(title, [(label_of(row), describe_coefficient(row)) for row in rows])]

    def _content(self) -> tuple[dict[str, Any], Arrays, dict[str, Any]]:
        return dict(self._document), dict(self._arrays), dict(self._run or {})


def label_of(row: Mapping[str, Any]) -> str:
    """A coefficient's name, with its index and class."""
    name = row["name"] if row["index"] is None else f"{row['name']}[{row['index']}]"
    return f"{name} ({row['class']})" if "class" in row else str(name)


def describe_coefficient(row: Mapping[str, Any]) -> str:
    """A coefficient and its statistics on one line."""
    numbers_ = (f"{row[name]:.4g}" for name in ("value", "stderr", "statistic", "p_value"))
    return "  ".join([*numbers_, f"[{row['lower']:.4g}, {row['upper']:.4g}]"])
