"""The schema of `session` in `settings.yaml`: how long sessions last and where they are kept."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Le
from pydantic import AfterValidator

from app.settings.schema.formats import (
    parse_cookie_name,
    parse_host_name,
    parse_key_prefix,
)
from app.settings.schema.model import StrictModel
from app.settings.schema.values import (
    EMPTY_SECRET,
    Amount,
    ClaimNames,
    Count,
    FilePath,
    FilledText,
    Number,
    PlainText,
    Secret,
    Text,
    Timeout,
    WholeSeconds,
)


class CookieSettings(StrictModel):
    """The session cookie."""

    name: Annotated[FilledText, AfterValidator(parse_cookie_name)] = "bff_session"
    """The cookie's name; the prefixes `__Host-Http-` and `__Secure-` are added by deployment."""
    domain: Annotated[Text, AfterValidator(parse_host_name)] = ""
    """Share the cookie with all hosts below this domain; empty: this host only, which is safer."""
    same_site: Annotated[Literal["Strict", "Lax"], PlainText] = "Strict"
    """When browsers send the cookie from other sites: never, or on top-level navigations."""


class RedisSettings(StrictModel):
    """How Redis is spoken to."""

    key_prefix: Annotated[Text, AfterValidator(parse_key_prefix)] = "bff:"
    """What every key begins with."""
    timeout_seconds: Annotated[Timeout, Le(60)] = 2
    """How long one command, or connecting, may take."""
    retries: Annotated[Count, Le(10)] = 2
    """How often a command is tried again; each attempt has `timeout_seconds`."""
    max_connections: Annotated[Amount, Le(100_000)] = 64
    """Connections per worker; in a cluster, to each primary."""
    ca_file: FilePath = ""
    """Certificates (PEM) for rediss://; empty: the system's."""


class SessionSettings(StrictModel):
    """How long a session lasts and where it is kept."""

    store: Annotated[Literal["filesystem", "redis"], PlainText] = "filesystem"
    """Where sessions, tokens and locks are kept."""
    directory: FilledText = "var/state"
    """The folder of the filesystem store."""
    redis_url: Secret = EMPTY_SECRET
    """redis://, rediss://, redis+sentinel:// or redis+cluster://; may hold a password."""
    redis_url_file: FilePath = ""
    """File that holds `redis_url`."""
    redis: RedisSettings = RedisSettings()
    """How Redis is spoken to."""
    idle_timeout_seconds: WholeSeconds = 1800
    """A session ends this long after its last use."""
    absolute_timeout_seconds: WholeSeconds = 28800
    """A session ends this long after its login, used or not."""
    touch_interval_seconds: Annotated[Number, Ge(0), Le(86_400)] = 60
    """An active session is written at most this often; must be less than `idle_timeout_seconds`."""
    local_cache_seconds: Annotated[Number, Ge(0), Le(60)] = 2
    """How long a worker may trust its own copy of a session; 0: never."""
    max_per_user: Count = 0
    """Sessions one user may have; beyond it the oldest goes; 0: no limit."""
    user_claims: ClaimNames = (
        "name",
        "email",
        "roles",
        "permissions",
    )
    """What /api/auth/session tells about the user beside the id."""
    cookie: CookieSettings = CookieSettings()
    """The session cookie."""
