"""A PBS of one machine, as the manual pages of OpenPBS describe ``qsub``, ``qstat`` and ``qdel``: a process for each job takes MoM's part.

Each command is this file under its name; ``FAKE_PBS`` names the folder of its state. Nodes are names of this machine.
"""

import contextlib
import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import time

HOSTS = ("localhost", "127.0.0.1")
KILL_DELAY = 2.0  # seconds from SIGTERM to SIGKILL
OPTIONS = set("NjorlqAPWJ")
UNKNOWN_JOB, UNKNOWN_QUEUE, FINISHED = 153, 170, 35


def install(folder):
    """Put the commands into a folder for PATH; returns the environment that finds them."""
    programs = folder / "bin"
    programs.mkdir(parents=True)
    for name in ("qsub", "qstat", "qdel"):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(__file__)} {name} "$@"\n')
        program.chmod(0o755)
    return {"PATH": f"{programs}:{os.environ['PATH']}", "FAKE_PBS": str(folder)}


def state_folder():
    return pathlib.Path(os.environ["FAKE_PBS"])


def path_of(job):
    return state_folder() / f"{job}.json"


def read(job):
    return json.loads(path_of(job).read_text())


def write(job, about):
    partial = path_of(job).with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(about))
    partial.rename(path_of(job))


def fail(message, code):
    sys.stderr.write(message + "\n")
    sys.exit(code)


def qsub(arguments):
    *options, script = arguments
    text = pathlib.Path(script).read_text()
    directives = {"resource_list": [], "W": {}}
    for line in [" ".join(options), *re.findall(r"^#PBS (.*)$", text, re.MULTILINE)]:
        words = shlex.split(line)
        for option, value in zip(words[::2], words[1::2], strict=True):
            option = option.removeprefix("-")
            if option not in OPTIONS:
                fail(f"qsub: illegal option -- {option}", 2)
            if option == "W":
                directives["W"].update([value.split("=", 1)])
            else:
                directives["resource_list"].append(value) if option == "l" else directives.update({option: value})
    if directives.get("q", "workq") != "workq":
        fail("qsub: Unknown queue", UNKNOWN_QUEUE)
    if len(directives["N"]) > 236:
        fail("qsub: illegal -N value", 2)
    if "[" in directives["W"].get("depend", ""):
        fail("qsub: Dependency request for job rejected", 1)
    number = 1 + len(list(state_folder().glob("*.server.json")))
    job = f"{number}[].server" if "J" in directives else f"{number}.server"
    if "J" in directives and not re.fullmatch(r"1-(?!1$)\d+", directives["J"]):
        fail("qsub: illegal -J value", 2)
    about = {"Job_Name": directives["N"], "job_state": "Q", "substate": 10, "script": text, "directives": directives, "where": os.getcwd()}
    write(job, about)
    for subjob in subjobs_of(job, about):
        write(subjob, about)
    start("array" if "J" in directives else "mom", job)
    print(job)


def subjobs_of(job, about):
    last = int(about["directives"].get("J", "1-0").partition("-")[2])
    return [job.replace("[]", f"[{index}]") for index in range(1, last + 1)]


def start(*words):
    return subprocess.Popen(
        [sys.executable, __file__, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("PBS_")},
    )


def qstat(arguments):
    job = arguments[-1]
    assert arguments[:-1] == ["-x", "-f", "-F", "json"]
    if not path_of(job).exists():
        fail(f"qstat: Unknown Job Id {job}", UNKNOWN_JOB)
    shown = {name: value for name, value in read(job).items() if name not in ("script", "directives", "where")}
    print(json.dumps({"timestamp": int(time.time()), "pbs_version": "23.06.06", "pbs_server": "server", "Jobs": {job: shown}}))


def qdel(arguments):
    code = 0
    for job in arguments:
        if not path_of(job).exists():
            sys.stderr.write(f"qdel: Unknown Job Id {job}\n")
            code = UNKNOWN_JOB
        elif read(job)["job_state"] in "FX":
            sys.stderr.write(f"qdel: Job has finished {job}\n")
            code = FINISHED
        else:
            for each in [job, *(subjobs_of(job, read(job)) if "[]" in job else [])]:
                path_of(each).with_suffix(".deleted").touch()
    sys.exit(code)


