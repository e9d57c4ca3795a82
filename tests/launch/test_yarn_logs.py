"""Logs that YARN gathers node by node, asked for while it does: a ``yarn`` command stands in for the cluster."""

import json

import pytest

from engine import storage
from engine.spec import DataSpec, JobSpec, Resources, YarnResources
from engine.working_dir import WorkingDir
from launch.backends import yarn
from launch.yarn import hadoop

FAKE_YARN = """#!/bin/sh
# Each question about the application brings the logs of one more node, {nodes} in all.
cd '{folder}'
[ "$1" = application ] && echo x >> asked
there=$(cat asked 2> /dev/null | wc -l)
if [ "$1" = logs ]; then
    [ '{last}' = DISABLED ] && exit 255
    for number in $(seq "$there"); do echo "Container: container_$number on node"; done
elif [ "$there" -lt {nodes} ]; then
    [ "$there" = 1 ] && exit 1
    printf '\\tLog Aggregation Status : RUNNING\\n'
else
    printf '\\tLog Aggregation Status : {last}\\n'
fi
"""


@pytest.fixture
def wd(tmp_path, monkeypatch):
    for name in ("core-site.xml", "yarn-site.xml"):
        (tmp_path / name).write_text("<configuration/>")
    monkeypatch.setenv("HADOOP_CONF_DIR", str(tmp_path))
    monkeypatch.setattr(yarn.time, "sleep", lambda seconds: None)
    resources = Resources(backend="yarn", num_workers=2, num_threads=1, worker_memory=512, yarn=YarnResources())
    spec = JobSpec(task="train", toolkit="linear_regression", target="y", data=DataSpec(paths=("d.csv",)), resources=resources)
    made = WorkingDir.create(str(tmp_path / "job"), spec)
    storage.put_bytes(made.path(yarn.SUBMITTED_FILE), json.dumps({"application": "application_1_0001", "time": 0.0}).encode())
    made.publish("FAILURE", attempt=1, summary="it failed", time=0.0)
    return made


@pytest.fixture
def fake(tmp_path, monkeypatch):
    def put(last: str, nodes: int):
        command = tmp_path / "bin" / "yarn"
        command.parent.mkdir()
        command.write_text(FAKE_YARN.format(folder=tmp_path, last=last, nodes=nodes))
        command.chmod(0o700)
        monkeypatch.setenv("PATH", str(command.parent), prepend=":")
        return tmp_path / "asked"

    return put


def gathered(wd):
    address = wd.path("logs", yarn.LOG_FILE)
    return storage.read_bytes(address).decode() if storage.exists(address) else None


def test_the_logs_of_all_nodes_are_awaited(wd, fake):
    """A question that gets no answer, the first one here, is asked again."""
    asked = fake("SUCCEEDED", 4)
    yarn.BACKEND.gather_logs(wd)
    assert gathered(wd).splitlines() == [f"Container: container_{number} on node" for number in (1, 2, 3, 4)]
    yarn.BACKEND.gather_logs(wd)
    assert len(asked.read_text().split()) == 4


def test_what_is_there_in_time(wd, fake, monkeypatch):
    """A node that is lost gathers nothing."""
    fake("SUCCEEDED", 1000)
    monkeypatch.setattr(yarn, "LOGS_WITHIN", 0.5)
    yarn.BACKEND.gather_logs(wd)
    assert gathered(wd).splitlines()[0] == "Container: container_1 on node"


def test_a_cluster_that_gathers_no_logs(wd, fake):
    """Nothing is written, and nobody waits for the limit: one question is enough."""
    asked = fake("DISABLED", 1)
    yarn.BACKEND.gather_logs(wd)
    assert gathered(wd) is None
    assert len(asked.read_text().split()) == 1


@pytest.mark.parametrize(("status", "is_over"), [("SUCCEEDED", True), ("TIME_OUT", True), ("RUNNING_WITH_FAILURE", False), ("N/A", False)])
def test_what_yarn_says_of_them(wd, fake, tmp_path, status, is_over):
    fake(status, 1)
    assert hadoop.logs_are_gathered(tmp_path, "application_1_0001") == is_over
