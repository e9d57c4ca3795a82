"""How jobs end: real ``mpiexec`` runs of plain Python scripts in which ranks fail in every way that a script can."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

from tests.mpi_jobs import run_python, run_ranks

START = """
import os, signal, sys, threading, time
from engine.collectives.agree import agree
from engine.collectives.default import resolve
from engine.errors import DataError
def mark(): print(f'moment={time.time()}', flush=True)
comm = resolve(None)
comm.barrier(name='start')
"""
WAIT = "comm.barrier(name='histograms')\nprint('went on', flush=True)"
WITHIN = 5.0
GONE = "rank 1 has exited while other ranks wait for it in collective 3, 'histograms'"

ENDS_OF_ONE_RANK = {
    "raise": ("mark(); raise KeyError('lost')", "[rank 1] KeyError: 'lost'"),
    "raise an engine error outside agree": ("mark(); raise DataError('mine alone')", "[rank 1] engine.errors.DataError: mine alone"),
    "interrupt": ("mark(); os.kill(os.getpid(), signal.SIGINT); time.sleep(20)", "[rank 1] KeyboardInterrupt"),
    "thread": (
        "t = threading.Thread(target=lambda: 1 / 0, name='loader'); mark(); t.start(); time.sleep(20)",
        "[rank 1, thread loader] ZeroDivisionError: division by zero",
    ),
    "exit with a code": ("mark(); sys.exit(3)", GONE),
    "exit with success": ("mark(); sys.exit(0)", GONE),
    "raise SystemExit": (
        "mark(); raise SystemExit('done')",
        "rank 1 has exited while other ranks wait for it in collective 3, 'histograms'",
    ),
    "kill": ("mark(); os.kill(os.getpid(), signal.SIGKILL)", ""),
    "exit at once": ("mark(); os._exit(4)", ""),
}


@pytest.mark.parametrize("end", ENDS_OF_ONE_RANK)
def test_one_rank_that_ends_while_others_wait_ends_them_all(end):
    ending, says = ENDS_OF_ONE_RANK[end]
    job = run_ranks(3, f"{START}\nif comm.rank == 1:\n    {ending}\n{WAIT}")
    assert job.code != 0
    assert job.seconds < WITHIN
    assert says in job.err
    assert "went on" not in job.out


def test_an_error_found_by_all_is_printed_once_without_a_traceback():
    job = run_ranks(3, f"{START}\nmark()\nwith agree(comm, 'reading'):\n    if comm.rank == 2: raise DataError('line 7 is ragged')")
    assert job.code == 1
    assert job.err.count("DataError: line 7 is ragged (on rank 2)") == 1
    assert "Traceback" not in job.err
    assert "Abort" not in job.err
    assert job.seconds < WITHIN


def test_an_error_found_by_all_is_as_quiet_under_the_runner_of_mpi4py(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(f"{START}\nmark()\nwith agree(comm, 'reading'):\n    raise DataError('bad')")
    job = run_ranks(3, ["-m", "mpi4py", str(script)])
    assert job.code == 1
    assert job.err.count("DataError: bad") == 1
    assert not [word for word in ("Traceback", "Abort", "MPI_ABORT") if word in job.err]
    assert job.seconds < WITHIN


def test_the_traceback_of_an_error_found_by_all_is_shown_for_debugging():
    job = run_ranks(2, f"{START}\nwith agree(comm, 'reading'):\n    raise DataError('bad')", SAMESUM_DEBUG="1")
    assert job.code == 1
    assert job.err.count("Traceback (most recent call last)") >= 1
    assert job.err.count("\nengine.errors.DataError: bad\n") >= 1


def test_a_rank_that_caught_what_the_others_did_not_is_ended():
    source = f"""{START}
try:
    with agree(comm, 'reading'):
        raise DataError('bad')
except DataError:
    mark()
    if comm.rank != 1: raise
