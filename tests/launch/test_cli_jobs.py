"""Jobs from the command line, on a cluster of this machine: submitted, followed, asked about, cancelled."""

import json
import re
import subprocess
import sys
import time
import zipfile

import pytest
from pyarrow import parquet

import engine
from tests.launch.command_line import MUSHROOM, samesum, show, terminal, without_colours
from tests.mpi_jobs import ROOT, plain_environment

TRAIN = ("boosted_trees_classifier", MUSHROOM, "--target", "label", "--max-iterations", 12)
WAITING = "import os, sys, time\nprint('waiting', flush=True)\nwhile not os.path.exists(sys.argv[1]):\n    time.sleep(0.05)\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder for clusters and jobs, and a cluster of two workers in it: its environment."""
    folder = tmp_path_factory.mktemp("home")
    own = {"SAMESUM_CONFIG_DIR": str(folder / "conf"), "HOME": str(folder)}
    words = ("--num-workers", 2, "--num-threads", 1, "--worker-memory", 1024, "--working-dir", folder / "jobs")
    assert samesum("cluster", "create", "two", *words, **own).returncode == 0
    return own


@pytest.fixture(scope="module")
def trained(home):
    """A job that trained a model: its id and working directory."""
    done = samesum("submit", *TRAIN, "--cluster", "two", **home)
    assert (done.returncode, done.stderr) == (0, "")
    job_id, address = done.stdout.rstrip("\n").split("\t")
    assert samesum("wait", job_id, **home).returncode == 0
    return job_id, address


@pytest.fixture
def waiting(home, tmp_path):
    """A job that runs until a file is there: its id, and the file."""
    (tmp_path / "wait.py").write_text(WAITING)
    gate = tmp_path / "gate"
    done = samesum("run", "--cluster", "two", tmp_path / "wait.py", "--", gate, **home)
    assert (done.returncode, done.stderr) == (0, "")
    job_id = done.stdout.split("\t")[0]
    yield job_id, gate
    samesum("cancel", job_id, **home)


def status(job, home):
    """What the command says of a job, and its exit code."""
    done = samesum("status", job, "--json", **home)
    return json.loads(done.stdout), done.returncode


def wait_for(job, home, state):
    """Wait until a job is in this state."""
    deadline = time.monotonic() + 30
    while status(job, home)[0]["state"] != state:
        assert time.monotonic() < deadline


def test_a_training_and_its_results(home, trained, tmp_path):
    job_id, address = trained
    facts, code = status(job_id, home)
    assert (code, facts["state"], facts["iteration"], facts["attempts"], facts["workers"]) == (0, "SUCCESS", 12, 1, 2)
    assert facts["working_dir"] == address
    assert facts["last_checkpoint"].endswith("/model_checkpoint_10")
    plain = dict(line.split("\t") for line in samesum("status", job_id, **home).stdout.splitlines())
    assert plain["state"] == "SUCCESS"
    assert plain.keys() == facts.keys()
    done = samesum("results", job_id, "--output", tmp_path / "model", **home)
    assert (done.returncode, done.stdout) == (0, "")
    expected = engine.boosted_trees_classifier.create(MUSHROOM, target="label", max_iterations=12, verbose=False)
    expected.save(tmp_path / "expected")
    for name in ("model.json", "arrays.safetensors"):
        assert (tmp_path / "model" / name).read_bytes() == (tmp_path / "expected" / name).read_bytes()
    assert "options.max_iterations\t12\n" in samesum("results", job_id, **home).stdout
    assert json.loads(samesum("results", job_id, "--json", **home).stdout)["toolkit"] == "boosted_trees_classifier"


def test_a_job_is_found_by_id_beginning_and_directory(home, trained):
    job_id, address = trained
    short = job_id.removeprefix("dml_job_")[:12]
    for word in (job_id, job_id[:20], short, address, f"{address}/"):
        assert samesum("status", word, **home).stdout.startswith(f"job_id\t{job_id}\n"), word
    assert samesum("status", address, SAMESUM_CONFIG_DIR="/nowhere", HOME="/nowhere").returncode == 0


def test_which_job_is_not_clear(home, trained, tmp_path):
    own = {"SAMESUM_CONFIG_DIR": str(tmp_path / "conf"), "HOME": str(tmp_path)}
    samesum("cluster", "create", "c", "--working-dir", tmp_path / "jobs", **own)
    for name in ("dml_job_aa1", "dml_job_aa2", "dml_job_b"):
        (tmp_path / "jobs" / name).mkdir(parents=True)
    for command in ("status", "progress", "logs", "results", "cancel", "summary", "events", "wait"):
        done = samesum(command, "aa", **own)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert "dml_job_aa1, dml_job_aa2" in done.stderr
    for word, expected in (("cc", "no job's id begins with 'cc'"), ("b", "dml_job_b"), (str(tmp_path / "x"), str(tmp_path / "x"))):
        done = samesum("status", word, **own)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert expected in done.stderr


