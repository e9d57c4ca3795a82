"""Tokens of a container and tickets of a user: what WebHDFS is shown, and what is said where there is nothing to show."""

from __future__ import annotations

import base64
import sys

import pytest

from engine import storage
from engine.errors import StorageError
from engine.storage import kerberos, tokens
from tests.storage.fake_webhdfs import FakeWebHdfs, refusal

KIND = "HDFS_DELEGATION_TOKEN"


def number(value: int) -> bytes:
    """As Java's WritableUtils writes it."""
    if -112 <= value <= 127:
        return value.to_bytes(1, "big", signed=True)
    magnitude = ~value if value < 0 else value
    size = (magnitude.bit_length() + 7) // 8
    return ((-120 if value < 0 else -112) - size).to_bytes(1, "big", signed=True) + magnitude.to_bytes(size, "big")


def field(data: bytes | str) -> bytes:
    raw = data.encode() if isinstance(data, str) else data
    return number(len(raw)) + raw


def raw_token(service: str, *, kind: str = KIND, identifier: bytes = b"who", password: bytes = b"secret") -> bytes:
    return b"".join(map(field, (identifier, password, kind, service)))


def write(path, *raw: bytes):
    path.write_bytes(b"HDTS\0" + number(len(raw)) + b"".join(field(f"alias {each}") + one for each, one in enumerate(raw)) + b"\0")
    return str(path)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A WebHDFS whose settings ask for Kerberos, at hdfs:///, whose name node is 127.0.0.1:8020."""
    fake = FakeWebHdfs()
    settings = {
        "fs.defaultFS": "hdfs://127.0.0.1:8020",
        "hadoop.security.authentication": "kerberos",
        "dfs.namenode.http-address": fake.url.removeprefix("http://"),
    }
    rows = "".join(f"<property><name>{name}</name><value>{value}</value></property>" for name, value in settings.items())
    (tmp_path / "core-site.xml").write_text(f"<configuration>{rows}</configuration>")
    monkeypatch.setenv("HADOOP_CONF_DIR", str(tmp_path))
    for name in ("SAMESUM_WEBHDFS_URL", tokens.VARIABLE, kerberos.KEYTAB, kerberos.PRINCIPAL):
        monkeypatch.delenv(name, raising=False)
    yield fake
    fake.stop()


class TestFiles:
    def test_one_by_hand(self, tmp_path):
        """Lengths of one byte; the text is what Java's Token.encodeToUrlString makes: base64 for addresses, without padding."""
        path = write(tmp_path / "t", raw_token("127.0.0.1:8020"))
        (found,) = tokens.read_tokens(path)
        assert found[:2] == (KIND, "127.0.0.1:8020")
        assert base64.urlsafe_b64decode(found.text + "==") == b"\x03who\x06secret\x15HDFS_DELEGATION_TOKEN\x0e127.0.0.1:8020"
        assert "=" not in found.text
        assert found.text not in repr(found)

    @pytest.mark.parametrize("length", [0, 1, 127, 128, 255, 256, 70000])
    def test_lengths_of_several_bytes(self, tmp_path, length):
        path = write(tmp_path / "t", raw_token("a:1", identifier=bytes(length)), raw_token("b:1"))
        assert [token.service for token in tokens.read_tokens(path)] == ["a:1", "b:1"]

    @pytest.mark.parametrize("value", [0, 1, -1, 127, -112, 128, -113, -256, 2**31, -(2**31)])
    def test_numbers(self, value):
        assert tokens._Reader(number(value), 0)._number() == value

    def test_none(self, tmp_path):
        assert tokens.read_tokens(write(tmp_path / "t")) == []

    def test_every_cut_is_found(self, tmp_path):
        whole = (tmp_path / "t").read_bytes() if write(tmp_path / "t", raw_token("127.0.0.1:8020")) else b""
        for length in range(5, len(whole) - 1):
            (tmp_path / "cut").write_bytes(whole[:length])
            with pytest.raises(StorageError, match="is damaged"):
                tokens.read_tokens(str(tmp_path / "cut"))

    @pytest.mark.parametrize("data", [b"", b"HDTS", b"HDTS\1", b"\0\0\0\0\0"])
    def test_another_format(self, tmp_path, data):
        (tmp_path / "t").write_bytes(data)
        with pytest.raises(StorageError, match=r"expected tokens in Hadoop's 'java' format in '.*t', which HADOOP_TOKEN_FILE_LOC"):
            tokens.read_tokens(str(tmp_path / "t"))

    def test_no_file(self, tmp_path):
        with pytest.raises(StorageError, match=r"could not read the tokens that .* names, '.*none': No such file"):
            tokens.read_tokens(str(tmp_path / "none"))


