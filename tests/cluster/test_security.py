"""Jobs where Hadoop asks for Kerberos: a real key distribution center, HDFS by https and YARN secured, and a second user who is kept out.

One job, submitted by a keytab, runs from the beginning to the end of these tests: longer than the tokens that it began with are good for.
"""

import base64
import contextlib
import json
import os
import pathlib
import re
import subprocess
import sys
import time
import urllib.parse
import zipfile

import pytest
import skein

import engine
import samesum as gl
from engine import storage
from engine.errors import OptionError, StorageError
from engine.storage import kerberos
from engine.storage.tokens import VARIABLE, read_tokens
from engine.working_dir import WorkingDir
from launch.processes import Process, find_processes
from tests.cluster import conftest
from tests.cluster import session as runner
from tests.cluster.hadoop import USER
from tests.cluster.kdc import Kdc
from tests.cluster.secure import OTHER, PRINCIPALS, RENEW_INTERVAL, SecureHdfs, SecureYarn

LASTING = """
import sys, time
from engine import storage
folder = sys.argv[1]
storage.put_bytes(folder + "/began", b"")
while not storage.exists(folder + "/go"):
    time.sleep(0.5)
storage.put_bytes(folder + "/ended", b"")
"""
QUICKLY = 20.0  # seconds for an error to show, on a busy machine


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    """A KDC, HDFS and YARN, found by this process, which has a ticket of the user's."""
    folder = tmp_path_factory.mktemp("secure")
    (folder / "kdc").mkdir()
    kdc = Kdc(folder / "kdc", PRINCIPALS)
    with contextlib.ExitStack() as running, pytest.MonkeyPatch.context() as patch:
        conftest.start(kdc, running)
        patch.setenv("KRB5_CONFIG", kdc.environment["KRB5_CONFIG"])
        hdfs = SecureHdfs(folder / "hadoop", kdc)
        conftest.start(hdfs, running)
        yarn = SecureYarn(hdfs)
        conftest.start(yarn, running)
        conftest.enter(yarn, patch)
        for name in ("HADOOP_USER_NAME", "SAMESUM_KEYTAB", "SAMESUM_PRINCIPAL", VARIABLE):
            patch.delenv(name, raising=False)
        patch.setenv("KRB5CCNAME", f"FILE:{kdc.kinit(USER, folder / 'ticket')}")
        patch.setenv("SAMESUM_CONFIG_DIR", str(folder / "config"))
        patch.chdir(folder)
        yield yarn


@pytest.fixture(scope="module")
def home(secured):
    """The address of a folder with an installation and the data."""
    home = conftest.new_folder(secured.hdfs)
    storage.put_file(f"{home}/mushroom.csv", runner.MUSHROOM)
    said = {"num_containers": 1, "container_size": 512, "num_vcores": 1, "hdfs_tmp_dir": f"{home}/tmp", "python": sys.executable}
    storage.put_bytes(f"{home}/samesum/samesum.json", json.dumps({"version": engine.__version__, **said}).encode())
    return home


@pytest.fixture(scope="module")
def stale_token(secured):
    """A token of which nobody knows who would renew it, and when it ends to be good."""
    answer = secured.hdfs.session(USER).get(f"{secured.hdfs.web}/webhdfs/v1/", params={"op": "GETDELEGATIONTOKEN", "renewer": "nobody"})
    return answer.json()["Token"]["urlString"], time.time() + RENEW_INTERVAL


