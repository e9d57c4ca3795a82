"""Runs a user's program as a rank of a job: ``python program.py PATH ARGS...``, below ``-m mpi4py`` where there are more ranks than one.

An exception of the program is noted for the agent before it ends all ranks, as launchers kill the rank that raised with the others.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import runpy
import sys


def main() -> None:
    """Run the program that the arguments name, as if Python had been started with them."""
    del sys.argv[0]
    sys.path[0] = os.path.dirname(os.path.realpath(sys.argv[0]))
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as error:
        if error.code:
            code = error.code if isinstance(error.code, int) else 1
            note(type(error), f"the program ended with exit code {code}", code)
        raise
    except Exception as error:
        note(type(error), f"{type(error).__name__}: {error}", 1)
        raise


def note(kind: type[BaseException], message: str, code: int) -> None:
    """Leave a note for the agent."""
    with contextlib.suppress(OSError, KeyError):
        rank = os.environ["SAMESUM_RANK"]
        target = pathlib.Path(os.environ["SAMESUM_SCRATCH"], "errors", f"{rank}.json")
        partial = target.with_name(f".{rank}")
        partial.write_text(json.dumps({"class": kind.__name__, "message": message, "exit_code": code}))
        os.replace(partial, target)


if __name__ == "__main__":
    main()
