"""A real YARN of ordinary daemons on loopback: one ResourceManager and several NodeManagers over an HDFS, and a ``yarn`` command.

A NodeManager that is killed leaves its containers running; :meth:`Yarn.lose_node` takes them with it, as a machine that fails does.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shlex
import shutil
import signal
import urllib.request
from collections.abc import Mapping
from typing import Any

from launch.processes import Process, process_of
from tests.cluster.daemons import Daemon, free_ports, wait_until
from tests.cluster.hadoop import USER, Hdfs, _superuser, write_site
from tests.cluster.processes import variable_of

NODE_MB, NODE_VCORES = 10240, 16  # of two nodes: four containers of 4096 MB and 4 vcores, and the application master's
MAIN = "yarn.server"


class Yarn:
    """A YARN with two nodes; ``environment`` is what a client process needs to find it, ``web`` its monitoring."""

    def __init__(
        self, hdfs: Hdfs, *, nodes: int = 2, settings: Mapping[str, object] | None = None, queues: Mapping[str, object] | None = None
    ) -> None:
        self.hdfs, self.hadoop = hdfs, hdfs.hadoop
        self.nodes = nodes
        scheduler, rpc, tracker, admin, web, *ports = free_ports(5 + 4 * nodes, hdfs.hosts)
        self.web = f"http://127.0.0.1:{web}"
        self._state_store = self.hadoop.folder / "resourcemanager-state"
        self.rpc = f"127.0.0.1:{rpc}"
        addresses = {
            "yarn.resourcemanager.scheduler.address": f"127.0.0.1:{scheduler}",
            "yarn.resourcemanager.address": self.rpc,
            "yarn.resourcemanager.resource-tracker.address": f"127.0.0.1:{tracker}",
            "yarn.resourcemanager.admin.address": f"127.0.0.1:{admin}",
            "yarn.resourcemanager.webapp.address": f"127.0.0.1:{web}",
            "yarn.node-labels.fs-store.root-dir": f"file://{self.hadoop.folder}/node-labels",
            "yarn.application.classpath": "$HADOOP_CONF_DIR," + self.hadoop.class_path.partition(":")[2].replace(":", ","),
        }
        store = {"yarn.resourcemanager.fs.state-store.uri": f"file://{self._state_store}"}
        write_site(self.hadoop.conf / "yarn-site.xml", _YARN | addresses | store | dict(settings or {}))
        write_site(self.hadoop.conf / "capacity-scheduler.xml", _QUEUES | dict(queues or {}))
        self.bin = self._write_command()
        self.environment = {
            **hdfs.environment,
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "JAVA_HOME": str(java_home()),
            **self.hdfs.variables,
            "SKEIN_DRIVER_JAVA_OPTIONS": "-Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1",
        }
        self.resource_manager = self._daemon("resourcemanager", "resourcemanager.ResourceManager")
        self.hosts = hdfs.hosts[:nodes]  # each node has a data node beside it
        self.node_managers = [self._node_manager(number, ports[4 * number :]) for number in range(nodes)]

    def _daemon(self, name: str, main_class: str, conf: pathlib.Path | None = None) -> Daemon:
        command = self.hadoop.java(f"{MAIN}.{main_class}", conf=conf, heap="400m")
        environment = {"JAVA_HOME": str(java_home()), "HADOOP_CONF_DIR": str(self.hadoop.conf), "PYTHONPATH": "", **self.hdfs.variables}
        return Daemon(name, command, self.hadoop.folder / f"{name}.log", environment)

    def _node_manager(self, number: int, ports: list[int]) -> Daemon:
        conf = self.hadoop.folder / f"nodemanager{number}-conf"
        host = self.hosts[number]
        own = {
            "yarn.nodemanager.hostname": host,
            "yarn.nodemanager.bind-host": host,
            "yarn.nodemanager.address": f"{host}:{ports[0]}",
            "yarn.nodemanager.webapp.address": f"{host}:{ports[1]}",
            "yarn.nodemanager.localizer.address": f"{host}:{ports[2]}",
            "yarn.nodemanager.collector-service.address": f"{host}:{ports[3]}",
            "yarn.nodemanager.local-dirs": self.node_folder(number) / "local",
            "yarn.nodemanager.log-dirs": self.node_folder(number) / "logs",
        }
        write_site(conf / "yarn-site.xml", own)
        common = (self.hadoop.conf / "yarn-site.xml").read_text()
        extra = (conf / "yarn-site.xml").read_text().partition("<configuration>")[2]
        (conf / "yarn-site.xml").write_text(common.replace("</configuration>", extra))
        return self._daemon(f"nodemanager{number}", "nodemanager.NodeManager", conf)

    def _write_command(self) -> pathlib.Path:
        """A ``yarn`` command of what is used of it."""
        folder = self.hadoop.folder / "bin"
        folder.mkdir(exist_ok=True)  # a start that failed may be tried again
        logs = shlex.join(self.hadoop.java("yarn.client.cli.LogsCLI"))
        path = folder / "yarn"
        class_path = self.hadoop.class_path
        glob = ":".join(part for each in class_path.split(":") for part in _glob(each))
        (folder / "class_path").write_text(glob + "\n")
        path.write_text(
            f'#!/bin/sh\ncase "$1" in\nclasspath) cat {folder}/class_path ;;\nlogs) shift; exec {logs} "$@" ;;\n'
            '*) echo "unknown: $*" >&2; exit 2 ;;\nesac\n'
        )
        path.chmod(0o755)
        return folder

    def node_folder(self, number: int) -> pathlib.Path:
        """Where a node keeps its containers."""
        return self.hadoop.folder / f"node{number}"

    @property
    def daemons(self) -> list[Daemon]:
        """All of them."""
        return [self.resource_manager, *self.node_managers]

    def start(self) -> None:
        """Start it and wait until all nodes are there."""
        self.hdfs.as_superuser("MKDIRS", "/tmp/logs", permission="1777")
        self.hdfs.as_superuser("SETPERMISSION", "/tmp/logs", permission="1777")
        for daemon in self.daemons:
            daemon.start()
        self.wait_until_ready()

    def stop(self) -> None:
        """End all daemons, and what still runs in containers."""
        for daemon in reversed(self.daemons):
            daemon.stop(signal.SIGKILL)
        for number in range(self.nodes):
            self._end_containers(number)

    def wait_until_ready(self) -> None:
        """Wait until all nodes are there."""
        wait_until(lambda: self.metrics()["activeNodes"] == self.nodes, self.daemons, "YARN")

    # --- losses ---

    def node_of(self, process: Process) -> int:
        """The node in whose folder a container's process was started."""
        folder = variable_of(process, "LOG_DIRS")
        return next(number for number in range(self.nodes) if folder.startswith(f"{self.node_folder(number)}/"))

    def lose_node(self, number: int) -> None:
        """End a NodeManager and every process of its containers, as a machine that fails does; :meth:`repair` brings it back, empty."""
        self.node_managers[number].stop(signal.SIGKILL)
        self._end_containers(number)

    def _end_containers(self, number: int) -> None:
        for process in _processes_with("LOG_DIRS", f"{self.node_folder(number)}/"):
            process.kill(signal.SIGKILL)

    def forget_applications(self) -> None:
        """Have the ResourceManager, which must not run, know nothing of its applications when it is started again."""
        shutil.rmtree(self._state_store)

    def repair(self) -> None:
        """Start the daemons again that were ended, and wait until all nodes are there."""
        for daemon in self.daemons:
            if not daemon.is_running:
                daemon.start()
        self.wait_until_ready()

    def metrics(self) -> dict[str, Any]:
        """What the ResourceManager says of the cluster."""
        return dict(self.hdfs.get_json(f"{self.web}/ws/v1/cluster/metrics")["clusterMetrics"])

    def ask(self, what: str, body: Mapping[str, Any] | None = None, *, method: str = "POST") -> Any:
        """The ResourceManager's answer to a question, or to what an administrator says."""
        url = f"{self.web}/ws/v1/cluster/{what}"
        if body is None:
            return self.hdfs.get_json(url)
        url += f"{'&' if '?' in url else '?'}user.name={_superuser()}"
        request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"}, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with contextlib.closing(opener.open(request, timeout=20)) as answer:
            return answer.read()

    def applications(self) -> list[dict[str, Any]]:
        """All applications, the newest first."""
        apps = self.hdfs.get_json(f"{self.web}/ws/v1/cluster/apps")["apps"] or {"app": []}
        return sorted(apps["app"], key=lambda app: app["id"], reverse=True)

    def running(self) -> set[str]:
        """The names of the applications that have not ended."""
        return {app["id"] for app in self.applications() if app["state"] not in ("FINISHED", "FAILED", "KILLED")}

    def describe(self) -> str:
        """What the ResourceManager knows of nodes, queues and applications, to be shown after a failure."""
        of_nodes = ("nodeHostName", "state", "numContainers", "usedMemoryMB", "usedVirtualCores", "availableVirtualCores", "nodeLabels")
        of_applications = ("id", "queue", "state", "diagnostics", "allocatedMB", "allocatedVCores", "preemptedResourceVCores")
        lines = [json.dumps(self.metrics())]
        for names, listed in ((of_nodes, self.ask("nodes")["nodes"]["node"]), (of_applications, self.applications())):
            lines += [json.dumps({name: each.get(name) for name in names}) for each in listed]
        queues = self.ask("scheduler")["scheduler"]["schedulerInfo"]["queues"]["queue"]
        return "\n".join([*lines, *(json.dumps(queue) for queue in queues)])

    def end(self, application: str) -> None:
        """End an application, as an administrator does."""
        self.ask(f"apps/{application}/state", {"state": "KILLED"}, method="PUT")