def test_progress_and_events(home, trained):
    job_id, _ = trained
    progress = samesum("progress", job_id, **home).stdout
    assert progress.startswith("PROGRESS: Number of workers: 2\n")
    assert [line.split()[2] for line in re.findall(r"PROGRESS: \| \d.*", progress)] == ["1", "2", "3", "4", "5", "6", "10", "12"]
    assert json.loads(samesum("progress", job_id, "--json", **home).stdout) == {"job_id": job_id, "progress": progress}
    followed = samesum("progress", job_id, "--follow", **home)
    assert (followed.returncode, followed.stdout, followed.stderr) == (0, progress, "")
    events = [json.loads(line) for line in samesum("progress", job_id, "--follow", "--json", **home).stdout.splitlines()]
    assert events == [json.loads(line) for line in samesum("events", job_id, "--json", **home).stdout.splitlines()]
    assert [event["number"] for event in events if event["event"] == "row"][-1] == 12
    assert events[-1]["event"] == "end"
    lines = samesum("events", job_id, "--follow", **home).stdout.splitlines()
    assert len(lines) == len(events)
    assert all(len(line.split("\t")) == 4 for line in lines)


def test_summary_and_logs(home, trained):
    job_id, address = trained
    assert "container_01_000001:" in samesum("summary", job_id, **home).stdout
    shown = json.loads(samesum("summary", job_id, "--json", **home).stdout)
    assert [container["rank"] for container in shown["containers"]] == [0, 1]
    assert "==> logs/1/rank-1.log <==\n" in samesum("logs", job_id, **home).stdout
    assert {log["log"] for log in json.loads(samesum("logs", job_id, "--json", **home).stdout)} >= {f"{address}/logs/1/rank-0.log"}
    done = samesum("logs", job_id, "--rank", 7, **home)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "no log of rank 7 in attempt 1" in done.stderr


def test_jobs_are_listed(home, trained):
    job_id, address = trained
    lines = samesum("jobs", **home).stdout.splitlines()
    assert lines[0] == "job_id\tstate\ttask\tsubmitted\tworking_dir"
    row = next(line.split("\t") for line in lines if line.startswith(job_id))
    assert (row[1], row[2], row[4]) == ("SUCCESS", "boosted_trees_classifier", address)
    listed = json.loads(samesum("jobs", "--cluster", "two", "--json", **home).stdout)
    assert row[0] in [job["job_id"] for job in listed]
    code, shown = show("jobs", **home)
    assert code == 0
    assert re.search(rf"^{job_id} +SUCCESS +boosted_trees_classifier ", without_colours(shown), re.MULTILINE)
    assert samesum("jobs", "--cluster", "three", **home).returncode == 1


def test_waiting_for_a_submission_gives_its_progress_and_its_end(home, tmp_path):
    done = samesum("submit", *TRAIN, "--cluster", "two", "--working-dir", tmp_path / "job", "--wait", **home)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"job\t{tmp_path / 'job'}"
    assert lines[1] == "PROGRESS: Number of workers: 2"
    assert lines[1:] == samesum("progress", tmp_path / "job", **home).stdout.splitlines()
    done = samesum("submit", *TRAIN, "--wait", "--json", SAMESUM_CLUSTER="two", **home)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[0].keys() == {"job_id", "working_dir"}
    assert events[-1]["event"] == "end"


def test_a_job_that_fails(home, tmp_path):
    words = ("submit", "boosted_trees_classifier", MUSHROOM, "--target", "lable", "--cluster", "two", "--wait")
    done = samesum(*words, **home)
    assert done.returncode == 5
    assert "lable" in done.stderr
    assert "Traceback" not in done.stderr
    job_id = done.stdout.split("\t")[0]
    assert (status(job_id, home)[1], samesum("wait", job_id, **home).returncode) == (5, 5)
    assert samesum("progress", job_id, "--follow", **home).returncode == 5
    failed = samesum("results", job_id, **home)
    assert (failed.returncode, failed.stdout) == (5, "")
    assert "lable" in failed.stderr
    assert "lable" in status(job_id, home)[0]["reason"]
    assert samesum("summary", job_id, **home).returncode == 0


