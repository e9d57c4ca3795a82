"""What YARN is told and what its words mean: no cluster is needed for either."""

import json
import pathlib
import tarfile
import zipfile

import pytest

from engine.errors import OptionError
from engine.spec import DataSpec, JobSpec, Resources, ScriptSpec, YarnResources
from launch.hadoop_cluster import HadoopCluster, check_tags
from launch.yarn import applications, hadoop
from launch.yarn.description import describe
from launch.yarn.diagnoses import diagnose
from launch.yarn.installing import added_files, content_hash, environment_files, needed_packages, packages_of, pip_install, put_archive

ADDRESS = "hdfs:///apps/samesum/jobs/dml_job_1"
OVER = (
    "[2026-01-01 00:00:00.000]Container [pid=1,containerID=container_1_0001_01_000003] is running 55500800B beyond the 'PHYSICAL' memory "
    "limit. Current usage: 600.2 MB of 512 MB physical memory used; 3.0 GB of 1.1 GB virtual memory used. Killing container."
)


@pytest.fixture
def conf(tmp_path):
    for name in ("core-site.xml", "hdfs-site.xml", "yarn-site.xml"):
        (tmp_path / name).write_text("<configuration/>")
    return tmp_path


def make_spec(**yarn):
    data = DataSpec(paths=("hdfs:///data/mushroom.csv",))
    resources = Resources(backend="yarn", num_workers=4, num_threads=4, worker_memory=4096, yarn=YarnResources(**yarn))
    return JobSpec(task="train", toolkit="boosted_trees_classifier", target="label", data=data, resources=resources)


class TestDiagnoses:
    def test_over_its_memory(self):
        found = diagnose(OVER)
        assert found.text == "Container terminated due to exceeding allocated physical memory. (-104)"
        assert found.cause == "memory"
        assert found.used == pytest.approx(600.2 * 2**20, abs=1)
        assert "give container_size=768 or more" in found.remedy  # 600.2 * 1.25 = 750.25, in steps of 64

    @pytest.mark.parametrize(
        ("message", "code", "is_free"),
        [
            ("Container preempted by scheduler", -102, True),
            ("Container released on a *lost* node", -100, True),
            ("Exit status: -106. Container killed by the ResourceManager", -106, True),
            ("Container is running beyond virtual memory limits", -103, False),
        ],
    )
    def test_other_ends(self, message, code, is_free):
        found = diagnose(message)
        assert found.text.endswith(f"({code})")
        assert found.is_free == is_free

    def test_nothing_known(self):
        assert diagnose("").text == "Report not found in log."
        assert diagnose("something\nelse").text == "something else"
        assert diagnose("something else").cause == "lost"


