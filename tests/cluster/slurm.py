"""A real Slurm on loopback: its controller and two nodes of one machine, with a munge of its own. Debian's packages; started by root."""

from __future__ import annotations

import contextlib
import os
import pathlib
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile

from tests.cluster.daemons import Daemon, free_ports, wait_until

NODES = ("n1", "n2")
CPUS, MEMORY = 8, 8000  # of each node, as far as Slurm is concerned
PROGRAMS = ("slurmctld", "slurmd", "munged", "setpriv")
_SETTINGS = """
ClusterName=samesum
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
TmpFS={folder}/%n
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=3
SlurmdTimeout=10
MinJobAge=600
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
JobRequeue=1
MpiDefault=none
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""


class Slurm:
    """A running Slurm; ``environment`` is what its commands need to find it."""

    def __init__(self) -> None:
        if missing := [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]:
            raise RuntimeError(f"the tests on a real Slurm need {', '.join(missing)}; on Debian: apt-get install slurm-wlm munge")
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="samesum-slurm-"))
        self.folder.chmod(0o755)  # munged, another user, has its folder below
        self.environment = {"SLURM_CONF": str(self.folder / "slurm.conf")}
        self._settle()
        munge = self.folder / "munge"
        files = {"socket": "socket", "key-file": "key", "seed-file": "seed", "pid-file": "pid", "log-file": "log"}
        options = [f"--{option}={munge / name}" for option, name in files.items()]
        as_munge = ["setpriv", "--reuid=munge", "--regid=munge", "--clear-groups", "--pdeathsig=KILL"]
        self.munged = self._daemon("munged", [*as_munge, _program("munged"), "--foreground", *options])
        self.controller = self._daemon("slurmctld", [_program("slurmctld"), "-D"])
        self.nodes = {name: self._daemon(f"slurmd-{name}", [_program("slurmd"), "-D", "-N", name]) for name in NODES}

    def _settle(self) -> None:
        """Write settings and key."""
        for name in ("state", "munge", *NODES):
            (self.folder / name).mkdir()
        key = self.folder / "munge" / "key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
        for path in (key, key.parent):
            shutil.chown(path, "munge", "munge")
        host = socket.gethostname()
        controller, *ports = free_ports(1 + len(NODES))
        lines = [
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={CPUS} RealMemory={MEMORY}"
            for name, port in zip(NODES, ports, strict=True)
        ]
        settings = _SETTINGS.format(host=host, port=controller, user="root", folder=self.folder)
        text, _, partition = settings.rpartition("PartitionName")
        (self.folder / "slurm.conf").write_text("\n".join([text.strip(), *lines, f"PartitionName{partition}"]))

    def _daemon(self, name: str, command: list[str]) -> Daemon:
        return Daemon(name, command, self.folder / f"{name}.log", self.environment)

    @property
    def daemons(self) -> list[Daemon]:
        """All of them."""
        return [self.munged, self.controller, *self.nodes.values()]

    def start(self) -> None:
        """Start all, and wait until both nodes are there."""
        self.munged.start()
        wait_until((self.folder / "munge" / "socket").exists, [self.munged], "munge")
        for daemon in self.daemons[1:]:
            daemon.start()
        self.wait_for_nodes()

    def wait_for_nodes(self) -> None:
        """Wait until both nodes are idle."""
        wait_until(lambda: self.run("sinfo", "--noheader", "--format=%D %t").split() == ["2", "idle"], self.daemons, "Slurm")

    def stop(self) -> None:
        """End all daemons and what they may have left."""
        with contextlib.suppress(RuntimeError):
            self.run("scancel", "--user", "root")
        for daemon in reversed(self.daemons):
            daemon.stop()
        for pid in _processes_with(f"SLURM_CONF={self.folder}/slurm.conf"):
            with contextlib.suppress(ProcessLookupError):
                if pid != os.getpid():
                    os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, *command: str) -> str:
        """Run one of Slurm's commands; what it prints."""
        environment = {**os.environ, **self.environment}
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, env=environment, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def job(self, number: str) -> dict[str, str]:
        """What ``scontrol`` says of a job."""
        words = self.run("scontrol", "--oneliner", "show", "job", number).split()
        return dict(word.partition("=")[::2] for word in words)

    def lose_node(self, name: str) -> None:
        """Kill everything of a node at once, as when its machine is switched off."""
        tasks = _processes_with(f"SLURMD_NODENAME={name}")
        steps = {step for task in tasks for step in _ancestors(task) if _name_of(step).startswith("slurmstepd")}
        self.nodes[name].stop(signal.SIGKILL)
        for pid in (*steps, *tasks):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _path() -> str:
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


def _program(name: str) -> str:
    found = shutil.which(name, path=_path())
    assert found is not None
    return found


def _processes_with(word: str) -> list[int]:
    """The processes with this in their environment."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and f"\0{word}\0".encode() in b"\0" + (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found


def _ancestors(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        while pid > 1:
            pid = int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1])
            found.append(pid)
    return found


def _name_of(pid: int) -> str:
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/comm").read_text()
    return ""