def test_a_job_that_runs_and_is_cancelled(home, waiting):
    job_id, _ = waiting
    wait_for(job_id, home, "RUNNING")
    assert status(job_id, home)[1] == 3
    assert samesum("wait", job_id, "--timeout", 0.5, **home).returncode == 3
    unfinished = samesum("results", job_id, **home)
    assert (unfinished.returncode, unfinished.stdout, unfinished.stderr.count("\n")) == (3, "", 1)
    assert samesum("cancel", job_id, **home).returncode == 0
    assert status(job_id, home)[1] == 4
    for words in (("wait", job_id), ("results", job_id), ("progress", job_id, "--follow"), ("events", job_id, "--follow")):
        assert samesum(*words, **home).returncode == 4
    again = samesum("cancel", job_id, **home)
    assert (again.returncode, again.stderr) == (0, f"{job_id} is KILLED\n")


def test_a_program_of_ones_own(home, tmp_path):
    program = tmp_path / "hello.py"
    program.write_text("import sys\nfrom mpi4py import MPI\nprint(MPI.COMM_WORLD.rank, sys.argv[1:])\nsys.exit(int(sys.argv[1]))\n")
    done = samesum("run", "--cluster", "two", "--wait", program, "--", "0", "--alpha", **home)
    assert done.returncode == 0
    job_id = done.stdout.split("\t")[0]
    assert samesum("logs", job_id, "--rank", 1, **home).stdout == "1 ['0', '--alpha']\n"
    assert samesum("results", job_id, **home).stdout == "0\n"
    assert samesum("results", job_id, "--output", "x", **home).returncode == 2
    done = samesum("run", "--cluster", "two", "--wait", program, "3", **home)
    assert done.returncode == 5


def test_predictions_and_metrics(home, trained, tmp_path):
    samesum("results", trained[0], "--output", tmp_path / "model", **home)
    words = ("--cluster", "two", "--wait")
    output = tmp_path / "p.parquet"
    done = samesum("submit", "predict", tmp_path / "model", MUSHROOM, "--output", output, "--output-type", "margin", *words, **home)
    assert (done.returncode, done.stderr) == (0, "")
    predicted = engine.load_model(tmp_path / "model").predict(MUSHROOM, output_type="margin")
    assert parquet.read_table(output).column("margin").to_pylist() == predicted.to_pylist()
    assert samesum("results", done.stdout.split("\t")[0], **home).stdout == f"{output}\n"
    done = samesum("submit", "evaluate", tmp_path / "model", MUSHROOM, *words, **home)
    assert (done.returncode, done.stderr) == (0, "")
    job_id = done.stdout.split("\t")[0]
    metrics = json.loads(samesum("results", job_id, **home).stdout)
    assert metrics["accuracy"] > 0.99
    assert samesum("results", job_id, "--output", tmp_path / "m.json", **home).returncode == 0
    assert json.loads((tmp_path / "m.json").read_text())["accuracy"] == metrics["accuracy"]
    assert samesum("results", job_id, "--output", tmp_path / "m.txt", **home).returncode == 2


def test_a_graph(home, tmp_path):
    (tmp_path / "e.csv").write_text("from,to\n" + "".join(f"{n % 7},{n * n % 11}\n" for n in range(40)))
    words = ("pagerank", tmp_path / "e.csv", "--src", "from", "--dst", "to", "--max-iterations", 5)
    done = samesum("submit", *words, "--cluster", "two", "--wait", **home)
    assert (done.returncode, done.stderr) == (0, "")
    assert samesum("results", done.stdout.split("\t")[0], "--output", tmp_path / "m", **home).returncode == 0
    assert samesum("train", *words, "--output", tmp_path / "here", "--quiet", "--ranks", 2).returncode == 0
    assert (tmp_path / "m" / "model.json").read_bytes() == (tmp_path / "here" / "model.json").read_bytes()


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        ((*TRAIN,), 2, "'--cluster'"),
        ((*TRAIN, "--cluster", "three"), 1, "no cluster is called 'three'"),
        ((*TRAIN, "--cluster", "two", "--max-depth", 0), 2, "max_depth"),
        ((*TRAIN, "--cluster", "two", "--memory-limit", "1GB"), 2, "--memory-limit"),
        (("boosted_trees_classifier", "none.csv", "--target", "y", "--cluster", "two"), 1, "none.csv"),
        (("boosted_trees", MUSHROOM, "--cluster", "two"), 2, "'boosted_trees'"),
    ],
)
def test_a_submission_that_cannot_be_meant_makes_no_job(home, trained, words, code, expected):
    before = samesum("jobs", **home).stdout
    done = samesum("submit", *words, **home)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
    assert expected in done.stderr
    assert samesum("jobs", **home).stdout == before


