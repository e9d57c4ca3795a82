"""Who this process is to a HDFS that asks for Kerberos: by a ticket, as ``kinit`` gets one, or by the keys of a keytab.

``SAMESUM_KEYTAB`` and ``SAMESUM_PRINCIPAL`` name a keytab, and whose of its keys; new tickets are got by it whenever one is needed. Tickets
got so stay in memory.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

from engine.errors import StorageError

KEYTAB, PRINCIPAL = "SAMESUM_KEYTAB", "SAMESUM_PRINCIPAL"
# The package logs with tracebacks what our errors say.
logging.getLogger("requests_gssapi").addHandler(logging.NullHandler())
_INSTALL = "HDFS asks for Kerberos: install 'samesum[kerberos]', which takes a compiler and libkrb5-dev, then run kinit"


def negotiation() -> Any:
    """What answers a web server's question for a ticket, for a ``requests.Session``. Raises ``StorageError`` that says what to do."""
    try:
        from requests_gssapi import OPTIONAL, HTTPSPNEGOAuth
    except ImportError as error:
        raise StorageError(f"{_INSTALL} ({error})") from None

    class Negotiation(HTTPSPNEGOAuth):  # type: ignore[misc]
        """Looks for a ticket anew each time that it is asked for one."""

        def generate_request_header(self, *arguments: Any, **options: Any) -> str:
            self.creds = credentials()
            return str(super().generate_request_header(*arguments, **options))

    return Negotiation(mutual_authentication=OPTIONAL)


@contextlib.contextmanager
def ticket_for_others() -> Iterator[dict[str, str]]:
    """What a program that knows nothing of our keytab needs in its environment to show a ticket got by it; nothing without a keytab."""
    if not os.environ.get(KEYTAB):
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="samesum-ticket-") as folder:
        cache = f"FILE:{folder}/ticket"
        credentials(cache)
        yield {"KRB5CCNAME": cache}


def credentials(cache: str | None = None) -> Any:
    """GSSAPI's credentials with a ticket that is valid now, kept in memory or in ``cache`` where it is got by a keytab.

    Raises ``StorageError`` that says what to do.
    """
    try:
        import gssapi
    except (ImportError, OSError) as error:
        raise StorageError(f"{_INSTALL} ({error})") from None
    keytab, principal = os.environ.get(KEYTAB), os.environ.get(PRINCIPAL)
    if keytab:
        return _from_keytab(keytab, principal, cache or f"MEMORY:samesum-{os.getpid()}")
    try:
        found = gssapi.Credentials(usage="initiate")
        found.lifetime  # noqa: B018  # which looks at the ticket
    except gssapi.exceptions.ExpiredCredentialsError:
        raise StorageError(f"your Kerberos ticket{_of_whom(found)} has expired: run kinit") from None
    except gssapi.exceptions.GSSError as error:
        where = f" in {os.environ['KRB5CCNAME']!r}" if os.environ.get("KRB5CCNAME") else ""
        raise StorageError(
            f"HDFS asks for Kerberos, and there is no ticket{where}: run kinit, or name a keytab by {KEYTAB} and {PRINCIPAL} "
            f"({_reason(error)})"
        ) from None
    return found


def identity() -> tuple[str | None, ...]:
    """What says who this process is; a connection of one identity is not for another."""
    return tuple(os.environ.get(name) for name in (KEYTAB, PRINCIPAL, "KRB5CCNAME"))


def principal() -> str:
    """The name in the ticket, or of the keytab. Raises ``StorageError`` without one."""
    return os.environ.get(PRINCIPAL) or str(credentials().name)


def _from_keytab(keytab: str, principal: str | None, cache: str) -> Any:
    import gssapi

    if not principal:
        raise StorageError(f"{KEYTAB} names the keytab {keytab!r}: say by {PRINCIPAL} whose keys in it are to be used")
    path = pathlib.Path(keytab).expanduser()
    if not os.access(path, os.R_OK):
        reason = "it cannot be read by you" if path.exists() else "there is no such file"
        raise StorageError(f"could not use the keytab {keytab!r}: {reason}")
    name = gssapi.Name(principal, gssapi.NameType.kerberos_principal)
    try:
        gssapi.Credentials(usage="accept", name=name, store={"keytab": f"FILE:{path}"})  # looks for the keys alone
    except gssapi.exceptions.GSSError:
        raise StorageError(f"the keytab {keytab!r} has no keys of {principal!r}: `klist -k {keytab}` shows whose it has") from None
    try:
        found = gssapi.Credentials(usage="initiate", name=name, store={"client_keytab": f"FILE:{path}", "ccache": cache})
        found.lifetime  # noqa: B018
    except gssapi.exceptions.GSSError as error:
        raise StorageError(f"could not get a ticket for {principal!r} by the keytab {keytab!r}: {_reason(error)}") from None
    return found


def _of_whom(found: Any) -> str:
    import gssapi

    try:
        return f" of {str(found.name)!r}"
    except gssapi.exceptions.GSSError:
        return ""


def _reason(error: Any) -> str:
    """Kerberos' own words, the library's if it has none."""
    text = str(error)
    return text.rpartition("Minor")[2].partition("): ")[2] or text
