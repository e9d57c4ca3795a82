"""HDFS and YARN secured as in production: Kerberos, service-level authorization, https and SASL for data, tokens for blocks.

All daemons run as this user; whose containers they are shows in HDFS, not in the process table.
"""

from __future__ import annotations

import pathlib
import secrets
import subprocess
from typing import Any

import gssapi
import requests
from requests_gssapi import HTTPSPNEGOAuth

from tests.cluster.hadoop import QUICK_START, USER, Hadoop, Hdfs, write_site
from tests.cluster.kdc import REALM, Kdc
from tests.cluster.yarn import Yarn

OTHER = "other"  # a user who has no business with the jobs of USER
SUPERUSER, RESOURCES, WEB = "hdfs/localhost", "yarn/localhost", "HTTP/127.0.0.1"
PRINCIPALS = [SUPERUSER, RESOURCES, WEB, USER, OTHER]
NODE_MB, NODE_VCORES = 24576, 40  # of the one node: two jobs
RENEW_INTERVAL = 90  # seconds for which a token is good without being renewed


class SecureHdfs(Hdfs):
    """An HDFS that asks for Kerberos; a client process needs a ticket besides its ``environment``."""

    def __init__(self, folder: pathlib.Path, kdc: Kdc) -> None:
        self.kdc = kdc
        hadoop = Hadoop(folder, (*QUICK_START, kdc.java))
        self.certificate = _make_certificate(folder, hadoop.conf)
        super().__init__(hadoop, settings=_hdfs(kdc), core=_core(kdc))
        self.web = self.web.replace("http:", "https:")
        self.variables = {**kdc.environment, "JAVA_TOOL_OPTIONS": kdc.java}
        self.environment = {**self.environment, **kdc.environment, "REQUESTS_CA_BUNDLE": str(self.certificate)}
        del self.environment["HADOOP_USER_NAME"]
        self._superuser = self.session(SUPERUSER)

    def session(self, principal: str) -> requests.Session:
        """What asks web servers in the name of a principal."""
        session = requests.Session()
        session.trust_env = False
        session.verify = str(self.certificate)
        session.auth = _Spnego(self.kdc, principal)
        return session

    def get_json(self, url: str) -> Any:
        """As the superuser."""
        answer = self._superuser.get(url, timeout=10)
        assert answer.ok, answer.text
        return answer.json()

    def as_superuser(self, operation: str, path: str, **parameters: str) -> None:
        """One operation of WebHDFS that changes something."""
        answer = self._superuser.put(f"{self.web}/webhdfs/v1{path}", params={"op": operation, **parameters}, timeout=30)
        assert answer.ok, answer.text


class SecureYarn(Yarn):
    """A YARN that asks for Kerberos, its pages too."""

    def __init__(self, hdfs: SecureHdfs) -> None:
        super().__init__(hdfs, nodes=1, settings=_yarn(hdfs), queues=_QUEUES)


class _Spnego(HTTPSPNEGOAuth):  # type: ignore[misc]
    """Shows tickets got from a keytab."""

    def __init__(self, kdc: Kdc, principal: str) -> None:
        super().__init__()
        self._kdc, self._principal = kdc, principal

    def __call__(self, request: Any) -> Any:
        if self.creds is None:
            cache = self._kdc.kinit(self._principal, self._kdc.folder / f"{self._principal.replace('/', '-')}.cache")
            self.creds = gssapi.Credentials(usage="initiate", store={"ccache": f"FILE:{cache}"})
        return super().__call__(request)


