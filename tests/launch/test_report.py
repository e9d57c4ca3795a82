"""The page of a job and its bundle: from a directory that the test writes, of a job that is killed while it trains, and as it is served."""

import http.client
import json
import pathlib
import socket
import time
import urllib.parse
import zipfile

import pytest

import launch
from engine import storage
from engine.errors import JobError, StorageError
from engine.report.data import Report
from engine.spec import DataSpec, JobSpec, Resources
from engine.working_dir import WorkingDir
from launch.job import Job
from launch.report.collect import Collector, collect
from launch.report.serve import PageServer
from launch.report.upkeep import Upkeep
from tests.launch.fake_backend import FakeBackend
from tests.launch.supervised import finish, read_logs, submit, training, wait_until, write_data

SECRETS = ("hunter2-url", "hunter2-query", "hunter2-option", "hunter2-argument", "hunter2-variable", "hunter2-log", "hunter2-own")


@pytest.fixture
def backend(monkeypatch):
    """Nothing is started."""
    backend = FakeBackend()
    monkeypatch.setattr("launch.job.backend_of", lambda spec: backend)
    return backend


@pytest.fixture
def wd(tmp_path):
    """A job of two attempts whose files say all that can be said."""
    spec = JobSpec(
        task="train",
        toolkit="boosted_trees_classifier",
        target="label",
        data=DataSpec(paths=("https://ada:hunter2-url@host/a.csv", "https://host/b.csv?signature=hunter2-query")),
        options={"max_iterations": 20, "auth_token": "hunter2-option", "note": "<script>"},
        resources=Resources(num_workers=2, worker_memory=1024, environment={"SETTING": "hunter2-variable"}),
        submitted=1000.0,
    )
    wd = WorkingDir.create(str(tmp_path / "dml_job_<b>é"), spec)
    for number, rows in ((1, range(1, 8)), (2, range(6, 11))):
        wd.take_attempt({"host": "n1", "pid": 1, "time": 1000.0 + number, "versions": {"samesum": "1.2.3"}})
        events = [{"event": "restart", "iteration": 5, "time": 1003.0}] if number == 2 else []
        events += [{"event": "row", "number": n, "values": {"Iteration": n, "Training-loss": 1 / n}, "time": 1000.0} for n in rows]
        events += [{"event": "checkpoint", "path": wd.path("checkpoints", f"model_checkpoint_{5 * number}"), "time": 1004.0}]
        text = "".join(json.dumps(event) + "\n" for event in events)
        storage.put_bytes(wd.attempt_path(number, "events.jsonl"), (text + '{"event": "row", "num').encode())
        storage.put_bytes(wd.logs_path(number, "rank-0.log"), f"token=hunter2-log\nit said hunter2-own\nlog of {number}\n".encode() * 9)
    storage.make_folder(wd.path("checkpoints", "model_checkpoint_10"))
    storage.put_bytes(wd.path("logs", "supervisor.log"), b"run.py --password hunter2-argument\n")
    used = {"seconds": 10.0, "cpu_seconds": 4.0, "collective_seconds": 2.0, "wait_seconds": None, "collectives": 9, "bytes": 99}
    ends = [{"attempt": 1, "rank": 1, "host": "n2", "pid": 9, "signal": 9, "cause": "lost", "diagnosis": "rank 1 ended by SIGKILL"}]
    ends += [{"attempt": 2, "rank": rank, "host": "n1", "pid": 7, "exit_code": 0, "peak_memory": 1 << 28, **used} for rank in (0, 1)]
    wd.put_containers(ends)
    said = [{"attempt": 1, "ended": 1002.0, "cause": "lost", "message": "rank 1 ended by SIGKILL"}, {"attempt": 2, "ended": 1010.0}]
    storage.put_bytes(wd.path("run.json"), json.dumps({"attempts": said}).encode())
    return wd


def read_zip(path):
    with zipfile.ZipFile(path) as archive:
        return {name.partition("/")[2]: archive.read(name).decode() for name in archive.namelist()}


def test_what_the_directory_says(wd):
    report = collect(wd.address)
    assert (report.state, report.total, report.began) == ("RUNNING", 20, 1001.0)
    assert [row.number for row in report.rows] == list(range(1, 11))
    assert [each["iteration"] for each in report.restarts] == [5]
    assert [(each["iteration"], each["kept"]) for each in report.checkpoints] == [(5, False), (10, True)]
    assert [(each["rank"], each["collective_seconds"]) for each in report.ranks] == [(0, 2.0), (1, 2.0)]
    assert [each["message"] for each in report.attempts] == ["rank 1 ended by SIGKILL", ""]
    assert report.containers[0]["name"] == "container_01_000001"
    assert [log.name for log in report.logs] == ["supervisor.log", "2/rank-0.log"]
    assert report.memory_limit == 1 << 30
    wd.publish("FAILURE", attempt=2, summary="it was lost", time=1012.0)
    report = collect(wd.address)
    assert (report.state, report.note, report.ended) == ("FAILURE", "it was lost", 1012.0)


