"""A backend that starts nothing: tests say what becomes of its jobs."""

from __future__ import annotations


class FakeBackend:
    """``submitted`` are the working directories; ``says`` is the status of all jobs that have not
    ended; ``refuses`` is an error that it raises instead of submitting."""

    def __init__(self):
        self.submitted = []
        self.says = "pending"
        self.refuses = None

    @classmethod
    def installed(cls, monkeypatch):
        """One that takes what is submitted, and that handles ask, whatever cluster a job names."""
        backend = cls()
        for module in ("launch.submitting", "launch.job"):
            monkeypatch.setattr(f"{module}.backend_of", lambda spec: backend)
        return backend

    def submit(self, wd):
        if self.refuses is not None:
            raise self.refuses
        self.submitted.append(wd.address)

    def status(self, wd):
        return "ended" if wd.result() is not None else self.says

    def cancel(self, wd):
        wd.publish("KILLED", attempt=0, summary="cancelled by its user", time=0.0)

    def make_sure_it_ended(self, wd):
        wd.publish("FAILURE", attempt=0, summary="its supervisor is gone", time=0.0)

    def page_url(self, wd):
        """None: it is in the directory."""

    def gather_logs(self, wd):
        """All logs are in the directory."""

    def tracking_url(self, wd):
        return f"http://pages{wd.address}"
