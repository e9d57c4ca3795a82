"""The command line's words become the job that was meant, or one line that says what is wrong."""

import inspect
import os
import subprocess
import sys
import time

import pytest

import engine
from engine.models._linear.creating import LIMITS as LINEAR_LIMITS
from engine.models._options import LIMITS
from engine.spec import GRAPH_TOOLKITS, TOOLKITS, DataSpec, GraphSpec, JobSpec
from launch import cli
from launch.cli import toolkit_words

TRAIN = ["train", "boosted_trees_classifier"]


class _Replaced(BaseException):
    """Stands for the end of this program where ``execv`` puts another in its place."""


@pytest.fixture
def run(monkeypatch, capfd):
    """Run the command line in this process: (exit code, standard output, standard error, job that the process would have become)."""

    def run_words(*words, **environment):
        jobs = []

        def execv(program, arguments):
            jobs.append((program, arguments))
            raise _Replaced

        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(os, "execv", execv)
        monkeypatch.setattr(sys, "argv", ["samesum", *words])
        code = None
        try:
            cli.main()
        except _Replaced:
            pass
        except SystemExit as leaving:
            code = leaving.code
        out, err = capfd.readouterr()
        return code, out, err, jobs[0] if jobs else None

    return run_words


def job_of(result):
    _, _, err, (program, arguments) = result
    assert (program, err) == (sys.executable, "")
    assert arguments[0] == sys.executable
    assert arguments[-3:-1] == ["-m", "engine"]
    return JobSpec.from_json(arguments[-1])


def test_a_short_training(run):
    job = job_of(run(*TRAIN, "a.csv", "--target", "y", "--output", "m"))
    assert job == JobSpec(task="train", toolkit="boosted_trees_classifier", data=DataSpec(paths=("a.csv",)), target="y", output="m")


def test_every_word_of_training(run):
    words = (
        "a.csv b.csv --target y -o m --features p,q --features r --max-iterations 3 --max-depth 4 --step-size 0.5 --min-loss-reduction 1"
    )
    words += " --min-child-weight 2 --max-bins 16 --random-seed 7 --format csv --delimiter ; --no-header --null-value - --null-value ?"
    words += " --row-subsample 0.5 --column-subsample 0.5 --reg-lambda 2 --reg-alpha 1 --max-leaves 9 --monotone-constraints p=1"
    words += " --monotone-constraints a=b=-1 --categorical partition --metric rmse --early-stopping-rounds 3 --validation-set auto"
    words += " --objective quantile --quantile 0.9 --sample-weight w --initial-model old --model-checkpoint-path c"
    words += " --model-checkpoint-interval 2 --resume-from-checkpoint auto"
    words += " --column-type p=str --column-type a=b=int --num-threads 2 --quiet --debug"
    job = job_of(run("train", "boosted_trees_regression", *words.split()))
    assert job == JobSpec(
        task="train",
        toolkit="boosted_trees_regression",
        data=DataSpec(
            paths=("a.csv", "b.csv"),
            format="csv",
            delimiter=";",
            header=False,
            null_values=("-", "?"),
            column_types={"p": "str", "a=b": "int"},
        ),
        target="y",
        features=("p", "q", "r"),
        options={
            "max_iterations": 3,
            "max_depth": 4,
            "step_size": 0.5,
            "min_loss_reduction": 1.0,
            "min_child_weight": 2.0,
            "max_bins": 16,
            "random_seed": 7,
            "row_subsample": 0.5,
            "column_subsample": 0.5,
            "reg_lambda": 2.0,
            "reg_alpha": 1.0,
            "max_leaves": 9,
            "monotone_constraints": {"p": 1, "a=b": -1},
            "categorical": "partition",
            "metric": "rmse",
            "early_stopping_rounds": 3,
            "validation_set": "auto",
            "objective": "quantile",
            "quantile": 0.9,
            "sample_weight": "w",
            "initial_model": "old",
            "model_checkpoint_path": "c",
            "model_checkpoint_interval": 2,
            "resume_from_checkpoint": "auto",
        },
        output="m",
        verbose=False,
        num_threads=2,
        debug=True,
    )