class TestServices:
    """A token goes to no name node but its own."""

    @pytest.mark.parametrize(
        ("service", "wanted", "is_found"),
        [
            ("127.0.0.1:8020", "127.0.0.1:8020", True),
            ("127.0.0.1:8020", "localhost:8020", True),
            ("localhost:8020", "127.0.0.1:8020", True),
            ("127.0.0.1:8020", "127.0.0.2:8020", False),
            ("127.0.0.1:8020", "127.0.0.1:8021", False),
            ("ha-hdfs:pair", "ha-hdfs:pair", True),
            ("ha-hdfs:pair", "ha-hdfs:other", False),
        ],
    )
    def test_which(self, tmp_path, monkeypatch, service, wanted, is_found):
        monkeypatch.setenv(tokens.VARIABLE, write(tmp_path / "t", raw_token(service)))
        assert (tokens.find_token([wanted]) is not None) == is_found

    def test_other_kinds(self, tmp_path, monkeypatch):
        monkeypatch.setenv(tokens.VARIABLE, write(tmp_path / "t", raw_token("a:1", kind="RM_DELEGATION_TOKEN")))
        assert tokens.find_token(["a:1"]) is None

    def test_no_variable(self, monkeypatch):
        monkeypatch.delenv(tokens.VARIABLE, raising=False)
        assert tokens.find_token(["a:1"]) is None


class TestHdfs:
    def test_the_token_is_shown(self, server, tmp_path, monkeypatch):
        server.files["/f"] = b"data"
        path = write(tmp_path / "t", raw_token("10.0.0.1:8020"), raw_token("127.0.0.1:8020", password=b"right"))
        monkeypatch.setenv(tokens.VARIABLE, path)
        assert storage.read_bytes("hdfs:///f") == b"data"
        assert {parameters.get("delegation") for operation, _, parameters in server.asked if not operation.startswith("DATA")} == {
            tokens.read_tokens(path)[1].text
        }
        assert not any("user.name" in parameters for _, _, parameters in server.asked)

    def test_no_token_for_this_one(self, server, tmp_path, monkeypatch):
        monkeypatch.setenv(tokens.VARIABLE, write(tmp_path / "t", raw_token("10.0.0.1:8020")))
        with pytest.raises(StorageError, match="this container has no token for the HDFS at 127.0.0.1"):
            storage.read_bytes("hdfs:///f")
        assert server.asked == []

    def test_an_expired_token(self, server, tmp_path, monkeypatch):
        monkeypatch.setenv(tokens.VARIABLE, write(tmp_path / "t", raw_token("127.0.0.1:8020")))
        text = "Failed to obtain user group information: org.apache.hadoop.security.token.SecretManager$InvalidToken: Token has expired"
        server.rules.append(lambda *_: refusal("SecurityException", text))
        with pytest.raises(StorageError, match=r"'hdfs:///f': the token .* has expired or was cancelled.*resume_from_checkpoint"):
            storage.read_bytes("hdfs:///f")
        assert len(server.asked) == 1

    def test_no_package(self, server, monkeypatch):
        monkeypatch.setitem(sys.modules, "requests_gssapi", None)
        with pytest.raises(StorageError, match=r"asks for Kerberos: install 'samesum\[kerberos\]'.* then run kinit"):
            storage.read_bytes("hdfs:///f")
        assert server.asked == []
