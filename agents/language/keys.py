"""Keys and passwords: finding them, and keeping them out of what is written down."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

REDACTED = "[redacted]"
SHORTEST = 8  # characters of a key; a shorter one is a placeholder, and replies would be mangled for it
_SECRET = re.compile(r"(key|token|secret|password)$|authorization", re.IGNORECASE)
_PLAIN = re.compile(r"(^|[_-]|api)(key|secret|password)$|authorization", re.IGNORECASE)
_WITHIN = re.compile(  # a password in an address, or a setting in its query or in an agent's text
    r"(?i)://[^\s/@]*:[^\s/@]+@|://[^\s/@]{8,}@"
    r"|\b(?:[\w-]*[_-]|api)?(?:key|token|secret|password)\s*=\s*[^\s,)&]{8,}"
)
_BEARER = re.compile(r"(?i)(\bbearer\s+|\b(?:x-api-key|api[-_]?key)\W{1,4})[^\s\"',;})]+|\bsk-[\w-]{8,}")


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """A text without keys: those given, and what looks like one.

    >>> redact("Incorrect key: abcdefgh. Header: Authorization: Bearer xyz", ["abcdefgh"])
    'Incorrect key: [redacted]. Header: Authorization: Bearer [redacted]'
    """
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    return _BEARER.sub(lambda found: (found[1] or "") + REDACTED, text)


def secrets_in(settings: Mapping[str, Any]) -> list[str]:
    """Values whose names say that they are secret, however deep.

    >>> secrets_in({"headers": {"X-Api-Key": "abcdefgh"}, "max_tokens": 5})
    ['abcdefgh']
    """
    out: list[str] = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            out += secrets_in(value)
        elif isinstance(value, str) and value.strip() and _SECRET.search(name):
            out += [value, value.split()[-1]]  # a header says "Bearer" first
    return [secret for secret in dict.fromkeys(out) if len(secret) >= SHORTEST]


def places_of_secrets(table: Any, place: str = "") -> list[str]:
    """Where nested tables hold a secret, as dotted keys.

    >>> places_of_secrets({"policies": {"rival": {"name": "openai", "api_key": "abcdefgh"}}})
    ['policies.rival.api_key']
    """
    if isinstance(table, Mapping):
        parts = list(table.items())
    elif isinstance(table, (list, tuple)):
        parts = [(str(number), value) for number, value in enumerate(table)]
    else:
        name = next((part for part in reversed(place.split(".")) if not part.isdigit()), "")
        return [place] if isinstance(table, str) and _tells(name, table) else []
    return [
        found for name, value in parts for found in places_of_secrets(value, f"{place}.{name}".lstrip("."))
    ]


def _tells(name: str, value: str) -> bool:
    """Whether a setting holds a key, however short, or an address or an agent's text that does."""
    named = bool(value and _PLAIN.search(name)) or bool(secrets_in({name: value}))
    return named or bool(_WITHIN.search(value)) or redact(value) != value


def bare(address: str) -> str:
    """An address without name, password and query.

    >>> bare("https://me:pw@host:81/v1?key=abc")
    'https://host:81/v1'
    """
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))


def secrets_of(address: str) -> list[str]:
    """What an address says that others must not read.

    >>> secrets_of("https://me:password@host:81/v1?key=abcdefgh")
    ['password', 'abcdefgh']
    """
    parts = urlsplit(address)
    password = parts.netloc.rpartition("@")[0].rpartition(":")[2]  # a token may stand there alone
    return secrets_in({"password": password or "none", **dict(parse_qsl(parts.query))})
