"""Hides what looks like a secret in text that others will read: pages, bundles for bug reports.

Passwords and signatures in addresses, values beside names such as ``token`` or ``AWS_SECRET_ACCESS_KEY``, keys of AWS, headers of HTTP, and
the values that this process's own environment has under such names. What has no such sign by it cannot be found.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"
_NAMES = r"SECRET|PASSWORD|PASSWD|PASSPHRASE|TOKEN|ACCESS_?KEY|CREDENTIAL|PRIVATE_?KEY|API_?KEY|SIGNATURE"
SECRET_NAMES = re.compile(_NAMES, re.IGNORECASE)
SHORTEST = 6  # characters of a variable's value that is looked for in text
# Lengths are bounded, and words are looked at from their beginning on, so that a long word is no long work.
_NAME = rf"(?<![\w.-])[\w.-]{{0,64}}(?:{_NAMES})[\w.-]{{0,64}}"
_VALUE = r"\"[^\"]*\"|'[^']*'|[^\s,;&\"'<>)\]}]+"
_RULES = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), replacement)
    for pattern, replacement in (
        (r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)", HIDDEN),
        (r"\b([a-z][a-z0-9+.-]{0,20}://)[^\s\"'<>/@]{0,256}@", rf"\1{HIDDEN}@"),
        (r"\b([a-z][a-z0-9+.-]{0,20}://)[^\s\"'<>/:@]{0,64}:[^\s\"'<>@]{0,256}@", rf"\1{HIDDEN}@"),  # a password with a slash in it
        (r"\b(https?://[^\s\"'<>?]{0,2000}\?)[^\s\"'<>]+", rf"\1{HIDDEN}"),
        (r"([?&](?:delegation|sig|auth|key)=)[^&\s\"'<>]+", rf"\1{HIDDEN}"),
        (r"\b(authorization[\"']?\s*[=:]\s*[\"']?)(?:\w+\s+)?[^\s\"',;]+", rf"\1{HIDDEN}"),
        (r"\b((?:bearer|negotiate)\s+)[\w.~+/=-]{8,}", rf"\1{HIDDEN}"),
        (rf"({_NAME}[\"']?\s*[=:]\s*)(?:{_VALUE})", rf"\1{HIDDEN}"),
        (rf"((?=--?\w)(?<!\S){_NAME}\s+)(?:{_VALUE})", rf"\1{HIDDEN}"),
        (r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b", HIDDEN),
    )
)


def mask(value: Any) -> Any:
    """A value of JSON without secrets: text as :func:`mask_text` gives it, and nothing of what a secret's name stands for."""
    if isinstance(value, str):
        return mask_text(value)
    if isinstance(value, Mapping):
        return {mask_text(str(name)): _mask_named(str(name), item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [
            HIDDEN if isinstance(item, str) and place and _is_flag(value[place - 1]) else mask(item) for place, item in enumerate(value)
        ]
    return value


def mask_text(text: str) -> str:
    """Text without what looks like a secret."""
    for secret in _own_secrets():
        text = text.replace(secret, HIDDEN)
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text


def _mask_named(name: str, value: Any) -> Any:
    return HIDDEN if SECRET_NAMES.search(name) and isinstance(value, str | list | tuple) and value else mask(value)


def _is_flag(word: Any) -> bool:
    """Whether the word after this one, of a command, is a secret."""
    return isinstance(word, str) and word.startswith("-") and "=" not in word and SECRET_NAMES.search(word) is not None


def _own_secrets() -> list[str]:
    """What the environment has under a secret's name, the longest first."""
    found = {value for name, value in os.environ.items() if SECRET_NAMES.search(name) and len(value) >= SHORTEST}
    return sorted(found, key=len, reverse=True)
