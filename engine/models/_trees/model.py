"""What all tree models share: their fields, their files, and the questions asked of the trees themselves."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping
from typing import Any, ClassVar, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine import storage
from engine.collectives.communicator import Communicator
from engine.encode.encoding import Encoding
from engine.errors import ModelFileError, OptionError
from engine.model_io import Arrays
from engine.models._model import Sections
from engine.models._options import check_choice, check_flag
from engine.models._predicting import PredictingModel, as_lists
from engine.models._rows import Rows
from engine.models._trees.checks import check_ensemble
from engine.models._trees.dump import dump_trees_to_json, dump_trees_to_text, tree_document
from engine.models._trees.ensemble import Link, TreeEnsemble
from engine.models._trees.importance import count_splits
from engine.models._trees.initial_model import InitialModel
from engine.models._trees.onnx_file import onnx_bytes
from engine.models._trees.predictor import Predictor
from engine.models._trees.xgboost_file import xgboost_document


class TreesModel(PredictingModel):
    """A model made of trees.

    Built from a document (what ``model.json`` holds), the trees, and the run (what may differ between equal runs). The document's keys:
    toolkit, target, options, num_examples, classes and num_examples_per_class (None for a regression), encoding, ensemble (n_outputs,
    base_score, link), metrics, progress (columns, rows; without times).
    """

    plots: ClassVar[tuple[str, ...]] = (*PredictingModel.plots, "importance", "tree")
    tracked_metrics: ClassVar[tuple[str, ...]]  # in the progress table, as training_<metric>

    def __init__(
        self, document: Mapping[str, Any], encoding: Encoding, ensemble: TreeEnsemble, run: Mapping[str, Any] | None, *, rank: int | None
    ) -> None:
        self._document, self._encoding, self._ensemble, self._run = {**document, "ensemble": ensemble.document()}, encoding, ensemble, run
        super().__init__(self._make_fields(), rank=rank)

    @classmethod
    def from_saved(cls, document: Mapping[str, Any], arrays: Arrays, run: Mapping[str, Any] | None, *, path: str) -> TreesModel:
        """The model in the files of :meth:`save`. Raises :class:`ModelFileError` for what no release has written."""
        try:
            encoding = Encoding.from_json(document["encoding"])
            ensemble = make_ensemble(document["ensemble"], arrays)
            check_ensemble(ensemble, encoding)
            return cls(document, encoding, ensemble, run, rank=None)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            if isinstance(error, ModelFileError):
                raise ModelFileError(f"{path!r}: {error}") from error
            raise ModelFileError(f"{path!r} is damaged: {error!r} where the trees were expected; train or copy the model again") from error

    def get_feature_importance(self) -> pa.Table:
        """How many splits use each feature: name, index (category, key or position; null for a number), count, the most used first."""
        return count_splits(self._ensemble, self._encoding)

    def dump_to_json(self, with_stats: bool = True) -> list[str]:
        """Each tree as a JSON string: vertices (id, type, name, value, children, with statistics gain and cover) and edges.

        ``value_hexadecimal`` is the little-endian float64, sixteen digits; ``value`` reads back as the same number.
        """
        return dump_trees_to_json(self._ensemble, self._encoding, with_stats=with_stats)

    def tree(self, index: int) -> dict[str, Any]:
        """Tree number ``index`` as :meth:`dump_to_json` describes it: vertices with gain and cover, and edges."""
        if not 0 <= index < self._ensemble.n_trees:
            raise OptionError(f"index must be the number of a tree, 0 to {self._ensemble.n_trees - 1}, got {index!r}")
        return tree_document(self._ensemble, self._encoding, index, with_stats=True)

    def dump_to_text(self, with_stats: bool = True) -> list[str]:
        """Each tree as text, one node a line, children indented."""
        return dump_trees_to_text(self._ensemble, self._encoding, with_stats=with_stats)

    def extract_features(
        self,
        dataset: Any,
        missing_value_action: str = "auto",
        *,
        sharded: bool = False,
        num_threads: int | None = None,
        comm: Communicator | None = None,
    ) -> Any:
        """The leaf that each row reaches in every tree: lists of node numbers, [n_trees] each, in input order.

        Collective, with the arguments of :meth:`predict`; for one dict, one list.
        """
        rows, threads, _ = self._read(dataset, comm, missing_value_action, num_threads, lambda: {"sharded": check_flag("sharded", sharded)})
        leaves = rows.gather(self._predictor.leaves(rows, threads), sharded=sharded)
        return as_lists(leaves, single=rows.single)

    def export_xgboost(self, path: str | os.PathLike[str]) -> None:
        """Write the model, at any address, as a JSON file that ``xgboost.Booster(model_file=path)`` loads, and what reads XGBoost's files.

        The booster takes what :meth:`encode` makes: ``xgboost.DMatrix(model.encode(data).to_pandas(), feature_types=booster.feature_types,
        enable_categorical=True)``, whose strings are categories by number; the attribute ``samesum_categories`` of the file lists them. It
        compares float32 numbers as the trees compare them and adds leaves in float32. Probabilities that a forest averages are
        predictions of a regression there. All ranks may call this, or rank 0 alone: rank 0 writes. Raises :class:`DataError` for a column
        whose thresholds float32 cannot tell apart, :class:`OptionError` for averaged probabilities of more than two classes,
        :class:`StorageError`.
        """
        document = xgboost_document(self._ensemble, self._encoding, is_classifier=self._document["classes"] is not None)
        if self._writes:
            storage.put_bytes(path, json.dumps(document, ensure_ascii=False).encode())

    def export_onnx(self, path: str | os.PathLike[str]) -> None:
        """Write the model as an ONNX file, at any address. Needs the package ``onnx``: ``samesum[onnx]``.

        It is for ``onnxruntime.InferenceSession(path)``. The one input, ``columns``, is a float64 matrix [n, n_columns] of what
        :meth:`encode` makes, in that order: ``np.column_stack(model.encode(data).columns)``. The file's metadata name the ``columns`` and
        their ``categories``. Outputs: ``margins`` [n, n_outputs] float64 (of a regression the predictions), and of a classifier
        ``probabilities`` [n, n_classes], in class order. All is computed in float64. All ranks may call this, or rank 0 alone: rank 0
        writes. Raises :class:`OptionError` without the package, :class:`StorageError`.
        """
        if self._writes:
            storage.put_bytes(path, onnx_bytes(self._ensemble, self._encoding, is_classifier=self._document["classes"] is not None))

    @functools.cached_property
    def _predictor(self) -> Predictor:
        return Predictor(self._ensemble, self._encoding)

    def _margins(self, rows: Rows, num_threads: int) -> NDArray[np.float64]:
        return self._predictor.margins(rows, num_threads)

    def _contributions(self, rows: Rows, num_threads: int, *, sharded: bool) -> Any:
        """What unpacked features contribute to every output of a row, then the expected value: lists, nested where outputs are many."""
        values = rows.gather(self._predictor.contributions(rows, num_threads), sharded=sharded)
        return as_lists(values if values.shape[1] > 1 else values[:, 0], single=rows.single)

    def _make_fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = {**self._common_fields(), "num_trees": self._ensemble.n_trees, "trees_json": self.dump_to_json}
        for metric in self._tracked:
            fields |= {f"{side}_{metric}": self._document["metrics"].get(f"{side}_{metric}") for side in ("training", "validation")}
        return fields

    @property
    def _tracked(self) -> list[str]:
        """The metrics that were tracked; releases without the option ``metric`` tracked the toolkit's own."""
        return list(self._document["options"].get("metric", self.tracked_metrics))

    def as_initial(self) -> InitialModel:
        """This model as training goes on from it."""
        return InitialModel(
            toolkit=self.toolkit,
            features=list(self._encoding.sources),
            target=self._document["target"],
            classes=self._document["classes"],
            loss=self._document["options"].get("objective", "squared_error"),
            encoding=self._encoding,
            ensemble=self._ensemble,
        )

    def _sections(self) -> Sections:
        sides = ("Training", "Validation") if self.get("num_validation_examples") else ("Training",)
        tracked = [(f"{side} {metric}", self.get(f"{side.lower()}_{metric}")) for metric in self._tracked for side in sides]
        schema = [
            ("Number of examples", self.get("num_examples")),
            ("Number of feature columns", self.get("num_features")),
            ("Number of unpacked features", self.get("num_unpacked_features")),
            *self._schema_lines(),
        ]
        settings = [
            ("Number of trees", self.get("num_trees")),
            ("Max tree depth", self.get("max_depth")),
            ("Training time (sec)", self.get("training_time")),
            *tracked,
        ]
        return [("Schema", schema), ("Settings", settings)]

    def _check_missing_value_action(self, value: Any) -> None:
        """'auto' and 'none' take missing values as the trees have learnt to, 'error' refuses them. Trees have nothing to impute."""
        if value == "impute":
            raise OptionError("missing_value_action 'impute' is not for trees, which learn where missing values go; use 'auto' or 'error'")
        check_choice("missing_value_action", value, ["auto", "none", "error"])

    def _schema_lines(self) -> list[tuple[str, Any]]:
        return []

    def _content(self) -> tuple[dict[str, Any], Arrays, dict[str, Any]]:
        return dict(self._document), self._ensemble.arrays(), dict(self._run or {})


def make_ensemble(document: Mapping[str, Any], arrays: Mapping[str, Any]) -> TreeEnsemble:
    """The ensemble in a saved model's document and arrays, as they are."""
    link = document.get("link", "margin")  # models of the first release have none
    if link not in get_args(Link):
        raise ModelFileError(f"the model's trees are damaged: unknown link {link!r}; train or copy the model again")
    return TreeEnsemble(int(document["n_outputs"]), float(document["base_score"]), **arrays, link=link)