def test_one_rank_submits_for_all(home):
    before = len(samesum("jobs", **home).stdout.splitlines())
    done = samesum("submit", *TRAIN, "--cluster", "two", "--wait", ranks=3, **home)
    assert (done.returncode, done.stdout.count("\ndml_job_"), done.stdout.count("| 12 ")) == (0, 0, 1)
    assert done.stdout.startswith("dml_job_")
    assert len(samesum("jobs", **home).stdout.splitlines()) == before + 1


def test_progress_on_a_terminal_has_a_bar_that_goes_away(home):
    code, shown = show("submit", *TRAIN, "--cluster", "two", "--wait", **home)
    assert code == 0
    assert " of 12" in shown
    assert shown.count("| 12        |") == 1
    assert shown.count("Number of workers") == 1


def test_ctrl_c_leaves_the_job_alone(home, waiting):
    job_id, gate = waiting
    with terminal("progress", "--follow", job_id, **home) as program:
        program.read_until("RUNNING")
        program.press("\x03")
        assert program.wait() == 130
    assert f"samesum progress --follow {job_id}" in program.shown
    assert "Traceback" not in program.shown
    assert status(job_id, home)[0]["state"] == "RUNNING"
    with terminal("wait", job_id, **home) as program:
        time.sleep(1.0)
        program.press("\x03")
        assert program.wait() == 130
    gate.touch()
    assert samesum("wait", job_id, **home).returncode == 0


def test_the_example_of_the_page(tmp_path):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    page = (ROOT / "docs" / "command_line.md").read_text(encoding="utf-8")
    example = re.search(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[1]
    script = f'set -eu\nsamesum() {{ "{sys.executable}" -m launch.cli "$@"; }}\n{example}'
    own = plain_environment(HOME=str(tmp_path), SAMESUM_CONFIG_DIR=str(tmp_path / "conf"))
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("model.json", "arrays.safetensors"):
        assert (tmp_path / "bst" / name).read_bytes() == (tmp_path / "bst_of_job" / name).read_bytes()


def test_a_job_is_shown_has_a_page_and_is_bundled(home, trained, tmp_path):
    job_id, address = trained
    shown = dict(line.split("\t") for line in samesum("jobs", "show", job_id, **home).stdout.splitlines())
    assert (shown["job_id"], shown["state"], shown["job.Ranks"]) == (job_id, "SUCCESS", "2")
    assert shown["last row.Iteration"] == "12"
    assert shown["files.model"].startswith(f"{address}/attempts/1/model")
    found = json.loads(samesum("jobs", "show", job_id, "--json", **home).stdout)
    assert found["spec"]["target"] == "label"
    assert [each["rank"] for each in found["containers"]] == [0, 1]
    assert samesum("jobs", "page", job_id, **home).stdout == f"file://{address}/report.html\n"
    page = tmp_path / "page.html"
    assert samesum("jobs", "page", job_id, "--output", page, **home).stdout == f"{page}\n"
    assert "Learning curves" in page.read_text()
    bundle = tmp_path / "job.zip"
    assert samesum("jobs", "bundle", job_id, bundle, **home).stdout == f"{bundle}\n"
    with zipfile.ZipFile(bundle) as archive:
        assert f"{job_id}/state.json" in archive.namelist()
    done = samesum("jobs", "show", "no-such-job", **home)
    assert (done.returncode, done.stdout) == (1, "")


@pytest.mark.parametrize("ranks", [1, 2])
def test_training_without_a_job_writes_a_page_too(tmp_path, ranks):
    words = ("--output", tmp_path / "model", "--report", tmp_path / "page.html", "--quiet")
    done = samesum("train", *TRAIN, *words, ranks=ranks if ranks > 1 else 0)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    page = (tmp_path / "page.html").read_text()
    assert "Learning curves" in page
    assert page.count("<td>ended</td>") == ranks
    assert ("communicating and waiting<" in page) == (ranks > 1)


def test_a_page_that_is_none_is_refused_before_training(tmp_path):
    done = samesum("train", *TRAIN, "--output", tmp_path / "model", "--report", tmp_path / "page.txt")
    assert done.returncode == 2
    assert "with the extension .html" in done.stderr
    assert not (tmp_path / "model").exists()
