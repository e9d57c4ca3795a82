"""For ranks of jobs under test: end or stop processes of the job at a named point. The product knows nothing of it."""

import json
import os
import pathlib
import signal
import time


def _parent(pid):
    return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1])


def _strike(fault):
    agent = int(os.environ["SAMESUM_AGENT"].partition(":")[0])
    number = getattr(signal, fault.get("signal", "SIGKILL"))
    victims = {"rank": [os.getpid()], "agent": [agent], "supervisor": [_parent(agent)]}
    records = [json.loads(path.read_text()) for path in pathlib.Path(os.environ["SAMESUM_SCRATCH"], "ranks").glob("*.json")]
    victims["all"] = [record["pid"] for record in records if record["pid"] != os.getpid()] + [os.getpid()]
    victims["launcher"] = [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and _is_below(int(pid), agent)]
    for victim in victims[fault["victim"]]:
        os.kill(victim, number)
    time.sleep(fault.get("then_sleep", 0.0))


def _is_below(pid, agent):
    try:
        return _parent(pid) == agent
    except OSError:
        return False


def _install(fault):
    from engine import storage
    from engine.collectives.heartbeat import Heartbeat

    seen = []

    def reach(point):
        """Whether it is this point's turn."""
        if point == fault["point"]:
            seen.append(point)
            if len(seen) == fault.get("time", 1):
                _strike(fault)

    def around(name, kind):
        plain = getattr(storage, name)

        def wrapped(address, *arguments, **options):
            found = kind(str(address))
            reach(f"before {found}")
            result = plain(address, *arguments, **options)
            reach(f"after {found}")
            return result

        setattr(storage, name, wrapped)

    around("put_folder", lambda address: "checkpoint" if "model_checkpoint_" in address else "model")
    around("create_bytes", lambda address: "result" if address.endswith("result.json") else "other")
    plain_entered = Heartbeat.entered

    def entered(self, name):
        result = plain_entered(self, name)
        reach("in a collective")
        return result

    Heartbeat.entered = entered


_said = os.environ.get("TEST_FAULT")
if _said:
    _fault = json.loads(_said)
    _rank = int(os.environ.get("PMI_RANK", os.environ.get("OMPI_COMM_WORLD_RANK", "0")))
    if _rank == _fault.get("rank", 0) and int(os.environ.get("SAMESUM_ATTEMPT", "0")) <= _fault.get("attempts", 1):
        _install(_fault)
