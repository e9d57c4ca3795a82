"""Settings of all tests: hypothesis waits as long as a busy machine needs, and tries fifty examples where a test says nothing else."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("samesum", deadline=None, max_examples=50)
settings.load_profile("samesum")