def test_only_what_is_new_is_read_again(wd):
    collector = Collector(wd)
    assert len(collector.collect().rows) == 10
    path = storage.local_path(wd.attempt_path(2, "events.jsonl"))
    path.write_text("#" * (len(path.read_text()) - len('{"event": "row", "num')), encoding="utf-8")  # what was read has been used
    with path.open("a") as file:
        file.write('{"event": "row", "number": 11, "values": {"Iteration": 11, "Training-loss": 0.5}, "time": 1.0}\n')
    assert [row.number for row in collector.collect().rows] == list(range(1, 12))


def test_a_job_that_has_not_begun(tmp_path, backend):
    wd = WorkingDir.create(str(tmp_path / "job"), training("data.csv"))
    report = collect(wd.address)
    assert (report.state, report.rows, report.logs) == ("PENDING", [], [])
    page = pathlib.Path(Job(wd).report(tmp_path / "page.html")).read_text()
    assert "PENDING" in page


def test_a_bundle_has_no_secrets_and_the_same_bytes_again(wd, backend, tmp_path, monkeypatch):
    monkeypatch.setenv("MY_SECRET", "hunter2-own")
    wd.publish("FAILURE", attempt=2, summary="could not read https://ada:hunter2-url@host/a.csv", time=1012.0)
    job = Job(wd)
    bundle = pathlib.Path(job.bundle(tmp_path / "out.zip"))
    files = read_zip(bundle)
    everything = "".join(files.values()) + pathlib.Path(job.report(tmp_path / "page.html")).read_text()
    assert [secret for secret in SECRETS if secret in everything] == []
    names = ["README.txt", "attempts.json", "containers.json", "events.jsonl", "job.json", "logs/1/rank-0.log", "logs/2/rank-0.log"]
    assert list(files) == [*names, "logs/supervisor.log", "progress.log", "report.html", "run.json", "state.json", "versions.json"]
    assert "log of 1" in files["logs/1/rank-0.log"]
    assert json.loads(files["state.json"])["result"]["state"] == "FAILURE"
    assert json.loads(files["versions.json"])["job"] == {"samesum": "1.2.3"}
    assert len(files["events.jsonl"].splitlines()) == 2 + 10 + 1 + 2 + 1
    assert json.loads(files["job.json"])["resources"]["environment"] == {"SETTING": "***"}
    assert "<script>alert" not in everything
    without_page = {name: text for name, text in read_zip(job.bundle(tmp_path / "again.zip")).items() if name != "report.html"}
    assert without_page == {name: text for name, text in files.items() if name != "report.html"}


def test_a_cluster_that_is_gone(wd, backend, tmp_path, monkeypatch):
    def refuse(wd):
        raise JobError("the ResourceManager did not answer")

    monkeypatch.setattr(backend, "status", refuse)
    job = Job(wd)
    files = read_zip(job.bundle(tmp_path / "out.zip"))
    assert json.loads(files["state.json"])["scheduler"] == "the ResourceManager did not answer"
    assert "UNKNOWN" in files["report.html"]
    assert "UNKNOWN" in pathlib.Path(job.report(tmp_path / "page.html")).read_text()


def test_where_the_page_is(wd, backend, monkeypatch):
    job = Job(wd)
    assert job.page_url == pathlib.Path(wd.address, "report.html").as_uri()
    monkeypatch.setattr(backend, "page_url", lambda wd: "http://proxy/application_1/pages/job/")
    assert job.page_url == "http://proxy/application_1/pages/job/"
    wd.publish("KILLED", attempt=2, summary="cancelled by its user", time=1012.0)
    assert job.page_url.startswith("file:///")


def test_who_finds_a_job_lost_writes_its_page(wd, backend):
    backend.says = "gone"
    assert Job(wd).get_state() == "STATE.COMPLETED"
    assert "its supervisor is gone" in pathlib.Path(wd.path("report.html")).read_text()


def test_a_page_is_not_worth_a_job(wd, monkeypatch):
    said = []
    upkeep = Upkeep(wd, wd.spec(), said.append)
    monkeypatch.setattr("launch.report.upkeep.render", lambda report: 1 / 0)
    monkeypatch.setattr("launch.report.upkeep.EVERY", 0.0)
    upkeep._next_look = 0.0
    upkeep.look(2, list)
    upkeep.finish()
    assert said == ["the page of the job could not be written: ZeroDivisionError: division by zero"]