def _make_certificate(folder: pathlib.Path, conf: pathlib.Path) -> pathlib.Path:
    """A key that signs itself, for all daemons; the file of its certificate."""
    password, keys, certificate, trusted = secrets.token_hex(8), folder / "keys.p12", folder / "certificate.pem", folder / "trusted.p12"

    def keytool(order: str, store: pathlib.Path, *words: str) -> None:
        common = ["-keystore", str(store), "-storetype", "PKCS12", "-storepass", password, "-alias", "all", "-noprompt"]
        subprocess.run(["keytool", order, *common, *words], check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=60)

    keytool("-genkeypair", keys, "-dname", "CN=localhost", "-ext", "san=ip:127.0.0.1,ip:127.0.0.2", "-validity", "30", "-keyalg", "EC")
    keytool("-exportcert", keys, "-rfc", "-file", str(certificate))
    keytool("-importcert", trusted, "-file", str(certificate))
    for side, stores in (("server", {"keystore": keys, "truststore": trusted}), ("client", {"truststore": trusted})):
        settings = {f"ssl.{side}.{kind}.{name}": value for kind, path in stores.items() for name, value in _store(path, password).items()}
        write_site(conf / f"ssl-{side}.xml", settings)
    return certificate


def _store(path: pathlib.Path, password: str) -> dict[str, object]:
    return {"location": path, "password": password, "keypassword": password, "type": "PKCS12"}


def _core(kdc: Kdc) -> dict[str, object]:
    secret = kdc.folder / "signature"
    secret.write_text(secrets.token_hex(16))
    return {
        "hadoop.security.authentication": "kerberos",
        "hadoop.security.authorization": "true",
        "hadoop.http.filter.initializers": "org.apache.hadoop.security.AuthenticationFilterInitializer",
        "hadoop.http.authentication.type": "kerberos",
        "hadoop.http.authentication.kerberos.principal": f"{WEB}@{REALM}",
        "hadoop.http.authentication.kerberos.keytab": kdc.keytab(WEB),
        "hadoop.http.authentication.signature.secret.file": secret,
    }


def _hdfs(kdc: Kdc) -> dict[str, object]:
    superuser = {"kerberos.principal": f"{SUPERUSER}@{REALM}", "keytab.file": kdc.keytab(SUPERUSER)}
    return {
        **{f"dfs.{node}.{name}": value for node in ("namenode", "datanode") for name, value in superuser.items()},
        "dfs.web.authentication.kerberos.principal": f"{WEB}@{REALM}",
        "dfs.web.authentication.kerberos.keytab": kdc.keytab(WEB),
        "dfs.block.access.token.enable": "true",
        "dfs.data.transfer.protection": "authentication",
        "dfs.http.policy": "HTTPS_ONLY",
        "dfs.namenode.delegation.token.renew-interval": RENEW_INTERVAL * 1000,
        "dfs.namenode.delegation.token.max-lifetime": 3_600_000,
    }


_QUEUES: dict[str, object] = {"yarn.scheduler.capacity.root.acl_administer_queue": " "}  # nobody; by default everybody may look at all


def _yarn(hdfs: SecureHdfs) -> dict[str, object]:
    kdc = hdfs.kdc
    return {
        **{f"yarn.{part}.principal": f"{RESOURCES}@{REALM}" for part in ("resourcemanager", "nodemanager")},
        **{f"yarn.{part}.keytab": kdc.keytab(RESOURCES) for part in ("resourcemanager", "nodemanager")},
        **{f"yarn.{part}.webapp.spnego-principal": f"{WEB}@{REALM}" for part in ("resourcemanager", "nodemanager")},
        **{f"yarn.{part}.webapp.spnego-keytab-file": kdc.keytab(WEB) for part in ("resourcemanager", "nodemanager")},
        "yarn.nodemanager.env-whitelist": "JAVA_HOME,HADOOP_CONF_DIR,PATH,LANG,TZ,JAVA_TOOL_OPTIONS",
        "yarn.admin.acl": "yarn",
        "yarn.log-aggregation-enable": "false",  # which, secured, takes Hadoop's native code: a NodeManager without it ends
        "yarn.nm.liveness-monitor.expiry-interval-ms": 60000,
        "yarn.nodemanager.resource.memory-mb": NODE_MB,
        "yarn.nodemanager.resource.cpu-vcores": NODE_VCORES,
    }
