"""What models of graphs share: fields, progress, files."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import pyarrow as pa

from engine.errors import ModelFileError
from engine.model_io import Arrays
from engine.models._graphs.checkpoints import TIME_COLUMN
from engine.models._graphs.creating import RUN_OPTIONS
from engine.models._graphs.output import ID, ids_of
from engine.models._model import Model, Sections


class GraphModel(Model):
    """A result for every vertex of a graph.

    Built from a document (what ``model.json`` holds), arrays in the order of results, and the run (what may differ between equal runs).
    The document's keys: toolkit, options, num_vertices, num_edges, num_iterations, delta, converged, stop_reason, progress.
    """

    array_names: ClassVar[tuple[str, ...]]  # beside those of the ids

    def __init__(self, document: Mapping[str, Any], arrays: Arrays, run: Mapping[str, Any] | None, *, rank: int | None) -> None:
        self._document, self._arrays, self._run = dict(document), dict(arrays), run
        super().__init__(self._make_fields(), rank=rank)

    @classmethod
    def from_saved(cls, document: Mapping[str, Any], arrays: Arrays, run: Mapping[str, Any] | None, *, path: str) -> GraphModel:
        """The model in the files of :meth:`save`. Raises :class:`ModelFileError` for what no release has written."""
        try:
            n = len(ids_of(arrays))
            if n != document["num_vertices"] or any(len(arrays[name]) != n for name in cls.array_names):
                raise ValueError(f"expected results of {document['num_vertices']} vertices, got {n} ids")
            return cls(document, arrays, run, rank=None)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelFileError(f"{path!r} is damaged: {error!r}; train or copy the model again") from error

    def _make_fields(self) -> dict[str, Any]:
        document, run = self._document, self._run or {}
        names = ("num_vertices", "num_edges", "num_iterations", "delta", "converged", "stop_reason")
        return {
            **self._results(),
            **{name: document[name] for name in names},
            "training_time": run.get("training_time"),
            "progress": self._progress_table,
            **document["options"],
            **(run.get("options") or dict.fromkeys(RUN_OPTIONS)),
        }

    def _ids(self) -> dict[str, Any]:
        return {ID: ids_of(self._arrays)}

    def _progress_table(self) -> pa.Table:
        """Every iteration, with the columns of the printed table; times are null if the run is not known."""
        progress = self._document["progress"]
        columns = {name: [row[i] for row in progress["rows"]] for i, name in enumerate(progress["columns"])}
        times = (self._run or {}).get("elapsed_time") or [None] * len(progress["rows"])
        table = pa.table({name: pa.array(values) for name, values in columns.items()})
        return table.add_column(1, TIME_COLUMN, pa.array(times, pa.float64()))

    def _sections(self) -> Sections:
        document = self._document
        graph = [("Number of vertices", document["num_vertices"]), ("Number of edges", document["num_edges"]), *self._graph_lines()]
        result = [
            ("Number of iterations", document["num_iterations"]),
            ("Change in the last iteration", f"{document['delta']:.6g}"),
            ("Stopped because of", document["stop_reason"]),
            ("Training time (sec)", self.get("training_time")),
        ]
        return [("Graph", graph), ("Rules", [(name, str(value)) for name, value in document["options"].items()]), ("Result", result)]

    def _graph_lines(self) -> list[tuple[str, Any]]:
        return []

    def _content(self) -> tuple[dict[str, Any], Arrays, dict[str, Any]]:
        return self._document, self._arrays, dict(self._run or {})

    @abstractmethod
    def _results(self) -> dict[str, Any]:
        """Fields that are tables of all vertices, and what else is the toolkit's own."""
