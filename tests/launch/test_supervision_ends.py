"""How jobs end that are not killed: errors, memory, ranks that stop, a user who cancels, supervisors that come late; and other tasks."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pyarrow as pa
import pytest
from pyarrow import parquet

import engine
from engine.errors import OptionError, StorageError
from engine.spec import DataSpec, GraphSpec, JobSpec, Resources
from engine.working_dir import WorkingDir
from launch.backends import backend_of
from launch.processes import process_of
from tests.launch.supervised import (
    finish,
    folder_bytes,
    model_bytes,
    pids,
    processes_of,
    program,
    read_logs,
    submit,
    training,
    wait_until,
    write_data,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data") / "data.csv")


@pytest.fixture(scope="module")
def model(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "model"
    engine.boosted_trees_classifier.create(data, target="label", verbose=False, **training(data).options).save(folder)
    return folder


def slow(path):
    """A program whose ranks compute for a minute, and say when they began."""
    path.write_text("import time\nprint('began', flush=True)\nend = time.time() + 60\nwhile time.time() < end:\n    pass\n")
    return path


def began(wd):
    """Whether all ranks of the job's program have."""
    return all(pathlib.Path(log).read_text() for log in wd.logs() if "rank-" in log) and sum("rank-" in log for log in wd.logs()) == 2


@pytest.mark.parametrize("where", ["in training", "in a collective"])
def test_a_stopped_rank_is_named_and_the_gang_restarts(data, model, tmp_path, where):
    point = {"in training": "after checkpoint", "in a collective": "in a collective"}[where]
    fault = {"point": point, "victim": "rank", "signal": "SIGSTOP", "rank": 0, "time": 2 if where == "in training" else 30}
    wd = submit(tmp_path, training(data, fault=fault, hang_timeout=1.0))
    result = finish(wd)
    assert (result["state"], result["attempt"]) == ("SUCCESS", 2), read_logs(wd)
    assert model_bytes(wd) == folder_bytes(model)
    stopped = [each for each in wd.containers() if each["cause"] == "hang"]
    assert [(each["attempt"], each["rank"]) for each in stopped] == [(1, 0)]
    assert "no progress for 1 s: " in stopped[0]["diagnosis"]
    assert "stopped" in stopped[0]["diagnosis"]


def test_a_rank_that_is_alone_and_stopped_is_named_too(data, tmp_path):
    fault = {"point": "after checkpoint", "victim": "rank", "signal": "SIGSTOP", "attempts": 9}
    wd = submit(tmp_path, training(data, ranks=1, fault=fault, hang_timeout=1.0, max_restarts=0))
    result = finish(wd)
    assert (result["state"], result["cause"]) == ("FAILURE", "hang")
    assert result["summary"].startswith("no progress for 1 s: rank 0 is stopped; resume with ")


def test_slow_ranks_do_not_hang(tmp_path):
    (tmp_path / "busy.py").write_text("import time\nend = time.time() + 2.5\nwhile time.time() < end:\n    pass\n")
    wd = submit(tmp_path, program(tmp_path / "busy.py", hang_timeout=1.0))
    assert finish(wd)["state"] == "SUCCESS", read_logs(wd)


def test_too_much_memory_is_said_once_with_what_would_do(tmp_path):
    (tmp_path / "large.py").write_text(
        "import time\nfrom mpi4py import MPI\n"
        "if MPI.COMM_WORLD.rank == 1:\n    held = bytearray(200 << 20)\n    held[::4096] = bytes([1]) * len(held[::4096])\n"
        "    time.sleep(60)\n"
        "MPI.COMM_WORLD.Barrier()\n"
    )
    wd = submit(tmp_path, program(tmp_path / "large.py", worker_memory=160))
    result = finish(wd)
    assert (result["state"], result["attempt"], result["cause"]) == ("FAILURE", 1, "memory")
    assert "rank 1 exceeded its memory: " in result["summary"]
    assert "of 160 MB physical memory used (-104); give worker_memory=" in result["summary"]
    enough = int(result["summary"].partition("worker_memory=")[2].split()[0])
    assert 200 < enough < 500
    (over,) = [each for each in wd.containers() if each["cause"] == "memory"]
    assert over["rank"] == 1
    assert over["peak_memory"] > 160 << 20


