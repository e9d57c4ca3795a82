"""Where the name nodes of an address are: from the address, Hadoop's settings, the environment."""

from __future__ import annotations

import pytest

from engine.errors import StorageError
from engine.storage.hadoop_conf import find_cluster, hadoop_conf


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Writes settings of core-site.xml and hdfs-site.xml."""
    for name in ("HADOOP_CONF_DIR", "HADOOP_HOME", "SAMESUM_WEBHDFS_URL"):
        monkeypatch.delenv(name, raising=False)

    def write(core=(), hdfs=()):
        for name, rows in (("core-site.xml", dict(core)), ("hdfs-site.xml", dict(hdfs))):
            text = "".join(f"<property><name>{key}</name><value>\n {value}</value></property>" for key, value in rows.items())
            (tmp_path / name).write_text(f"<configuration>{text}</configuration>")
        monkeypatch.setenv("HADOOP_CONF_DIR", str(tmp_path))

    return write


@pytest.mark.parametrize(
    ("authority", "url"),
    [
        ("host", "http://host:9870"),
        ("host:8020", "http://host:9870"),
        ("host:9000", "http://host:9870"),
        ("host:50070", "http://host:50070"),
    ],
)
def test_addresses_alone(settings, authority, url):
    assert find_cluster(authority)[:2] == ((url,), False)


def test_nothing_says_where(settings):
    with pytest.raises(StorageError, match=r"HADOOP_CONF_DIR.*SAMESUM_WEBHDFS_URL"):
        find_cluster("")


def test_the_option(settings, monkeypatch):
    monkeypatch.setenv("SAMESUM_WEBHDFS_URL", "https://gate.example:14000/ , https://gate2.example:14000")
    assert find_cluster("").urls == ("https://gate.example:14000", "https://gate2.example:14000")
    assert find_cluster("nn:8020").urls == find_cluster("").urls


def test_the_default_file_system(settings):
    settings({"fs.defaultFS": "hdfs://nn.example:8020/"})
    assert find_cluster("").urls == ("http://nn.example:9870",)
    settings({"fs.defaultFS": "hdfs://nn.example:8020"}, {"dfs.namenode.http-address": "0.0.0.0:50070"})
    assert find_cluster("").urls == find_cluster("nn.example").urls == ("http://nn.example:50070",)
    assert find_cluster("other.example:8020").urls == ("http://other.example:9870",)


@pytest.mark.parametrize(
    ("policy", "urls"),
    [
        ("HTTP_ONLY", ("http://a:1", "http://b:2")),
        ("HTTPS_ONLY", ("https://a:3", "https://b:4")),
        ("HTTP_AND_HTTPS", ("https://a:3", "https://b:4")),
    ],
)
def test_pairs(settings, policy, urls):
    hdfs = {
        "dfs.nameservices": "first,pair",
        "dfs.ha.namenodes.pair": "x, y",
        "dfs.namenode.http-address.pair.x": "a:1",
        "dfs.namenode.http-address.pair.y": "b:2",
        "dfs.namenode.https-address.pair.x": "a:3",
        "dfs.namenode.https-address.pair.y": "b:4",
        "dfs.namenode.rpc-address.pair.y": "b:8020",
        "dfs.http.policy": policy,
    }
    settings({"fs.defaultFS": "hdfs://pair", "hadoop.security.authentication": "kerberos"}, hdfs)
    assert find_cluster("pair") == find_cluster("") == (urls, True, ("ha-hdfs:pair", "pair:8020"))
    assert find_cluster("b:8020").urls == (urls[1],)


def test_variables(settings, monkeypatch):
    monkeypatch.setenv("NN", "nn.example")
    settings({"fs.defaultFS": "hdfs://${env.NN}:${port}", "port": "8020", "loop": "${loop}", "unknown": "${none}"})
    conf = hadoop_conf()
    assert conf["fs.defaultFS"] == "hdfs://nn.example:8020"
    assert (conf["loop"], conf["unknown"]) == ("${loop}", "${none}")


def test_settings_that_are_no_xml(settings, tmp_path):
    settings()
    (tmp_path / "core-site.xml").write_text("<configuration>")
    with pytest.raises(StorageError, match=r"core-site\.xml"):
        find_cluster("")
