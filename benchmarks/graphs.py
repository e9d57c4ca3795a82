"""Graphs beside other libraries: ``python benchmarks/graphs.py rank --scale 20``. Every run goes to ``benchmarks/results/graphs_*.json``.

Graphs are R-MAT with 16 edges a vertex and permuted ids; contenders run in turn, each in a process of its own, with equal work. Sections:
``load`` (from files to a ready graph), ``rank`` and ``peers`` (PageRank), ``labels`` (label propagation); ``report`` writes
``benchmarks/results/graphs.md`` from their results.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import tempfile

from _graphs import contenders, load_section, rank_section
from _result import RESULTS


def main() -> None:
    """Run one section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("section", nargs="?", choices=[*rank_section.PLANS, "load", "report"], default="rank")
    parser.add_argument("--scale", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=pathlib.Path, help="where graphs are kept from call to call")
    parser.add_argument("--results", type=pathlib.Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        contenders.work(json.loads(arguments.worker))
        return
    if arguments.section == "report":
        report(arguments.results)
        return
    with tempfile.TemporaryDirectory(prefix="samesum-") as folder:
        kept = arguments.folder or pathlib.Path(folder)
        if arguments.section == "load":
            load_section.measure(arguments.scale, arguments.repeats, kept, arguments.results)
        else:
            rank_section.measure(arguments.section, arguments.scale, arguments.repeats, kept, arguments.results)


def report(folder: pathlib.Path) -> None:
    """Write ``graphs.md``: a table for every result that is there."""
    lines = ["# Graphs", "", "Made by `python benchmarks/graphs.py report`; every run is in the JSON beside it.", ""]
    for file in sorted(folder.glob("graphs_load_*.json")):
        lines += load_section.tabulate(json.loads(file.read_text()))
    for what, title in rank_section.TITLES.items():
        for file in sorted(folder.glob(f"graphs_{what}_*.json")):
            lines += [*rank_section.tabulate(json.loads(file.read_text()), title), ""]
    (folder / "graphs.md").write_text("\n".join(lines).rstrip() + "\n")


if __name__ == "__main__":
    main()