@pytest.mark.parametrize("ranks", [1, 2])
def test_an_error_of_all_ranks_is_said_once(data, tmp_path, ranks):
    spec = training(data, ranks=ranks, options={"max_depth": 0})
    wd = submit(tmp_path, spec)
    result = finish(wd)
    assert (result["state"], result["attempt"], result["cause"]) == ("FAILURE", 1, "error")
    assert result["error"] == {"class": "OptionError", "message": "max_depth must be an integer in [1, 64], got 0"}
    assert result["summary"] == "max_depth must be an integer in [1, 64], got 0"
    assert wd.attempts() == [1]


def test_an_error_of_one_rank_is_not_tried_again(data, tmp_path):
    (tmp_path / "faults").mkdir()
    (tmp_path / "faults" / "sitecustomize.py").write_text(
        "import os\nfrom engine.collectives.heartbeat import Heartbeat\nplain = Heartbeat.entered\n"
        "def entered(self, name):\n"
        "    if self.number == 30 and os.environ.get('PMI_RANK') == '1':\n        raise ZeroDivisionError('by hand')\n"
        "    return plain(self, name)\n"
        "Heartbeat.entered = entered\n"
    )
    wd = submit(tmp_path, training(data, environment={"PYTHONPATH": str(tmp_path / "faults")}))
    result = finish(wd)
    assert (result["state"], result["attempt"]) == ("FAILURE", 1), read_logs(wd)
    assert result["error"]["class"] == "ZeroDivisionError"
    assert "by hand" in result["summary"]
    assert "[rank 1]" in pathlib.Path(wd.logs_path(1, "rank-1.log")).read_text()


