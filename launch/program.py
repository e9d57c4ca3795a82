"""A user's program as a rank runs it: ``python -m mpi4py -m launch.program PROGRAM ARGUMENTS``.

An MPI library ends all ranks at once when one fails, before anybody could ask the failing one why; so it leaves a note first, where the
agent looks for it.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import runpy
import sys
import time

from launch.leash import own_rank


def main() -> None:
    """Run the program as Python would: its folder first on the path, its arguments in ``sys.argv``."""
    del sys.argv[0]
    sys.path.insert(0, os.path.dirname(os.path.realpath(sys.argv[0])))
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        if end.code not in (None, 0):
            code = end.code if isinstance(end.code, int) else 1
            note_failure("SystemExit", f"ended with exit code {code}" + ("" if code == end.code else f": {end.code}"), code)
        raise
    except Exception as error:
        note_failure(type(error).__name__, f"{type(error).__name__}: {error}", 1)
        raise


def note_failure(kind: str, message: str, code: int) -> None:
    """Write how this rank fails into the scratch folder of its attempt, whole or not at all."""
    rank = own_rank()
    partial = pathlib.Path(os.environ["SAMESUM_SCRATCH"], "errors", f".{rank}")
    with contextlib.suppress(OSError):
        partial.write_text(json.dumps({"class": kind, "message": message, "exit_code": code, "time": time.time()}))
        os.replace(partial, partial.with_name(f"{rank}.json"))


if __name__ == "__main__":
    main()
