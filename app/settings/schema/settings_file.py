"""The schema of `settings.yaml`: how this BFF is deployed.

Attribute names are exactly the YAML keys. Every default here is also in `config/defaults.yaml`, which is their home; a
test holds the two equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Le
from pydantic import AfterValidator

from app.settings.schema.formats import (
    parse_bind_address,
    parse_header_name,
    parse_header_value,
    parse_host_name,
    parse_network,
    parse_rate,
    parse_web_origin,
)
from app.settings.schema.model import StrictModel
from app.settings.schema.oidc_section import OidcSettings as OidcSettings
from app.settings.schema.session_section import SessionSettings as SessionSettings
from app.settings.schema.values import (
    Days,
    FilePath,
    FilledText,
    Flag,
    List,
    PlainText,
    Text,
    Timeout,
    WholeNumber,
    WholeSeconds,
)

Origin = Annotated[FilledText, AfterValidator(parse_web_origin)]
Rate = Annotated[Text, AfterValidator(parse_rate)]


class ServerSettings(StrictModel):
    """Where the BFF is reached and how it listens."""

    stand_ins: ClassVar[Mapping[str, object]] = {"public_url": "https://stand-in.invalid"}

    public_url: Origin
    """Where browsers reach the BFF: an origin, no path. URLs and cookies come from here, never from a header."""
    allowed_hosts: Annotated[tuple[Origin, ...], List] = ()
    """Further origins that are ours: several SPAs, one BFF."""
    trusted_proxies: Annotated[tuple[Annotated[FilledText, AfterValidator(parse_network)], ...], List] = ()
    """Networks (CIDR) whose X-Forwarded-* are believed."""
    internal_bind: Annotated[FilledText, AfterValidator(parse_bind_address)] = "127.0.0.1:9000"
    """`host:port` on which alone /metrics and /admin answer."""
    header_timeout_seconds: Timeout = 10
    """How long a client may take to send a request head."""
    body_timeout_seconds: Timeout = 30
    """Longest silence while a request body is read."""
    keepalive_seconds: Timeout = 75
    """How long an idle client connection is kept."""
    graceful_timeout_seconds: Timeout = 30
    """How long calls in flight may go on after a stop was asked for."""

    @property
    def origin(self) -> str:
        """`public_url` without a trailing slash."""
        return self.public_url

    @property
    def origins(self) -> tuple[str, ...]:
        """All that are ours, `public_url` first."""
        return (self.public_url, *self.allowed_hosts)

    @property
    def is_https(self) -> bool:
        return self.public_url.startswith("https://")


class LimitSettings(StrictModel):
    """How often one client address may do something; empty: no limit."""

    login_starts: Rate = "30/minute"
    """Logins begun per client address."""
    per_address: Rate = ""
    """Calls to backends per client address, over all routes."""


class TokenSettings(StrictModel):
    """The tokens kept for users and services."""

    refresh_ahead_seconds: Annotated[WholeNumber, Ge(0), Le(3600)] = 60
    """A token is renewed this long before it expires."""
    sweep_interval_seconds: Annotated[WholeNumber, Ge(1), Le(3600)] = 30
    """How often the background looks for tokens that are due."""
    data_key_file: FilePath = ""
    """Keys that seal stored records: 32 random bytes in base64 a line, the first seals, all open; empty: made beside
    the filesystem store."""


class KeySettings(StrictModel):
    """The BFF's own signing keys."""

    store: Annotated[Literal["directory", "redis"], PlainText] = "directory"
    """Where the keys are kept; `redis` goes with `session.store: redis`, and is what several machines need."""
    directory: FilledText = "var/keys"
    """The folder of the directory store."""
    algorithm: Annotated[Literal["ES256", "PS256", "RS256", "Ed25519"], PlainText] = "ES256"
    """What the keys sign with."""
    rotate_after_days: Days = 30
    """Age at which a signing key is replaced."""
    publish_ahead_seconds: WholeSeconds = 3600
    """How long a new key is published before it signs."""
    retire_after_days: Days = 60
    """Age at which a key is no longer published; more than `rotate_after_days`."""


class CorsSettings(StrictModel):
    """Who may call from another origin."""

    allow_origins: Annotated[tuple[Origin, ...], List] = ()
    """Exact origins of SPAs that are served elsewhere, as in development."""


class HeaderSettings(StrictModel):
    """Request headers."""

    strip: Annotated[tuple[Annotated[FilledText, AfterValidator(parse_header_name)], ...], List] = ()
    """Further client headers that never reach a backend."""


class FrontendSettings(StrictModel):
    """Static files of one SPA, for when no edge serves them."""

    stand_ins: ClassVar[Mapping[str, object]] = {"host": "stand-in.invalid", "directory": "stand-in"}

    host: Annotated[FilledText, AfterValidator(parse_host_name)]
    """The host the files are served on: that of `server.public_url` or of one of `server.allowed_hosts`."""
    directory: FilledText
    """The folder that holds them, `index.html` at its top."""
    content_security_policy: Annotated[Text, AfterValidator(parse_header_value)] = ""
    """The `Content-Security-Policy` of the application's answers; empty: its own origin only, nothing inline."""


class PdpSwitch(StrictModel):
    """The policy decision point; how it is reached is in `pdp.yaml`."""

    enabled: Flag = True
    """false switches enforcement off everywhere, and says so loudly."""


class AuthzSettings(StrictModel):
    """Authorization."""

    default: Annotated[Literal["none", "pdp"], PlainText] = "none"
    """What a route that says nothing about `authz` gets."""
    validation_strict: Flag = True
    """Refuse to start when a route that asks the decision point has no mapping."""
    default_mapping_enabled: Flag = False
    """Derive resource and action from path and method where no mapping is written."""


class AdminSettings(StrictModel):
    """The interface under /admin."""

    token_file: FilePath = ""
    """File with the token that /admin asks for; empty: /admin is off."""


class LoggingSettings(StrictModel):
    """What is written to the log."""

    level: Annotated[Literal["debug", "info", "warning", "error"], PlainText] = "info"
    """The least severity that is written."""
    audit_sink: Annotated[FilledText, PlainText] = "stdout"
    """Where audit events go: `stdout`, or the path of a file."""


class Settings(StrictModel):
    """All of `settings.yaml`, defaults and environment applied."""

    stand_ins: ClassVar[Mapping[str, object]] = {"server": {}, "oidc": {}}

    environment: Annotated[Literal["production", "development"], PlainText] = "production"
    """production refuses an http `public_url` or `issuer`; development allows both on loopback."""
    server: ServerSettings
    """Where the BFF is reached and how it listens."""
    limits: LimitSettings = LimitSettings()
    """How often one client address may do something."""
    oidc: OidcSettings
    """The identity provider and how the BFF is its client."""
    session: SessionSettings = SessionSettings()
    """How long a session lasts and where it is kept."""
    tokens: TokenSettings = TokenSettings()
    """The tokens kept for users and services."""
    keys: KeySettings = KeySettings()
    """The BFF's own signing keys."""
    cors: CorsSettings = CorsSettings()
    """Who may call from another origin."""
    headers: HeaderSettings = HeaderSettings()
    """Request headers."""
    frontends: Annotated[tuple[FrontendSettings, ...], List] = ()
    """Static SPA files the BFF serves itself."""
    pdp: PdpSwitch = PdpSwitch()
    """The policy decision point."""
    authz: AuthzSettings = AuthzSettings()
    """Authorization."""
    admin: AdminSettings = AdminSettings()
    """The interface under /admin."""
    logging: LoggingSettings = LoggingSettings()
    """What is written to the log."""
