"""Looking at data, models and clusters: tables on a terminal, lines in a pipe, JSON where it was asked for."""

import datetime
import json
import pathlib
import re
import subprocess

import pyarrow as pa
import pytest
from pyarrow import parquet

import engine
from tests.launch.command_line import MUSHROOM, command_of, samesum, show, without_colours
from tests.mpi_jobs import ROOT, plain_environment

TRICKY = 'name,x\n"a\tb\nc",1.5\n"\x1b[31mred",nan\nÄpfel,\n'


@pytest.fixture
def tricky(tmp_path):
    """A CSV file of values that would break lines and colour terminals."""
    path = tmp_path / "tricky.csv"
    path.write_text(TRICKY, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small model."""
    folder = tmp_path_factory.mktemp("trained") / "model"
    engine.boosted_trees_classifier.create(MUSHROOM, target="label", max_iterations=3, verbose=False).save(folder)
    return folder


def test_head_in_a_pipe(tricky):
    done = samesum("data", "head", tricky)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "name\tx\na\\tb\\nc\t1.5\n\\x1b[31mred\tnan\nÄpfel\t\n"


def test_head_as_json(tricky):
    done = samesum("data", "head", tricky, "--json", "--rows", 3)
    assert json.loads(done.stdout) == [
        {"name": "a\tb\nc", "x": 1.5},
        {"name": "\x1b[31mred", "x": None},
        {"name": "Äpfel", "x": None},
    ]


def test_head_on_a_terminal_never_lets_data_speak_to_it(tricky):
    code, shown = show("data", "head", tricky)
    assert code == 0
    assert "\\x1b[31mred" in shown
    assert "\x1b[31m" not in shown
    assert "string" in shown


def test_wide_rows_on_a_terminal_stand_below_each_other():
    code, shown = show("data", "head", MUSHROOM, "-n", 4, columns=80)
    assert code == 0
    assert re.search(r"^odor +string +p, a, l, p$", shown, re.MULTILINE)
    code, shown = show("data", "head", MUSHROOM, "-n", 4, "--columns", "odor,label", columns=80)
    assert re.search(r"^p +p *$", shown, re.MULTILINE)


def test_columns_rows_and_options_of_reading(tmp_path):
    (tmp_path / "t.txt").write_text("# c\n1;01\n2;02\n")
    words = ["data", "head", tmp_path / "t.txt", "--no-header", "--delimiter", ";", "--comment", "#", "--columns", "X2,X1"]
    assert samesum(*words, "--column-type", "X2=str", "-n", 1).stdout == "X2\tX1\n01\t1\n"
    assert samesum(*words, "-n", 0).stdout == "X2\tX1\n"


def test_schema_of_text_is_that_of_its_first_rows_unless_it_is_read_whole(tmp_path):
    (tmp_path / "t.csv").write_text("x\n" + "1\n" * 3000 + "one\n")
    done = samesum("data", "schema", tmp_path / "t.csv")
    assert (done.returncode, done.stdout) == (0, "column\ttype\nx\tint64\n")
    assert "the first 1000 rows" in done.stderr
    done = samesum("data", "schema", tmp_path / "t.csv", "--all")
    assert (done.stdout, done.stderr) == ("column\ttype\nx\tstring\n", "3001 rows, 1 columns, 1 file\n")
    assert json.loads(samesum("data", "schema", tmp_path / "t.csv", "--json").stdout) == {
        "columns": [{"name": "x", "type": "int64"}],
        "num_rows": None,
        "files": 1,
        "bytes": 2 + 6000 + 4,
    }


def test_files_that_say_their_types(tmp_path):
    day = datetime.date(2015, 3, 1)
    table = pa.table({"day": [day, None], "v": [[1.0, float("inf")], []], "b": [True, False], "n": [1, 2]})
    parquet.write_table(table, tmp_path / "a.parquet")
    parquet.write_table(table, tmp_path / "b.parquet")
    done = samesum("data", "schema", tmp_path)
    assert done.stdout == "column\ttype\nday\tdate32[day]\nv\tlist<item: double>\nb\tbool\nn\tint64\n"
    assert done.stderr == "4 rows, 4 columns, 2 files\n"
    done = samesum("data", "head", tmp_path, "-n", 2, "--json")
    assert json.loads(done.stdout)[0] == {"day": "2015-03-01", "v": [1.0, None], "b": True, "n": 1}
    assert samesum("data", "head", tmp_path, "-n", 1).stdout.splitlines()[1] == "2015-03-01\t1.0, inf\ttrue\t1"


def test_a_table_without_rows(tmp_path):
    (tmp_path / "none.csv").write_text("x,y\n")
    assert samesum("data", "head", tmp_path / "none.csv").stdout == "x\ty\n"
    assert samesum("data", "head", tmp_path / "none.csv", "--json").stdout == "[]\n"
    assert show("data", "head", tmp_path / "none.csv")[0] == 0


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (("head", "none.csv"), 1, "none.csv"),
        (("head", MUSHROOM, "--columns", "smell"), 1, "smell"),
        (("head", MUSHROOM, "--rows", -1), 2, "--rows to be 0 or more, got -1"),
        (("head", MUSHROOM, "--rows", "few"), 2, "'--rows'"),
        (("head", MUSHROOM, "--format", "xml"), 2, "'xml'"),
        (("head",), 2, ""),
        (("tail", MUSHROOM), 2, "'tail'"),
    ],
)
def test_mistakes(words, code, expected):
    done = samesum("data", *words)
    assert done.returncode == code
    assert expected in done.stderr
    assert done.stderr.count("\n") <= 1
    assert "Traceback" not in done.stderr


def test_debug_shows_the_traceback():
    done = samesum("data", "head", "none.csv", "--debug")
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert done.stderr.splitlines()[-1].startswith("engine.errors.MissingFileError: ")


def test_a_reader_that_stops():
    command = subprocess.list2cmdline(command_of("data", "head", MUSHROOM, "-n", 8000))
    script = f"{command} | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], env=plain_environment(), cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1:] == ["141"]
    assert done.stderr == ""


def test_a_terminal_that_knows_no_umlauts(tricky):
    done = samesum("data", "head", tricky, PYTHONIOENCODING="ascii")
    assert done.stdout.splitlines()[-1] == "\\xc4pfel\t"


def test_one_rank_speaks_for_all(model):
    assert samesum("data", "head", MUSHROOM, "-n", 1, "--columns", "odor", ranks=3).stdout == "odor\np\n"
    assert samesum("model", "show", model, ranks=2).stdout.count("toolkit\t") == 1


def test_a_model(model):
    done = samesum("model", "show", model)
    assert (done.returncode, done.stderr) == (0, "")
    facts = dict(line.split("\t") for line in done.stdout.splitlines())
    assert facts["toolkit"] == "boosted_trees_classifier"
    assert facts["options.max_iterations"] == "3"
    assert float(facts["metrics.training_log_loss"]) == engine.load_model(model).training_log_loss
    assert samesum("info", model).stdout == done.stdout
    shown = json.loads(samesum("model", "show", model, "--json").stdout)
    assert shown["options"]["max_iterations"] == 3
    assert shown["classes"] == ["e", "p"]
    assert len(shown["features"]) == 22
    code, screen = show("model", "show", model)
    assert code == 0
    assert re.search(r"^training log loss +0\.209494", without_colours(screen), re.MULTILINE)


def test_clusters(tmp_path):
    own = {"SAMESUM_CONFIG_DIR": str(tmp_path / "conf")}
    assert samesum("cluster", "list", **own).stdout == "name\tkind\tnum_workers\tnum_threads\tworker_memory\tworking_dir\n"
    words = ("--num-workers", 3, "--num-threads", 2, "--worker-memory", 512, "--working-dir", tmp_path, "--env", "A=b=c")
    done = samesum("cluster", "create", "three", *words, "--max-restarts", 1, "--hang-timeout", 5, **own)
    assert (done.returncode, done.stdout) == (0, "")
    listed = samesum("cluster", "list", **own).stdout.splitlines()[1]
    assert listed == f"three\tlocal\t3\t2\t512\t{tmp_path}"
    shown = json.loads(samesum("cluster", "show", "three", "--json", **own).stdout)
    assert (shown["max_restarts"], shown["hang_timeout"], shown["environment"]) == (1, 5.0, {"A": "b=c"})
    assert "num_workers\t3\n" in samesum("cluster", "show", "three", **own).stdout
    assert samesum("cluster", "remove", "three", **own).returncode == 0
    for command in ("show", "remove"):
        done = samesum("cluster", command, "three", **own)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert "no cluster is called 'three'" in done.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [(("--num-workers", 0), "num_workers"), (("--env", "A"), "--env NAME=VALUE"), (("--worker-memory", 1), "worker_memory")],
)
def test_a_cluster_that_cannot_be(tmp_path, words, expected):
    done = samesum("cluster", "create", "bad", *words, SAMESUM_CONFIG_DIR=str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert expected in done.stderr
    assert not list(tmp_path.iterdir())


def complete(line, **environment):
    """What the shell would offer for the last word of a line."""
    given = {"_SAMESUM_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    return samesum(**given, **environment).stdout.split()


def test_completion(tmp_path):
    own = {"SAMESUM_CONFIG_DIR": str(tmp_path / "conf"), "HOME": str(tmp_path)}
    samesum("cluster", "create", "blue", "--working-dir", tmp_path / "jobs", **own)
    for name in ("dml_job_1", "dml_job_2"):
        (tmp_path / "jobs" / name).mkdir(parents=True)
    assert complete("samesum train boosted_trees_", **own) == ["boosted_trees_classifier", "boosted_trees_regression"]
    assert complete("samesum submit pa", **own) == ["pagerank"]
    assert complete("samesum cluster show b", **own) == ["blue"]
    assert complete("samesum run p.py --cluster b", **own) == ["blue"]
    assert complete("samesum status dml", **own) == ["dml_job_1", "dml_job_2"]
    (tmp_path / "conf" / "clusters" / "broken.json").write_text("{")
    assert complete("samesum status dml", **own) == []


def test_completion_for_the_shell():
    done = samesum("--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert done.returncode == 0
    script = f"{done.stdout}\ncomplete -p samesum"
    assert "samesum" in subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout


def test_the_page_is_as_the_code_is():
    script = ROOT / "docs" / "command_line.py"
    done = subprocess.run(
        [command_of()[0], script, "--check"], env=plain_environment(), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_page_has_every_command():
    page = pathlib.Path(ROOT / "docs" / "command_line.md").read_text(encoding="utf-8")
    for name in ("train TOOLKIT", "submit TOOLKIT", "submit predict", "cluster create", "data head", "model show", "run", "status"):
        assert f"## samesum {name}\n" in page
    assert "--cluster NAME" in page
    assert "| 130 |" in page
