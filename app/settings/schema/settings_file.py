"""The schema of `settings.yaml`: how this BFF is deployed.

Attribute names are exactly the YAML keys. Every default here is also in `config/defaults.yaml`, which is their home; a
test holds the two equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

from annotated_types import Ge, Le
from pydantic import AfterValidator, SecretStr

from app.settings.schema.formats import (
    parse_bind_address,
    parse_claim_name,
    parse_cookie_name,
    parse_header_name,
    parse_host_name,
    parse_issuer,
    parse_network,
    parse_parameter_name,
    parse_rate,
    parse_scope_value,
    parse_web_origin,
)
from app.settings.schema.model import StrictModel
from app.settings.schema.values import (
    Amount,
    Count,
    Days,
    FilePath,
    FilledText,
    Flag,
    List,
    Number,
    PlainText,
    Secret,
    Text,
    TextList,
    Timeout,
    WholeNumber,
    WholeSeconds,
)

EMPTY_SECRET = SecretStr("")

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
    def is_https(self) -> bool:
        return self.public_url.startswith("https://")


class LimitSettings(StrictModel):
    """How often one client address may do something; empty: no limit."""

    login_starts: Rate = "30/minute"
    """Logins begun per client address."""
    per_address: Rate = ""
    """Calls of any kind per client address."""


class ClaimSettings(StrictModel):
    """Where the user's roles and permissions are read: claim names, the first one present wins."""

    roles: Annotated[tuple[Annotated[FilledText, AfterValidator(parse_claim_name)], ...], List] = ("roles", "groups")
    """Claims that may hold the user's roles."""
    permissions: Annotated[tuple[Annotated[FilledText, AfterValidator(parse_claim_name)], ...], List] = ("permissions",)
    """Claims that may hold the user's permissions."""


class DcrSettings(StrictModel):
    """Dynamic Client Registration (RFC 7591)."""

    enabled: Flag = False
    """Register the client at the IdP when `client_id` is empty."""
    initial_access_token: Secret = EMPTY_SECRET
    """The token that allows one registration; remove it afterwards."""
    initial_access_token_file: FilePath = ""
    """File that holds `initial_access_token`."""
    client_name: FilledText = "bff-server"
    """The name the client is registered under."""


class OidcSettings(StrictModel):
    """The identity provider and how the BFF is its client."""

    stand_ins: ClassVar[Mapping[str, object]] = {"issuer": "https://stand-in.invalid"}

    issuer: Annotated[FilledText, AfterValidator(parse_issuer)]
    """The IdP's issuer identifier, exactly as its discovery document and its ID tokens give it."""
    provider: Annotated[Text, AfterValidator(parse_claim_name)] = ""
    """Alias of the IdP in X-Original-User; empty: the issuer's host."""
    client_id: Text = ""
    """The client's id at the IdP; empty: registered by DCR."""
    client_auth: Annotated[Literal["private_key_jwt", "client_secret_basic", "client_secret_post"], PlainText] = (
        "private_key_jwt"
    )
    """How the BFF proves to the IdP that it is this client."""
    client_secret: Secret = EMPTY_SECRET
    """The client's secret, for client_secret_basic and client_secret_post; at least 16 characters."""
    client_secret_file: FilePath = ""
    """File that holds `client_secret`."""
    assertion_audience: Annotated[Literal["issuer", "token_endpoint", "endpoint"], PlainText] = "issuer"
    """What a client assertion names as its audience; `endpoint` is the one called."""
    scopes: Annotated[tuple[Annotated[FilledText, AfterValidator(parse_scope_value)], ...], List] = (
        "openid",
        "profile",
        "email",
        "offline_access",
    )
    """Scopes asked for at login; `openid` must be among them."""
    resources: TextList = ()
    """Resource indicators (RFC 8707) asked for at login."""
    audience_parameter: Annotated[Literal["resource", "audience"], PlainText] = "resource"
    """The request parameter that names a service's audience: `resource` (RFC 8707) or `audience`."""
    par: Annotated[Literal["auto", "required", "off"], PlainText] = "auto"
    """Pushed authorization requests (RFC 9126): when the IdP offers them, always, or never."""
    response_mode: Annotated[Literal["query", "form_post", "query.jwt"], PlainText] = "query"
    """How the IdP hands the code back; `query.jwt` is JARM."""
    dpop: Flag = False
    """Bind tokens to a key of ours (RFC 9449)."""
    userinfo: Flag = False
    """Also call UserInfo at login."""
    user_id_claim: Annotated[FilledText, AfterValidator(parse_claim_name)] = "sub"
    """The claim that is the user's id."""
    claims: ClaimSettings = ClaimSettings()
    """Where the user's roles and permissions are read."""
    timeout_seconds: Annotated[Timeout, Le(120)] = 10
    """How long one exchange with the IdP may take in all."""
    clock_skew_seconds: Annotated[WholeNumber, Ge(0), Le(300)] = 30
    """Leeway when the times in a token are judged."""
    ca_file: FilePath = ""
    """Certificates (PEM) the IdP's certificate is checked against; empty: the system's."""
    allow_untyped_logout_token: Flag = False
    """Accept logout tokens without `typ: logout+jwt`."""
    login_parameters: Annotated[tuple[Annotated[FilledText, AfterValidator(parse_parameter_name)], ...], List] = (
        "prompt",
        "login_hint",
        "ui_locales",
        "acr_values",
        "max_age",
    )
    """Parameters that /auth/login may pass on to the IdP."""
    dcr: DcrSettings = DcrSettings()
    """Dynamic Client Registration."""

    @property
    def provider_alias(self) -> str:
        """What stands for the IdP in `X-Original-User`."""
        return self.provider or urlsplit(self.issuer).hostname or ""


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

    key_prefix: Text = "bff:"
    """What every key begins with."""
    timeout_seconds: Annotated[Timeout, Le(60)] = 2
    """How long one command, or connecting, may take."""
    retries: Annotated[Count, Le(10)] = 2
    """How often a command is tried again within its time."""
    max_connections: Annotated[Amount, Le(100_000)] = 64
    """Connections per worker."""
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
    user_claims: Annotated[tuple[Annotated[FilledText, AfterValidator(parse_claim_name)], ...], List] = (
        "name",
        "email",
        "roles",
        "permissions",
    )
    """What /api/auth/session tells about the user beside the id."""
    cookie: CookieSettings = CookieSettings()
    """The session cookie."""


class TokenSettings(StrictModel):
    """The tokens kept for users and services."""

    refresh_ahead_seconds: Annotated[WholeNumber, Ge(0), Le(3600)] = 60
    """A token is renewed this long before it expires."""
    sweep_interval_seconds: Annotated[WholeNumber, Ge(1), Le(3600)] = 30
    """How often the background looks for tokens that are due."""
    data_key_file: FilePath = ""
    """Keys that seal stored tokens: 32 random bytes in base64 a line, the first seals, all open; empty: made beside
    the filesystem store."""


class KeySettings(StrictModel):
    """The BFF's own signing keys."""

    store: Annotated[Literal["directory", "redis"], PlainText] = "directory"
    """Where the keys are kept."""
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
    """The host the files are served on."""
    directory: FilledText
    """The folder that holds them."""


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