class TestDescription:
    def test_a_training(self, conf):
        found = describe(make_spec(archive="hdfs:///apps/samesum/environments/e.tar.gz", queue="q"), ADDRESS, conf=conf, user="me")
        assert found["name"] == "samesum dml_job_1"
        assert found["queue"] == "q"
        assert found["master"]["resources"] == {"memory": "1024 MiB", "vcores": 1}
        worker = found["services"]["worker"]
        assert worker["resources"] == {"memory": "4096 MiB", "vcores": 4}
        assert worker["instances"] == 4
        assert worker["max_restarts"] == 0
        assert worker["allow_failures"]
        environment = worker["files"]["environment"]
        assert environment == {"source": "hdfs:///apps/samesum/environments/e.tar.gz", "type": "ARCHIVE", "visibility": "PRIVATE"}
        assert 'exec "$PWD/environment/bin/python" -m launch.yarn.worker\n' in worker["script"]
        assert f"-m launch.yarn.supervisor {ADDRESS}\n" in found["master"]["script"]
        assert "export HADOOP_USER_NAME=me\n" in worker["script"]
        json.dumps(found)

    def test_the_application_master_keeps_to_the_ports(self, conf):
        """A library is loaded before its JVM, and not before what its script starts; it knows the ResourceManager; workers have neither."""
        found = describe(make_spec(python="/p", start_port=9000, end_port=9010), ADDRESS, conf=conf, user="me")
        assert found["master"]["env"] == {
            "LD_PRELOAD": "$PWD/ports.so",
            "SAMESUM_PORT_RANGE": "9000:9010",
            "JDK_JAVA_OPTIONS": "--add-opens=java.base/java.util=ALL-UNNAMED",
        }
        assert set(found["master"]["files"]) == {"core-site.xml", "hdfs-site.xml", "yarn-site.xml", "ports.so"}
        assert pathlib.Path(found["master"]["files"]["ports.so"]["source"].removeprefix("file://")).is_file()
        assert "unset PYTHONHOME LD_PRELOAD JDK_JAVA_OPTIONS\n" in found["master"]["script"]
        assert set(found["services"]["worker"]["files"]) == {"core-site.xml", "hdfs-site.xml"}
        assert "env" not in found["services"]["worker"]

    def test_nodes_and_archives(self, conf):
        """Nodes are wished for, not insisted on; an archive is unpacked for all users only where all may read it."""
        spec = make_spec(archive="hdfs:///e.tar.gz", packages=("hdfs:///p.tar.gz",), tags=("quarterly",))
        found = describe(spec, ADDRESS, conf=conf, user="me", nodes=["n2", "n1"], public=["hdfs:///e.tar.gz"])
        worker = found["services"]["worker"]
        assert (worker["nodes"], worker["relax_locality"]) == (["n2", "n1"], True)
        assert {name: about.get("visibility") for name, about in worker["files"].items() if about["type"] == "ARCHIVE"} == {
            "environment": "PUBLIC",
            "packages0": "PRIVATE",
        }
        assert 'export PYTHONPATH="$PWD/packages0"\n' in worker["script"]
        assert found["tags"] == ["boosted_trees_classifier", "quarterly", "samesum"]
        assert "nodes" not in describe(spec, ADDRESS, conf=conf, user="me")["services"]["worker"]

    def test_words_of_users_are_no_shell(self, conf):
        found = describe(make_spec(python="/opt/my python"), "hdfs:///a/$(touch x)", conf=conf, user="a b; c")
        script = found["master"]["script"]
        assert "exec '/opt/my python' -m launch.yarn.supervisor 'hdfs:///a/$(touch x)'\n" in script
        assert "export HADOOP_USER_NAME='a b; c'\n" in script

    def test_a_program_comes_along(self, conf):
        resources = Resources(backend="yarn", worker_memory=512, yarn=YarnResources(python="/p"))
        spec = JobSpec(task="script", script=ScriptSpec(path="/home/me/fit.py"), resources=resources)
        assert (
            describe(spec, ADDRESS, conf=conf, user="me")["services"]["worker"]["files"]["program.py"]["source"] == "file:///home/me/fit.py"
        )

    def test_no_memory(self, conf):
        spec = JobSpec(task="script", script=ScriptSpec(path="x.py"), resources=Resources(backend="yarn", yarn=YarnResources()))
        with pytest.raises(OptionError, match="worker_memory"):
            describe(spec, ADDRESS, conf=conf, user="me")

    def test_the_spec_survives_json(self):
        spec = make_spec(queue="q", packages=("a", "b"), node_label="gpu", start_within=7.5)
        assert JobSpec.from_json(spec.to_json()) == spec


def test_each_job_has_credentials_of_its_own(conf, monkeypatch):
    """With which its application master knows its workers and they it; the driver's are nobody else's either."""
    submitted = []

    class Driver:
        def submit(self, spec):
            submitted.append(spec.master.security)
            return f"application_{len(submitted)}"

    monkeypatch.setattr(applications, "driver", lambda folder: Driver())
    description = describe(make_spec(archive="hdfs:///e.tar.gz"), ADDRESS, conf=conf, user="me")
    assert [applications.submit(conf, description) for _ in range(2)] == ["application_1", "application_2"]
    assert len({each.key_bytes for each in submitted}) == len({each.cert_bytes for each in submitted}) == 2


def test_what_is_copied_to_hdfs():
    """All that is not there; but models and checkpoints may be anywhere that containers reach."""
    cluster = object.__new__(HadoopCluster)
    addresses = ("hdfs:///a", "s3://bucket/a", "https://a/b.csv", "/a")
    assert [cluster.reads_in_place(each) for each in addresses] == [True, False, False, False]
    assert [cluster.can_read(each) for each in addresses] == [True, True, True, False]


@pytest.mark.parametrize("tags", ["word", [], [""], ["ä"], ["x" * 101], [3]])
def test_tags_that_yarn_would_not_take(tags):
    with pytest.raises(OptionError, match="tags must be a list of words in ASCII"):
        check_tags("tags", tags)


