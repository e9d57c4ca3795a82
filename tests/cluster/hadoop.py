"""A real Hadoop of ordinary daemons on loopback: settings, class path, and its HDFS of one name node and several data nodes.

Further daemons are a :class:`Daemon` of :meth:`Hadoop.java` each, with their own ``*-site.xml`` in the same folder.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

from tests.cluster.artifacts import hadoop_jars
from tests.cluster.daemons import Daemon, free_ports, wait_until

USER = "samesum"  # no superuser: permissions are real
BLOCK_BYTES = 1 << 20
_OPENED = ("java.lang", "java.util", "java.net", "java.util.concurrent", "java.nio", "sun.nio.ch")
# Quick to start, where how fast the daemons run is not measured.
QUICK_START = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")
_LOGGING = """
log4j.rootLogger=INFO,console
log4j.appender.console=org.apache.log4j.ConsoleAppender
log4j.appender.console.target=System.out
log4j.appender.console.layout=org.apache.log4j.PatternLayout
log4j.appender.console.layout.ConversionPattern=%d{ISO8601} %p %c: %m%n
log4j.logger.datanode.webhdfs=INFO
"""


class Hadoop:
    """Settings and class path that daemons share."""

    def __init__(self, folder: pathlib.Path, java_options: tuple[str, ...] = QUICK_START) -> None:
        self.folder = folder
        self.conf = folder / "conf"
        self.conf.mkdir(parents=True)
        (self.conf / "log4j.properties").write_text(_LOGGING)
        web = folder / "web" / "webapps"  # daemons look for these folders, which the jars lack
        for name in ("hdfs", "datanode", "secondary", "static"):
            (web / name).mkdir(parents=True)
        self.class_path = f"{self.conf}:{web.parent}:{hadoop_jars()}/*"
        self._java_options = java_options

    def java(self, main_class: str, *arguments: str, conf: pathlib.Path | None = None, heap: str = "256m") -> list[str]:
        """The command that runs a class of Hadoop, with settings of its own folder before the common ones."""
        opened = [f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in _OPENED]
        path = self.class_path if conf is None else f"{conf}:{self.class_path}"
        return ["java", f"-Xmx{heap}", *self._java_options, *opened, "-cp", path, f"org.apache.hadoop.{main_class}", *arguments]

    def run(self, main_class: str, *arguments: str) -> str:
        """Run a command of Hadoop to its end; its output."""
        done = subprocess.run(
            self.java(main_class, *arguments), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False
        )
        if done.returncode:
            raise RuntimeError(
                f"{main_class} {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
            )
        return done.stdout

    def daemon(self, name: str, main_class: str, **options: Any) -> Daemon:
        """A daemon that is not started yet."""
        return Daemon(name, self.java(main_class, **options), self.folder / f"{name}.log")


def write_site(path: pathlib.Path, settings: Mapping[str, object]) -> None:
    """Write a ``*-site.xml``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = "\n".join(f"<property><name>{name}</name><value>{escape(str(value))}</value></property>" for name, value in settings.items())
    path.write_text(f'<?xml version="1.0"?>\n<configuration>\n{rows}\n</configuration>\n')


