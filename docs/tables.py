"""Write the tables of measurements into the pages, between their markers, from ``benchmarks/results``.

``python docs/tables.py`` for all of them, ``python docs/tables.py graphs`` for one; with ``--check`` it only says whether the pages are as
the results are, by its exit code.
"""

from __future__ import annotations

import pathlib
import subprocess
import sys
from collections.abc import Callable
from typing import NamedTuple

import summaries

DOCS = pathlib.Path(__file__).resolve().parent
BENCHMARKS = DOCS.parent / "benchmarks"


class Place(NamedTuple):
    """Where tables are, what makes them, and a result that they need."""

    page: str
    make: Callable[[], str]
    needs: str


def predict(script: str) -> str:
    """The tables that a benchmark prints of what it measured last."""
    command = [sys.executable, BENCHMARKS / f"{script}.py", "--predict"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


PLACES = {
    "trees": Place("scaling", lambda: predict("scaling"), "scaling"),
    "linear models": Place("scaling", lambda: predict("linear_scaling"), "linear_scaling"),
    "graphs": Place("scaling", lambda: predict("graph_scaling"), "graphs_scaling"),
    "same bytes": Place("numbers", summaries.same_bytes, "same_bytes"),
    "kills": Place("numbers", summaries.kills, "torture_trees"),
    "speed of trees": Place("performance", summaries.trees, "trees_floats"),
    "speed of linear models": Place("performance", summaries.linear, "linear_logistic"),
    "speed of graphs": Place("performance", summaries.graphs, "graphs_rank_20"),
    "loading of graphs": Place("performance", summaries.loading, "graphs_load_20"),
    "second rank": Place("performance", summaries.second_rank, "two_ranks"),
    "speed of storage": Place("performance", summaries.storage, "storage_hdfs"),
    "cost of jobs": Place("performance", summaries.jobs, "jobs"),
}


def main() -> None:
    """Replace the tables by those of the last measurements, or check that they are."""
    words = sys.argv[1:]
    only_check = "--check" in words
    stale = [name for name in [word for word in words if word != "--check"] or PLACES if not bring_up_to_date(name, only_check=only_check)]
    if only_check and stale:
        sys.exit(f"not as the results are: {', '.join(stale)}; run python docs/{pathlib.Path(__file__).name}")


def bring_up_to_date(name: str, *, only_check: bool) -> bool:
    """Write one place's tables unless this is a check; whether they were as the results are."""
    place = PLACES[name]
    if not (BENCHMARKS / "results" / f"{place.needs}.json").exists():
        print(f"{name}: there are no results; the tables stay as they are")
        return True
    path = DOCS / f"{place.page}.md"
    begin, end = (f"<!-- made by docs/tables.py, {name}: {edge} -->" for edge in ("begin", "end"))
    page = path.read_text()
    before, rest = page.split(begin)
    fresh = f"{before}{begin}\n\n{place.make()}\n\n{end}{rest.split(end)[1]}"
    if not only_check:
        path.write_text(fresh)
    return fresh == page


if __name__ == "__main__":
    main()
