"""Jobs on a real Slurm of two nodes: as on any cluster, and what only a batch system does to them: warn, requeue, lose a node, cancel."""

import json
import os
import pathlib
import shutil
import signal
import sys

import pytest

import engine
import launch
from engine.errors import JobError, OptionError
from engine.working_dir import WorkingDir
from launch.batch import schedulers
from launch.states import FinalState, State
from tests.launch.supervised import folder_bytes, processes_of, read_logs, wait_until, write_data

SLOW = pathlib.Path(__file__).with_name("slow")
OPTIONS = {"max_iterations": 10, "max_depth": 3}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data") / "data.csv")


@pytest.fixture(scope="module")
def model(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "model"
    engine.boosted_trees_classifier.create(data, target="label", verbose=False, **OPTIONS).save(folder)
    return folder_bytes(folder)


@pytest.fixture
def cluster(slurm, tmp_path, monkeypatch):
    """A cluster on both nodes; ``cluster(pause=1)`` stops for a second after each checkpoint."""
    monkeypatch.setenv("SAMESUM_CONFIG_DIR", str(tmp_path / "config"))

    def make(*, pause=0.0, **settings):
        variables = {"PYTHONPATH": str(SLOW), "TEST_PAUSE": str(pause)} if pause else {}
        usual = {"nodes": 2, "worker_memory": 512, "time_limit": 10, "environment": variables}
        return launch.slurm_cluster.create("tower", tmp_path / "jobs", **{**usual, **settings})

    yield make
    slurm.run("scancel", "--user=root")
    slurm.wait_for_nodes()


def train(cluster, data, **options):
    said = {**OPTIONS, "model_checkpoint_interval": 2, **options}
    return launch.boosted_trees_classifier.submit_training_job(cluster, data, "label", **said)


def directory(job):
    return WorkingDir(job.working_dir)


def number(job):
    return launch.backends.slurm.BACKEND.job_of(directory(job))


def check_success(job, model, attempts):
    assert job.wait(120) == FinalState.SUCCESS, f"{job.summary()}\n{read_logs(directory(job))}"
    assert directory(job).attempts() == list(range(1, attempts + 1)), read_logs(directory(job))
    assert folder_bytes(directory(job).path(directory(job).result()["model"])) == model
    rows = [event["number"] for event in job.events() if event["event"] == "row"]
    assert rows == list(range(1, 11))
    assert job.get_results().num_trees == 10
    assert wait_until(lambda: processes_of(directory(job)) == [])
    assert not any(pathlib.Path("/tmp").glob(f"samesum-{directory(job).attempt(1)['gang'][:16]}*"))


def wait_for_checkpoint(job):
    return wait_until(lambda: directory(job).last_checkpoint(), 60)


@pytest.mark.parametrize("mpi", ["pmi2", "mpiexec"])
def test_a_training_on_two_nodes(cluster, data, model, mpi, slurm):
    job = train(cluster(mpi=mpi, ranks_per_node=2, num_threads=2, modules=[], directives=["--comment=ours"]), data)
    assert job.get_state() in (State.PENDING, State.RUNNING)
    check_success(job, model, 1)
    said = slurm.job(number(job))
    assert (said["NumNodes"], said["NumTasks"], said["CPUs/Task"], said["TimeLimit"]) == ("2", "4", "2", "00:10:00")
    assert said["Comment"] == "ours"
    assert "Number of workers: 4" in job.get_progress()
    assert [each["rank"] for each in directory(job).containers()] == [0, 1, 2, 3]
    assert "container_01_000003:\n  ended well" in job.summary()
    assert "rank-3.log" in pathlib.Path(job.get_log_file_path()).read_text()


MODULE = """#%Module
setenv MPI4PY_MPIABI openmpi
setenv MPI4PY_LIBMPI libmpi.so.40
setenv OMPI_MCA_pml ob1
setenv OMPI_MCA_btl self,tcp
setenv OMPI_MCA_btl_tcp_if_include lo
"""  # two nodes of one machine would take each other's shared memory for their own


def test_open_mpi_of_a_module_is_started_by_pmix(cluster, data, model, tmp_path, monkeypatch):
    module = tmp_path / "modules" / "openmpi" / "4.1"
    module.parent.mkdir(parents=True)
    module.write_text(MODULE)
    monkeypatch.setenv("MODULEPATH", str(tmp_path / "modules"))
    tower = cluster(mpi="pmix", ranks_per_node=2, modules=["openmpi/4.1"])
    job = train(tower, data)
    program = tmp_path / "which.py"
    program.write_text(
        "from mpi4py import MPI\nassert 'Open MPI' in MPI.Get_library_version()\n"
        "assert MPI.COMM_WORLD.allreduce(MPI.COMM_WORLD.rank) == 6, MPI.COMM_WORLD.size\n"
    )
    which = launch.run_script(tower, program)
    check_success(job, model, 1)
    assert which.wait(120) == FinalState.SUCCESS, f"{which.summary()}\n{read_logs(directory(which))}"


def test_ranks_that_do_not_find_each_other_do_not_each_do_the_whole_job(cluster, data):
    job = train(cluster(mpi="none"), data)
    assert job.wait(120) == FinalState.FAILURE
    assert "SLURM_STEP_NUM_TASKS says 2 ranks, but MPICH" in job.summary(), read_logs(directory(job))
    assert "srun --mpi=pmix or pmi2" in job.summary()
    assert directory(job).attempts() == [1]


def test_one_node_and_one_worker(cluster, data, model):
    check_success(train(cluster(nodes=1, mpi="mpiexec"), data), model, 1)


def test_progress_is_live_and_another_handle_sees_the_same(cluster, data):
    job = train(cluster(pause=1.0), data)
    wait_for_checkpoint(job)
    other = launch.load_job(job.working_dir)
    assert other.get_state() == State.RUNNING
    assert "| 2 " in other.get_progress()
    assert other.last_checkpoint().endswith("model_checkpoint_2")
    other.cancel()
    assert job.get_final_state() == FinalState.KILLED
    assert wait_until(lambda: processes_of(directory(job)) == [])


def test_a_job_that_waits_is_cancelled(cluster, data, slurm):
    tower = cluster(directives=["--begin=now+1hour"])
    job = train(tower, data)
    assert job.get_state() == State.PENDING
    job.cancel()
    assert job.get_final_state() == FinalState.KILLED
    assert slurm.job(number(job))["JobState"] == "CANCELLED"


def test_a_job_cancelled_by_hand_is_killed(cluster, data, slurm):
    job = train(cluster(pause=1.0), data)
    wait_for_checkpoint(job)
    slurm.run("scancel", number(job))
    assert job.wait(60) == FinalState.KILLED
    assert "was cancelled: CANCELLED" in job.summary()
    assert "resume_from_checkpoint='" in job.summary()
    assert wait_until(lambda: processes_of(directory(job)) == [])


def test_a_warning_ends_the_job_at_a_checkpoint_and_it_goes_on_by_itself(cluster, data, model, slurm):
    job = train(cluster(pause=1.0), data)
    wait_for_checkpoint(job)
    slurm.run("scancel", "--batch", "--signal=USR1", number(job))
    check_success(job, model, 2)
    assert "PROGRESS: restarted from " in job.get_progress()
    assert slurm.job(number(job))["Restarts"] == "1"
    log = pathlib.Path(directory(job).path("logs", "supervisor.log")).read_text()
    assert "attempt 1" in log  # the log of the first run is still there
    assert "the time limit is near: the job goes on from " in log


@pytest.mark.slow
def test_a_time_limit_that_hits_while_training(cluster, data, model, slurm):
    """Five pauses take longer than the limit, however fast the machine is; a slow one may need the limit more than once."""
    job = train(cluster(pause=12.0, time_limit=1, warning=10), data)
    assert job.wait(400) == FinalState.SUCCESS, f"{job.summary()}\n{read_logs(directory(job))}"
    restarts = int(slurm.job(number(job))["Restarts"])
    assert restarts >= 1
    check_success(job, model, restarts + 1)


def test_a_time_limit_without_a_checkpoint_fails_and_says_what_to_do(cluster, data, slurm):
    job = train(cluster(warning=2), data, max_iterations=100_000, model_checkpoint_interval=100_000)
    wait_until(lambda: "| 1 " in job.get_progress())
    slurm.run("scancel", "--batch", "--signal=USR1", number(job))
    assert job.wait(60) == FinalState.FAILURE
    assert "time_limit=10 (minutes) was too short for a new checkpoint: give more time" in job.summary()


def test_an_administrator_requeues_it(cluster, data, model, slurm):
    job = train(cluster(pause=1.0), data)
    wait_for_checkpoint(job)
    slurm.run("scontrol", "requeue", number(job))
    check_success(job, model, 2)


def test_a_rank_that_is_killed_starts_the_gang_anew(cluster, data, model):
    victim = 1  # on the second node, away from the supervisor
    job = train(cluster(pause=0.5), data)
    wait_for_checkpoint(job)
    about = directory(job).attempt(1)
    record = pathlib.Path(f"{about['scratch']}-{victim}", "ranks", f"{victim}.json")
    kill(record, "pid")
    check_success(job, model, 2)
    lost = [each for each in directory(job).containers() if each["cause"] == "lost"]
    assert [(each["attempt"], each["rank"]) for each in lost] == [(1, victim)], directory(job).containers()


def kill(record, which):
    os.kill(json.loads(record.read_text())[which], signal.SIGKILL)


def test_a_lost_node_is_waited_for_and_the_job_goes_on(cluster, data, model, slurm):
    job = train(cluster(pause=1.5), data)
    wait_for_checkpoint(job)
    slurm.lose_node("n2")
    wait_until(lambda: slurm.job(number(job))["JobState"] == "PENDING", 90)
    assert job.get_state() == State.PENDING
    slurm.nodes["n2"].start()
    assert job.wait(120) == FinalState.SUCCESS, read_logs(directory(job))
    assert folder_bytes(directory(job).path(directory(job).result()["model"])) == model


def test_too_much_memory_is_said_with_what_would_do(cluster, tmp_path):
    program = tmp_path / "large.py"
    program.write_text(
        "import time\nfrom mpi4py import MPI\nif MPI.COMM_WORLD.rank == 1:\n    held = bytearray(700 << 20)\n"
        "    held[::4096] = bytes([1]) * len(held[::4096])\n    time.sleep(60)\nMPI.COMM_WORLD.Barrier()\n"
    )
    job = launch.run_script(cluster(), program)
    assert job.wait(60) == FinalState.FAILURE
    assert "rank 1 exceeded its memory" in job.summary()
    assert "(-104)" in job.summary()


def test_a_program_that_raises_on_the_second_node(cluster, tmp_path):
    program = tmp_path / "bad.py"
    program.write_text(
        "from mpi4py import MPI\nif MPI.COMM_WORLD.rank == 1:\n    raise ValueError('no such thing')\nMPI.COMM_WORLD.Barrier()\n"
    )
    job = launch.run_script(cluster(), program)
    assert job.wait(60) == FinalState.FAILURE
    assert "ValueError: no such thing" in job.summary()
    with pytest.raises(JobError, match="no such thing"):
        job.get_results()


def test_what_slurm_refuses_is_said_at_once(cluster, data):
    with pytest.raises(JobError, match="sbatch refused the job: .*nvalid partition"):
        train(cluster(partition="nowhere"), data)


def test_slurm_that_does_not_answer_is_no_end(cluster, data, model, slurm):
    job = train(cluster(pause=0.5), data)
    wait_for_checkpoint(job)
    slurm.controller.signal(signal.SIGSTOP)
    try:
        within, schedulers.CALL_WITHIN = schedulers.CALL_WITHIN, 1.0
        try:
            assert job.get_state() == State.RUNNING
        finally:
            schedulers.CALL_WITHIN = within
    finally:
        slurm.controller.signal(signal.SIGCONT)
    check_success(job, model, 1)


def sweep_on(cluster, data, depths=(2, 3, 4), **options):
    said = {"max_iterations": 10, "model_checkpoint_interval": 2, **options}
    toolkit = launch.boosted_trees_classifier
    return launch.submit_sweep(cluster, toolkit, data, "label", parameters={"max_depth": list(depths)}, **said)


def test_a_sweep_is_an_array_whose_jobs_take_turns_and_are_requeued_alone(cluster, data, model, slurm):
    sweep = sweep_on(cluster(nodes=1, mpi="mpiexec", pause=0.7), data, max_at_once=2)
    first, second, third = sweep.jobs
    array = number(first).partition("_")[0]
    assert [number(job) for job in sweep.jobs] == [f"{array}_{index}" for index in (1, 2, 3)]
    wait_for_checkpoint(second)
    assert third.get_state() == State.PENDING
    assert slurm.job(number(third))["ArrayTaskThrottle"] == "2"
    slurm.run("scancel", "--batch", "--signal=USR1", number(second))
    assert sweep.wait(120) == [FinalState.SUCCESS] * 3, [f"{job.summary()}\n{read_logs(directory(job))}" for job in sweep.jobs]
    assert [slurm.job(number(job))["Restarts"] for job in sweep.jobs] == ["0", "1", "0"]
    assert [len(directory(job).attempts()) for job in sweep.jobs] == [1, 2, 1]
    assert number(second) == f"{array}_2"
    assert folder_bytes(directory(second).path(directory(second).result()["model"])) == model
    began = directory(third).attempt(1)["time"]
    assert began > min(directory(job).attempt(1)["time"] for job in (first, second)) + 1  # it had to wait for a turn
    table = launch.load_sweep(sweep.working_dir).table()
    assert table["training_log_loss"].to_pylist() == sorted(table["training_log_loss"].to_pylist())
    assert sorted(table["max_depth"].to_pylist()) == [2, 3, 4]


def test_one_job_of_a_sweep_is_cancelled_and_then_all(cluster, data, slurm):
    sweep = sweep_on(cluster(nodes=1, mpi="mpiexec", pause=1.0), data, depths=(1, 2, 3, 4), max_at_once=1, max_iterations=1000)
    first, second, third, last = sweep.jobs
    wait_for_checkpoint(first)
    second.cancel()
    slurm.run("scancel", number(third))
    assert [job.get_state() for job in sweep.jobs] == [State.RUNNING, State.COMPLETED, State.COMPLETED, State.PENDING]
    assert second.get_final_state() == third.get_final_state() == FinalState.KILLED
    assert f"its job {number(third)} of Slurm was cancelled before it began: " in third.summary()
    sweep.cancel()
    assert sweep.wait(60) == [FinalState.KILLED] * 4
    assert slurm.run("squeue", "--noheader") == ""
    assert not directory(last).attempts()
    assert wait_until(lambda: not any(processes_of(directory(job)) for job in sweep.jobs))


def test_the_script_written_by_hand_goes_on_by_itself(slurm, tmp_path, monkeypatch):
    examples = pathlib.Path(__file__).parents[2] / "examples"
    shutil.copytree(examples / "hpc", tmp_path / "hpc")
    monkeypatch.chdir(tmp_path / "hpc")
    for name, value in {"PYTHON": sys.executable, "PYTHONPATH": str(SLOW), "TEST_PAUSE": "1.5", "SAMESUM_SCRATCH": "none"}.items():
        monkeypatch.setenv(name, value)
    job = slurm.run("sbatch", "--parsable", "train.slurm", str(examples / "data" / "mushroom.csv"), "label", "model").strip()
    wait_until(pathlib.Path("model-checkpoints", "model_checkpoint_5", "model.json").exists)
    slurm.run("scancel", "--batch", "--signal=USR1", job)
    wait_until(lambda: slurm.job(job)["JobState"] in ("COMPLETED", "FAILED"))
    log = pathlib.Path("mushroom.log").read_text()
    assert slurm.job(job)["Restarts"] == "1", log
    assert "4 ranks, 20 trees, from model-checkpoints/model_checkpoint_" in log
    monkeypatch.delenv("TEST_PAUSE")
    data = str(examples / "data" / "mushroom.csv")
    engine.boosted_trees_classifier.create(data, target="label", max_iterations=20, verbose=False).save("undisturbed")
    assert folder_bytes("model") == folder_bytes("undisturbed")


def test_settings(cluster):
    tower = cluster(time_limit="1-02:03:04")
    assert tower.time_limit == 26 * 60 + 4
    with pytest.raises(OptionError, match="time_limit must be minutes"):
        tower.time_limit = "soon"
    with pytest.raises(OptionError, match="folder that this machine and all nodes share"):
        launch.slurm_cluster.create("other", "s3://bucket/jobs")
