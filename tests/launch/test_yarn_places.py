"""Room, nodes and ports as a job needs to know them; no cluster is needed."""

import os
import socket
import subprocess
import sys

import pytest

from engine.errors import OptionError
from engine.spec import DataSpec, JobSpec
from engine.storage import Block
from launch.yarn import placing, ports
from launch.yarn.applications import Node
from launch.yarn.diagnoses import last_words
from launch.yarn.room import Queue, Room, ask, queue_of, room_of, room_on, say_room, web_addresses
from tests.cluster.daemons import free_ports

NODES = {
    "nodes": {
        "node": [
            {"availMemoryMB": 1024, "usedMemoryMB": 9216, "availableVirtualCores": 7, "usedVirtualCores": 9},
            {"availMemoryMB": 4096, "usedMemoryMB": 0, "availableVirtualCores": 8, "usedVirtualCores": 0},
        ]
    }
}
ROOM = Room(nodes=2, memory=14336, free_memory=5120, largest=10240, vcores=24, free_vcores=15, largest_free=4096)


def leaf(name, **facts):
    return {"queueName": name, "queuePath": f"root.a.{name}", **facts}


class TestRoom:
    def test_nodes(self):
        assert room_of(NODES) == ROOM
        assert room_on([Node("a", 10240, 9216, 16, 9), Node("b", 4096, 0, 8, 0)]) == ROOM
        assert room_of({"nodes": None}) == Room(0, 0, 0, 0, 0, 0, 0)

    @pytest.mark.parametrize("name", ["q", "root.a.q"])
    def test_a_queue_of_the_capacity_scheduler(self, name):
        q = leaf("q", absoluteMaxCapacity=25.0, resourcesUsed={"memory": 512, "vCores": 1})
        inner = {"queueName": "a", "queues": {"queue": [leaf("p"), q]}}
        info = {"type": "capacityScheduler", "queueName": "root", "queues": {"queue": [inner]}}
        assert queue_of({"scheduler": {"schedulerInfo": info}}, name, ROOM) == Queue(name, 3584, 512, 6, 1)
        assert queue_of({"scheduler": {"schedulerInfo": info}}, "other", ROOM) is None

    def test_a_queue_of_the_fair_scheduler(self):
        q = leaf("q", maxResources={"memory": 2048, "vCores": 4}, usedResources={"memory": 1024, "vCores": 2})
        info = {"type": "fairScheduler", "rootQueue": {"queueName": "root", "childQueues": {"queue": q}}}
        assert queue_of({"scheduler": {"schedulerInfo": info}}, "q", ROOM) == Queue("q", 2048, 1024, 4, 2)

    def test_in_words(self):
        assert say_room(ROOM, Queue("q", 3584, 512, 6, 1)) == (
            "queue 'q' uses 512 of at most 3584 MB and 1 of at most 6 vcores; 2 nodes have 5120 of 14336 MB and 15 of 24 vcores free, "
            "at most 4096 MB on one node"
        )
        assert say_room(None, None) == ""

    def test_nobody_answers(self, tmp_path):
        assert ask(tmp_path, "default") == (None, None)
        write(tmp_path, **{"webapp.address": f"127.0.0.1:{free_ports(1)[0]}"})
        assert ask(tmp_path, "default") == (None, None)

    def test_where_its_pages_are(self, tmp_path):
        write(tmp_path, hostname="rm")
        assert web_addresses(tmp_path) == ["http://rm:8088"]
        write(tmp_path, **{"ha.rm-ids": "a, b", "hostname.a": "one", "webapp.address.b": "two:80"})
        assert web_addresses(tmp_path) == ["http://one:8088", "http://two:80"]


def write(folder, **settings):
    rows = "".join(
        f"<property><name>yarn.resourcemanager.{name}</name><value>{value}</value></property>" for name, value in settings.items()
    )
    (folder / "yarn-site.xml").write_text(f"<configuration>{rows}</configuration>")