class Hdfs:
    """An HDFS with permissions on: ``url`` is its address, ``environment`` what a client process needs to find it.

    ``names``: hosts under which clients are sent to the data nodes, whose files are at ``data_addresses``; None: where these are.
    """

    def __init__(
        self,
        hadoop: Hadoop,
        *,
        data_nodes: int = 2,
        settings: Mapping[str, object] | None = None,
        names: Sequence[str] | None = None,
        core: Mapping[str, object] | None = None,
    ) -> None:
        self.hadoop = hadoop
        self.hosts = [f"127.0.0.{number + 1}" for number in range(data_nodes)]
        rpc, web, *ports = free_ports(2 + 3 * data_nodes, self.hosts)
        self.url = f"hdfs://127.0.0.1:{rpc}"
        self.web = f"http://127.0.0.1:{web}"
        self.environment = {"HADOOP_CONF_DIR": str(hadoop.conf), "HADOOP_USER_NAME": USER}
        self.variables: dict[str, str] = {}  # that all programs of this Hadoop need
        common = {"fs.defaultFS": self.url, "hadoop.tmp.dir": hadoop.folder / "tmp"}
        write_site(hadoop.conf / "core-site.xml", common | _GROUPS | dict(core or {}))
        write_site(hadoop.conf / "hdfs-site.xml", _HDFS | self._name_node_settings(rpc, web) | dict(settings or {}))
        self.name_node = hadoop.daemon("namenode", "hdfs.server.namenode.NameNode")
        self.data_addresses = [f"{host}:{ports[3 * number + 1]}" for number, host in enumerate(self.hosts)]
        self.data_nodes = [self._data_node(number, name, ports[3 * number :]) for number, name in enumerate(names or self.hosts)]

    def _name_node_settings(self, rpc: int, web: int) -> dict[str, object]:
        return {
            "dfs.namenode.rpc-address": f"127.0.0.1:{rpc}",
            "dfs.namenode.http-address": f"127.0.0.1:{web}",
            "dfs.namenode.https-address": f"127.0.0.1:{web}",
            "dfs.namenode.name.dir": f"file://{self.hadoop.folder}/name",
        }

    def _data_node(self, number: int, name: str, ports: list[int]) -> Daemon:
        conf = self.hadoop.folder / f"datanode{number}-conf"
        common = (self.hadoop.conf / "hdfs-site.xml").read_text()
        own = {
            "dfs.datanode.data.dir": f"file://{self.hadoop.folder}/data{number}",
            "dfs.datanode.hostname": name,
            "dfs.datanode.address": f"127.0.0.1:{ports[0]}",  # where the name node sees it come from
            "dfs.datanode.http.address": self.data_addresses[number],
            "dfs.datanode.https.address": self.data_addresses[number],
            "dfs.datanode.ipc.address": f"127.0.0.1:{ports[2]}",
        }
        write_site(conf / "hdfs-site.xml", own)
        extra = (conf / "hdfs-site.xml").read_text().partition("<configuration>")[2]
        (conf / "hdfs-site.xml").write_text(common.replace("</configuration>", extra))
        return self.hadoop.daemon(f"datanode{number}", "hdfs.server.datanode.DataNode", conf=conf)

    @property
    def daemons(self) -> list[Daemon]:
        """All of them."""
        return [self.name_node, *self.data_nodes]

    def start(self) -> None:
        """Format it, start it, and wait until it takes files; make the user's home and ``/tmp``."""
        self.hadoop.run("hdfs.server.namenode.NameNode", "-format", "-nonInteractive", "-force")
        for daemon in self.daemons:
            daemon.start()
        self.wait_until_ready()
        for path, owner, mode in (("/tmp", "", "1777"), (f"/user/{USER}", USER, "755")):
            self.as_superuser("MKDIRS", path, permission=mode)
            self.as_superuser("SETPERMISSION", path, permission=mode)
            if owner:
                self.as_superuser("SETOWNER", path, owner=owner, group=owner)

    def wait_until_ready(self, data_nodes: int | None = None) -> None:
        """Wait until so many data nodes (None: all) are there, and files can be written."""
        wanted = len(self.data_nodes) if data_nodes is None else data_nodes

        def is_ready() -> bool:
            state = self.beans("Hadoop:service=NameNode,name=FSNamesystemState")[0]
            info = self.beans("Hadoop:service=NameNode,name=NameNodeInfo")[0]
            return state["NumLiveDataNodes"] >= wanted and not info["Safemode"]

        wait_until(is_ready, [self.name_node], "HDFS")

    def repair(self) -> None:
        """Start the daemons again that were ended, and wait until files can be read and written."""
        for daemon in self.daemons:
            if not daemon.is_running:
                daemon.start()
        self.wait_until_ready()

    def stop(self) -> None:
        """End all daemons."""
        for daemon in reversed(self.daemons):
            daemon.stop()

    def beans(self, query: str) -> list[dict[str, Any]]:
        """What the name node's monitoring says."""
        return list(self.get_json(f"{self.web}/jmx?qry={query}")["beans"])

    def get_json(self, url: str) -> Any:
        """What a daemon's web server answers."""
        return get_json(url)

    def as_superuser(self, operation: str, path: str, **parameters: str) -> None:
        """One operation of WebHDFS that changes something, by plain HTTP."""
        words = "&".join(f"{name}={value}" for name, value in {"op": operation, "user.name": _superuser(), **parameters}.items())
        request = urllib.request.Request(f"{self.web}/webhdfs/v1{path}?{words}", method="PUT")
        with urllib.request.urlopen(request, timeout=30) as answer:
            answer.read()

    def served(self) -> list[tuple[str, int, int]]:
        """Path, offset and length of every read that the data nodes have been asked for, by their own logs."""
        return [read for daemon in self.data_nodes for read in _reads(daemon.log)]


def _reads(log: pathlib.Path) -> Iterator[tuple[str, int, int]]:
    for line in log.read_text(errors="replace").splitlines():
        if "op=OPEN" in line and "/webhdfs/v1/" in line:
            path, _, query = line.partition("/webhdfs/v1")[2].partition("?")
            words = dict(word.partition("=")[::2] for word in query.split()[0].split("&"))
            yield path, int(words.get("offset", 0)), int(words.get("length", -1))


def get_json(url: str) -> Any:
    """What a web server answers."""
    with contextlib.closing(urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5)) as answer:
        return json.load(answer)


def _superuser() -> str:
    import getpass

    return getpass.getuser()


_GROUPS = {"hadoop.security.group.mapping": "org.apache.hadoop.security.NullGroupsMapping"}
_HDFS: dict[str, object] = {
    "dfs.replication": 1,
    "dfs.permissions.enabled": "true",
    "dfs.blocksize": BLOCK_BYTES,
    "dfs.namenode.fs-limits.min-block-size": 4096,
    "dfs.namenode.datanode.registration.ip-hostname-check": "false",
    "dfs.block-placement-policy.default.prefer-local-node": "false",
    "dfs.namenode.block-placement-policy.default.prefer-local-node": "false",
    "dfs.namenode.handler.count": 8,
    "dfs.namenode.safemode.extension": 0,
    "dfs.namenode.safemode.threshold-pct": 0.5,
    "dfs.datanode.du.reserved": 0,
    "dfs.heartbeat.interval": 1,
    "dfs.client.block.write.replace-datanode-on-failure.enable": "false",
    "dfs.namenode.redundancy.interval.seconds": "1s",
}
