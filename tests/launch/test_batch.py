"""Jobs of batch systems: their scripts, letter by letter, and jobs on a PBS that behaves as the manual pages of OpenPBS say."""

import os
import pathlib
import re
import shutil
import signal
import sys
import uuid

import pytest

import engine
import launch
from engine.errors import JobError, OptionError
from engine.spec import JobSpec
from engine.working_dir import WorkingDir
from launch.array import Array
from launch.backends import pbs
from launch.backends.batch import BatchBackend
from launch.batch.schedulers import Look, Pbs, Slurm
from launch.batch.script import SCRIPTS
from launch.states import FinalState, State
from tests.launch import fake_pbs
from tests.launch.supervised import folder_bytes, processes_of, read_logs, wait_until, write_data

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "batch"
SLOW = pathlib.Path(__file__).parents[1] / "cluster" / "slow"
OPTIONS = {"max_iterations": 10, "max_depth": 3}
ASKED = {
    "nodes": 4,
    "ranks_per_node": 2,
    "num_threads": 8,
    "worker_memory": 16000,
    "time_limit": "1-12:00:00",
    "account": "astro",
    "modules": ["gcc/12", "openmpi/4.1"],
    "python": "/apps/samesum/bin/python",
}


@pytest.fixture(autouse=True)
def configuration(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMESUM_CONFIG_DIR", str(tmp_path / "config"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data") / "data.csv")


