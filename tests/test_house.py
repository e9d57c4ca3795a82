"""What the README and the layout promise: its examples run and print what it shows, and importing is light."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
MPIEXEC = str(pathlib.Path(sys.executable).with_name("mpiexec"))
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def blocks(language):
    """The code blocks of the README in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def without_times(text):
    """Lines with the column Elapsed Time blanked."""
    return [re.sub(r"^(\| \d+ +\| )\d+\.\d{6} +\|", r"\1time |", line) for line in text.splitlines()]


def run(*command, folder):
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


@pytest.fixture
def folder(tmp_path):
    """An empty folder from which the examples' data can be seen as from the repository."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    return tmp_path


def test_the_first_example_prints_the_table_shown(folder):
    create, use = blocks("python")[:2]
    done = run(sys.executable, "-c", create, folder=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert without_times(done.stdout) == without_times(blocks("text")[0])
    done = run(
        sys.executable, "-c", "import samesum as ss\n" + use.replace("model.evaluate", "auc = model.evaluate") + "print(auc)", folder=folder
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert float(done.stdout) > 0.999


def test_the_table_is_that_of_the_example_script(folder):
    done = run(sys.executable, ROOT / "examples" / "mushroom.py", folder=folder)
    assert without_times(done.stdout) == without_times(blocks("text")[0])


def test_the_script_for_many_ranks(folder):
    outputs = []
    for ranks in (1, 3):
        done = run(MPIEXEC, "-n", str(ranks), sys.executable, ROOT / "examples" / "train.py", folder=folder)
        assert (done.returncode, done.stderr) == (0, "")
        outputs.append(done.stdout)
    assert outputs[0].startswith("1 ranks, accuracy ")
    assert outputs[1] == outputs[0].replace("1 ranks", "3 ranks", 1)


def test_the_shell_commands(folder):
    commands = next(block for block in blocks("sh") if "samesum train" in block)
    script = f'set -eu\nsamesum() {{ "{sys.executable}" -m launch.cli "$@"; }}\n{commands}'
    done = run("bash", "-c", script, folder=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "| 12        |" in done.stdout
    assert len((folder / "predictions.csv").read_text().splitlines()) == 8125


def test_links_and_targets_exist():
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / link).exists(), link
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`?make ([a-z-]+)", README)) <= targets
    for folder in re.findall(r"^\| `([a-z_/]+)`", README, re.MULTILINE):
        assert (ROOT / folder).is_dir(), folder


@pytest.mark.parametrize("module", ["engine", "launch", "samesum"])
def test_importing_is_light(module):
    """No MPI is started, no kernel and no NumPy is loaded, and it takes under 0.3 s of processor time."""
    code = f"import sys, time; began = time.process_time(); import {module}; took = time.process_time() - began\n"
    code += "heavy = [m for m in ('mpi4py', 'numpy', 'pyarrow', 'typer') if m in sys.modules]\n"
    code += "heavy += [m for m in sys.modules if m.startswith('engine._kernels')]\nprint(took < 0.3, heavy)"
    done = run(sys.executable, "-c", code, folder=ROOT)
    assert (done.stdout, done.stderr) == ("True []\n", "")


def test_predicting_starts_no_mpi(folder):
    code = "import sys, engine\ndata = {'x': [1.0, 2, 3, 4], 'y': [0, 0, 1, 1]}\n"
    code += "engine.boosted_trees_classifier.create(data, target='y', verbose=False).save('m')\n"
    code += "engine.load_model('m').predict(data)\nprint([m for m in sys.modules if m.startswith('mpi4py')])"
    done = run(sys.executable, "-c", code, folder=folder)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_facade_has_the_names_of_the_engine():
    code = "import samesum, engine\nassert set(engine.__all__) <= set(dir(samesum))\nassert samesum.Dataset is engine.Dataset\n"
    code += "assert samesum.__version__ == engine.__version__"
    assert run(sys.executable, "-c", code, folder=ROOT).returncode == 0
