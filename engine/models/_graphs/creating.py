"""What ``create`` of a graph toolkit does before and after its iterations: options, ranks, the words about a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from engine.collectives.agree import agree, agree_on_value
from engine.collectives.communicator import Communicator
from engine.collectives.default import resolve
from engine.collectives.metered import MeteredComm
from engine.collectives.threads import resolve_threads
from engine.data.bytes_read import describe_bytes_read
from engine.encode.graph_partition import GraphPartition
from engine.errors import OptionError
from engine.graph import Graph, GraphSource
from engine.models._graphs.checkpoints import TIME_COLUMN, Course
from engine.models._options import check_column_name, check_flag, check_option, check_run_options, refuse_unknown
from engine.progress import ProgressTable

RUN_OPTIONS = ("model_checkpoint_path", "model_checkpoint_interval", "resume_from_checkpoint")
CONVERGED, LIMIT = "converged", "max_iterations"
Check = Callable[[str, Any], Any]


class Call:
    """A checked call of ``create``: a part of the graph, the mathematical options, ranks and threads, the course of iterations to come."""

    def __init__(self, toolkit: str, arguments: Mapping[str, Any], *, checks: Mapping[str, Check], columns: list[str]) -> None:
        """``arguments``: all those of ``create`` by name, ``kwargs`` being any it did not know; ``columns`` of the table. Collective."""
        graph, given_comm = loaded(arguments["graph"], arguments["comm"]), arguments["comm"]
        group: Communicator = graph.comm if given_comm is None else resolve(given_comm)
        with agree(group, "checking options"):
            if (group.rank, group.size) != (graph.partition.rank, len(graph.partition.bounds) - 1):
                raise OptionError(f"comm must be that of the graph, of {len(graph.partition.bounds) - 1} ranks, got one of {group.size}")
            verbose, num_threads, self.run_options, self.options = check_call(arguments, checks)
            self.num_threads = resolve_threads(num_threads, group)
        agree_on_value(group, {**self.options, **self.run_options}, "options")
        self.partition, self.comm = graph.partition, MeteredComm(group)
        self.table = ProgressTable(columns, verbose=verbose, comm_rank=group.rank, total=self.options["max_iterations"])
        self.course = Course(
            toolkit=toolkit,
            options=self.options,
            folder=self.run_options["model_checkpoint_path"],
            interval=self.run_options["model_checkpoint_interval"],
            resume=self.run_options["resume_from_checkpoint"],
            table=self.table,
            comm=self.comm,
        )

    def describe(self, columns: list[str]) -> dict[str, Any]:
        """The document's part that all graph models have: only what is the same however it was made."""
        return {
            "toolkit": self.course.toolkit,
            "options": self.options,
            "num_vertices": self.partition.n_vertices,
            "num_edges": self.partition.n_edges,
            "progress": {"columns": columns, "rows": [[row[name] for name in columns] for row in self.course.rows]},
        }

    def describe_run(self, training_time: float) -> dict[str, Any]:
        """How a model came about: times, ranks, threads, release; collective."""
        from engine import __version__

        return {
            "release": __version__,
            "training_time": training_time,
            "elapsed_time": [row.get(TIME_COLUMN) for row in self.course.rows],
            "options": self.run_options,
            "n_ranks": self.comm.size,
            "num_threads": self.num_threads,
            "communication": self.comm.gather_objects(self.comm.account, name="account of communication"),
            "bytes_read": describe_bytes_read(self.comm),
        }


def loaded(graph: Any, comm: Any) -> Any:
    """A graph that is loaded: itself, or of its description. Collective for a description. Raises TypeError for what is neither."""
    if isinstance(getattr(graph, "partition", None), GraphPartition):
        return graph
    source = graph if isinstance(graph, GraphSource) else graph.as_source() if hasattr(type(graph), "as_source") else None
    if source is None:
        raise TypeError(f"expected an engine.Graph as graph, got {graph!r}: make one of its edges by Graph(edges, src=..., dst=...)")
    return Graph.from_source(source, comm=comm)


def check_call(arguments: Mapping[str, Any], checks: Mapping[str, Check]) -> tuple[bool, int | None, dict[str, Any], dict[str, Any]]:
    """``verbose``, ``num_threads``, the options about checkpoints and the mathematical ones, as plain values; opens no graph."""
    given = {name: value for name, value in arguments.items() if name not in ("graph", "comm")}
    refuse_unknown(given.pop("kwargs"), [name for name in arguments if name not in ("graph", "kwargs")])
    verbose = check_flag("verbose", given.pop("verbose"))
    num_threads = check_option("num_threads", given.pop("num_threads"))
    run_options = check_run_options({name: given.pop(name) for name in RUN_OPTIONS})
    return verbose, num_threads, run_options, {name: checks.get(name, check_option)(name, value) for name, value in given.items()}


def check_attribute(name: str, value: Any) -> str | None:
    """The name of an attribute, or None; '' means None."""
    return None if value is None or value == "" else check_column_name(name, value)
