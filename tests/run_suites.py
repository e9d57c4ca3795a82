"""Run suites of the Makefile one after the other, show what each took, and end with one line of totals.

``python tests/run_suites.py lint test-core``: every suite runs, even after one failed. A suite that ends without pytest's closing line,
as lint does, counts as one test.
"""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys
import time
from dataclasses import dataclass

LOGS = pathlib.Path(".build/logs")
CLOSING_LINE = re.compile(r"^=* ?((?:\d+ [a-z]+(?:, )?)+) in [\d.]+s")
COUNT = re.compile(r"(\d+) (passed|failed|errors?)\b")


@dataclass(frozen=True)
class Outcome:
    """What came of one suite."""

    suite: str
    passed: int
    failed: int
    minutes: float


def count_tests(lines: list[str]) -> tuple[int, int]:
    """Tests passed and failed, added over all of pytest's closing lines."""
    passed = failed = 0
    for line in lines:
        closing = CLOSING_LINE.match(line)
        for number, word in COUNT.findall(closing.group(1)) if closing else []:
            if word == "passed":
                passed += int(number)
            else:
                failed += int(number)
    return passed, failed


def run_suite(suite: str) -> Outcome:
    """Run ``make SUITE``, showing its output and keeping it in ``.build/logs``."""
    print(f"\n=== {suite} ===", flush=True)
    began = time.monotonic()
    lines = []
    command = [os.environ.get("MAKE", "make"), "--no-print-directory", suite]
    with (
        (LOGS / f"{suite}.log").open("w") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True) as process,
    ):
        for line in process.stdout:
            print(line, end="", flush=True)
            log.write(line)
            lines.append(line)
    passed, failed = count_tests(lines)
    if process.returncode and not failed:
        failed = 1
    elif not process.returncode and not passed:
        passed = 1
    return Outcome(suite, passed, failed, (time.monotonic() - began) / 60)


def main() -> int:
    """Run the suites named on the command line; 1 if anything failed."""
    LOGS.mkdir(parents=True, exist_ok=True)
    outcomes = [run_suite(suite) for suite in sys.argv[1:]]
    print()
    for outcome in outcomes:
        print(f"{outcome.suite:14} {outcome.minutes:5.1f} minutes  {outcome.passed:5} passed {outcome.failed:5} failed")
    passed, failed = sum(o.passed for o in outcomes), sum(o.failed for o in outcomes)
    totals = f"{passed} passed, {failed} failed"
    (LOGS.parent / "totals").write_text(totals + "\n")
    print(f"all suites     {sum(o.minutes for o in outcomes):5.1f} minutes\n\n{totals}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