def test_words_of_forests_and_classifiers(run):
    words = "--averaging probability --class-weights a=1 --class-weights b=2.5 --validation-set v.csv --validation-set w.csv --metric auc"
    job = job_of(run("train", "random_forest_classifier", "a.csv", "--target", "y", "-o", "m", *words.split(), "--metric", "log_loss"))
    assert job.options == {
        "averaging": "probability",
        "class_weights": {"a": 1.0, "b": 2.5},
        "validation_set": ["v.csv", "w.csv"],
        "metric": ["auc", "log_loss"],
    }
    assert job_of(run(*TRAIN, "a.csv", "--target", "y", "-o", "m", "--class-weights", "auto")).options == {"class_weights": "auto"}


def test_a_graph(run):
    job = job_of(run("train", "pagerank", "e.csv", "--output", "m"))
    assert job == JobSpec(task="train", toolkit="pagerank", data=DataSpec(paths=("e.csv",)), graph=GraphSpec(), output="m")
    words = "e.txt f.txt --src 3 --dst to --vertices v.csv --vid id --table t.csv --format snap --comment % -o m"
    words += " --label-field l --undirected"
    job = job_of(run("train", "label_propagation", *words.split(), "--max-iterations", "7"))
    assert job.data == DataSpec(paths=("e.txt", "f.txt"), format="snap", comment="%")
    assert job.graph == GraphSpec(src=3, dst="to", vid="id", vertices=("v.csv",), table="t.csv")
    assert job.options == {"label_field": "l", "undirected": True, "max_iterations": 7}


@pytest.mark.parametrize("toolkit", GRAPH_TOOLKITS)
def test_every_option_of_a_toolkit_of_graphs_has_its_word(toolkit):
    create = getattr(engine, toolkit).create
    said = {"graph", "verbose", "num_threads", "comm", "kwargs"}
    assert set(toolkit_words.graph_options_of(toolkit)) == set(inspect.signature(create).parameters) - said


def test_predict_and_evaluate(run):
    job = job_of(run("predict", "m", "a.csv", "--output", "p.csv", "--output-type", "probability"))
    assert job == JobSpec(task="predict", model="m", data=DataSpec(paths=("a.csv",)), output="p.csv", output_type="probability")
    job = job_of(run("evaluate", "m", "a.csv"))
    assert job == JobSpec(task="evaluate", model="m", data=DataSpec(paths=("a.csv",)))


def test_a_name_with_a_comma(run):
    assert job_of(run(*TRAIN, "a.csv", "--target", "y", "-o", "m", "--features", 'a,"b,c"')).features == ("a", "b,c")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([*TRAIN, "a.csv", "-o", "m"], "Missing option '--target'"),
        ([*TRAIN, "a.csv", "--target", "y"], "Missing option '--output'"),
        ([*TRAIN, "--target", "y", "-o", "m"], "Missing argument 'DATA"),
        ([*TRAIN, "a.csv", "--target", "y", "-o", "m", "--max-depth", "deep"], "'--max-depth'"),
        ([*TRAIN, "a.csv", "--target", "y", "-o", "m", "--max-dept", "3"], "--max-dept"),
        ([*TRAIN, "a.csv", "--target", "y", "-o", "m", "--num-threads", "0"], "num_threads to be 1 or more, got 0"),
        ([*TRAIN, "a.csv", "--target", "y", "-o", "m", "--column-type", "zip"], "--column-type NAME=TYPE"),
        ([*TRAIN, "a.csv", "--target", "y", "-o", "m", "--class-weights", "a"], "--class-weights NAME=NUMBER"),
        ([*TRAIN, "a.csv", "--target", "y", "-o", "m", "--class-weights", "a=b"], "a number in --class-weights NAME=NUMBER, got 'b'"),
        ([*TRAIN, "a.csv", "--target", "y", "-o", "m", "--averaging", "margin"], "--averaging"),
        (["train", "boosted_trees", "a.csv"], "'boosted_trees'"),
        (["tarin"], "'tarin'"),
    ],
)
def test_a_command_line_that_cannot_be_meant(run, words, expected):
    code, out, err, job = run(*words)
    assert (code, out, job) == (2, "", None)
    assert err.startswith("samesum: error: ")
    assert expected in err
    assert err.count("\n") == 1
    assert run(*words, PMI_RANK="1")[:3] == (2, "", "")