def array(job):
    """Run the jobs of an array in order, as many at a time as it says."""
    about = read(job)
    write(job, {**about, "job_state": "B"})
    most = int(about["directives"]["W"].get("max_run_subjobs", 1000))
    waiting, running = subjobs_of(job, about), []
    while waiting or running:
        running = [process for process in running if process.poll() is None]
        for subjob in list(waiting):
            if len(running) < most or path_of(subjob).with_suffix(".deleted").exists():
                running.append(start("mom", subjob))
                waiting.remove(subjob)
        time.sleep(0.05)
    write(job, {**about, "job_state": "F", "substate": 92})


def mom(job):
    about = read(job)
    deleted = path_of(job).with_suffix(".deleted")
    before = about["directives"]["W"].get("depend", "").partition("afterany:")[2]
    about["job_state"] = "H" if before else "Q"
    write(job, about)
    while before and not deleted.exists() and read(before)["job_state"] != "F":
        time.sleep(0.05)
    if not deleted.exists():
        run(job, about, deleted)
    about |= {"job_state": "X" if "[" in job else "F", "substate": 91 if deleted.exists() else 92 if about.get("Exit_status") == 0 else 93}
    write(job, about)


def run(job, about, deleted):
    asked = about["directives"]["resource_list"]
    resources = dict(part.split("=") for value in asked for part in (value.split(":") if value.startswith("select") else [value]))
    hosts = HOSTS[: int(resources["select"])]
    nodes = state_folder() / f"{job}.nodes"
    nodes.write_text("".join(f"{host}\n" * int(resources["mpiprocs"]) for host in hosts))
    script = state_folder() / f"{job}.sh"
    script.write_text(about["script"])
    own = {"PBS_JOBID": job, "PBS_NODEFILE": str(nodes), "PBS_O_WORKDIR": about["where"], "PBS_ENVIRONMENT": "PBS_BATCH"}
    if index := re.search(r"\[(\d+)\]", job):
        own |= {"PBS_ARRAY_INDEX": index[1], "PBS_ARRAY_ID": job.replace(index[0], "[]")}
    place = about["directives"].get("o", f"{job}.OU").replace("^array_index^", own.get("PBS_ARRAY_INDEX", ""))
    with open(pathlib.Path(about["where"], place), "ab") as output:
        process = subprocess.Popen(
            ["bash", str(script)], env={**os.environ, **own}, cwd="/", stdout=output, stderr=output, start_new_session=True
        )
    about |= {"job_state": "R", "substate": 42}
    write(job, about)
    hours, minutes, seconds = map(int, resources.get("walltime", "1000:00:00").split(":"))
    limit = time.monotonic() + min(3600 * hours + 60 * minutes + seconds, float(os.environ.get("FAKE_PBS_LIMIT", "inf")))
    while process.poll() is None and not deleted.exists() and time.monotonic() < limit:
        time.sleep(0.05)
    if process.poll() is None:
        about["comment"] = "Job was deleted" if deleted.exists() else "job killed: walltime exceeded limit"
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(KILL_DELAY)
    process.kill()
    code = process.wait()
    about["Exit_status"] = code if code >= 0 else 256 - code
    while left := processes_of(job):  # on all nodes
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def processes_of(job):
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            said = (entry / "environ").read_bytes().split(b"\0") if entry.name.isdigit() else []
            if {f"PBS_JOBID={job}".encode(), f"FAKE_PBS={state_folder()}".encode()} <= set(said):
                found.append(int(entry.name))
    return found


if __name__ == "__main__":
    commands = {"qsub": qsub, "qstat": qstat, "qdel": qdel, "mom": lambda words: mom(words[0]), "array": lambda words: array(words[0])}
    commands[sys.argv[1]](sys.argv[2:])
