"""What all tree models share: their fields, their files, and the questions asked of the trees themselves."""

from __future__ import annotations

import functools
import json
import os
import pathlib
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine.collectives.agree import agree, agree_on_value
from engine.collectives.communicator import Communicator
from engine.collectives.default import resolve
from engine.collectives.serial import SerialComm
from engine.collectives.threads import resolve_threads
from engine.encode.encoding import Encoding
from engine.errors import ModelFileError, OptionError
from engine.model_io import Arrays
from engine.models._model import Model, Sections
from engine.models._options import check_choice, check_flag, check_option
from engine.models._rows import Rows, is_local, read_rows, refuse_missing
from engine.models._trees.checks import check_ensemble
from engine.models._trees.dump import dump_trees_to_json, dump_trees_to_text
from engine.models._trees.ensemble import Link, TreeEnsemble
from engine.models._trees.exported import encoded_table, write_bytes
from engine.models._trees.importance import count_splits
from engine.models._trees.initial_model import InitialModel
from engine.models._trees.onnx_file import onnx_bytes
from engine.models._trees.predictor import Predictor
from engine.models._trees.xgboost_file import xgboost_document

TIME_COLUMN = "Elapsed Time"
RUN_OPTIONS = ("model_checkpoint_path", "model_checkpoint_interval", "resume_from_checkpoint")


class TreesModel(Model):
    """A model made of trees.

    Built from a document (what ``model.json`` holds), the trees, and the run (what may differ between equal runs). The document's keys:
    toolkit, target, options, num_examples, classes and num_examples_per_class (None for a regression), encoding, ensemble (n_outputs,
    base_score, link), metrics, progress (columns, rows; without times).
    """

    tracked_metrics: ClassVar[tuple[str, ...]]  # in the progress table, as training_<metric>

    def __init__(
        self, document: Mapping[str, Any], encoding: Encoding, ensemble: TreeEnsemble, run: Mapping[str, Any] | None, *, rank: int | None
    ) -> None:
        self._document, self._encoding, self._ensemble, self._run = {**document, "ensemble": ensemble.document()}, encoding, ensemble, run
        super().__init__(self._make_fields(), rank=rank)

    @classmethod
    def from_saved(cls, document: Mapping[str, Any], arrays: Arrays, run: Mapping[str, Any] | None, *, path: pathlib.Path) -> TreesModel:
        """The model in the files of :meth:`save`. Raises :class:`ModelFileError` for what no release has written."""
        try:
            encoding = Encoding.from_json(document["encoding"])
            ensemble = make_ensemble(document["ensemble"], arrays)
            check_ensemble(ensemble, encoding)
            return cls(document, encoding, ensemble, run, rank=None)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            if isinstance(error, ModelFileError):
                raise ModelFileError(f"{str(path)!r}: {error}") from error
            raise ModelFileError(
                f"{str(path)!r} is damaged: {error!r} where the trees were expected; train or copy the model again"
            ) from error

    def get_feature_importance(self) -> pa.Table:
        """How many splits use each feature: name, index (category, key or position; null for a number), count, the most used first."""
        return count_splits(self._ensemble, self._encoding)

    def dump_to_json(self, with_stats: bool = True) -> list[str]:
        """Each tree as a JSON string: vertices (id, type, name, value, children, with statistics gain and cover) and edges.

        ``value_hexadecimal`` is the little-endian float64, sixteen digits; ``value`` reads back as the same number.
        """
        return dump_trees_to_json(self._ensemble, self._encoding, with_stats=with_stats)

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

    def encode(
        self,
        dataset: Any,
        missing_value_action: str = "auto",
        *,
        sharded: bool = False,
        num_threads: int | None = None,
        comm: Communicator | None = None,
    ) -> pa.Table:
        """The numbers that the trees see: a table of float64, a column for each number, item of a vector or map, category or tag.

        Columns are called ``x``, ``v(3)``, ``m("key")``, ``tags=red``. Strings are the numbers of their categories, counted from 0 in the
        order of UTF-8 bytes, None last. Missing values are NaN, unseen categories too; tags are 1 where present, else NaN. It is what
        models exported by :meth:`export_xgboost` and :meth:`export_onnx` take. Collective, with the arguments of :meth:`predict`.
        """
        rows, _, _ = self._read(dataset, comm, missing_value_action, num_threads, lambda: {"sharded": check_flag("sharded", sharded)})
        with agree(rows.comm, "encoding"):
            columns = list(self._encoding.values(rows.table))
        return encoded_table(self._encoding, [rows.gather(values, sharded=sharded) for values in columns])

    def export_xgboost(self, path: str | os.PathLike[str]) -> None:
        """Write the model as a JSON file that ``xgboost.Booster(model_file=path)`` loads, and what reads XGBoost's files.

        The booster takes what :meth:`encode` makes: ``xgboost.DMatrix(model.encode(data).to_pandas(), feature_types=booster.feature_types,
        enable_categorical=True)``, whose strings are categories by number; the attribute ``samesum_categories`` of the file lists them. It
        compares float32 numbers as the trees compare them and adds leaves in float32. Probabilities that a forest averages are
        predictions of a regression there. All ranks may call this, or rank 0 alone: rank 0 writes. Raises :class:`DataError` for a column
        whose thresholds float32 cannot tell apart, :class:`OptionError` for averaged probabilities of more than two classes,
        :class:`StorageError`.
        """
        document = xgboost_document(self._ensemble, self._encoding, is_classifier=self._document["classes"] is not None)
        if self._writes:
            write_bytes(path, json.dumps(document, ensure_ascii=False).encode())

    def export_onnx(self, path: str | os.PathLike[str]) -> None:
        """Write the model as an ONNX file, for ``onnxruntime.InferenceSession(path)``. Needs the package ``onnx``: ``samesum[onnx]``.

        The one input, ``columns``, is a float64 matrix [n, n_columns] of what :meth:`encode` makes, in that order:
        ``np.column_stack(model.encode(data).columns)``. The file's metadata name the ``columns`` and their ``categories``. Outputs:
        ``margins`` [n, n_outputs] float64 (of a regression the predictions), and of a classifier ``probabilities`` [n, n_classes], in class
        order. All is computed in float64. All ranks may call this, or rank 0 alone: rank 0 writes. Raises :class:`OptionError` without the
        package, :class:`StorageError`.
        """
        if self._writes:
            write_bytes(path, onnx_bytes(self._ensemble, self._encoding, is_classifier=self._document["classes"] is not None))

    def _read(
        self,
        dataset: Any,
        comm: Communicator | None,
        missing_value_action: str,
        num_threads: int | None,
        check: Callable[[], dict[str, Any]],
        *,
        with_target: bool = False,
    ) -> tuple[Rows, int, dict[str, Any]]:
        """Check options and read the rows asked about: the rows, the number of threads, and what ``check`` returned; collective."""
        group = SerialComm() if is_local(dataset, self._encoding) else resolve(comm)
        with agree(group, "checking options"):
            options = check()
            check_missing_value_action(missing_value_action)
            threads = resolve_threads(check_option("num_threads", num_threads), group)
        agree_on_value(group, {**options, "missing_value_action": missing_value_action}, "options")
        rows = read_rows(
            dataset,
            self._encoding,
            group,
            target=self._document["target"] if with_target else None,
            text_target=isinstance((self._document["classes"] or [None])[0], str),
        )
        if missing_value_action == "error":
            refuse_missing(rows, list(self._encoding.sources))
        return rows, threads, options

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
        document, encoding = self._document, self._encoding
        unpacked = encoding.unpacked_features
        fields: dict[str, Any] = {
            "features": lambda: list(encoding.sources),
            "unpacked_features": lambda: list(unpacked),
            "num_features": len(encoding.sources),
            "num_unpacked_features": len(unpacked),
            "num_examples": document["num_examples"],
            "target": document["target"],
            "training_time": None if self._run is None else self._run.get("training_time"),
            "progress": self._progress_table,
            **document["options"],
            "num_trees": self._ensemble.n_trees,
            "trees_json": self.dump_to_json,
            "num_validation_examples": document.get("num_validation_examples", 0),
            **((self._run or {}).get("options") or dict.fromkeys(RUN_OPTIONS)),
        }
        for metric in self._tracked:
            fields |= {f"{side}_{metric}": document["metrics"].get(f"{side}_{metric}") for side in ("training", "validation")}
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

    def _progress_table(self) -> pa.Table:
        """Every iteration, with the columns of the printed table; times are null if the run is not known."""
        progress = self._document["progress"]
        columns = {name: [row[i] for row in progress["rows"]] for i, name in enumerate(progress["columns"])}
        times = (self._run or {}).get("elapsed_time") or [None] * len(progress["rows"])
        table = pa.table({name: pa.array(values) for name, values in columns.items()})
        return table.add_column(1, TIME_COLUMN, pa.array(times, pa.float64()))

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

    def _schema_lines(self) -> list[tuple[str, Any]]:
        return []

    def _content(self) -> tuple[dict[str, Any], Arrays, dict[str, Any]]:
        return self._document, self._ensemble.arrays(), dict(self._run or {})

    @abstractmethod
    def predict(self, dataset: Any) -> Any:
        """One value a row."""

    @abstractmethod
    def evaluate(self, dataset: Any) -> dict[str, Any]:
        """Metrics by name."""