class TestPlacing:
    def test_nodes_by_what_they_hold(self, monkeypatch):
        """The fullest first; a data node that is called by its address is the node that has it; what nobody knows is left out."""
        blocks = {"hdfs:///a": [Block(0, 10, ["n1", "127.0.0.1"]), Block(10, 30, ["gone", "n2"])], "hdfs:///b": [Block(0, 25, ["n1"])]}
        monkeypatch.setattr(placing.storage, "block_hosts", blocks.__getitem__)
        monkeypatch.setattr(placing.storage, "list_files", list)
        spec = JobSpec(
            task="train", toolkit="svm_classifier", target="y", data=DataSpec(paths=("hdfs:///a", "hdfs:///b", "/c")), output="/m"
        )
        assert placing.preferred_nodes(spec, ["n1", "n2", "localhost", "n4"]) == ["n1", "n2", "localhost"]
        assert placing.preferred_nodes(spec, ["n1", "n2"]) == []  # all the same
        assert placing.preferred_nodes(spec, []) == []

    def test_many_files_are_sampled(self, monkeypatch):
        asked = []
        monkeypatch.setattr(placing.storage, "block_hosts", lambda file: asked.append(file) or [Block(0, 1, ["n"])])
        assert placing.bytes_by_host([f"hdfs:///{k}" for k in range(640)])["n"] == 64
        assert asked[-1] == "hdfs:///630"


class TestPorts:
    def test_enough(self):
        ports.check_enough(9100, 9107, 2)
        with pytest.raises(OptionError, match=r"ports 9100 - 9106 are too few for 2 containers.*give .* at least 8"):
            ports.check_enough(9100, 9106, 2)

    def test_what_is_free(self):
        with socket.socket() as holder:
            holder.bind(("", 0))
            holder.listen()
            port = holder.getsockname()[1]
            assert ports.free_ports(port, port, 2) == 0
            assert f"no port from {port} to {port} is free on " in ports.trouble_here(port, port)
        assert ports.trouble_here(20000, 29999) is None

    def test_a_program_keeps_to_them(self):
        """Sockets that ask for any port get one of the range, none twice, or an error; others get what they ask for."""
        program = (
            "import socket, sys\nfirst, given = map(int, sys.argv[1:])\nkept = []\n"
            "def bind(family, kind, port):\n"
            "    s = socket.socket(family, kind)\n    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n    s.bind(('', port))\n"
            "    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)\n    kept.append(s)\n    return s.getsockname()[1]\n"
            "four = [bind(family, socket.SOCK_STREAM, 0) for family in (socket.AF_INET, socket.AF_INET6) * 2]\n"
            "assert sorted(four) == list(range(first, first + 4)), four\n"
            "assert bind(socket.AF_INET, socket.SOCK_STREAM, given) == given\n"
            "assert bind(socket.AF_INET, socket.SOCK_DGRAM, 0) not in four\n"
            "try:\n    bind(socket.AF_INET, socket.SOCK_STREAM, 0)\nexcept OSError as error:\n    print(error.strerror)\n"
        )
        first = four_free_ports()
        given = next(port for port in iter(lambda: free_ports(1)[0], None) if port not in range(first, first + 4))
        done = run(program, first, given, LD_PRELOAD=str(ports.library()), SAMESUM_PORT_RANGE=f"{first}:{first + 3}")
        assert done.stdout == "Address already in use\n", done.stderr
        assert done.stderr == f"samesum: no port from {first} to {first + 3} is free on this node\n"

    @pytest.mark.parametrize("words", ["", "9100", "0:10", "9200:9100", "9100:70000", "x:y"])
    def test_a_range_that_is_none(self, words):
        """The system's own ports, as without the library."""
        program = "import socket\ns = socket.socket()\ns.bind(('127.0.0.1', 0))\nprint(s.getsockname()[1] > 0)\n"
        assert run(program, LD_PRELOAD=str(ports.library()), SAMESUM_PORT_RANGE=words).stdout == "True\n"


def four_free_ports():
    while True:
        first = free_ports(1)[0]
        if ports.free_ports(first, first + 3, 4) == 4:
            return first


def run(program, *arguments, **variables):
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, timeout=60, check=False)


def section(name, text):
    return f"LogType:{name}\nLogLastModifiedTime:Wed\nLogLength:{len(text)}\nLogContents:\n{text}\nEnd of LogType:{name}\n***\n"


class TestLastWords:
    def test_the_supervisors_come_first(self):
        logs = section("application.driver.log", "one\n\ntwo\nthree\nfour") + section("application.master.log", "java")
        assert last_words(logs) == "application.driver.log ends with: two three four"
        assert last_words(section("application.driver.log", "") + section("application.master.log", "java")) == (
            "application.master.log ends with: java"
        )
        assert last_words("") == last_words(section("worker.log", "x")) == ""

    def test_ports_come_before_all(self):
        logs = section("application.master.log", "samesum: no port from 1 to 2 is free on this node\njava.net.BindException")
        assert last_words(logs).startswith("no port from 1 to 2 is free on this node: give the cluster other ports by start_port")
