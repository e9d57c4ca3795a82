"""Settings of all tests.

Hypothesis waits as long as a busy machine needs, and tries fifty examples where a test says nothing else. Tests that kill processes or
wait for servers get a second try, which the report shows as a rerun: a machine may be too busy for one of their time limits.
"""

from __future__ import annotations

import pathlib

import pytest
from hypothesis import settings

TIMED = ("launch", "cluster")  # folders whose tests meet other processes in time

settings.register_profile("samesum", deadline=None, max_examples=50)
settings.load_profile("samesum")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what may be tried again."""
    for item in items:
        if pathlib.Path(item.path).relative_to(pathlib.Path(__file__).parent).parts[0] in TIMED:
            item.add_marker(pytest.mark.flaky(reruns=1))
