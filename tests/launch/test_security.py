"""What keeps others out of a job: descriptions for a secured Hadoop, keytabs, the commands that workers run, the modes of folders."""

from __future__ import annotations

import os
import sys

import pytest

from engine.errors import JobError, OptionError
from engine.spec import DataSpec, JobSpec, Resources, ScriptSpec, YarnResources
from engine.storage import kerberos
from launch import hadoop_cluster
from launch.agent import Agent
from launch.order import Order
from launch.yarn import security
from launch.yarn.description import describe
from launch.yarn.worker import Worker, localized, provide_program

ADDRESS = "hdfs://pair/apps/samesum/jobs/dml_job_1"


@pytest.fixture
def conf(tmp_path, monkeypatch):
    """Settings of a Hadoop that asks for Kerberos; nothing in the environment says who this is."""
    settings = {"hadoop.security.authentication": "kerberos"}
    write_settings(tmp_path / "core-site.xml", settings)
    for name in ("hdfs-site.xml", "yarn-site.xml"):
        write_settings(tmp_path / name, {"yarn.resourcemanager.hostname": "rm"})
    for name in (kerberos.KEYTAB, kerberos.PRINCIPAL, "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, "")  # so that what a test sets is undone
        monkeypatch.delenv(name)
    return tmp_path


def write_settings(path, settings):
    rows = "".join(f"<property><name>{name}</name><value>{value}</value></property>" for name, value in settings.items())
    path.write_text(f"<configuration>{rows}</configuration>")


def make_spec(**yarn):
    resources = Resources(backend="yarn", num_workers=2, worker_memory=512, yarn=YarnResources(python="/p", **yarn))
    data = DataSpec(paths=("hdfs://other:8020/data/a.csv", "hdfs:///data/b.csv", "hdfs://third:9870/c.csv", "s3://bucket/d.csv"))
    return JobSpec(task="train", toolkit="linear_regression", target="y", data=data, resources=resources)


def secured(conf, spec):
    return security.secured(describe(spec, ADDRESS, conf=conf, user="me"), spec, ADDRESS, conf, "me")


class TestDescription:
    def test_a_token_for_every_file_system(self, conf):
        """Of those that addresses name; that of the default one is got always. Ports of the web are not those of Java."""
        assert secured(conf, make_spec())["file_systems"] == ["hdfs://other:8020", "hdfs://pair", "hdfs://third"]

    def test_who_may_look(self, conf):
        assert secured(conf, make_spec())["acls"] == {"enable": True, "view_users": [], "ui_users": ["me"]}
        assert secured(conf, make_spec(view_users=("ann",)))["acls"] == {"enable": True, "view_users": ["ann"], "ui_users": ["me", "ann"]}

    def test_skein_takes_it(self, conf):
        skein = pytest.importorskip("skein")
        found = skein.ApplicationSpec.from_dict(secured(conf, make_spec()))
        assert found.acls.enable
        assert found.file_systems == ["hdfs://other:8020", "hdfs://pair", "hdfs://third"]

    def test_without_kerberos(self, conf):
        """Nobody knows there who asks."""
        write_settings(conf / "core-site.xml", {"hadoop.security.authentication": "simple"})
        assert secured(conf, make_spec()) == describe(make_spec(), ADDRESS, conf=conf, user="me")

    def test_certificates_come_along(self, conf, monkeypatch):
        (conf / "ca.pem").write_text("-")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(conf / "ca.pem"))
        found = secured(conf, make_spec())
        for part in (found["master"], found["services"]["worker"]):
            assert part["files"]["certificates.pem"] == {"source": f"file://{conf / 'ca.pem'}", "type": "FILE"}
            assert 'export REQUESTS_CA_BUNDLE="$PWD/certificates.pem"\n' in part["script"]
            assert 'chmod 600 "$HADOOP_TOKEN_FILE_LOCATION"\n' in part["script"]

    def test_no_keytab_in_it(self, conf):
        (conf / "me.keytab").write_bytes(b"keys")
        security.use_keytab("me@REALM", str(conf / "me.keytab"))
        assert "me.keytab" not in str(secured(conf, make_spec()))
        assert "keytab" not in make_spec().to_json()


