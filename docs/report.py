"""Take the pictures of ``docs/report.md``: ``python docs/report.py``. Needs chromium.

They are of a real job on two workers, one of which is killed on the way: while it trains, and after; by day and by night, on a desk and a
telephone.
"""

from __future__ import annotations

import json
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable

DOCS = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))

import samesum as ss  # noqa: E402 - found by the line above
from launch.processes import Process  # noqa: E402
from tests.browser import Browser  # noqa: E402

IMAGES = DOCS / "images"
COLUMNS = ["label", "cap-shape", "cap-color", "habitat", "population", "gill-spacing"]
PATIENCE = 300.0  # seconds


def main() -> None:
    """Train, and take the pictures."""
    with tempfile.TemporaryDirectory(prefix="samesum-", ignore_cleanup_errors=True) as folder, Browser(f"{folder}/browser") as browser:
        os.environ["SAMESUM_CONFIG_DIR"] = f"{folder}/config"
        job = submit(folder)
        wait_until(lambda: iteration_of(job) > 60)
        kill_rank(job, 1)
        wait_until(lambda: iteration_of(job) > 150)
        time.sleep(2.5)  # until all ranks of the second attempt have given a sign of life
        shoot(browser, job, "report_running", width=1120, height=1560)
        job.wait()
        shoot(browser, job, "report_dark", width=1120, is_dark=True)
        shoot(browser, job, "report_phone", width=390, height=2000)
        shoot(browser, job, "report_phone_dark", width=390, height=2000, is_dark=True)


def submit(folder: str) -> ss.Job:
    """A training that takes a while."""
    cluster = ss.local_cluster.create(
        "laptop", num_workers=2, worker_memory=1024, num_threads=1, working_dir=f"{folder}/jobs", node_tmp_dir=folder
    )
    data = ss.Dataset(str(DOCS.parent / "examples" / "data" / "mushroom.csv")).select(COLUMNS)
    train, test = data.random_split(0.8, seed=1)
    return ss.distributed.boosted_trees_classifier.submit_training_job(
        cluster, train, "label", validation_set=test, max_iterations=300, step_size=0.05, metric=["accuracy", "auc", "log_loss"]
    )


def iteration_of(job: ss.Job) -> int:
    """How far it is."""
    return max((event["number"] for event in job._directory.events() if event["event"] == "row"), default=0)


def kill_rank(job: ss.Job, rank: int) -> None:
    """End a rank of the first attempt as a machine that fails would."""
    record = json.loads(pathlib.Path(job._directory.attempt(1)["scratch"], "ranks", f"{rank}.json").read_text())
    Process(record["pid"], record["started"]).kill()


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def shoot(browser: Browser, job: ss.Job, name: str, *, width: int, height: int | None = None, is_dark: bool = False) -> None:
    """A picture of a job's page as it is now."""
    with tempfile.TemporaryDirectory(prefix="samesum-") as folder:
        page = pathlib.Path(job.report(f"{folder}/page.html"))
        browser.show(width=width, is_dark=is_dark)
        browser.open(page.as_uri())
        browser.picture(IMAGES / f"{name}.png", height=height)


if __name__ == "__main__":
    main()