time.sleep(20)
"""
    job = run_ranks(2, source)
    assert job.code != 0
    assert job.err.count("DataError: bad") == 1
    assert job.seconds < WITHIN + 1


def test_a_mistake_inside_agree_ends_all_with_its_traceback():
    job = run_ranks(3, f"{START}\nmark()\nwith agree(comm, 'reading'):\n    if comm.rank == 1: [][0]\n{WAIT}")
    assert job.code != 0
    assert "[rank 1] IndexError: list index out of range" in job.err
    assert job.seconds < WITHIN


def test_all_ranks_exit_together_with_their_code_and_quietly():
    job = run_ranks(3, f"{START}\nmark()\nsys.exit(5)")
    assert job.code == 5
    assert "samesum" not in job.err
    assert job.seconds < WITHIN


def test_ranks_may_end_at_different_times():
    job = run_ranks(3, f"{START}\nprint('done', flush=True)\nif comm.rank == 0: time.sleep(4)\n")
    assert job.code == 0, job.err
    assert job.out.count("done") == 3
    assert not job.err


def test_nothing_outlives_a_job():
    before = _heartbeats()
    source = f"{START}\ndog = __import__('engine.collectives.excepthook', fromlist=['x'])._installed[0].farewells[0].watchdog"
    job = run_ranks(2, source + "\nif dog: print(f'dog={dog._process.pid}', flush=True)\nif comm.rank == 0: os._exit(1)\n" + WAIT)
    pid = int(job.out.split("dog=")[1].split()[0])
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and _runs(pid):
        time.sleep(0.05)
    assert not _runs(pid)
    assert _heartbeats() <= before  # others may be ending meanwhile


def _heartbeats() -> set[str]:
    return {name for name in os.listdir("/dev/shm") if name.startswith("samesum-heartbeat-")}


def _runs(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "state=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout.strip()
    return state not in ("", "Z")


def test_the_watchdog_names_the_missing_rank_and_ends_nothing():
    source = f"{START}\nif comm.rank == 1: time.sleep(3)\n{WAIT}"
    job = run_ranks(3, source, SAMESUM_WATCHDOG_SECONDS="0.8")
    assert job.code == 0, job.err
    assert job.out.count("went on") == 3
    lines = [line for line in job.err.splitlines() if "samesum:" in line]
    assert 1 <= len(lines) <= 2
    assert "ranks 0, 2 have waited 1 s in collective 3, 'histograms', for rank 1, computing (process " in lines[0]
    assert "since collective 2, 'start'" in lines[0]


def test_the_watchdog_can_be_turned_off():
    source = f"{START}\nassert __import__('engine.collectives.excepthook', fromlist=['x'])._installed[0].farewells[0].watchdog is None"
    assert run_ranks(2, source, SAMESUM_WATCHDOG_SECONDS="0").code == 0


def test_a_wrong_number_of_seconds_is_one_error_on_all():
    job = run_ranks(2, START, SAMESUM_WATCHDOG_SECONDS="soon")
    assert job.code == 1
    assert job.err.count("OptionError: expected seconds, 0 or more, in SAMESUM_WATCHDOG_SECONDS, got 'soon'") == 1


def test_a_process_without_a_launcher_starts_no_mpi():
    source = "import sys; from engine.collectives.default import resolve; print(type(resolve(None)).__name__, 'mpi4py' in sys.modules)"
    assert run_python(source).out.split() == ["SerialComm", "False"]


def test_mpi_of_one_rank_is_serial():
    source = "from mpi4py import MPI; from engine.collectives.default import resolve; print(type(resolve(None)).__name__)"
    assert run_python(source).out.split() == ["SerialComm"]


@pytest.mark.parametrize(
    "launcher",
    [{"OMPI_COMM_WORLD_SIZE": "4"}, {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "0"}, {"PALS_SIZE": "4"}],
)
def test_a_launcher_that_does_not_match_the_library_is_an_error(launcher):
    job = run_python("from engine.collectives.default import resolve; resolve(None)", **launcher)
    assert job.code == 1
    assert "CommunicationError: the MPI library and the launcher do not match" in job.err
    assert f"{next(iter(launcher))} says 4 ranks, but " in job.err


@pytest.mark.parametrize("launcher", [{"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, {"PMI_SIZE": "1"}, {"PMI_SIZE": "many"}])
def test_a_batch_script_is_one_process(launcher):
    source = "from engine.collectives.default import resolve; print(type(resolve(None)).__name__)"
    assert run_python(source, **launcher).out.split() == ["SerialComm"]


def test_a_launcher_without_mpi4py_says_what_to_install():
    source = "import sys; sys.modules['mpi4py'] = None; from engine.collectives.default import resolve; resolve(None)"
    job = run_python(source, PMI_SIZE="2")
    assert job.code == 1
    assert "PMI_SIZE says that 2 ranks were started, but MPI cannot be loaded" in job.err
    assert "samesum[mpich]" in job.err
