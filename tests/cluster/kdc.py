"""A real Kerberos of its own: MIT's key distribution center on loopback, with a realm, keytabs and tickets for tests.

Nothing of the machine's own ``/etc/krb5.conf`` is read or written: ``environment`` names ours to MIT's library, ``java`` to Java's.
"""

from __future__ import annotations

import os
import pathlib
import secrets
import socket
import subprocess

from tests.cluster.daemons import Daemon, free_ports, wait_until

REALM = "SAMESUM.TEST"
_PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
_CLIENT = """
[libdefaults]
    default_realm = {realm}
    dns_lookup_kdc = false
    dns_lookup_realm = false
    dns_canonicalize_hostname = false
    rdns = false
    udp_preference_limit = 1
    ticket_lifetime = 24h
    forwardable = true
[realms]
    {realm} = {{
        kdc = 127.0.0.1:{port}
    }}
"""
_SERVER = """
[kdcdefaults]
    kdc_listen = 127.0.0.1:{port}
    kdc_tcp_listen = 127.0.0.1:{port}
[realms]
    {realm} = {{
        database_name = {folder}/principal
        key_stash_file = {folder}/stash
        acl_file = {folder}/kadm5.acl
        max_life = 24h
        supported_enctypes = aes256-cts:normal
    }}
"""


class Kdc:
    """A realm with these principals; each has a keytab."""

    def __init__(self, folder: pathlib.Path, principals: list[str]) -> None:
        self.folder = folder
        self.principals = principals
        (self.port,) = free_ports(1)
        said = {"realm": REALM, "port": self.port, "folder": folder}
        (folder / "krb5.conf").write_text(_CLIENT.format(**said))
        (folder / "kdc.conf").write_text(_SERVER.format(**said))
        self.environment = {"KRB5_CONFIG": str(folder / "krb5.conf")}
        self.java = f"-Djava.security.krb5.conf={folder / 'krb5.conf'}"
        self._own = {"PATH": _PATH, "KRB5_KDC_PROFILE": str(folder / "kdc.conf"), **self.environment}
        self.daemon = Daemon("kdc", ["krb5kdc", "-n"], folder / "kdc.log", self._own)

    @property
    def daemons(self) -> list[Daemon]:
        """The one."""
        return [self.daemon]

    def start(self) -> None:
        """Make the realm and its keytabs, and start."""
        self._run("kdb5_util", "create", "-s", "-r", REALM, "-P", secrets.token_hex(16))
        orders = [f"addprinc -randkey {name}\nktadd -norandkey -k {self.keytab(name)} {name}" for name in self.principals]
        self._run("kadmin.local", "-r", REALM, said="\n".join(orders))
        self.daemon.start()
        wait_until(lambda: not socket.create_connection(("127.0.0.1", self.port), 1).close(), self.daemons, "KDC")

    def stop(self) -> None:
        """End it."""
        self.daemon.stop()

    def keytab(self, principal: str) -> pathlib.Path:
        """The file with the keys of a principal."""
        return self.folder / f"{principal.replace('/', '-')}.keytab"

    def kinit(self, principal: str, cache: pathlib.Path, *options: str) -> pathlib.Path:
        """Get a ticket for a principal, as ``kinit`` does with its keytab; it goes to the file ``cache``, which is returned."""
        self._run("kinit", *options, "-k", "-t", str(self.keytab(principal)), "-c", f"FILE:{cache}", principal)
        return cache

    def _run(self, *command: str, said: str = "") -> None:
        environment = {**os.environ, **self._own}
        done = subprocess.run(command, input=said, env=environment, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stdout[-1000:]}{done.stderr[-1000:]}")
