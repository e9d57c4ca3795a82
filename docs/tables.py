"""Write what scripts of ``benchmarks`` print with ``--predict`` into ``docs/scaling.md``, between markers.

``python docs/tables.py`` for all of them, ``python docs/tables.py graphs`` for one.
"""

from __future__ import annotations

import pathlib
import subprocess
import sys

DOCS = pathlib.Path(__file__).resolve().parent
# What is between which markers comes from which script.
PLACES = {"trees": ("", "scaling.py"), "graphs": ("graphs ", "graph_scaling.py")}


def main() -> None:
    """Replace the tables by those of the last measurements."""
    page = DOCS / "scaling.md"
    for place in sys.argv[1:] or PLACES:
        words, name = PLACES[place]
        command = [sys.executable, DOCS.parent / "benchmarks" / name, "--predict"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True)
        begin, end = (f"<!-- made by docs/tables.py: {words}{edge} -->" for edge in ("begin", "end"))
        before, rest = page.read_text().split(begin)
        page.write_text(f"{before}{begin}\n\n{done.stdout.strip()}\n\n{end}{rest.split(end)[1]}")


if __name__ == "__main__":
    main()
