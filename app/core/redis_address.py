"""Where Redis is and how to be let in, from one URL.

    redis://[[user]:password@]host[:6379][/database]          rediss:// the same over TLS
    redis+sentinel://[[user]:password@]host[:26379],host,…/master_name[?db=0&tls=true&sentinel_user=…&sentinel_password=…]
    redis+cluster://[[user]:password@]host[:6379],host,…[?tls=true]

User and password are those of the Redis servers; Sentinels have their own, if any. Both are percent-decoded. No message
and no repr shows any part of the URL that could be a password.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import parse_qsl, unquote

DEFAULT_PORT = 6379
DEFAULT_SENTINEL_PORT = 26379

_HOST = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?")
_MASTER_NAME = re.compile(r"[A-Za-z0-9._-]+")
_PRINTABLE = re.compile(r"[!-~]+")
_LAST_PORT = 65535


class RedisUrlError(ValueError):
    """What is wrong with the URL, as a sentence that holds no part of it."""


class RedisKind(Enum):
    SINGLE = "single"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class HostAndPort:
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """`hosts` are the server, the Sentinels, or nodes of the cluster that know the others."""

    kind: RedisKind
    hosts: tuple[HostAndPort, ...]
    tls: bool = False
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    database: int = 0
    master_name: str = ""
    sentinel_user: str = field(default="", repr=False)
    sentinel_password: str = field(default="", repr=False)


_SCHEMES = {
    "redis": (RedisKind.SINGLE, False),
    "rediss": (RedisKind.SINGLE, True),
    "redis+sentinel": (RedisKind.SENTINEL, False),
    "redis+cluster": (RedisKind.CLUSTER, False),
}
_OPTIONS = {
    RedisKind.SINGLE: frozenset[str](),
    RedisKind.SENTINEL: frozenset({"db", "tls", "sentinel_user", "sentinel_password"}),
    RedisKind.CLUSTER: frozenset({"tls"}),
}


def parse_redis_url(url: str) -> RedisAddress:
    """Raises `RedisUrlError`."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _SCHEMES:
        raise RedisUrlError("It has to begin with redis://, rediss://, redis+sentinel:// or redis+cluster://.")
    if not _PRINTABLE.fullmatch(url) or "#" in url:
        raise RedisUrlError("Spaces, # and what is not ASCII have to be percent-encoded.")
    kind, tls = _SCHEMES[scheme]
    rest, _, query = rest.partition("?")
    authority, _, path = rest.partition("/")
    credentials, _, hosts = authority.rpartition("@")
    user, password = _parse_credentials(credentials)
    options = _parse_options(query, _OPTIONS[kind])
    return RedisAddress(
        kind=kind,
        hosts=_parse_hosts(hosts, kind),
        tls=tls or _parse_switch(options.get("tls", "false")),
        user=user,
        password=password,
        database=_parse_database(path if kind is RedisKind.SINGLE else options.get("db", "")),
        master_name=_parse_master_name(path, kind),
        sentinel_user=options.get("sentinel_user", ""),
        sentinel_password=options.get("sentinel_password", ""),
    )


def _parse_credentials(text: str) -> tuple[str, str]:
    user, _, password = text.partition(":")
    if user and not password:
        raise RedisUrlError("A user needs a password: redis://user:password@host.")
    return unquote(user), unquote(password)


def _parse_hosts(text: str, kind: RedisKind) -> tuple[HostAndPort, ...]:
    default_port = DEFAULT_SENTINEL_PORT if kind is RedisKind.SENTINEL else DEFAULT_PORT
    hosts = tuple(_parse_host(part, default_port) for part in text.split(","))
    if kind is RedisKind.SINGLE and len(hosts) > 1:
        raise RedisUrlError("Several hosts need redis+sentinel:// or redis+cluster://.")
    return hosts


def _parse_host(text: str, default_port: int) -> HostAndPort:
    match = _HOST.fullmatch(text)
    if match is None:
        raise RedisUrlError("A host is missing or malformed, or the password holds characters to be percent-encoded.")
    port = int(match["port"] or default_port)
    if not 0 < port <= _LAST_PORT:
        raise RedisUrlError("A port is a number from 1 to 65535.")
    return HostAndPort(match["host"].strip("[]"), port)


def _parse_master_name(path: str, kind: RedisKind) -> str:
    if kind is RedisKind.CLUSTER and path:
        raise RedisUrlError("A cluster has no databases: nothing follows the hosts of redis+cluster://.")
    if kind is not RedisKind.SENTINEL:
        return ""
    if not _MASTER_NAME.fullmatch(path):
        raise RedisUrlError("The master's name has to follow the Sentinels: redis+sentinel://host,host/name.")
    return path


def _parse_database(text: str) -> int:
    if text and not re.fullmatch(r"[0-9]{1,4}", text):
        raise RedisUrlError("A database is a number, such as redis://host/0.")
    return int(text or 0)


def _parse_switch(text: str) -> bool:
    if text not in ("true", "false"):
        raise RedisUrlError("tls is true or false.")
    return text == "true"


def _parse_options(query: str, known: frozenset[str]) -> dict[str, str]:
    pairs = parse_qsl(query.replace("+", "%2B"), keep_blank_values=True)  # a plus is a plus, as before the @
    options = dict(pairs)
    if len(options) != len(pairs) or not known.issuperset(options):
        allowed = f"only {', '.join(sorted(known))}, each once" if known else "nothing"
        raise RedisUrlError(f"After the ? of such a URL there may be {allowed}.")
    return options
