"""A rank's leash: a small process that starts the rank, ends with whoever started it, and never without its rank.

``python -I -S leash.py COMMAND...``, below ``mpiexec``. Launchers lose their ranks: with a proxy killed, its ranks live on in sessions of
their own. So the leash asks Linux to be killed with its parent, and the rank to be killed with the leash; and it ends both when the agent
named in ``SAMESUM_AGENT``, as ``pid:start``, is gone. How the rank ended goes to ``SAMESUM_SCRATCH/ranks/<rank>.json``: exit codes of
launchers say nothing. It stands alone, on the standard library, so that it starts in milliseconds.
"""

from __future__ import annotations

import ctypes
import json
import os
import pathlib
import signal
import socket
import sys
import time
from typing import Any, NoReturn

RANK_VARIABLES = ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "MV2_COMM_WORLD_RANK", "PALS_RANKID", "FLUX_TASK_RANK", "SLURM_PROCID")
AGENT_POLL = 0.2  # seconds between looks at the agent
_PR_SET_PDEATHSIG = 1


def main(command: list[str]) -> int:
    """Run the rank and wait for it; returns its exit code, or 128 and its signal."""
    agent, parent = os.environ["SAMESUM_AGENT"], os.getppid()
    end_with_parent()
    if os.getppid() != parent or not is_same(agent):
        return 1  # whoever is to be told has gone already
    rank = own_rank()
    redirect_output(pathlib.Path(os.environ["SAMESUM_LOGS"], f"rank-{rank}.log"))
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT})
    leash = os.getpid()
    child = os.fork()
    if child == 0:
        become_rank(command, leash)
    record = {"rank": rank, "host": socket.gethostname(), "pid": child, "started": start_of(child), "leash": leash, "began": time.time()}
    record["leash_started"] = start_of(leash)
    write_record(record)
    status, peak, cpu_seconds = wait_for(child, agent)
    code = os.waitstatus_to_exitcode(status)
    record |= {"signal" if code < 0 else "exit_code": abs(code), "peak_memory": peak, "cpu_seconds": cpu_seconds, "ended": time.time()}
    write_record(record)
    return code if code >= 0 else 128 - code


def own_rank() -> int:
    """The number of this process among those that a launcher started; 0 if none did."""
    return next((int(os.environ[name]) for name in RANK_VARIABLES if os.environ.get(name, "").isdigit()), 0)


def end_with_parent() -> None:
    """Have Linux kill this process when its parent ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def become_rank(command: list[str], leash: int) -> NoReturn:
    """Turn this child into the rank."""
    end_with_parent()
    if os.getppid() != leash:
        os._exit(1)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT})
    try:
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"could not start {command[0]!r}: {error}\n".encode())
        os._exit(127)


def wait_for(child: int, agent: str) -> tuple[int, int, float]:
    """The status, the largest resident memory in bytes and the processor time of the rank at its end, at the latest with the agent's."""
    while True:
        pid, status, usage = os.wait4(child, os.WNOHANG)
        if pid:
            return status, usage.ru_maxrss * 1024, usage.ru_utime + usage.ru_stime
        told = signal.sigtimedwait({signal.SIGCHLD, signal.SIGTERM, signal.SIGINT}, AGENT_POLL)
        if (told is not None and told.si_signo != signal.SIGCHLD) or not is_same(agent):
            os.kill(child, signal.SIGKILL)


def redirect_output(log: pathlib.Path) -> None:
    """Standard output and error go to the rank's own file: lines of several ranks would mix."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)  # YARN gathers logs as a member of their group
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def write_record(record: dict[str, Any]) -> None:
    """Put the record in its place, whole."""
    folder = pathlib.Path(os.environ["SAMESUM_SCRATCH"], "ranks")
    partial = folder / f".{record['rank']}.{os.getpid()}"
    partial.write_text(json.dumps(record))
    os.replace(partial, folder / f"{record['rank']}.json")


def start_of(pid: int) -> int:
    """When a process started, in ticks since the machine did; 0 if it is gone or about to be collected."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


def is_same(process: str) -> bool:
    """Whether the process ``pid:start`` still runs."""
    pid, _, started = process.partition(":")
    return start_of(int(pid)) == int(started)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