@pytest.fixture(scope="module")
def model(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "model"
    engine.boosted_trees_classifier.create(data, target="label", verbose=False, **OPTIONS).save(folder)
    return folder_bytes(folder)


@pytest.fixture
def pbs_machine(monkeypatch):
    """Jobs go to a PBS of this machine."""
    folder = pathlib.Path("/tmp") / f"fake-pbs-{uuid.uuid4()}"
    for name, value in fake_pbs.install(folder).items():
        monkeypatch.setenv(name, value)
    yield folder
    for path in folder.glob("*.server.json"):
        path.with_suffix(".deleted").touch()
    wait_until(lambda: all(re.search('"job_state": "[FX]"', path.read_text()) for path in folder.glob("*.server.json")))
    shutil.rmtree(folder)


@pytest.fixture
def cluster(pbs_machine, tmp_path):
    def make(*, pause=0.0, **settings):
        variables = {"PYTHONPATH": str(SLOW), "TEST_PAUSE": str(pause)} if pause else {}
        usual = {"ranks_per_node": 2, "worker_memory": 512, "time_limit": 10, "environment": variables}
        return launch.pbs_cluster.create("cray", tmp_path / "jobs", **{**usual, **settings})

    return make


def train(cluster, data, **options):
    said = {**OPTIONS, "model_checkpoint_interval": 2, **options}
    return launch.boosted_trees_classifier.submit_training_job(cluster, data, "label", **said)


def directory(job):
    return WorkingDir(job.working_dir)


def check_success(job, model, attempts=None):
    assert job.wait(160) == FinalState.SUCCESS, f"{job.summary()}\n{read_logs(directory(job))}"
    assert attempts is None or directory(job).attempts() == list(range(1, attempts + 1)), read_logs(directory(job))
    assert folder_bytes(directory(job).path(directory(job).result()["model"])) == model
    wait_until(lambda: processes_of(directory(job)) == [])


def spec_of(cluster):
    from engine.spec import DataSpec, Resources

    resources = Resources(**cluster.resources())
    return JobSpec(
        task="train", toolkit="pagerank", data=DataSpec(paths=("/data/edges.csv",)), graph=engine.spec.GraphSpec(), resources=resources
    )


@pytest.mark.parametrize("kind", ["slurm", "pbs"])
@pytest.mark.parametrize("asked", ["all", "little"])
def test_scripts_are_what_a_person_would_write(kind, asked):
    create = {"slurm": launch.slurm_cluster.create, "pbs": launch.pbs_cluster.create}[kind]
    own = {
        "slurm": {"partition": "long", "mpi": "pmix", "directives": ["--constraint=icelake"]},
        "pbs": {"queue": "long", "directives": ["-P project"]},
    }[kind]
    more = {**ASKED, **own} if asked == "all" else {"python": "python3"}
    spec = spec_of(create("tower", "/shared/my jobs", **more))
    assert JobSpec.from_json(spec.to_json()) == spec
    text = SCRIPTS[kind](WorkingDir("/shared/my jobs/dml_job_1"), spec)
    assert text == (GOLDEN / f"{kind}_{asked}.sh").read_text()


@pytest.mark.parametrize("kind", ["slurm", "pbs"])
@pytest.mark.parametrize("at_once", [None, 2])
def test_the_script_of_an_array_is_one_for_all(kind, at_once):
    create = {"slurm": launch.slurm_cluster.create, "pbs": launch.pbs_cluster.create}[kind]
    spec = spec_of(create("tower", "/shared/my jobs", time_limit=60, python="python3", modules=["openmpi"] if at_once else []))
    stem = "/shared/my jobs/dml_sweep_1"
    text = SCRIPTS[kind](WorkingDir(stem), spec, Array(stem, 6, at_once))
    assert text == (GOLDEN / f"{kind}_array_{at_once or 'all'}.sh").read_text()


@pytest.mark.parametrize("nodes", [1, 2])
def test_a_training_on_pbs(cluster, data, model, nodes):
    job = train(cluster(nodes=nodes), data)
    assert job.get_state() in (State.PENDING, State.RUNNING)
    check_success(job, model, 1)
    assert f"Number of workers: {2 * nodes}" in job.get_progress()
    assert [each["rank"] for each in directory(job).containers()] == list(range(2 * nodes))


def test_pbs_gives_no_warning_so_the_supervisor_looks_at_its_clock(cluster, data, model):
    job = train(cluster(pause=1.0, time_limit=1, warning=56), data)
    check_success(job, model)
    assert len(directory(job).attempts()) > 1
    assert pbs.BACKEND.job_of(directory(job)) != "1.server"
    assert "restarted from " in job.get_progress()
    log = pathlib.Path(directory(job).path("logs", "supervisor.log")).read_text()
    assert "the time limit is near: the job goes on from " in log


def test_a_time_limit_that_is_too_short_for_any_checkpoint(cluster, data):
    job = train(cluster(time_limit=1, warning=2), data, model_checkpoint_interval=100_000, max_iterations=100_000)
    wait_until(lambda: "| 1 " in job.get_progress())
    os.kill(directory(job).attempt(1)["pid"], signal.SIGUSR1)
    assert job.wait(60) == FinalState.FAILURE
    assert "time_limit=1 (minutes) was too short for a new checkpoint" in job.summary()


def test_a_job_without_checkpoints_cannot_go_on(cluster, tmp_path):
    program = tmp_path / "long.py"
    program.write_text("import time\ntime.sleep(60)\n")
    job = launch.run_script(cluster(time_limit=1, warning=57), program)
    assert job.wait(60) == FinalState.FAILURE
    assert "time_limit=1 (minutes) was too short, and the job writes no checkpoints" in job.summary()
    wait_until(lambda: processes_of(directory(job)) == [])


def test_cancel(cluster, data):
    job = train(cluster(pause=1.0), data)
    wait_until(lambda: directory(job).last_checkpoint())
    job.cancel()
    assert job.get_final_state() == FinalState.KILLED
    wait_until(lambda: processes_of(directory(job)) == [])


def test_a_job_deleted_by_hand_is_killed(cluster, data):
    job = train(cluster(pause=1.0, nodes=2), data)
    wait_until(lambda: directory(job).last_checkpoint())
    Pbs().cancel([pbs.BACKEND.job_of(directory(job))])
    assert job.wait(30) == FinalState.KILLED
    assert "its job 1.server of PBS was cancelled: " in job.summary()
    assert "resume_from_checkpoint=" in job.summary()


def test_a_job_that_pbs_kills_has_failed(cluster, data, monkeypatch):
    monkeypatch.setenv("FAKE_PBS_LIMIT", "3")
    job = train(cluster(pause=5.0), data)
    assert job.wait(30) == FinalState.FAILURE
    assert "job killed: walltime exceeded limit" in job.summary()


def sweep_on(cluster, data, depths=(2, 3, 4), **options):
    said = {"max_iterations": 6, "model_checkpoint_interval": 2, **options}
    toolkit = launch.boosted_trees_classifier
    return launch.submit_sweep(cluster, toolkit, data, "label", parameters={"max_depth": list(depths)}, **said)


def test_a_sweep_is_an_array_whose_jobs_take_turns(cluster, data):
    sweep = sweep_on(cluster(ranks_per_node=1), data, max_at_once=1, max_iterations=2)
    assert [pbs.BACKEND.job_of(directory(job)) for job in sweep.jobs] == ["1[1].server", "1[2].server", "1[3].server"]
    assert sweep.wait(160) == [FinalState.SUCCESS] * 3, [job.summary() for job in sweep.jobs]
    began = [directory(job).attempt(1)["time"] for job in sweep.jobs]
    ended = [directory(job).result()["time"] for job in sweep.jobs]
    assert began[1] > ended[0]
    assert began[2] > ended[1]
    again = launch.load_sweep(sweep.working_dir)
    assert again.table().equals(sweep.table())
    assert sorted(again.table()["max_depth"].to_pylist()) == [2, 3, 4]


def test_one_job_of_an_array_is_cancelled_and_then_all(cluster, data):
    sweep = sweep_on(cluster(ranks_per_node=1, pause=1.0), data, max_at_once=1, max_iterations=100)
    wait_until(lambda: directory(sweep.jobs[0]).last_checkpoint())
    sweep.jobs[1].cancel()
    assert [job.get_state() for job in sweep.jobs] == [State.RUNNING, State.COMPLETED, State.PENDING]
    sweep.cancel()
    assert sweep.wait(30) == [FinalState.KILLED] * 3
    assert not directory(sweep.jobs[2]).attempts()
    wait_until(lambda: [processes_of(directory(job)) for job in sweep.jobs] == [[], [], []])


def test_a_job_of_an_array_goes_on_as_a_job_of_its_own(cluster, data):
    sweep = sweep_on(cluster(ranks_per_node=1, pause=1.0), data, depths=(2, 3), max_iterations=10)
    first, second = sweep.jobs
    wait_until(lambda: directory(first).last_checkpoint())
    os.kill(directory(first).attempt(1)["pid"], signal.SIGUSR1)
    assert sweep.wait(160) == [FinalState.SUCCESS] * 2, read_logs(directory(first))
    assert len(directory(first).attempts()) == 2
    assert "[" not in pbs.BACKEND.job_of(directory(first))
    assert pbs.BACKEND.job_of(directory(second)) == "1[2].server"


def test_the_script_written_by_hand(pbs_machine, tmp_path, monkeypatch):
    examples = pathlib.Path(__file__).parents[2] / "examples"
    shutil.copytree(examples / "hpc", tmp_path / "hpc")
    monkeypatch.chdir(tmp_path / "hpc")
    monkeypatch.setenv("PYTHON", sys.executable)
    monkeypatch.setenv("PATH", f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}")
    (tmp_path / "data").symlink_to(examples / "data")
    job = Pbs().submit("train.pbs")
    wait_until(lambda: Pbs().look(job).state == "over")
    log = pathlib.Path("mushroom.log").read_text()
    assert Pbs().look(job).words == "F (exit status 0)", log
    assert "4 ranks, 20 trees, from the beginning" in log


def test_what_qsub_refuses_is_said_at_once(cluster, data):
    with pytest.raises(JobError, match="qsub refused the job: qsub: Unknown queue"):
        train(cluster(queue="nowhere"), data)


def test_a_job_that_pbs_does_not_know_is_over(pbs_machine):
    assert Pbs().look("99.server").state == "over"


def test_a_job_that_goes_on_while_somebody_looks_is_not_gone(tmp_path):
    wd = WorkingDir(str(tmp_path))

    class GoesOn(Pbs):
        def look(self, job):
            if job == "1.server":
                backend._note(wd, "2.server")
                return Look("over", "F (exit status 0)")
            return Look("pending")

    backend = BatchBackend("pbs", GoesOn())
    backend._note(wd, "1.server")
    assert backend.status(wd) == "pending"
    backend.make_sure_it_ended(wd)
    assert wd.result() is None


def test_schedulers_that_are_not_there(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert Slurm().look("1") == Look("unknown", "'scontrol' is not on this machine's PATH: submit from a node of the cluster where it is")
    with pytest.raises(JobError, match="'sbatch' is not on this machine's PATH"):
        Slurm().submit("job.sh")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"time_limit": "soon"}, "time_limit must be minutes"),
        ({"time_limit": 1, "warning": 60}, "warning must be fewer seconds than the time limit of 1 min has"),
        ({"nodes": 0}, "nodes must be an integer of 1 or more"),
        ({"modules": "gcc"}, "modules must be a list"),
        ({"directives": ["a\nb"]}, "text of one line"),
    ],
)
def test_settings_out_of_range(settings, message, tmp_path):
    with pytest.raises(OptionError, match=message):
        launch.pbs_cluster.create("cray", tmp_path, **settings)


def test_workers_that_do_not_fit_on_the_nodes(tmp_path):
    tower = launch.slurm_cluster.create("tower", tmp_path, nodes=2, ranks_per_node=2)
    tower.num_workers = 3
    with pytest.raises(OptionError, match="got 3 workers on 2 nodes"):
        spec_of(tower)