def _processes_with(variable: str, beginning: str) -> list[Process]:
    """The processes in whose environment a variable begins with something."""
    wanted = f"\0{variable}={beginning}".encode()
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if wanted in b"\0" + (entry / "environ").read_bytes() and (process := process_of(int(entry.name))) is not None:
                found.append(process)
    return found


def java_home() -> pathlib.Path:
    """Where Java is installed."""
    found = shutil.which("java")
    assert found is not None
    return pathlib.Path(found).resolve().parents[1]


def _glob(part: str) -> list[str]:
    if not part.endswith("/*"):
        return [part]
    return sorted(str(path) for path in pathlib.Path(part).parent.glob("*.jar"))


_CAPACITY = "org.apache.hadoop.yarn.server.resourcemanager.monitor.capacity"
_YARN: dict[str, object] = {
    "yarn.acl.enable": "true",
    "yarn.admin.acl": "*",
    "yarn.resourcemanager.hostname": "127.0.0.1",
    "yarn.resourcemanager.bind-host": "127.0.0.1",
    "yarn.resourcemanager.am.max-attempts": 5,
    "yarn.resourcemanager.nodemanagers.heartbeat-interval-ms": 200,
    "yarn.resourcemanager.recovery.enabled": "true",
    "yarn.resourcemanager.store.class": "org.apache.hadoop.yarn.server.resourcemanager.recovery.FileSystemRMStateStore",
    "yarn.resourcemanager.work-preserving-recovery.scheduling-wait-ms": 1000,
    "yarn.resourcemanager.connect.retry-interval.ms": 1000,
    "yarn.resourcemanager.scheduler.monitor.enable": "true",
    "yarn.resourcemanager.scheduler.monitor.policies": f"{_CAPACITY}.ProportionalCapacityPreemptionPolicy",
    "yarn.resourcemanager.monitor.capacity.preemption.monitoring_interval": 500,
    "yarn.resourcemanager.monitor.capacity.preemption.max_wait_before_kill": 1000,
    "yarn.resourcemanager.monitor.capacity.preemption.total_preemption_per_round": 1.0,
    "yarn.resourcemanager.monitor.capacity.preemption.natural_termination_factor": 1.0,
    "yarn.resourcemanager.monitor.capacity.preemption.max_ignored_over_capacity": 0.0,
    "yarn.nm.liveness-monitor.expiry-interval-ms": 8000,
    "yarn.am.liveness-monitor.expiry-interval-ms": 120000,
    "yarn.scheduler.minimum-allocation-mb": 128,
    "yarn.scheduler.maximum-allocation-mb": NODE_MB,
    "yarn.scheduler.maximum-allocation-vcores": NODE_VCORES,
    "yarn.nodemanager.resource.memory-mb": NODE_MB,
    "yarn.nodemanager.resource.cpu-vcores": NODE_VCORES,
    "yarn.nodemanager.pmem-check-enabled": "true",
    "yarn.nodemanager.vmem-check-enabled": "false",
    "yarn.nodemanager.resource.memory.enforced": "false",
    "yarn.nodemanager.container-monitor.interval-ms": 500,
    "yarn.nodemanager.disk-health-checker.max-disk-utilization-per-disk-percentage": 99,
    "yarn.nodemanager.recovery.enabled": "false",
    "yarn.nodemanager.delete.debug-delay-sec": 0,
    "yarn.node-labels.enabled": "true",
    "yarn.log-aggregation-enable": "true",
    "yarn.nodemanager.remote-app-log-dir": "/tmp/logs",
    "yarn.timeline-service.enabled": "false",
}
_QUEUES: dict[str, object] = {
    "yarn.scheduler.capacity.resource-calculator": "org.apache.hadoop.yarn.util.resource.DominantResourceCalculator",
    "yarn.scheduler.capacity.maximum-am-resource-percent": 0.5,
    "yarn.scheduler.capacity.node-locality-delay": 20,  # offers of other nodes to decline; each node makes five a second
    "yarn.scheduler.capacity.root.queues": "default,urgent,narrow",
    "yarn.scheduler.capacity.root.default.capacity": 45,
    "yarn.scheduler.capacity.root.default.user-limit-factor": 2,
    "yarn.scheduler.capacity.root.default.maximum-capacity": 100,
    "yarn.scheduler.capacity.root.default.state": "RUNNING",
    "yarn.scheduler.capacity.root.default.acl_submit_applications": "*",
    "yarn.scheduler.capacity.root.default.acl_administer_queue": USER,
    # Takes its half back where the other queue has borrowed it.
    "yarn.scheduler.capacity.root.urgent.capacity": 45,
    "yarn.scheduler.capacity.root.urgent.state": "RUNNING",
    "yarn.scheduler.capacity.root.urgent.acl_submit_applications": "*",
    # May have one application of a small container.
    "yarn.scheduler.capacity.root.narrow.capacity": 10,
    "yarn.scheduler.capacity.root.narrow.maximum-capacity": 10,
    "yarn.scheduler.capacity.root.narrow.state": "RUNNING",
    "yarn.scheduler.capacity.root.narrow.acl_submit_applications": "*",
    # A node that has this label is the default queue's, and whose it may be while that does not need it.
    "yarn.scheduler.capacity.root.accessible-node-labels": "*",
    "yarn.scheduler.capacity.root.accessible-node-labels.fast.capacity": 100,
    "yarn.scheduler.capacity.root.default.accessible-node-labels": "fast",
    "yarn.scheduler.capacity.root.default.accessible-node-labels.fast.capacity": 100,
    "yarn.scheduler.capacity.root.urgent.accessible-node-labels": "fast",
    "yarn.scheduler.capacity.root.urgent.accessible-node-labels.fast.capacity": 0,
    "yarn.scheduler.capacity.root.narrow.accessible-node-labels": "fast",
    "yarn.scheduler.capacity.root.narrow.accessible-node-labels.fast.capacity": 0,
}
