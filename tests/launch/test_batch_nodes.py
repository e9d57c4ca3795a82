"""How processes are started on the nodes of an allocation."""

import pytest

from launch import leash
from launch.batch import launchers, rank
from launch.batch.launchers import Mpiexec, Srun, hosts_of_pbs
from launch.batch.schedulers import Slurm


def test_ranks_are_found_as_leashes_find_them():
    assert rank.RANK_VARIABLES == leash.RANK_VARIABLES


def test_srun_for_agents_and_for_ranks():
    srun = Srun(3, "pmix")
    agents, ranks = srun.command(1, ["agent"], is_mpi=False), srun.command(4, ["rank", "x"], threads=2)
    assert {"--mpi=none", "--nodes=3", "--ntasks=3", "--ntasks-per-node=1"} < set(agents)
    assert {"--mpi=pmix", "--ntasks=12", "--ntasks-per-node=4", "--cpus-per-task=2", "--distribution=block"} < set(ranks)
    assert ranks[-2:] == ["rank", "x"]


@pytest.mark.parametrize(
    ("version", "words", "hosts"),
    [
        ("HYDRA build details:", "mpiexec -n 6 -f FILE -ppn 3 rank", "n1\nn2\n"),
        ("mpirun (Open MPI) 5.0.3", "mpiexec -n 6 --hostfile FILE --map-by ppr:3:node rank", "n1 slots=3\nn2 slots=3\n"),
    ],
)
def test_mpiexec_of_several_libraries(version, words, hosts, tmp_path, monkeypatch):
    monkeypatch.setattr(launchers, "find_mpiexec", lambda: "mpiexec")
    monkeypatch.setattr(launchers, "version_of", lambda program: version)
    file = tmp_path / "hosts"
    assert Mpiexec(2, ("n1", "n2"), file).command(3, ["rank"]) == words.replace("FILE", str(file)).split()
    assert file.read_text() == hosts
    assert "FILE" not in Mpiexec(2).command(3, ["rank"])


def test_hosts_of_pbs_are_named_once_and_in_order(tmp_path, monkeypatch):
    (tmp_path / "nodes").write_text("b\nb\na\na\n")
    monkeypatch.setenv("PBS_NODEFILE", str(tmp_path / "nodes"))
    assert hosts_of_pbs() == ("b", "a")
    monkeypatch.delenv("PBS_NODEFILE")
    assert hosts_of_pbs() == ()


@pytest.mark.parametrize(
    ("text", "state"),
    [("PENDING", "pending"), ("REQUEUE_HOLD", "pending"), ("COMPLETING", "running"), ("CANCELLED", "over"), ("NODE_FAIL", "over")],
)
def test_words_of_slurm(text, state, tmp_path, monkeypatch):
    program = tmp_path / "scontrol"
    program.write_text(f"#!/bin/sh\necho 'JobId=7 JobName=x JobState={text} Reason=None ExitCode=0:15'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    look = Slurm().look("7")
    assert (look.state, look.is_cancelled) == (state, text == "CANCELLED")
    assert look.words == f"{text} (reason None, exit code 0:15)"


@pytest.mark.parametrize(("words", "state"), [("Invalid job id specified", "over"), ("Unable to contact slurm controller", "unknown")])
def test_slurm_that_does_not_know_or_does_not_answer(words, state, tmp_path, monkeypatch):
    program = tmp_path / "scontrol"
    program.write_text(f"#!/bin/sh\necho 'slurm_load_jobs error: {words}' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert Slurm().look("7").state == state
