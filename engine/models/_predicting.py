"""What models that predict rows share: reading the rows asked about, their common fields, and answers as Arrow columns."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine.collectives.agree import agree, agree_on_value
from engine.collectives.communicator import Communicator
from engine.collectives.default import resolve
from engine.collectives.serial import SerialComm
from engine.collectives.threads import resolve_threads
from engine.data.dataset import Dataset
from engine.data.saving import check_folder_of_rows, save_table
from engine.data.stream import table_stream
from engine.encode.encoding import Encoding
from engine.encode.labels import read_numbers
from engine.errors import OptionError
from engine.models._exported import encoded_table
from engine.models._model import Model
from engine.models._options import check_flag, check_option, check_path
from engine.models._rows import Rows, check_any_rows, is_local, read_rows, refuse_missing

TIME_COLUMN = "Elapsed Time"
BEFORE_TIME = ("Iteration", "Passes", "Step size")  # what stands left of it
RUN_OPTIONS = ("model_checkpoint_path", "model_checkpoint_interval", "resume_from_checkpoint")


class PredictingModel(Model):
    """A model whose document (what ``model.json`` holds) has a target, classes (None for numbers), options and progress.

    ``_document``, ``_encoding`` and ``_run`` (what may differ between equal runs) are set before the fields are made.
    """

    _document: Mapping[str, Any]
    _encoding: Encoding
    _run: Mapping[str, Any] | None

    @abstractmethod
    def predict(self, dataset: Any) -> Any:
        """One value a row."""

    @abstractmethod
    def evaluate(self, dataset: Any) -> dict[str, Any]:
        """Metrics by name."""

    def encode(
        self,
        dataset: Any,
        missing_value_action: str = "auto",
        *,
        sharded: bool = False,
        num_threads: int | None = None,
        comm: Communicator | None = None,
    ) -> pa.Table:
        """The numbers that the model sees: a table of float64, a column for each number, item of a vector or map, category or tag.

        Columns are called ``x``, ``v(3)``, ``m("key")``, ``tags=red``. Strings are the numbers of their categories, counted from 0 in the
        order of UTF-8 bytes, None last. Missing values are NaN, unseen categories too; tags are 1 where present, else NaN. It is what
        models exported by :meth:`export_xgboost` and :meth:`export_onnx` take. Collective, with the arguments of :meth:`predict`.
        """
        rows, _, _ = self._read(dataset, comm, missing_value_action, num_threads, lambda: {"sharded": check_flag("sharded", sharded)})
        with agree(rows.comm, "encoding"):
            columns = list(self._encoding.values(rows.table))
        return encoded_table(self._encoding, [rows.gather(values, sharded=sharded) for values in columns])

    @abstractmethod
    def _check_missing_value_action(self, value: Any) -> None:
        """Raise :class:`OptionError` for what this model cannot do with missing values."""

    @abstractmethod
    def _check_output_type(self, output_type: Any) -> str:
        """Raise :class:`OptionError` for what this model cannot predict."""

    @abstractmethod
    def _answer(self, rows: Rows, output_type: str, threads: int, *, sharded: bool) -> Any:
        """What :meth:`predict` returns: one value for every row, or only for this rank's; collective."""

    @abstractmethod
    def _margins(self, rows: Rows, num_threads: int) -> NDArray[np.float64]:
        """The model's outputs for this rank's rows, [n_rows_local, n_outputs]; collective."""

    def _extra(self) -> Sequence[str]:
        """Columns that predictions need beside the features."""
        return ()

    def _predict(
        self,
        dataset: Any,
        output_type: str,
        missing_value_action: str,
        *,
        sharded: bool,
        output: str | os.PathLike[str] | None,
        num_threads: int | None,
        comm: Communicator | None,
    ) -> Any:
        """What :meth:`predict` does, whatever the model is made of; collective."""
        group = resolve(comm) if output is not None else comm

        def check() -> dict[str, Any]:
            checked = {"output_type": self._check_output_type(output_type), "sharded": check_flag("sharded", sharded)}
            if check_path("output", output) is not None:
                if is_local(dataset, self._encoding):
                    raise OptionError("output is for predictions of datasets; expected None for dicts, which are answered at once")
                if group is not None and group.rank == 0:
                    check_folder_of_rows(os.fspath(output or ""))
            return {**checked, "output": check_path("output", output)}

        rows, threads, options = self._read(dataset, group, missing_value_action, num_threads, check)
        answer = self._answer(rows, output_type, threads, sharded=sharded or output is not None)
        if options["output"] is None:
            return answer
        save_table(pa.table({name_of_predictions(output_type): answer}), options["output"], rows.comm)
        return Dataset(options["output"], format="parquet")

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
            self._check_missing_value_action(missing_value_action)
            threads = resolve_threads(check_option("num_threads", num_threads), group)
        agree_on_value(group, {**options, "missing_value_action": missing_value_action}, "options")
        rows = read_rows(
            dataset,
            self._encoding,
            group,
            target=self._document["target"] if with_target else None,
            text_target=isinstance((self._document["classes"] or [None])[0], str),
            extra=self._extra(),
        )
        if missing_value_action == "error":
            refuse_missing(rows, list(self._encoding.sources))
        return rows, threads, options

    def _common_fields(self) -> dict[str, Any]:
        """The fields that every toolkit has."""
        document, encoding = self._document, self._encoding
        unpacked = encoding.unpacked_features
        return {
            "features": lambda: list(encoding.sources),
            "unpacked_features": lambda: list(unpacked),
            "num_features": len(encoding.sources),
            "num_unpacked_features": len(unpacked),
            "num_examples": document["num_examples"],
            "target": document["target"],
            "training_time": None if self._run is None else self._run.get("training_time"),
            "progress": self._progress_table,
            **document["options"],
            "num_validation_examples": document.get("num_validation_examples", 0),
            **((self._run or {}).get("options") or dict.fromkeys(RUN_OPTIONS)),
        }

    def _progress_table(self) -> pa.Table:
        """Every iteration, with the columns of the printed table; times are null if the run is not known."""
        progress = self._document["progress"]
        columns = {name: [row[i] for row in progress["rows"]] for i, name in enumerate(progress["columns"])}
        times = (self._run or {}).get("elapsed_time") or [None] * len(progress["rows"])
        table = pa.table({name: pa.array(values) for name, values in columns.items()})
        place = sum(name in BEFORE_TIME for name in columns)
        return table.add_column(place, TIME_COLUMN, pa.array(times, pa.float64()))


def name_of_predictions(output_type: str) -> str:
    """What the column of predictions is called in files."""
    return "prediction" if output_type == "value" else output_type


def read_numbers_of(rows: Rows, target: str) -> NDArray[np.float64]:
    """The target's numbers in the rows to evaluate; collective. Raises :class:`DataError` for missing values, text, NaN and infinity."""
    stream = table_stream(rows.table, rows.first_row, rows.n_rows)
    actual = np.empty(0)
    with agree(rows.comm, "reading the target"):
        check_any_rows(rows)
        actual = read_numbers(stream, target, "target", most=np.inf)
    return actual  # noqa: RET504 - the end of the block may raise another rank's error


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
