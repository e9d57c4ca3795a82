"""Write what the benchmarks' ``--predict`` prints into ``docs/scaling.md``, between its markers.

``python docs/tables.py`` for all of them, ``python docs/tables.py graphs`` for one.
"""

from __future__ import annotations

import pathlib
import subprocess
import sys

DOCS = pathlib.Path(__file__).resolve().parent
BENCHMARKS = DOCS.parent / "benchmarks"
# The script of each place, and the result that it speaks of.
PLACES = {
    "trees": ("scaling", "scaling"),
    "linear models": ("linear_scaling", "linear_scaling"),
    "graphs": ("graph_scaling", "graphs_scaling"),
}


def main() -> None:
    """Replace the tables by those of the last measurements."""
    page = DOCS / "scaling.md"
    for place in sys.argv[1:] or PLACES:
        script, result = PLACES[place]
        if not (BENCHMARKS / "results" / f"{result}.json").exists():
            print(f"{script} has no results: its tables stay as they are")
            continue
        begin, end = (f"<!-- made by docs/tables.py, {place}: {edge} -->" for edge in ("begin", "end"))
        before, rest = page.read_text().split(begin)
        page.write_text(f"{before}{begin}\n\n{predict(script)}\n\n{end}{rest.split(end)[1]}")


def predict(script: str) -> str:
    """The tables that a benchmark prints of what it measured last."""
    command = [sys.executable, BENCHMARKS / f"{script}.py", "--predict"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