class TestSettings:
    def write(self, conf, **settings):
        names = {name.replace("_", "."): value for name, value in settings.items()}
        rows = "".join(f"<property><name>{name}</name><value>{value}</value></property>" for name, value in names.items())
        (conf / "yarn-site.xml").write_text(f"<configuration>{rows}</configuration>")

    def test_resource_manager(self, conf):
        self.write(conf, yarn_resourcemanager_hostname="rm")
        assert hadoop.resource_manager(conf) == "rm:8032"
        self.write(conf, yarn_resourcemanager_hostname="rm", yarn_resourcemanager_address="rm:9")
        assert hadoop.resource_manager(conf) == "rm:9"

    def test_a_damaged_file(self, conf):
        (conf / "yarn-site.xml").write_text("<configuration>")
        with pytest.raises(OptionError, match="could not read"):
            hadoop.resource_manager(conf)


class TestPacking:
    def test_the_environment_is_whole(self):
        places = dict(environment_files())
        assert {"engine/__init__.py", "launch/leash.py", "samesum.py", "numpy/__init__.py", "skein/java/skein.jar"} <= {
            place.partition("site-packages/")[2] for place in places
        }
        assert {"bin/python", "bin/mpiexec", "bin/hydra_pmi_proxy"} <= places.keys()
        assert any(place.endswith("/os.py") for place in places)
        assert not any("__pycache__" in place for place in places)
        assert "pytest" not in needed_packages()

    def test_the_same_files_give_the_same_archive(self, tmp_path):
        files = {"b/two": b"2", "one": tmp_path / "one"}
        (tmp_path / "one").write_text("1")
        for name in ("first", "second"):
            put_archive(str(tmp_path / f"{name}.tar.gz"), files)
        assert (tmp_path / "first.tar.gz").read_bytes() == (tmp_path / "second.tar.gz").read_bytes()
        before = content_hash(files)
        (tmp_path / "one").write_text("2")
        assert content_hash(files) != before


class TestAdditionalPackages:
    """Wheels made here, so that no index is asked."""

    def make_wheel(self, folder, name, requires=(), text=""):
        about = f"{name}-1.0.dist-info"
        files = {
            f"{name}.py": text,
            f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
            + "".join(f"Requires-Dist: {each}\n" for each in requires),
            f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        record = "".join(f"{each},,\n" for each in [*files, f"{about}/RECORD"])
        path = folder / f"{name}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for place, content in {**files, f"{about}/RECORD": record}.items():
                archive.writestr(place, content)
        return str(path)

    @pytest.fixture(autouse=True)
    def no_index(self, tmp_path, monkeypatch):
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))

    def test_with_what_they_need(self, tmp_path):
        """Kept for the next job by what is in them; what the environment has is not added."""
        self.make_wheel(tmp_path, "second")
        wheel = self.make_wheel(tmp_path, "first", ["second"], "x = 1")
        home = str(tmp_path / "home")
        (archive,) = packages_of(home, [wheel])
        with tarfile.open(archive) as file:
            assert {"first.py", "second.py"} <= set(file.getnames())
        before = pathlib.Path(archive).stat()
        assert packages_of(home, [wheel]) == (archive,)
        assert pathlib.Path(archive).stat() == before
        self.make_wheel(tmp_path, "first", ["second"], "x = 2")
        assert packages_of(home, [wheel]) != (archive,)
        assert packages_of(home, []) == packages_of(home, None) == ()

    def test_what_the_environment_has_is_left_out(self, tmp_path):
        folder = tmp_path / "packages"
        pip_install(folder, [self.make_wheel(tmp_path, "first"), self.make_wheel(tmp_path, "second")], {})
        names = {path.name for path in added_files(folder, {"second": "1.0"})}
        assert "first.py" in names
        assert "second.py" not in names

    def test_other_versions_are_refused(self, tmp_path):
        """Two versions of one package in a process would be found out late."""
        self.make_wheel(tmp_path, "numpy")
        wheel = self.make_wheel(tmp_path, "first", ["numpy<2"])
        with pytest.raises(OptionError, match=r"additional_packages \['.*'\] could not be installed: ERROR: "):
            packages_of(str(tmp_path / "home"), [wheel])