def make_ensemble(document: Mapping[str, Any], arrays: Mapping[str, Any]) -> TreeEnsemble:
    """The ensemble in a saved model's document and arrays, as they are."""
    link = document.get("link", "margin")  # models of the first release have none
    if link not in get_args(Link):
        raise ModelFileError(f"the model's trees are damaged: unknown link {link!r}; train or copy the model again")
    return TreeEnsemble(int(document["n_outputs"]), float(document["base_score"]), **arrays, link=link)


def check_missing_value_action(value: Any) -> None:
    """'auto' and 'none' take missing values as the trees have learnt to, 'error' refuses them. Trees have nothing to impute."""
    if value == "impute":
        raise OptionError("missing_value_action 'impute' is not for trees, which learn where missing values go; use 'auto' or 'error'")
    check_choice("missing_value_action", value, ["auto", "none", "error"])


def as_lists(values: NDArray[Any], *, single: bool) -> Any:
    """Rows of a matrix, or of a stack of matrices, as a chunked array of lists of one length; of a single row, its list."""
    if single:
        return values[0].tolist()
    made = pa.array(np.ascontiguousarray(values).reshape(-1))
    for length in values.shape[:0:-1]:
        made = pa.FixedSizeListArray.from_arrays(made, length)
    return pa.chunked_array([made])


def as_column(values: pa.Array, *, single: bool) -> Any:
    """Values as a chunked array; of a single row, its value."""
    return values[0].as_py() if single else pa.chunked_array([values])