def test_version(run):
    assert run("--version")[:3] == (0, f"samesum {engine.__version__}\n", "")


def test_a_job_too_long_for_an_argument_goes_by_memory(run):
    paths = [f"some/where/{number}.csv" for number in range(9000)]
    _, _, _, (_, arguments) = run(*TRAIN, *paths, "--target", "y", "-o", "m")
    descriptor = int(arguments[-1].removeprefix(f"/proc/{os.getpid()}/fd/"))
    assert os.get_inheritable(descriptor)
    with open(arguments[-1]) as file:
        assert JobSpec.from_json(file.read()).data.paths == tuple(paths)
    os.close(descriptor)


@pytest.mark.parametrize("toolkit", TOOLKITS)
def test_help_tells_what_the_toolkit_takes(run, toolkit):
    """Every option of ``create`` is there, with the default and the range that the toolkit has."""
    code, out, _, _ = run("train", toolkit, "--help", COLUMNS="400", TERMINAL_WIDTH="400")
    assert code == 0
    create = inspect.signature(getattr(engine, toolkit).create).parameters
    limited = ("max_iterations", "max_depth", "step_size", "min_loss_reduction", "min_child_weight", "reg_lambda", "reg_alpha", "max_bins")
    limited += ("max_categories", "penalty", "convergence_threshold", "lbfgs_memory_level")
    own = LINEAR_LIMITS if "solver" in create else LIMITS
    for name in (each for each in limited if each in create):
        line = next(line for line in out.splitlines() if f"--{name.replace('_', '-')} " in line)
        limits, default = own[name], create[name].default
        scope = f"{limits.low} or more" if limits.high is None else f"{limits.low:g} to {limits.high:g}"
        assert f"[{scope}; default {default:g}]" in line
    said_elsewhere = {"dataset", "comm", "verbose", "kwargs", "callback"}
    for name in create.keys() - said_elsewhere:
        assert f"--{name.replace('_', '-')} " in out


def test_help_is_quick_and_light():
    """The command line loads neither NumPy nor MPI, so that its help is there at once."""
    code = "import sys; from launch import cli; print(sorted(m for m in ('numpy', 'pyarrow', 'mpi4py', 'safetensors') if m in sys.modules))"
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert time.monotonic() - began < 5


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 always looks where the user stands first")
def test_a_file_named_engine_where_the_user_stands_is_not_run(tmp_path):
    (tmp_path / "engine.py").write_text("raise SystemExit('the wrong engine')\n")
    command = [sys.executable, "-P", "-c", "from launch.cli import main; main()", *TRAIN, "no-such.csv", "--target", "y", "-o", "m"]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.stderr.startswith("samesum: error: ")
    assert "no-such.csv" in done.stderr
    assert done.returncode == 1


def test_ranks_are_started_by_mpiexec(run):
    _, _, err, (program, arguments) = run(*TRAIN, "a.csv", "--target", "y", "-o", "m", "--ranks", "3")
    assert err == ""
    assert program == arguments[0]
    assert os.path.basename(program) == "mpiexec"
    assert arguments[1:3] == ["-n", "3"]
    assert JobSpec.from_json(arguments[-1]).output == "m"


def test_ranks_below_ranks(run):
    words = (*TRAIN, "a.csv", "--target", "y", "-o", "m", "--ranks")
    assert "--ranks to be 1 or more" in run(*words, "0")[2]
    assert run(*words, "2", SLURM_PROCID="0")[3] is not None
    code, _, err, job = run(*words, "2", PMI_RANK="0")
    assert (code, job) == (2, None)
    assert "a launcher has started this command" in err