class TestKeytabs:
    def test_it_is_kept_for_this_process(self, conf):
        (conf / "me.keytab").write_bytes(b"keys")
        security.use_keytab("me@REALM", str(conf / "me.keytab"))
        assert os.environ[kerberos.PRINCIPAL] == "me@REALM"
        security.use_keytab("me@REALM", str(conf / "me.keytab"))
        with pytest.raises(OptionError, match=r"known to Hadoop by SAMESUM_PRINCIPAL='me@REALM' already, .* 'you@REALM'"):
            security.use_keytab("you@REALM", str(conf / "me.keytab"))

    def test_none(self, conf):
        security.use_keytab(None, None)
        assert kerberos.KEYTAB not in os.environ

    @pytest.mark.parametrize(("principal", "keytab"), [("me", None), (None, "/k")])
    def test_half(self, conf, principal, keytab):
        with pytest.raises(OptionError, match="principal and keytab go together"):
            security.use_keytab(principal, keytab)

    def test_not_there(self, conf):
        with pytest.raises(OptionError, match=r"keytab must be a file with keys of 'me', got '/no/such': there is no such file"):
            security.use_keytab("me", "/no/such")

    def test_it_is_asked_for_before_anything_is_read(self, conf):
        with pytest.raises(OptionError, match="there is no such file"):
            hadoop_cluster.create("c", "hdfs://nowhere.invalid/apps", conf, principal="me", keytab="/no/such")
        with pytest.raises(OptionError, match=r"view_users must be a list of users"):
            hadoop_cluster.check_users("view_users", "ann")


class TestWorkers:
    """They run the program of a rank and MPI's own, and nothing else."""

    def test_what_they_run(self):
        assert localized(["samesum-rank", "python"]) == ["samesum-rank", "python"]
        here = os.path.join(os.path.dirname(sys.executable), "hydra_pmi_proxy")
        assert localized(['"/elsewhere/bin/hydra_pmi_proxy"', "--proxy-id", "0"]) == [here, "--proxy-id", "0"]

    @pytest.mark.parametrize("command", [["sh", "-c", "id"], ["/bin/samesum-rank"], ["samesum-rank;id"], ["hydra_pmi_proxy;id"], [""]])
    def test_what_they_do_not(self, command):
        with pytest.raises(JobError, match="workers run nothing else"):
            localized(command)

    def test_it_is_reported(self, tmp_path):
        said = []

        class Wire:
            def report(self, attempt, what):
                said.append((attempt, what))

        resources = Resources(backend="yarn", worker_memory=512, yarn=YarnResources())
        spec = JobSpec(task="script", script=ScriptSpec(path="x.py"), resources=resources).to_json()
        order = {"rank": 3, "command": ["sh"], "gang": "g", "address": "a", "spec": spec, "node_tmp_dir": str(tmp_path)}
        Worker(Wire()).do(1, {**order, "hang_timeout": 0.0, "environment": {}})
        assert [(attempt, what["event"], what["cause"], what["ranks"]) for attempt, what in said] == [(1, "ended", "error", [3])]
        assert list(tmp_path.iterdir()) == []


class TestModes:
    """Nobody else looks into what a job keeps on a node."""

    def mode(self, path):
        return path.stat().st_mode & 0o777

    def test_a_worker(self, tmp_path):
        provide_program(tmp_path / "scratch")
        assert self.mode(tmp_path / "scratch") == self.mode(tmp_path / "scratch" / "bin") == 0o700
        assert self.mode(tmp_path / "scratch" / "bin" / "samesum-rank") == 0o700

    def test_an_agent(self, tmp_path):
        order = Order(gang="g", command=["true"], ranks=1, folder=".", scratch=str(tmp_path / "scratch"), logs=str(tmp_path / "logs"))
        Agent(order).make_folders()
        assert {self.mode(path) for path in [tmp_path / "scratch", *(tmp_path / "scratch").iterdir()]} == {0o700}