@pytest.fixture(scope="module")
def lasting(secured, home, stale_token, tmp_path_factory):
    """A job that runs, submitted on the command line by a keytab, without any ticket."""
    program = tmp_path_factory.mktemp("lasting") / "program.py"
    program.write_text(LASTING)
    environment = {**os.environ, "KRB5CCNAME": "FILE:/nonexistent/ticket"}
    keytab = secured.hdfs.kdc.keytab(USER)

    def samesum(*words):
        command = [sys.executable, "-m", "launch.cli", *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    samesum("cluster", "hadoop", "by-keytab", f"{home}/samesum", "--principal", USER, "--keytab", str(keytab))
    address = samesum("run", "--cluster", "by-keytab", str(program), f"{home}/lasting").split()[-1]
    job = gl.load_job(address)
    wait_for(lambda: storage.exists(f"{home}/lasting/began"), job)
    yield job
    job.cancel()


@pytest.fixture(scope="module")
def page_url(lasting):
    """Where the user finds the job's page."""
    return lasting.page_url


def wait_for(condition, job, seconds=240.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, str(job)
        time.sleep(0.3)


def application_of(job):
    return json.loads(storage.read_bytes(f"{job.working_dir}/submitted.json"))["application"]


def environment_of(process: Process) -> dict[str, str]:
    pairs = pathlib.Path(f"/proc/{process.pid}/environ").read_text().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def container_of(job) -> tuple[dict[str, str], pathlib.Path]:
    """The environment and the folder of a worker's container."""
    for process in find_processes("SKEIN_APPLICATION_ID", application_of(job)):
        with contextlib.suppress(OSError):
            if b"launch.yarn.worker" in pathlib.Path(f"/proc/{process.pid}/cmdline").read_bytes():
                return environment_of(process), pathlib.Path(f"/proc/{process.pid}/cwd").resolve()
    raise AssertionError("no worker runs")


def test_the_session(secured, home, lasting, monkeypatch):
    """What the guide shows, with the user's ticket, data and models on HDFS; the bytes are those of a laptop."""
    monkeypatch.setattr("sys.argv", ["session", str(runner.MUSHROOM), f"{home}/samesum", f"{home}/mushroom.csv"])
    session = runner.run_session({}, until="resume")
    runner.check_printed(session, "seed_hadoop_session.txt")
    here = engine.boosted_trees_classifier.create(str(runner.MUSHROOM), target="label", max_iterations=12, verbose=False)
    for model, name in ((here, "here"), (session.names["job2"].get_results(), "resumed")):
        model.save(name)
    for file in ("model.json", "arrays.safetensors"):
        assert pathlib.Path("here", file).read_bytes() == pathlib.Path("resumed", file).read_bytes()


class TestWhoYouAre:
    """One line that says what to do, and soon."""

    def refusal(self, home, **settings):
        began = time.monotonic()
        with pytest.raises((OptionError, StorageError)) as caught:
            gl.hadoop_cluster.create("refused", f"{home}/samesum", **settings)
        assert time.monotonic() - began < QUICKLY
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def test_no_ticket(self, home, monkeypatch, tmp_path):
        monkeypatch.setenv("KRB5CCNAME", f"FILE:{tmp_path / 'none'}")
        expected = r"could not read '.*samesum.json': HDFS asks for Kerberos, and there is no ticket in .*: run kinit"
        assert re.search(expected, self.refusal(home))

    def test_an_expired_ticket(self, home, secured, monkeypatch, tmp_path):
        cache = secured.hdfs.kdc.kinit(USER, tmp_path / "short", "-l", "1s")
        monkeypatch.setenv("KRB5CCNAME", f"FILE:{cache}")
        time.sleep(1.5)
        assert "your Kerberos ticket has expired: run kinit" in self.refusal(home)

    def test_a_missing_keytab(self, home, tmp_path):
        text = self.refusal(home, principal=USER, keytab=tmp_path / "none.keytab")
        assert re.fullmatch(r"keytab must be a file with keys of 'samesum', got '.*none.keytab': there is no such file", text)

    def test_half_of_what_is_needed(self, home):
        assert "principal and keytab go together" in self.refusal(home, principal=USER)

    @pytest.mark.parametrize("wrong", ["nobody", f"{USER}@ELSEWHERE"])
    def test_a_wrong_principal(self, home, secured, monkeypatch, wrong):
        monkeypatch.setenv("SAMESUM_PRINCIPAL", wrong)
        monkeypatch.setenv("SAMESUM_KEYTAB", str(secured.hdfs.kdc.keytab(USER)))
        assert re.search(rf"the keytab '.*' has no keys of '{wrong}': `klist -k .*` shows whose it has", self.refusal(home))

    def test_a_ticket_for_programs_that_know_no_keytab(self, secured, monkeypatch):
        """What Hadoop's own commands are given; it is gone when they have ended."""
        monkeypatch.setenv("SAMESUM_PRINCIPAL", USER)
        monkeypatch.setenv("SAMESUM_KEYTAB", str(secured.hdfs.kdc.keytab(USER)))
        with kerberos.ticket_for_others() as more:
            cache = pathlib.Path(more["KRB5CCNAME"].removeprefix("FILE:"))
            assert cache.stat().st_mode & 0o077 == cache.parent.stat().st_mode & 0o077 == 0
            shown = subprocess.run(["klist"], env={**os.environ, **more}, capture_output=True, text=True, check=True).stdout
            assert f"Default principal: {USER}@" in shown
        assert not cache.parent.exists()

    def test_somebody_else_already(self, home, secured, monkeypatch):
        monkeypatch.setenv("SAMESUM_PRINCIPAL", OTHER)
        monkeypatch.setenv("SAMESUM_KEYTAB", str(secured.hdfs.kdc.keytab(OTHER)))
        text = self.refusal(home, principal=USER, keytab=secured.hdfs.kdc.keytab(USER))
        assert "known to Hadoop by SAMESUM_PRINCIPAL='other' already" in text


class TestASecondUser:
    """Another user of the same cluster, with a ticket of their own."""

    @pytest.fixture
    def other(self, secured, monkeypatch, tmp_path):
        cache = secured.hdfs.kdc.kinit(OTHER, tmp_path / "other")
        monkeypatch.setenv("KRB5CCNAME", f"FILE:{cache}")

    def test_the_folder(self, lasting, home, secured, other):
        """It is its owner's alone."""
        with pytest.raises(StorageError, match=f"Permission denied: user={OTHER}"):
            storage.list_folder(lasting.working_dir)
        with pytest.raises(StorageError, match=f"Permission denied: user={OTHER}"):
            gl.load_job(lasting.working_dir)
        with pytest.raises(StorageError, match="Permission denied"):
            storage.put_bytes(f"{lasting.working_dir}/result.json", b"{}")

    def test_the_application_master(self, lasting, tmp_path):
        """Its channel, with the store through which orders go, takes this job's certificate alone; certificates are new for each job."""
        variables, _ = container_of(lasting)
        address, name = variables["SKEIN_APPMASTER_ADDRESS"], variables["SKEIN_APPLICATION_ID"]
        stranger = skein.ApplicationClient(address, name, security=skein.Security.new_credentials())
        with pytest.raises(skein.ConnectionError):
            stranger.kv._apply_op(skein.kv.get_prefix("order/"), timeout=10)

    def test_the_page(self, lasting, page_url, secured):
        """The job's page, and skein's beside it, through YARN's proxy, which knows who asks."""
        own = urllib.parse.urlsplit(page_url).path  # of an address with the name of the host, for which the proxy has no key here
        for path in (own, f"/proxy/{application_of(lasting)}/kv"):
            assert path.startswith("/proxy/application_")
            assert secured.hdfs.session(USER).get(f"{secured.web}{path}", timeout=60).status_code == 200
            assert secured.hdfs.session(OTHER).get(f"{secured.web}{path}", timeout=60).status_code == 403
        assert lasting.job_id in secured.hdfs.session(USER).get(f"{secured.web}{own}", timeout=60).text

    def test_what_yarn_says(self, lasting, secured):
        """Neither details of the application nor its end are another user's."""
        url = f"{secured.web}/ws/v1/cluster/apps/{application_of(lasting)}"
        assert secured.hdfs.session(USER).get(url, timeout=60).json()["app"]["amContainerLogs"]
        assert "amContainerLogs" not in secured.hdfs.session(OTHER).get(url, timeout=60).text
        assert secured.hdfs.session(OTHER).put(f"{url}/state", json={"state": "KILLED"}, timeout=60).status_code == 403
        assert lasting.get_state() == lasting.STATE.RUNNING


@pytest.fixture(scope="module")
def secrets(lasting):
    """The tokens that the job began with, as text and as bytes, and the key of its application."""
    variables, folder = container_of(lasting)
    tokens = [token.text for token in read_tokens(variables[VARIABLE])]
    assert tokens
    key = (folder / ".skein.pem").read_bytes()
    found = [token.encode() for token in tokens] + [base64.urlsafe_b64decode(token + "===")[-60:] for token in tokens]
    return found + [line for line in key.splitlines() if len(line) > 40]


def check_no_secret(secrets, where, data):
    assert not any(secret in data for secret in secrets), f"a secret is in {where}"


def test_nothing_secret_is_left(lasting, secured, secrets):
    """Neither tokens nor keys are in command lines, environments, the job's folder, its logs or the store; their files are the owner's."""
    variables, folder = container_of(lasting)
    assert pathlib.Path(variables[VARIABLE]).stat().st_mode & 0o077 == 0
    processes = find_processes("SKEIN_APPLICATION_ID", application_of(lasting))
    assert len(processes) >= 4
    for process in processes:
        for name in ("cmdline", "environ"):
            with contextlib.suppress(OSError):
                check_no_secret(secrets, f"{name} of {process.pid}", pathlib.Path(f"/proc/{process.pid}/{name}").read_bytes())
    logs = [each for each in pathlib.Path(variables["LOG_DIRS"]).parent.rglob("*") if each.is_file()]
    assert logs
    for each in logs:
        check_no_secret(secrets, each, each.read_bytes())
    for address in storage.list_files(f"{lasting.working_dir}/**"):
        check_no_secret(secrets, address, storage.read_bytes(address))
    own = skein.Security(cert_bytes=(folder / ".skein.crt").read_bytes(), key_bytes=(folder / ".skein.pem").read_bytes())
    master = skein.ApplicationClient(variables["SKEIN_APPMASTER_ADDRESS"], variables["SKEIN_APPLICATION_ID"], security=own)
    for prefix in ("order/", "worker/", "report/"):
        store = master.kv.get_prefix(prefix)
        assert store
        for name, value in store.items():
            check_no_secret(secrets, name, value)


def test_folders_are_the_owners(lasting, secured):
    """Folders of the job on the node's disk and on HDFS."""
    for process in find_processes("SAMESUM_JOB", lasting.working_dir):
        with contextlib.suppress(OSError):
            scratch = pathlib.Path(environment_of(process)["SAMESUM_SCRATCH"])
            assert scratch.stat().st_mode & 0o077 == 0
            break
    else:
        raise AssertionError("no rank runs")
    path = "/" + lasting.working_dir.partition("://")[2].partition("/")[2]
    answer = secured.hdfs.session(USER).get(f"{secured.hdfs.web}/webhdfs/v1{path}", params={"op": "GETFILESTATUS"}, timeout=60)
    assert answer.json()["FileStatus"]["permission"] == "700"


def test_a_token_past_its_renewal(home, stale_token, monkeypatch, tmp_path):
    """The one line that a rank would end with; it does not try for minutes."""
    token, until = stale_token
    time.sleep(max(0.0, until - time.time() + 2.0))
    raw = base64.urlsafe_b64decode(token + "===")
    raw = raw.replace(b"\x13SWEBHDFS delegation", b"\x15HDFS_DELEGATION_TOKEN")
    path = tmp_path / "tokens"
    path.write_bytes(b"HDTS\0\x01\x03one" + raw + b"\0")
    monkeypatch.setenv(VARIABLE, str(path))
    began = time.monotonic()
    with pytest.raises(StorageError) as caught:
        storage.read_bytes(f"{home}/mushroom.csv")
    assert time.monotonic() - began < QUICKLY
    assert re.search(r"token .* has expired or was cancelled.*resume_from_checkpoint", str(caught.value))
    assert token not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_job_outlives_its_first_tokens(lasting, home, stale_token, secrets, tmp_path):
    """YARN has renewed them: a token of the same age that nobody renewed is no good any more."""
    time.sleep(max(0.0, stale_token[1] - time.time()))
    storage.put_bytes(f"{home}/lasting/go", b"")
    assert lasting.wait(120) == lasting.FINAL_STATE.SUCCESS, lasting.summary()
    assert storage.exists(f"{home}/lasting/ended")
    assert WorkingDir(lasting.working_dir).attempts() == [1]
    with zipfile.ZipFile(lasting.bundle(tmp_path / "out.zip")) as bundle:
        files = {name.partition("/")[2]: bundle.read(name) for name in bundle.namelist()}
    for name, data in files.items():
        check_no_secret(secrets, name, data)
    assert {each["diagnosis"] for each in json.loads(files["containers.json"])} >= {"Application Master", "ended well"}
    assert b"SUCCESS" in files["state.json"]
    assert any(name.startswith("logs/") for name in files)