def test_what_a_launcher_around_says_is_not_for_the_ranks(data, tmp_path, monkeypatch):
    said = {"PMI_RANK": "3", "PMI_SIZE": "4", "OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "3", "SLURM_PROCID": "1"}
    for name, value in {**said, "SLURM_NTASKS": "8", "SLURM_NODELIST": "n[1-4]", "SAMESUM_GANG": "x", "SAMESUM_ATTEMPT": "9"}.items():
        monkeypatch.setenv(name, value)
    for ranks in (1, 2):
        wd = submit(tmp_path, training(data, ranks=ranks))
        assert finish(wd)["state"] == "SUCCESS", read_logs(wd)
        assert [each["rank"] for each in wd.containers()] == list(range(ranks))


def test_a_folder_that_cannot_be_is_named(data, tmp_path):
    wd = WorkingDir.create(str(tmp_path / "dml_job_gone"), training(data, node_tmp_dir=str(tmp_path / "file")))
    (tmp_path / "file").write_text("")
    backend_of(wd.spec()).submit(wd)
    result = finish(wd)
    assert (result["state"], result["cause"]) == ("FAILURE", "supervisor")
    assert str(tmp_path / "file") in result["summary"]


def test_a_supervisor_elsewhere_is_known_by_its_signs_of_life(data, tmp_path):
    wd = WorkingDir.create(str(tmp_path / "dml_job_elsewhere"), training(data))
    backend = backend_of(wd.spec())
    assert backend.status(wd) == "gone", "nobody has submitted it"
    about = {"host": "another", "pid": 1, "started": 1, "gang": "x", "scratch": str(tmp_path / "never")}
    wd.take_attempt({**about, "time": time.time() - 1000.0})
    assert backend.status(wd) == "gone"
    wd.renew(1, time.time())
    assert backend.status(wd) == "running"
    pathlib.Path(wd.path("run.json")).write_text("{}")
    assert backend.status(wd) == "gone", "it has cleared away"
    pathlib.Path(wd.path("run.json")).unlink()
    wd.renew(1, time.time() - 1000.0)
    backend.make_sure_it_ended(wd)
    assert wd.result()["summary"].startswith("its supervisor (process 1 on another) is gone")


def test_cancel(tmp_path):
    wd = submit(tmp_path, program(slow(tmp_path / "slow.py")))
    wait_until(lambda: began(wd))
    start = time.monotonic()
    backend = backend_of(wd.spec())
    backend.cancel(wd)
    assert time.monotonic() - start < 10.0
    assert processes_of(wd) == []
    assert backend.status(wd) == "ended"
    result = finish(wd)
    assert (result["state"], result["summary"]) == ("KILLED", "cancelled by its user")
    backend.cancel(wd)
    assert wd.result() == result, "the first result counts"


def test_cancelled_before_it_began(data, tmp_path):
    wd = WorkingDir.create(str(tmp_path / "dml_job_never"), training(data))
    wd.publish("KILLED", attempt=0, summary="cancelled by its user", time=time.time())
    backend_of(wd.spec()).submit(wd)
    assert finish(wd)["state"] == "KILLED"
    assert wd.attempts() == []


def test_of_two_supervisors_the_later_one_has_the_job(data, model, tmp_path):
    wd = submit(
        tmp_path, training(data, fault={"point": "before checkpoint", "victim": "supervisor", "signal": "SIGSTOP", "then_sleep": 3.0})
    )
    wait_until(wd.attempts)
    first = process_of(wd.attempt(1)["pid"])
    wait_until(lambda: first.state == "T")
    backend_of(wd.spec()).submit(wd)
    wait_until(lambda: 2 in wd.attempts())
    result = wait_until(wd.result)
    assert (result["state"], result["attempt"]) == ("SUCCESS", 2), read_logs(wd)
    first.kill(signal.SIGCONT)
    wait_until(lambda: not first.is_alive)
    result_then = finish(wd)
    assert result_then == result
    assert model_bytes(wd) == folder_bytes(model)
    assert wd.attempts() == [1, 2]
    assert not os.path.exists(wd.attempt_path(1, "model"))
    assert {each["attempt"] for each in wd.containers()} == {2}, "the first has nothing more to say"


def test_two_supervisors_at_once(data, model, tmp_path):
    wd = submit(tmp_path, training(data))
    backend_of(wd.spec()).submit(wd)
    result = finish(wd)
    assert result["state"] == "SUCCESS", read_logs(wd)
    assert model_bytes(wd) == folder_bytes(model)
    assert result["attempt"] == max(wd.attempts())


def test_two_jobs_do_not_disturb_each_other(data, model, tmp_path):
    jobs = [
        submit(tmp_path, training(data, fault={"point": "after checkpoint", "victim": victim, "time": 3})) for victim in ("all", "rank")
    ]
    for wd in jobs:
        assert finish(wd)["attempt"] == 2, read_logs(wd)
        assert model_bytes(wd) == folder_bytes(model)


def test_a_supervisor_told_to_end_says_so(tmp_path):
    wd = submit(tmp_path, program(slow(tmp_path / "slow.py")))
    wait_until(lambda: began(wd))
    process_of(pids(wd)[1]).kill(signal.SIGTERM)
    result = finish(wd)
    assert (result["state"], result["summary"]) == ("FAILURE", "the supervisor was told to end (SIGTERM)")


def test_a_stopped_agent_does_not_stop_the_job(data, tmp_path):
    fault = {"point": "after checkpoint", "victim": "agent", "signal": "SIGSTOP", "time": 2}
    wd = submit(tmp_path, training(data, fault=fault))
    wait_until(wd.result)
    result = finish(wd)
    assert (result["state"], result["attempt"]) == ("SUCCESS", 1)


@pytest.mark.parametrize("ranks", [1, 3])
def test_a_program_of_its_user(tmp_path, ranks):
    (tmp_path / "program.py").write_text(
        "import os, sys, tempfile\nfrom mpi4py import MPI\n"
        "print(sys.argv[1:], MPI.COMM_WORLD.rank, MPI.COMM_WORLD.size, os.environ['OMP_NUM_THREADS'], os.environ['MINE'])\n"
        "print(tempfile.gettempdir())\n"
    )
    spec = program(tmp_path / "program.py", args=["-n", "a b"], ranks=ranks, environment={"MINE": "é"}, node_tmp_dir=str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    wd = submit(tmp_path, spec)
    result = finish(wd)
    assert (result["state"], result["exit_code"]) == ("SUCCESS", 0), read_logs(wd)
    for rank in range(ranks):
        lines = pathlib.Path(wd.logs_path(1, f"rank-{rank}.log")).read_text().splitlines()
        assert lines[0] == f"['-n', 'a b'] {rank} {ranks} 1 é"
        assert lines[1].startswith(str(tmp_path / "tmp"))
    assert f"PROGRESS: Number of workers: {ranks}\n" in wd.progress()
    assert f"PROGRESS: Local cache file locations: {tmp_path / 'tmp'}\n" in wd.progress()
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize(
    ("source", "code", "words"),
    [
        ("import os\nos._exit(3)", 3, "ended with exit code 3"),
        ("raise SystemExit(3)", 3, "ended with exit code 3"),
        ("if MPI.COMM_WORLD.rank == 1:\n    1 / 0\nMPI.COMM_WORLD.Barrier()", 1, "rank 1: ZeroDivisionError: division by zero"),
        ("if MPI.COMM_WORLD.rank == 1:\n    MPI.COMM_WORLD.Abort(7)\nMPI.COMM_WORLD.Barrier()", 7, "MPI_Abort with code 7"),
    ],
    ids=["exits at once", "exits", "raises", "aborts"],
)
def test_a_program_that_fails(tmp_path, source, code, words):
    (tmp_path / "program.py").write_text(f"from mpi4py import MPI\n{source}\n")
    wd = submit(tmp_path, program(tmp_path / "program.py"))
    result = finish(wd)
    assert (result["state"], result["attempt"], result["cause"], result["exit_code"]) == ("FAILURE", 1, "error", code), read_logs(wd)
    assert words in result["summary"]


def test_a_program_that_is_killed_is_started_anew(tmp_path):
    (tmp_path / "program.py").write_text(
        "import os, signal\nfrom mpi4py import MPI\n"
        "if MPI.COMM_WORLD.rank == 1 and os.environ['SAMESUM_ATTEMPT'] == '1':\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        "MPI.COMM_WORLD.Barrier()\nprint('done')\n"
    )
    wd = submit(tmp_path, program(tmp_path / "program.py"))
    result = finish(wd)
    assert (result["state"], result["attempt"]) == ("SUCCESS", 2), read_logs(wd)
    assert pathlib.Path(wd.logs_path(2, "rank-0.log")).read_text() == "done\n"


def test_predictions_and_metrics(data, model, tmp_path):
    trained = engine.load_model(model)
    rows = DataSpec(paths=(data,))
    predicting = JobSpec(task="predict", model=str(model), data=rows, output_type="probability", resources=Resources(num_workers=2))
    wd = submit(tmp_path, predicting)
    result = finish(wd)
    assert result["state"] == "SUCCESS", read_logs(wd)
    found = parquet.read_table(result["output"]).column(0).to_pylist()
    assert found == trained.predict(data, output_type="probability").to_pylist()
    wd = submit(tmp_path, JobSpec(task="evaluate", model=str(model), data=rows, resources=Resources(num_workers=2)))
    result = finish(wd)
    assert result["metrics"]["accuracy"] == trained.evaluate(data)["accuracy"]


def test_a_graph_and_an_output_of_its_own(tmp_path):
    parquet.write_table(pa.table({"from": [1, 2, 3, 4], "to": [2, 3, 1, 1]}), tmp_path / "edges.parquet")
    spec = JobSpec(
        task="train",
        toolkit="pagerank",
        data=DataSpec(paths=(str(tmp_path / "edges.parquet"),)),
        graph=GraphSpec(src="from", dst="to"),
        output=str(tmp_path / "model"),
        options={"max_iterations": 12, "threshold": 0.0},
        resources=Resources(num_workers=2),
    )
    wd = submit(tmp_path, spec)
    assert finish(wd)["state"] == "SUCCESS", read_logs(wd)
    assert folder_bytes(tmp_path / "model") == model_bytes(wd)
    assert wd.progress().count("Checkpointing to") == 2, "every five iterations if nothing else is said"


def test_a_working_directory_is_for_one_job(data, tmp_path):
    WorkingDir.create(str(tmp_path / "job"), training(data))
    with pytest.raises(StorageError, match="a job is in .* already"):
        WorkingDir.create(str(tmp_path / "job"), training(data))
    with pytest.raises(OptionError, match="'resources'"):
        WorkingDir.create(str(tmp_path / "other"), JobSpec(task="evaluate", model="m", data=DataSpec(paths=("a",))))


def test_ranks_may_be_started_by_hand(data, model, tmp_path):
    wd = WorkingDir.create(str(tmp_path / "dml_job_by_hand"), training(data))
    done = subprocess.run([sys.executable, "-m", "engine", wd.address], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert wd.result()["state"] == "SUCCESS"
    assert model_bytes(wd) == folder_bytes(model)
    assert json.loads(pathlib.Path(wd.attempt_path(1, "attempt.json")).read_text())["pid"]