def test_while_it_trains_and_after(tmp_path):
    """A job on this machine: its page is in its directory, and says more as time passes; in the end that it was cancelled."""
    options = {"max_iterations": 100_000, "model_checkpoint_interval": 5000}
    wd = submit(tmp_path, training(write_data(tmp_path / "data.csv"), options=options))
    try:
        path = pathlib.Path(wd.path("report.html"))
        job = launch.load_job(wd.address)
        wait_until(lambda: path.exists() and len(talkative(wd)) == 2)
        assert "RUNNING" in path.read_text()
        page = pathlib.Path(job.report(tmp_path / "now.html")).read_text()
        assert "RUNNING" in page
        assert "Learning curves" in page
        assert page.count("computing</td>") + page.count("<td>in &#x27;") == 2
        assert 'http-equiv="refresh"' in page
        for each in talkative(wd):
            assert 0 < each["collective_seconds"] < each["seconds"]
            assert each["cpu_seconds"] > 0
            assert each["bytes"] > 100
            assert each["memory"] > 1 << 20
        files = read_zip(job.bundle(tmp_path / "running.zip"))
        assert json.loads(files["state.json"])["state"] == "RUNNING"
    finally:
        launch.load_job(wd.address).cancel()
    assert finish(wd)["state"] == "KILLED", read_logs(wd)
    page = path.read_text()
    assert "KILLED" in page
    assert "cancelled by its user" in page
    assert 'http-equiv="refresh"' not in page
    used = [each for each in wd.containers() if each["seconds"] and each["collective_seconds"] and each["cpu_seconds"]]
    assert [each["rank"] for each in used] == [0, 1], wd.containers()
    assert json.loads(read_zip(job.bundle(tmp_path / "killed.zip"))["state.json"])["state"] == "KILLED"


def talkative(wd):
    """The ranks that have said something, as the directory says it."""
    return [each for each in json.loads(storage.read_bytes(wd.attempt_path(1, "ranks.json"))) if (each["collectives"] or 0) > 10]


class TestServed:
    @pytest.fixture
    def served(self):
        taken = []

        def take():
            taken.append(time.monotonic())
            if len(taken) == 2:
                raise StorageError("name node is away")
            return Report(name="job", state="RUNNING", taken=1.0)

        server = PageServer(take)
        yield server, taken
        server.close()

    def test_it_keeps_to_its_ports(self):
        with socket.socket() as holder:
            holder.bind(("127.0.0.1", 0))
            holder.listen()
            taken = holder.getsockname()[1]
            with pytest.raises(OSError, match=f"no port from {taken} to {taken} is free"):
                PageServer(Report, range(taken, taken + 1))
            server = PageServer(Report, (taken, 0))
            server.close()
            assert urllib.parse.urlsplit(server.address).port != taken

    def get(self, server, path, method="GET"):
        address = urllib.parse.urlsplit(server.address)
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=30)
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()

    def test_the_page_and_its_parts(self, served):
        server, taken = served
        path = urllib.parse.urlsplit(server.address).path
        status, headers, page = self.get(server, path)
        assert (status, headers["Content-Type"], headers["Cache-Control"]) == (200, "text/html; charset=utf-8", "no-store")
        assert 'data-from="parts.json"' in page
        status, headers, parts = self.get(server, f"{path}parts.json?x=1")
        assert (status, headers["Content-Type"]) == (200, "application/json; charset=utf-8")
        assert json.loads(parts)["ended"] is False
        assert self.get(server, path, "HEAD")[2] == ""
        assert len(taken) == 1, "it is read once for all who ask"

    def test_nothing_else(self, served):
        server, taken = served
        path = urllib.parse.urlsplit(server.address).path
        for wrong in ("/", "/parts.json", "/etc/passwd", f"{path}../../etc/passwd", f"{path}job.json", "/x" * 2000):
            assert self.get(server, wrong)[0] == 404
        assert self.get(server, path, "POST")[0] == 501
        assert taken == []
        assert urllib.parse.urlsplit(server.address).hostname == "127.0.0.1"

    def test_storage_that_does_not_answer(self, served, monkeypatch):
        monkeypatch.setattr("launch.report.serve.FRESH", -1.0)
        server, _ = served
        path = urllib.parse.urlsplit(server.address).path
        assert [self.get(server, path)[0] for _ in range(3)] == [200, 503, 200]
